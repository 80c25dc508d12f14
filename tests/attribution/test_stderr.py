"""The standard error covers what more masks and more draws would give: in repeated runs, as often as it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import t

from rambit import Attribution, RaMbIT
from rambit.attribution import Banzhaf, ExactShapley, ShapleySampling
from rambit.attribution.tolerance import StableTop
from rambit.game import draws
from rambit.game.draws import Error
from tests.naive import errors as naive
from tests.naive import rambit as naive_rambit

coverage = pytest.importorskip("studies.coverage")  # the studies are not in the wheel

X = torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
BACKGROUND = torch.randn(50, 2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
COMMON = {"output": "regression", "distance": "diff", "background": BACKGROUND, "counterfactuals": "marginal"}
METHODS = {
    "rambit": RaMbIT,
    "shapley": ShapleySampling,
    "exact shapley": ExactShapley,
    "banzhaf": Banzhaf,
}


def model(x):
    return (x[:, 0].sum(-1) + x[:, 1].prod(-1) + 2 * x[:, 0, -1] * x[:, 1, -1])[:, None]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# -- coverage ---------------------------------------------------------------------------------------------------------

MEASURED = (
    "L=20, S=10 (the default)",
    "L=20, S=100",
    "anchor=cell, W=2, reduce=max",
    "share_draws=False, S=4",
    "given the draws, L=100, product",
    "25 orders, S=10",
    "60 coalitions, S=10",
)


@pytest.mark.parametrize("setting", MEASURED)
def test_the_interval_covers_the_true_scores_as_often_as_it_says(setting):
    """With half or twice the error, 71 or 99.9 % would be inside, and the ratio would be half or twice."""
    _, _, _, inside, ratio = coverage.measured(next(s for s in coverage.SETTINGS if s.setting == setting), 60)
    assert 90 < float(inside.partition(" ")[0]) < 98.5
    assert 0.8 < float(ratio) < 1.25


@pytest.mark.parametrize("spread", [(1, 1, 1), (0, 1, 0), (1, 0, 0.3), (0, 0, 1), (0.1, 0.1, 1)])
@pytest.mark.parametrize("S", [4, 10, 40])
def test_masks_draws_and_what_only_both_do_count_once(spread, S):
    """A table of L masks beside S draws with known deviations, 4,000 times."""
    L, N = 12, 4000
    of_mask, of_draw, of_both = spread
    parts = of_mask * random(L, 1, N), of_draw * random(1, S, N, seed=1), of_both * random(L, S, N, seed=2)
    table = sum(part.expand(L, S, N) for part in parts)
    error = joint(table)
    truth = of_mask**2 / L + of_draw**2 / S + of_both**2 / (L * S)
    assert 0.95 < float(error.variance.mean()) / truth < (1.2 if spread[:2] == (0, 0) else 1.1)
    half = torch.from_numpy(t.ppf(0.975, error.freedom.numpy())) * error.stderr()
    assert 0.935 < float((table.mean(dim=(0, 1)).abs() <= half).double().mean()) < 0.975


def joint(table):
    """The error of the mean of a table (L, S, N) as the game finds it, from sums by group of draws."""
    L, S = table.shape[:2]
    by_group = draws.grouped(table, 1)
    share = draws.sizes(S)[:, None] / S
    one = (share * by_group.var(dim=0)).sum(dim=0) / L
    return draws.error_over_both(table.mean(dim=1).var(dim=0) / L, L - 1, one, by_group.mean(dim=0), S)


@pytest.mark.parametrize("S", [2, 5, 16])
def test_the_error_of_a_table(S):
    table = random(7, S, 30) + random(7, 1, 30, seed=1)
    table[..., 0] = 2.0
    variance, freedom = naive.crossed(table.numpy())
    found = joint(table)
    np.testing.assert_allclose(found.variance, variance, atol=1e-15)
    np.testing.assert_allclose(found.freedom, freedom)


@pytest.mark.parametrize("options", [{}, {"share_masks": False}, {"anchor": "end", "masks": "bernoulli"}])
def test_the_error_is_that_of_the_table_of_masks_and_draws(options):
    x, L, S = X[:, :, :3], 5, 3
    method = RaMbIT(model, L=L, num_samples=S, window_size=2, seed=4, **COMMON, **options)
    cells = None if method.share_masks else torch.arange(6, dtype=torch.int32)
    found = method.family.sample(L, 2, 3, seed=4, target_cells=cells).masks
    given = {"own_masks": found.view(6, L, 2, 3)} if cells is not None else {}
    values = method.strategy.draws(x, None, torch.arange(1), S, seed=4)
    common = {"anchor": method.anchor, "window": 2, "metric": "diff", "target": [0], **given}
    each = [naive_rambit.rambit(model, x, found, [one], **common)[1] for one in values]
    variance, freedom = naive.crossed(np.stack(each, axis=1))
    result = method.explain(x, target=0)
    np.testing.assert_allclose(result.stderr, np.sqrt(variance), atol=1e-9)
    seen = np.sqrt(variance) > 1e-9
    np.testing.assert_allclose(result.freedom.numpy()[seen], freedom[seen], rtol=1e-6)


@pytest.mark.parametrize("name", ["rambit", "shapley", "exact shapley"])
def test_one_shared_draw_tells_nothing(name):
    method = METHODS[name](model, num_samples=1, **COMMON)
    assert method.explain(X, target=0).stderr is None
    # Values that are given, or of which there is one, are not an estimate.
    assert method.explain(X, target=0, counterfactuals=BACKGROUND[:3, None].repeat(1, 1, 1, 1)).stderr is not None


@pytest.mark.parametrize("S", [2, 5, 16, 17, 40])
def test_variance_of_the_mean_over_draws(S):
    values = torch.randn(S, 3, generator=torch.Generator().manual_seed(S), dtype=torch.float64)
    means = draws.grouped(values, 0)
    assert len(means) == min(S, 16)
    sizes = [len(range(g, S, len(means))) for g in range(len(means))]
    assert draws.sizes(S).tolist() == sizes
    centre = values.mean(dim=0)
    by_hand = sum(n * (values[g :: len(means)].mean(dim=0) - centre) ** 2 for g, n in enumerate(sizes))
    torch.testing.assert_close(draws.variance(means, S), by_hand / (S * (len(means) - 1)))
    if S <= 16:
        torch.testing.assert_close(draws.variance(means, S), values.var(dim=0) / S)


def test_groups_give_an_unbiased_variance():
    values = torch.randn(40, 20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = float(draws.variance(draws.grouped(values, 0), 40).mean())
    assert abs(found - 1 / 40) < 5 * (1 / 40) * math.sqrt(2 / 15) / math.sqrt(20_000)


# -- intervals --------------------------------------------------------------------------------------------------------


def test_intervals_are_students():
    given = {"rows": 1, "row_steps": 1, "seconds": 0.0, "settings": {}, "seed": 0}
    values, stderr = random(1, 1, 4), torch.tensor([[[1.0, 2.0, 0.0, math.inf]]], dtype=torch.float64)
    freedom = torch.tensor([[[1.0, math.inf, 5.0, 1.0]]], dtype=torch.float64)
    result = Attribution(values, stderr, freedom=freedom, **given)
    for confidence in (0.5, 0.95):
        low, high = result.interval(confidence)
        half = [t.ppf((1 + confidence) / 2, 1), 2 * t.ppf((1 + confidence) / 2, math.inf), 0.0, math.inf]
        torch.testing.assert_close(high, values + torch.tensor([[half]], dtype=torch.float64))
        torch.testing.assert_close(low, values - torch.tensor([[half]], dtype=torch.float64))
    # Without a freedom, of another version's file: normal.
    torch.testing.assert_close(Attribution(values, stderr, **given).interval()[1][..., 0], values[..., 0] + 1.959964)
    for confidence in (0, 1.0, -1):
        with pytest.raises(ValueError, match="confidence"):
            result.interval(confidence)
    with pytest.raises(ValueError, match="no stderr"):
        Attribution(values, None, **given).interval()


def test_what_one_mask_alone_has_seen_has_no_end():
    method = RaMbIT(model, L=2, num_samples=2, anchor="mask", window_size=1, Wt_max=1, normalize="visible", **COMMON)
    for seed in range(20):
        method.seed = seed
        result = method.explain(X, target=0)
        if result.stderr is not None and bool(result.stderr.isinf().any()):
            assert bool(result.interval()[1][result.stderr.isinf()].isinf().all())
            return
    raise AssertionError("no seed has a cell that one mask alone can see")


# -- the k highest ----------------------------------------------------------------------------------------------------


def test_the_highest_are_stable_where_no_cell_is_likely_beyond_the_bound():
    generator = np.random.default_rng(0)
    decided = []
    for _ in range(200):
        n, k = int(generator.integers(3, 9)), int(generator.integers(1, 3))
        scores, stderr = generator.normal(size=n), generator.uniform(0, 0.2, size=n) * generator.integers(0, 2, size=n)
        freedom = generator.uniform(1, 30, size=n)
        error = Error(*(torch.from_numpy(part)[None, None] for part in (stderr**2, freedom, stderr * 0)))
        known = torch.ones(1, n, dtype=torch.bool)
        decided.append(StableTop(k).holds(torch.from_numpy(scores)[None, None], error, known))
        assert decided[-1] == (naive.wrong_top(scores, stderr, freedom, k) <= 0.05)
        # A cell that has no score is none of them, however high.
        more = [torch.cat((part, torch.full((1, 1, 1), 9.0, dtype=torch.float64)), dim=2) for part in error]
        more_scores = torch.from_numpy(np.append(scores, 9.0))[None, None]
        known = torch.cat((known, torch.zeros(1, 1, dtype=torch.bool)), dim=1)
        assert StableTop(k).holds(more_scores, Error(*more), known) == decided[-1]
    assert {True, False} == set(decided)


def test_masks_are_added_until_the_highest_are_stable():
    method = RaMbIT(model, L=10, num_samples=2, share_draws=False, anchor="end", window_size=1, **COMMON)
    enough = method.explain(X, target=0, tolerance="top:1", max_rows=100_000)
    assert enough.rows < 100_000
    scores, stderr, freedom = (part.flatten().numpy() for part in (enough.values, enough.stderr, enough.freedom))
    assert naive.wrong_top(scores, stderr, freedom, 1) <= 0.05
    rounds = round(enough.rows / method.explain(X, target=0).rows)
    before = RaMbIT(model, L=10 * (rounds - 1), num_samples=2, share_draws=False, anchor="end", window_size=1, **COMMON)
    earlier = before.explain(X, target=0)
    scores, stderr, freedom = (part.flatten().numpy() for part in (earlier.values, earlier.stderr, earlier.freedom))
    assert naive.wrong_top(scores, stderr, freedom, 1) > 0.05
    assert [cell[1:3] for cell in enough.top(1)] == [divmod(int(scores.argmax()), 4)]


def test_a_rank_that_the_draws_leave_open_is_said():
    method = RaMbIT(model, L=10, num_samples=2, anchor="end", window_size=1, **COMMON)
    with pytest.warns(UserWarning, match="tolerance=top:3 is out of reach with num_samples=2"):
        method.explain(X, target=0, tolerance="top:3", max_rows=10**6)
    with pytest.raises(ValueError, match="ranks single cells"):
        RaMbIT(model, groups=torch.arange(8).view(2, 4) // 2, num_samples=2, anchor="end", **COMMON).explain(
            X, target=0, tolerance="top:1", max_rows=100
        )
