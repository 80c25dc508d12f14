"""Interactions of pairs, against their definition: one pair, mask, draw, horizon and side at a time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import t
from torch import nn

from rambit import RaMbIT, plots, testing
from rambit.attribution import Interactions
from rambit.attribution.cell_pairs import read_pairs
from rambit.counterfactuals import Replay
from rambit.game import CoalitionFunction, Game, TensorSample, pair_flips
from rambit.game.shapley_values import all_coalitions
from rambit.predictors import Predictor
from rambit.results import PairAttribution
from tests.models_for_tests import GRU, Exact, plain
from tests.naive import errors
from tests.naive import rambit as naive

B, D, T, S = 2, 3, 6, 2
MODES = ("prefix", "causal", "stateful")
PARTS = ("values", "joint", "first", "second")


def generator(seed):
    return torch.Generator().manual_seed(seed)


X = torch.randn(B, D, T, generator=generator(0), dtype=torch.float64)
DRAWS = torch.randn(S, B, D, T, generator=generator(1), dtype=torch.float64)
MASKS = torch.ones(4, D, T, dtype=torch.bool)
MASKS[0, :2, 1:3] = MASKS[1, 1:, 4] = False
MASKS[3] = torch.rand(D, T, generator=generator(2)) < 0.6
#: One twice, in either order; sets of several cells, which the masks keep, hide, and hide in part.
PAIRS = [
    ((0, 0), (0, 2)),
    ((0, 2), (0, 0)),
    ((2, 5), (1, 1)),
    ([(0, 1), (1, 2)], [(0, 2), (0, 3), (2, 3)]),
    ((0, 0), [(0, 1), (1, 1), (2, 1)]),
]
SETS = read_pairs(PAIRS)
EXACT = Exact()


def exact(x):
    return EXACT(x).numpy()


def close(found, expected, **tolerance):
    np.testing.assert_allclose(found.numpy(), expected, **{"rtol": 1e-6, "atol": 1e-12, **tolerance})


def same(a, b):
    for name in (*PARTS, "stderr", "freedom"):
        one, other = getattr(a, name), getattr(b, name)
        assert one is other is None or torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0)), name


# -- the definition ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("anchor", ["cell", "end"])
def test_scores_are_those_of_the_definition(anchor, mode):
    each, _ = naive.interactions(exact, X, MASKS, DRAWS, SETS, anchor=anchor, window=3, metric="abs")
    options = {"anchor": anchor, "window_size": 3, "evaluation": mode, "distance": "abs", "output": "regression"}
    result = Interactions(EXACT, pairs=PAIRS, masks=MASKS, **options).explain(X, counterfactuals=DRAWS)
    assert result.mode == mode
    assert result.pairs == SETS
    for k, name in enumerate(PARTS):
        close(getattr(result, name), each.mean(axis=(0, 1))[..., k])
    close(result.values, result.joint - result.first - result.second)
    close(result.stderr, each[..., 0].mean(axis=1).std(axis=0, ddof=1) / np.sqrt(len(MASKS)))
    close(result.freedom, np.where(each[..., 0].mean(axis=1).std(axis=0) > 1e-12, len(MASKS) - 1, np.inf))
    small = Interactions(EXACT, pairs=PAIRS, masks=MASKS, max_memory=1 << 20, batch_size=3, **options)
    same(small.explain(X, counterfactuals=DRAWS), result)


@pytest.mark.parametrize("anchor", ["cell", "end"])
@pytest.mark.parametrize("kind", ["fixed", "carry_forward", "interpolate", "windows"])
def test_missing_values_and_values_that_depend_on_what_is_kept(kind, anchor):
    observed = torch.rand(X.shape, generator=generator(3)) < 0.7
    observed[1, 0, 0] = False
    x = X.masked_fill(~observed, torch.nan)
    runs = torch.randn(S, B, D, T, 3, generator=generator(4), dtype=X.dtype)
    draws = {"fixed": DRAWS, "windows": runs}.get(kind)

    def model(x):
        return plain(x.nan_to_num(nan=-0.5))

    def twin(x):
        return model(x).softmax(-1)

    each, _ = naive.interactions(
        twin, x, MASKS, [None] if draws is None else draws, SETS, anchor=anchor, window=2, kind=kind, observed=observed
    )
    method = Interactions(
        model, pairs=PAIRS, masks=MASKS, anchor=anchor, window_size=2, num_samples=1,
        counterfactuals=kind if draws is None else draws,
    )  # fmt: skip
    result = method.explain(x, observed=observed)
    unknown = np.array([[not all(any(o[d, t] for d, t in cells) for cells in pair) for pair in SETS] for o in observed])
    assert unknown.any()
    assert not unknown.all()
    for k, name in enumerate(PARTS):
        close(getattr(result, name), np.where(unknown, np.nan, each.mean(axis=(0, 1))[..., k]))
    assert method.cost(x, observed=observed).rows == result.rows


@pytest.mark.parametrize("mode", MODES)
def test_rows_in_pieces_give_the_same_bits(mode, monkeypatch):
    same_values = DRAWS.clone()
    same_values[0, 1, 0, 0] = X[1, 0, 0]  # of one draw and series nothing is replaced there
    method = Interactions(EXACT, pairs=PAIRS, masks=MASKS, evaluation=mode, output="regression", distance="abs")
    whole = method.explain(X, counterfactuals=same_values)
    monkeypatch.setattr(pair_flips, "masks_at_once", lambda evaluation, max_memory: 2)
    pieces = method.explain(X, counterfactuals=same_values)
    same(pieces, whole)
    assert pieces.rows == whole.rows < method.explain(X, counterfactuals=DRAWS).rows


def test_the_standard_error_is_that_over_draws():
    method = Interactions(EXACT, pairs=PAIRS, output="regression", distance="abs", background=X, num_samples=5, seed=3)
    result = method.explain(X)
    draws = method.strategy.draws(X, None, torch.arange(B), 5, seed=3)
    nothing = torch.ones(1, D, T, dtype=torch.bool)
    each, _ = naive.interactions(exact, X, nothing, draws, SETS, anchor="cell", window=5, metric="abs")
    close(result.values, each[0].mean(axis=0)[..., 0])
    close(result.stderr, each[0, ..., 0].std(axis=0, ddof=1) / np.sqrt(5))
    one = Interactions(EXACT, pairs=PAIRS, output="regression", distance="abs", background=X, num_samples=1)
    assert one.explain(X).stderr is None


def classes():
    """A classifier, and its probabilities as the twin calls it."""
    torch.manual_seed(0)
    model = GRU().double().eval()
    return model, lambda x: model(x).softmax(-1).detach().numpy()


@pytest.mark.parametrize("anchor", ["cell", "end"])
def test_several_targets_are_read_from_the_rows_of_one(anchor):
    model, probabilities = classes()
    options = {"anchor": anchor, "window_size": 2, "masks": MASKS, "background": X, "num_samples": 3}
    method = Interactions(model, pairs=PAIRS, counterfactuals="marginal", **options)
    found, chosen = method.explain(X, targets=[2, 0]), [2, 0]
    assert found.targets == chosen
    assert found.settings["targets"] == [[2], [0]]
    assert found.rows == method.cost(X, targets=chosen).rows == method.explain(X, target=2).rows
    draws = method.strategy.draws(X, None, torch.arange(B), 3, seed=0)
    for k, c in enumerate(chosen):
        twin = {"anchor": anchor, "window": 2, "target": [c] * B}
        each, _ = naive.interactions(probabilities, X, MASKS, draws, SETS, **twin)
        for i, name in enumerate(PARTS):
            close(getattr(found, name)[:, k], each.mean(axis=(0, 1))[..., i])
        variance, freedom = errors.crossed(each[..., 0])
        close(found.stderr[:, k], np.sqrt(variance), atol=1e-9)
        close(found.freedom[:, k], freedom)
        same(found._of_target(c), method.explain(X, target=c))
    assert method.explain(X, targets="all").values.shape == (B, 3, len(PAIRS))
    assert torch.equal(method.attribute(X, targets=chosen), found.values)


def test_intervals_have_the_degrees_of_freedom_of_masks():
    _, probabilities = classes()
    each, _ = naive.interactions(probabilities, X, MASKS, DRAWS, SETS, anchor="cell", window=5)
    by_mask = each[..., 0].mean(axis=1)
    result = Interactions(classes()[0], pairs=PAIRS, masks=MASKS).explain(X, counterfactuals=DRAWS)
    assert set(result.freedom.flatten().tolist()) == {len(MASKS) - 1}
    half = t.ppf(0.95, len(MASKS) - 1) * by_mask.std(axis=0, ddof=1) / np.sqrt(len(MASKS))
    low, high = result.interval(0.9)
    close(low, by_mask.mean(axis=0) - half)
    close(high, by_mask.mean(axis=0) + half)
    with pytest.raises(ValueError, match="confidence must lie between"):
        result.interval(1)
    with pytest.raises(ValueError, match="no stderr"):
        Interactions(classes()[0], pairs=PAIRS, background=X, num_samples=1).explain(X).interval()


def test_a_target_of_several_is_chosen_by_its_entry_or_name(tmp_path):
    pandas = pytest.importorskip("pandas")
    method = Interactions(classes()[0], lags=[1, 2], masks=MASKS)
    named = {"labels": {"outputs": ["well", "ill", "gone"]}, "counterfactuals": DRAWS}
    result, alone = method.explain(X, targets=[0, 2], **named), method.explain(X, target=2, **named)
    assert "targets well, gone" in repr(result)
    assert result.top(3, target="gone") == result.top(3, target=2) == alone.top(3)
    assert result.top(2, series=1, target=2) == alone.top(2, series=1)
    for axis in ("lag", "feature", "time"):
        assert torch.equal(result.map(axis, target=2).nan_to_num(7.0), alone.map(axis).nan_to_num(7.0))
    for call in (result.top, result.map, result.plot):
        with pytest.raises(ValueError, match="target must say which of well, gone"):
            call(*([1] if call == result.top else []))
        with pytest.raises(ValueError, match="target must be one of"):
            call(*([1] if call == result.top else []), target=["well", "gone"])
    with pytest.raises(ValueError, match="target applies to results with targets"):
        alone.top(1, target=2)
    for of in ("lag", "histogram"):
        drawn, expected = result.plot(of=of, target="gone").axes[0], alone.plot(of=of).axes[0]
        assert [p.get_height() for p in drawn.patches] == [p.get_height() for p in expected.patches]
        for image, other in zip(drawn.images, expected.images, strict=True):
            np.testing.assert_array_equal(image.get_array(), other.get_array())
    frame, other = result.to_frame(), alone.to_frame()
    part = frame[frame["target"] == "gone"].drop(columns="target").reset_index(drop=True)
    pandas.testing.assert_frame_equal(part, other)
    assert len(frame) == 2 * len(other)
    result.save(tmp_path / "pairs.safetensors")
    found = PairAttribution.load(tmp_path / "pairs.safetensors")
    same(found, result)
    assert (found.targets, found.labels) == (result.targets, result.labels)


def test_without_masks_the_parts_are_rambits_importances():
    torch.manual_seed(0)
    model, features = GRU().double().eval(), torch.arange(D)[:, None].repeat(1, T)
    common = {"anchor": "end", "window_size": 1, "distance": "diff", "num_samples": 2, "background": X}
    result = Interactions(model, groups=features, **common).explain(X)
    alone = RaMbIT(model, masks="none", groups=features, **common).attribute(X)[:, :, 0]
    for pair, (i, j) in enumerate(itertools.combinations(range(D), 2)):
        close(result.first[:, pair], alone[:, i])
        close(result.second[:, pair], alone[:, j])
        together = torch.where(features == j, i, features)
        joint = RaMbIT(model, masks="none", groups=together, **common).attribute(X)[:, i, 0]
        close(result.joint[:, pair], joint)
        close(result.values[:, pair], joint - alone[:, i] - alone[:, j])


def test_beside_all_coalitions_it_is_the_banzhaf_interaction():
    torch.manual_seed(0)
    model, players = GRU().double().eval(), torch.arange(D).repeat_interleave(T)
    game = Game(
        Predictor.of(model), TensorSample(X[:1], torch.zeros(1, dtype=torch.int64)), Replay(DRAWS[:, :1]), draws=S
    )
    expected = CoalitionFunction(game, players=players).interactions("BII")
    masks = all_coalitions(D)[:, :, None].expand(-1, -1, T)
    method = Interactions(model, groups=torch.arange(D)[:, None], masks=masks, anchor="end", window_size=1)
    found = method.explain(X[:1], counterfactuals=DRAWS[:, :1]).values[0]
    # The score is a distance from the original: it grows where the worth falls.
    close(found, [-expected[i, j] for i, j in itertools.combinations(range(D), 2)], atol=1e-9)


# -- which pairs ------------------------------------------------------------------------------------------------------


def cells_at(lag, later):
    return [((d, t), cells) for t in range(T - lag) for d in range(D) for cells in later(d, t + lag)]


@pytest.mark.parametrize(
    ("features", "later"),
    [
        ("same", lambda d, t: [(d, t)]),
        ("next", lambda d, t: [(d + 1, t)] if d + 1 < D else []),
        ("all", lambda d, t: [(e, t) for e in range(D)]),
        ("strip", lambda d, t: [[(e, t) for e in range(D)]]),
    ],
)
def test_pairs_at_a_lag(features, later):
    options = {"output": "regression", "distance": "abs", "window_size": 2}
    result = Interactions(EXACT, lags=[3, 1], features=features, **options).explain(X)
    pairs = cells_at(1, later) + cells_at(3, later)
    assert result.pairs == read_pairs(pairs)
    same(result, Interactions(EXACT, pairs=pairs, **options).explain(X))
    assert result.lag.tolist() == [1] * len(cells_at(1, later)) + [3] * len(cells_at(3, later))


def test_pairs_of_one_step():
    options = {"output": "regression", "distance": "abs"}
    pairs = {
        features: Interactions(EXACT, lags=0, features=features, **options).explain(X).pairs
        for features in ("next", "all", "strip")
    }
    assert len(pairs["next"]) == (D - 1) * T
    assert len(pairs["all"]) == T * D * (D - 1) // 2
    assert pairs["strip"][1] == (((1, 0),), ((0, 0), (2, 0)))


def test_pairs_beyond_the_end_of_a_series_are_unknown():
    options = {
        "output": "regression",
        "distance": "abs",
        "window_size": 2,
        "seed": 1,
        "background": X,
        "num_samples": 2,
    }
    pairs = [*PAIRS, ((0, 1), (1, 3)), ((0, 1), [(1, 3), (1, 4)])]
    padded = X.clone()
    padded[1, :, 4:] = torch.nan
    found = Interactions(EXACT, pairs=pairs, **options).explain(padded, lengths=[T, 4])
    kept = [k for k, pair in enumerate(pairs) if pair != PAIRS[2]]
    alone = Interactions(EXACT, pairs=[*(pairs[k] for k in kept[:-1]), ((0, 1), (1, 3))], **options)
    close(found.values[1, kept], alone.explain(X[1:, :, :4], ids=[1]).values[0])
    assert bool(found.values[1, 2].isnan())
    assert found.stderr is not None
    short = Interactions(EXACT, pairs=[((0, 0), (0, 4))], **options).explain(padded, lengths=[T, 4])
    assert short.stderr is not None  # though the second series has no pair
    assert short.values.isnan().tolist() == [[False], [True]]
    close(found.values[:1], Interactions(EXACT, pairs=pairs, **options).explain(X[:1]).values)


def test_layouts_and_numpy_pairs():
    class Turned(nn.Module):
        def forward(self, x):
            return EXACT(x.transpose(1, 2))

    array = np.array([PAIRS[0], PAIRS[2]])
    options = {"output": "regression", "distance": "abs", "anchor": "end", "masks": MASKS}
    expected = Interactions(EXACT, pairs=[PAIRS[0], PAIRS[2]], **options).explain(X)
    options["masks"] = MASKS.transpose(1, 2)
    same(Interactions(Turned(), pairs=array, layout="BTD", **options).explain(X.transpose(1, 2)), expected)


# -- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anchor", ["cell", "end"])
def test_rows_are_evaluated_once_for_all_pairs(anchor):
    pairs = [((d, t), (d, t + lag)) for lag in (1, 2) for d in range(D) for t in range(T - lag)]
    _, rows = naive.interactions(exact, X, MASKS, DRAWS, read_pairs(pairs), anchor=anchor, window=1, metric="abs")
    options = {"anchor": anchor, "window_size": 1, "distance": "abs", "output": "regression", "evaluation": "causal"}
    options |= {"masks": MASKS, "counterfactuals": DRAWS}
    method = Interactions(EXACT, lags=[1, 2], **options)
    cost, result = method.cost(X), method.explain(X)
    assert (cost.rows, cost.row_steps) == (result.rows, result.row_steps)
    if anchor == "end":  # for cell, a pair that is over before the mask begins is evaluated once for all masks
        assert result.rows == B + sum(len(of_draw) for of_series in rows for of_draw in of_series)
    alone = sum(Interactions(EXACT, pairs=[pair], **options).cost(X).rows for pair in pairs)
    assert result.rows < alone / 2


def test_without_masks_there_is_a_row_for_each_pair_and_each_cell():
    method = Interactions(
        EXACT, lags=range(1, T), output="regression", distance="abs", anchor="end", counterfactuals=DRAWS
    )
    pairs, cells = D * T * (T - 1) // 2, D * T
    assert method.cost(X).rows == B + (pairs + cells) * S * B
    assert method.explain(X).rows == B + (pairs + cells) * S * B
    alone = Interactions(
        EXACT, pairs=[PAIRS[0]], output="regression", distance="abs", anchor="end", counterfactuals=DRAWS
    )
    assert alone.cost(X).rows == B + 3 * S * B


def test_only_compared_horizons_cost_calls_on_prefixes():
    pairs = [((0, 0), (0, 1)), ((0, 0), (0, 5))]  # compared at steps 1 and 5: of (0, 0) alone at both, at none between
    method = Interactions(
        EXACT,
        pairs=pairs,
        output="regression",
        distance="abs",
        window_size=1,
        evaluation="prefix",
        counterfactuals=DRAWS,
    )
    result = method.explain(X)
    assert result.rows == method.cost(X).rows == 2 * B + 6 * S * B
    assert result.row_steps == (2 + 6) * B + 3 * (2 + 6) * S * B


# -- a planted pattern ------------------------------------------------------------------------------------------------


class TwoStep(nn.Module):
    """Each feature times itself two steps before, added up, and all else added."""

    def forward(self, x, return_all=False):
        before = nn.functional.pad(x, (2, 0))[:, :, : x.shape[2]]
        outputs = (x * before + x + 3 * nn.functional.pad(x, (1, 0))[:, :, : x.shape[2]]).sum(1, keepdim=True)
        return outputs if return_all else outputs[:, :, -1]


@pytest.fixture(scope="module")
def planted():
    series = torch.randn(4, 2, 9, generator=generator(5), dtype=torch.float64)
    options = {"output": "regression", "counterfactuals": "zero", "window_size": 3}
    result = Interactions(TwoStep(), lags=range(1, 5), features="all", **options).explain(series)
    return series, result


def test_the_lag_map_shows_a_planted_pattern(planted):
    series, result = planted
    found = result.map("lag")
    assert found.shape == (2, 2, 4)
    products = (series[:, :, 2:] * series[:, :, :-2]).abs()
    horizons = torch.tensor([3, 3, 3, 3, 3, 2, 1])  # of the last pairs fewer than three
    close(torch.stack([found[d, d, 1] for d in range(2)]), (products / horizons).mean(dim=(0, 2)), atol=1e-9)
    others = found.clone()
    others[0, 0, 1] = others[1, 1, 1] = 0
    assert float(others.max()) < 1e-12
    times = result.map("time")
    assert all(bool(times[t, t + 2] > 1e-3) for t in range(7))
    assert float(times.nan_to_num()[torch.arange(8), torch.arange(8) + 1].max()) < 1e-12
    close(result.map("feature").isnan(), np.zeros((2, 2)))
    # x y: replacing either loses the product, and replacing both loses it once, not twice.
    lost = series[0, 0, 0] * series[0, 0, 2] / 3
    where = result.pairs.index((((0, 0),), ((0, 2),)))
    close(result.values[0, where], -lost, atol=1e-9)


def test_signed_maps_and_single_series(planted):
    _, result = planted
    there = [k for k, ((p,), (q,)) in enumerate(result.pairs) if (p[1], q[1]) == (0, 2)]
    assert len(there) == 4
    close(result.map("time", signed=True)[0, 2], result.values[:, there].mean(), atol=1e-12)
    best = result.top(3)
    assert [abs(one[3]) for one in best] == sorted(result.values.abs().flatten().tolist(), reverse=True)[:3]
    assert all(q[0] == (p[0][0], p[0][1] + 2) for _, p, q, _ in best)
    assert result.top(1, series=2)[0][0] == 2


def test_figures(planted, tmp_path):
    _, result = planted
    for of in ("lag", "feature", "time", "histogram"):
        result.plot(tmp_path / f"{of}.png", of=of, signed=of == "feature")
        assert (tmp_path / f"{of}.png").stat().st_size > 2000
    axes = result.plot().axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0 → 0", "0 → 1", "1 → 0", "1 → 1"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "3", "4"]
    drawn = axes.images[0].get_array()
    assert {tuple(cell) for cell in np.argwhere(drawn > 1e-6)} == {(0, 1), (3, 1)}
    counts = result.plot(of="histogram").axes[0].patches
    assert sum(bar.get_height() for bar in counts) == result.values.numel()
    for words, call in (
        ("values must hold at least one number", lambda: plots.pair_map(np.zeros((0, 2)))),
        ("rows must have 2 entries", lambda: plots.pair_map(np.zeros((2, 2)), rows=["a"])),
        ("values must hold at least one finite number", lambda: plots.histogram(np.array([np.nan]))),
        ("of must be one of lag, feature, time, histogram", lambda: result.plot(of="pair")),
    ):
        with pytest.raises(ValueError, match=words):
            call()


# -- results ----------------------------------------------------------------------------------------------------------


def test_a_result_is_saved_and_read(tmp_path):
    method = Interactions(EXACT, pairs=PAIRS, masks=MASKS, output="regression", distance="abs", background=X)
    result = method.explain(X, labels={"features": ["a", "b", "c"], "series": ["x", "y"]}, ids=[7, 8])
    result.save(tmp_path / "pairs.safetensors")
    with pytest.raises(FileExistsError):
        result.save(tmp_path / "pairs.safetensors")
    found = PairAttribution.load(tmp_path / "pairs.safetensors")
    same(found, result)
    assert (found.pairs, found.settings, found.labels) == (result.pairs, result.settings, result.labels)
    assert (found.rows, found.seed, found.model, found.mode) == (result.rows, result.seed, result.model, result.mode)
    assert found.settings["pairs"][0] == [[[0, 0]], [[0, 2]]]
    assert "2 series, 5 pairs" in repr(found)
    pandas = pytest.importorskip("pandas")
    frame = found.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["second_set"][4] == "0,1;1,1;2,1"
    assert frame["series"].tolist() == ["x"] * 5 + ["y"] * 5
    np.testing.assert_array_equal(frame["interaction"], result.values.flatten())
    (tmp_path / "other.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="other"):
        PairAttribution.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"joint": torch.zeros(2, 3)}, "joint must be"),
        ({"freedom": torch.zeros(2, 3)}, "freedom must be"),
        ({"targets": [0, 1]}, r"values must be \(B, 2, P\)"),
        ({"sizes": torch.ones(3, 2, dtype=torch.int64)}, "sizes must be"),
        ({"cells": torch.zeros(3, 2, dtype=torch.int64)}, "cells must be"),
        ({"rows": -1}, "rows must be at least 0"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, words, planted):
    with pytest.raises(ValueError, match=words):
        PairAttribution(**{**vars(planted[1]), **change})


def maker(model, **options):
    background = X if options.get("layout", "BDT") == "BDT" else X.transpose(1, 2)
    return Interactions(model, lags=[1, 2], L=2, masks="block", num_samples=2, background=background, **options)


@pytest.mark.parametrize(
    "check",
    [
        testing.ids_key_the_draws,
        testing.cost_is_what_is_evaluated,
        testing.bits_do_not_depend_on_the_way,
        testing.nothing_else_changes,
    ],
)
def test_what_every_method_promises_that_is_not_about_cells(check):
    series = torch.randn(4, D, T, generator=generator(0), dtype=torch.float64)
    check(testing.Case(maker, testing.Decay(D), series))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, ValueError, "pairs, lags or groups must be given, one of them, got none"),
        ({"lags": 1, "pairs": PAIRS}, ValueError, "got pairs, lags"),
        ({"pairs": []}, TypeError, "pairs must be a list of pairs"),
        ({"pairs": [((0, 0),)]}, TypeError, r"pairs\[0\] must be two cells"),
        ({"pairs": [((0, 0), 3)]}, TypeError, r"pairs\[0\]\[1\] must be a cell"),
        ({"pairs": [((0, 0), (0, -1))]}, ValueError, r"pairs\[0\]\[1\] must be at least 0"),
        ({"pairs": [((0, 0), (0, 0))]}, ValueError, r"pairs\[0\] must be two sets that share no cell, got \(0, 0\)"),
        ({"pairs": [((0, 0), [(0, 1), (0, 1)])]}, ValueError, "must name each cell once"),
        ({"lags": []}, ValueError, "lags must name at least one lag"),
        ({"lags": 0}, ValueError, "lags must be at least 1, got 0"),
        ({"lags": 1.5}, TypeError, "lags must be an integer"),
        ({"lags": 1, "features": "none"}, ValueError, "features must be one of same, next, all, strip"),
        ({"groups": [[0]], "features": "all"}, ValueError, "features='all' applies to lags only, got groups"),
        ({"lags": 1, "masks": "upper_triangle"}, ValueError, "masks=UpperTriangle are each for one target cell"),
        ({"lags": 1, "L": 3}, ValueError, "L=3 does not apply"),
        ({"lags": 1, "anchor": "mask"}, ValueError, "anchor must be one of cell, end"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(options, error, words):
    with pytest.raises(error, match=words):
        Interactions(EXACT, output="regression", distance="abs", **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pairs": [((0, 0), (3, 0))]}, r"pairs\[0\] must have cells of 3 features × 6 times, got \(3, 0\)"),
        ({"lags": 6}, "lags makes no pair of this X"),
        ({"groups": [[0]]}, "groups makes no pair of this X"),
        ({"groups": [[0, 1]]}, "groups must be"),
        ({"lags": 1, "masks": MASKS[:, :2]}, "masks must be"),
    ],
)
def test_what_does_not_fit_the_series_is_refused_before_the_model_is_called(options, words):
    def model(x):
        raise AssertionError("called")

    with pytest.raises(ValueError, match=words):
        Interactions(model, output="regression", distance="abs", **options).explain(X)
