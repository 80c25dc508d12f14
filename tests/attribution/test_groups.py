"""Groups of cells that are replaced together: every method that has them, against its definition."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from rambit import Attribution, RaMbIT, testing
from rambit.attribution import AFO, FO, Banzhaf, ExactShapley, Occlusion, ShapleySampling, checkpoint
from rambit.game import engine
from rambit.store import Store
from tests.models_for_tests import GRU, Exact, plain
from tests.naive import rambit as naive

B, D, T, S = 2, 3, 6, 2
ANCHORS = ("cell", "mask", "end")
MODES = ("prefix", "causal", "stateful")


def generator(seed):
    return torch.Generator().manual_seed(seed)


X = torch.randn(B, D, T, generator=generator(0), dtype=torch.float64)
DRAWS = torch.randn(S, B, D, T, generator=generator(1), dtype=torch.float64)
#: Blocks, one twice, a mask that replaces nothing, and one without structure.
MASKS = torch.ones(5, D, T, dtype=torch.bool)
MASKS[0, :2, 1:3] = MASKS[1, 1:, 4] = MASKS[2, :2, 1:3] = False
MASKS[4] = torch.rand(D, T, generator=generator(2)) < 0.6
#: Scattered over features and steps; whole blocks of masks, and steps that no block covers.
GROUPS = torch.tensor([[0, 7, 7, 3, 3, 9], [0, 7, 7, 3, -2, 9], [0, 5, 5, -2, -2, 5]])
CELLS = torch.arange(D * T).view(D, T)
EXACT = Exact()


def exact(x):
    return EXACT(x).numpy()


def close(found, expected):
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("anchor", "reduce"), [("cell", "mean"), ("cell", "max"), ("mask", "max"), ("end", "mean")])
def test_rambit_equals_the_definition(anchor, reduce, mode):
    expected, each, _ = naive.grouped(exact, X, MASKS, DRAWS, GROUPS, anchor=anchor, window=3, reduce=reduce)
    method = RaMbIT(
        EXACT, output="regression", groups=GROUPS, anchor=anchor, window_size=3, reduce=reduce, evaluation=mode
    )
    result = method.explain(X, masks=MASKS, counterfactuals=DRAWS)
    assert result.mode == mode
    close(result.values, expected)
    close(result.stderr, each.std(axis=0, ddof=1) / np.sqrt(len(MASKS)))


@pytest.mark.parametrize("anchor", ANCHORS)
@pytest.mark.parametrize("kind", ["fixed", "carry_forward", "interpolate", "windows"])
def test_missing_values_and_values_that_depend_on_what_is_kept(kind, anchor):
    observed = torch.rand(X.shape, generator=generator(3)) < 0.6
    observed[0, GROUPS == 9] = False
    x = X.masked_fill(~observed, torch.nan)
    runs = torch.randn(S, B, D, T, 3, generator=generator(4), dtype=X.dtype)
    draws = {"fixed": DRAWS, "windows": runs}.get(kind)

    def model(x):
        return plain(x.nan_to_num(nan=-0.5))

    options = {"anchor": anchor, "window": 2, "normalize": "visible" if anchor == "mask" else "all"}
    given = [None] if draws is None else draws

    def twin(x):
        return model(x).softmax(-1)

    expected, _, _ = naive.grouped(twin, x, MASKS, given, GROUPS, kind=kind, observed=observed, **options)
    options["window_size"] = options.pop("window")
    method = RaMbIT(model, groups=GROUPS, num_samples=1, counterfactuals=kind if draws is None else draws, **options)
    result = method.explain(x, masks=MASKS, observed=observed)
    close(result.values, expected)
    assert bool((result.values[~observed] == 0).all())
    assert method.cost(x, masks=MASKS, observed=observed).rows == result.rows


ALONE = [(anchor, options) for anchor in ANCHORS for options in ({}, {"share_draws": False})]
ALONE += [("cell", {"reduce": "max"}), ("mask", {"normalize": "visible"})]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("anchor", "options"), ALONE)
def test_groups_of_one_cell_are_no_groups(anchor, mode, options):
    torch.manual_seed(0)
    model = GRU().double().eval()
    common = {"L": 4, "num_samples": 2, "window_size": 3, "anchor": anchor, "evaluation": mode, "background": X}
    alone = RaMbIT(model, **common, **options).explain(X)
    grouped = RaMbIT(model, groups=CELLS, **common, **options).explain(X)
    torch.testing.assert_close(grouped.values, alone.values, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(grouped.stderr, alone.stderr, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("groups", [GROUPS, CELLS, torch.zeros_like(CELLS)], ids=["groups", "cells", "all"])
@pytest.mark.parametrize("anchor", ANCHORS)
def test_rows_are_those_that_have_to_be_evaluated(anchor, groups):
    rows = naive.grouped(exact, X[:1], MASKS, DRAWS[:1, :1], groups, anchor=anchor, window=2)[2]
    options = {"output": "regression", "evaluation": "causal", "counterfactuals": DRAWS}
    method = RaMbIT(EXACT, groups=groups, anchor=anchor, window_size=2, **options)
    assert method.cost(X, masks=MASKS).rows == B + len(rows) * S * B
    assert method.explain(X, masks=MASKS).rows == B + len(rows) * S * B


def test_only_compared_horizons_cost_rows():
    halves = torch.tensor([[4, 4, 4, 8, 8, 8]])  # compared at steps 2 and 5
    method = RaMbIT(
        EXACT, output="regression", groups=halves, window_size=1, evaluation="prefix", counterfactuals=DRAWS
    )
    # The block lies in the first half: kept, that is the original; at step 5 the mask's own row is needed, and with the
    # second half replaced. The mask that replaces nothing has a row for each half.
    for mask, rows in ((MASKS[:1], 3), (MASKS[3:4], 2)):
        result = method.explain(X, masks=mask)
        assert result.rows == method.cost(X, masks=mask).rows == 2 * B + rows * S * B
        assert result.row_steps == (3 + 6) * B + {3: 3 + 6 + 6, 2: 3 + 6}[rows] * S * B


@pytest.mark.parametrize("share_draws", [True, False])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("anchor", ANCHORS)
def test_neither_batches_nor_memory_change_bits_or_cost(anchor, mode, share_draws, monkeypatch):
    x, observed = X.float(), torch.rand(X.shape, generator=generator(5)) < 0.8
    x[0, GROUPS == 7] = 0.0  # replaced by itself: nothing to evaluate
    common = {"L": 4, "num_samples": 2, "window_size": 2, "anchor": anchor, "evaluation": mode}
    values = {"background": torch.cat((X, -X)), "groups": GROUPS, "share_draws": share_draws}
    plenty = RaMbIT(Exact(), **common, **values).explain(x, observed=observed)
    small = RaMbIT(Exact(), **common, **values, batch_size=3)
    zero = RaMbIT(Exact(), **{**common, "num_samples": 1}, groups=GROUPS, counterfactuals="zero")
    assert zero.cost(x).rows == zero.explain(x).rows < zero.cost(x + 1).rows
    monkeypatch.setattr(engine, "DEFAULT_MEMORY", 4096)  # one series, and one mask and group, at a time
    scarce = small.explain(x, observed=observed)
    assert torch.equal(plenty.values, scarce.values)
    assert torch.equal(plenty.stderr, scarce.stderr)
    cost = small.cost(x, observed=observed)
    assert (cost.rows, cost.row_steps) == (plenty.rows, plenty.row_steps) == (scarce.rows, scarce.row_steps)


def test_out_of_memory_halves_the_rows():
    limit = 10**9

    def model(x):
        if len(x) > limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return EXACT(x)

    method = RaMbIT(model, L=3, num_samples=1, groups=GROUPS, background=X, output="regression")
    expected = method.attribute(X)
    limit = 3
    assert torch.equal(method.attribute(X), expected)


@pytest.mark.parametrize("name", ["recurrent", "fixed-length"])
def test_a_shorter_series_has_the_first_steps_of_the_groups(name):
    lengths = [T, 4]
    weight = torch.randn(D, T, generator=generator(6), dtype=X.dtype)

    def fixed(x, lengths):
        inside = torch.arange(T) < lengths[:, None]
        return torch.tanh((x * weight * inside[:, None]).sum((1, 2)))

    method = RaMbIT(
        fixed if name == "fixed-length" else EXACT, output="regression", groups=GROUPS, anchor="end", window_size=2
    )
    result = method.explain(X, masks=MASKS, counterfactuals=DRAWS, lengths=lengths)
    for b, length in enumerate(lengths):
        at = slice(b, b + 1), slice(None), slice(length)

        def twin(x, length=length):
            padded = torch.cat((x, x.new_zeros(1, D, T - x.shape[2])), dim=2)
            return fixed(padded, torch.tensor([length]))[:, None] if name == "fixed-length" else EXACT(x)

        parts = MASKS[:, :, :length], DRAWS[:, at[0], :, :length], GROUPS[:, :length]
        expected, _, _ = naive.grouped(twin, X[at], *parts, anchor="end", window=2)
        close(result.values[at], expected)
    assert method.cost(X, masks=MASKS, counterfactuals=DRAWS, lengths=lengths).rows == result.rows


def test_rounds_and_checkpoints_go_on_where_they_were(tmp_path, monkeypatch):
    options = {"L": 4, "num_samples": 1, "share_draws": False, "groups": GROUPS, "background": torch.cat((X, -X))}
    options |= {"output": "regression", "batch_size": 2, "Wt_max": 2, "Wd_max": 2}
    how = {"tolerance": 0.15}
    expected = RaMbIT(EXACT, **options, model_id="exact").explain(X, **how)
    assert 0 < float(expected.stderr.max()) <= 0.15 * float(expected.values.abs().max())
    assert expected.rows > 2 * RaMbIT(EXACT, **options).cost(X).rows
    monkeypatch.setattr(checkpoint, "SAVE_EVERY", 0.0)
    put, writes = Store.put, []

    def killed(self, *args, **kwargs):
        put(self, *args, **kwargs)
        writes.append(args)
        if len(writes) == 4:  # two masks at a time, two rounds
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            RaMbIT(EXACT, **options, model_id="exact").explain(X, **how, checkpoint=tmp_path / "run")
    result = RaMbIT(EXACT, **options, model_id="exact").explain(X, **how, checkpoint=tmp_path / "run")
    assert torch.equal(result.values, expected.values)
    assert torch.equal(result.stderr, expected.stderr)
    with pytest.raises(ValueError, match="groups"):
        RaMbIT(EXACT, **{**options, "groups": CELLS}, model_id="exact").explain(X, **how, checkpoint=tmp_path / "run")


@pytest.mark.parametrize("mode", MODES)
def test_fo_replaces_a_group_and_compares_at_its_latest_cell_or_the_end(mode):
    kept = torch.ones(1, D, T, dtype=torch.bool)
    for anchor in ("cell", "end"):
        expected, _, _ = naive.grouped(exact, X, kept, DRAWS, GROUPS, anchor=anchor)
        method = FO(EXACT, output="regression", groups=GROUPS, anchor=anchor, evaluation=mode, counterfactuals=DRAWS)
        result = method.explain(X)
        close(result.values, expected)
        assert method.cost(X).rows == result.rows
        assert mode == "prefix" or result.rows == B + len(GROUPS.unique()) * S * B


def test_fo_is_captums_feature_ablation():
    captum = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    model = GRU().double().eval()
    mask = GROUPS.unique(return_inverse=True)[1]
    ablation = captum.FeatureAblation(lambda x: model(x).softmax(-1))
    ablated = ablation.attribute(X, baselines=0.0, target=1, feature_mask=mask)
    method = FO(model, groups=mask, anchor="end", distance="diff", counterfactuals="zero", num_samples=1)
    torch.testing.assert_close(method.attribute(X, target=1), ablated)


def test_occlusion_replaces_one_group_at_a_time():
    kept = torch.ones(1, D, T, dtype=torch.bool)
    expected, _, _ = naive.grouped(exact, X, kept, DRAWS, GROUPS, anchor="end")
    method = Occlusion(EXACT, output="regression", groups=GROUPS)
    result = method.explain(X, counterfactuals=DRAWS)
    close(result.values, expected)
    assert result.rows == B + len(GROUPS.unique()) * S * B
    for option in ({"width": 2}, {"height": 2}, {"width": 2, "stride": (1, 2)}):
        with pytest.raises(ValueError, match=r"groups.*got \("):
            Occlusion(EXACT, groups=GROUPS, **option)


@pytest.mark.parametrize("method", [ExactShapley, ShapleySampling, Banzhaf])
def test_groups_are_players(method):
    options = {"output": "regression", "distance": "abs"}
    named = method(EXACT, groups=GROUPS, **options)
    labelled = method(EXACT, players=GROUPS, **options)
    assert torch.equal(named.attribute(X, counterfactuals=DRAWS), labelled.attribute(X, counterfactuals=DRAWS))
    for players in ("timestamps", GROUPS):
        with pytest.raises(ValueError, match="players does not apply beside groups"):
            method(EXACT, groups=GROUPS, players=players, **options)


@pytest.mark.parametrize("anchor", ANCHORS)
def test_inputs_beside_the_series_go_with_each_row(anchor):
    def model(x, scale):
        return EXACT(x * scale[:, None, None])

    observed = torch.rand(X.shape, generator=generator(9)) < 0.7  # so that series have different rows
    scale = torch.tensor([0.5, 2.0], dtype=X.dtype)
    common = {"output": "regression", "groups": GROUPS, "anchor": anchor, "window_size": 2}
    found = RaMbIT(model, **common, counterfactuals=DRAWS).attribute(X, observed=observed, extra={"scale": scale})
    scaled, draws = X * scale[:, None, None], DRAWS * scale[:, None, None]
    expected = RaMbIT(EXACT, **common, counterfactuals=draws).attribute(scaled, observed=observed)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", [RaMbIT, FO, Occlusion, ExactShapley])
def test_several_outputs_come_from_the_rows_of_one(kind):
    method = kind(EXACT, output="regression", groups=GROUPS, counterfactuals=DRAWS)
    both = method.explain(X, targets=[1, 0])
    for k, target in enumerate((1, 0)):
        alone = method.explain(X, target=target)
        assert torch.equal(both.values[:, k], alone.values)
        assert alone.rows == both.rows


@pytest.mark.parametrize("shape", [(D, 1), (1, T)])
@pytest.mark.parametrize("kind", [RaMbIT, FO, Occlusion, ExactShapley])
def test_groups_of_whole_features_or_steps_in_every_layout(kind, shape):
    groups = torch.arange(3).repeat(2)[: max(shape)].view(shape)
    options = {"output": "regression", "distance": "abs", "counterfactuals": "mean", "num_samples": 1, "background": X}
    expected = kind(EXACT, groups=groups.expand(D, T), **options).attribute(X)

    class Turned(Exact):
        def advance(self, x, state):
            return super().advance(x.transpose(1, 2), state)

    given = {**options, "background": X.transpose(1, 2), "layout": "BTD"}
    for ids in (groups, groups.numpy().astype(np.uint8), groups.tolist()):
        assert torch.equal(kind(EXACT, groups=ids, **options).attribute(X), expected)
    turned = kind(Turned(), groups=groups.T, **given).attribute(X.transpose(1, 2))
    torch.testing.assert_close(turned.transpose(1, 2), expected)


@pytest.mark.parametrize("kind", [RaMbIT, FO, AFO, Occlusion, ExactShapley, ShapleySampling, Banzhaf])
def test_what_are_no_groups_is_refused(kind):
    options = {"output": "regression", "background": X, "distance": "abs"}
    if kind is FO:
        del options["background"]
    for wrong in (GROUPS.double(), GROUPS > 0, GROUPS + 1j, "rows", 3.5):
        with pytest.raises(TypeError, match="groups must hold integers"):
            kind(EXACT, groups=wrong, **options)
    for wrong in (GROUPS[None], GROUPS[0], 5, GROUPS[:0]):
        with pytest.raises((ValueError, TypeError), match="groups must"):
            kind(EXACT, groups=wrong, **options)
    for wrong in (GROUPS[:2], GROUPS[:, :4], GROUPS.T):
        with pytest.raises(ValueError, match=r"groups must be \(D, T\), here \(3, 6\)"):
            kind(EXACT, groups=wrong, **options).attribute(X)
        with pytest.raises(ValueError, match=r"groups must be \(D, T\), here \(3, 6\)"):
            kind(EXACT, groups=wrong, **options).cost(X)


def test_masks_for_single_cells_are_refused():
    for masks in ("block", "upper_triangle"):
        with pytest.raises(ValueError, match="share_masks=False does not apply beside groups"):
            RaMbIT(EXACT, groups=GROUPS, share_masks=False, masks=masks)


def test_settings_name_the_groups(tmp_path):
    assert "groups" not in RaMbIT(EXACT).settings()
    assert RaMbIT(EXACT, groups=GROUPS).settings()["groups"] == GROUPS.tolist()
    assert ExactShapley(EXACT, groups=GROUPS).settings()["players"] == "groups"
    large = torch.arange(3 * 4000).view(3, 4000)
    digests = [json.dumps(RaMbIT(EXACT, groups=g).settings()["groups"]) for g in (large, large.clone(), large.flip(0))]
    assert digests[0] == digests[1] != digests[2]
    assert len(digests[0]) < 100
    result = FO(EXACT, groups=GROUPS, output="regression").explain(X)
    result.save(tmp_path / "result.safetensors")
    assert Attribution.load(tmp_path / "result.safetensors").settings["groups"] == GROUPS.tolist()


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", [RaMbIT, FO, Occlusion, ShapleySampling])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_methods_with_groups_keep_the_contract(kind, check):
    features = torch.tensor([[4], [1], [4]])

    def make(model, **options):
        groups = features.T if options.get("layout") == "BTD" else features
        values = torch.randn(9, 3, 8, generator=generator(7), dtype=torch.float64)
        values = values.transpose(1, 2) if options.get("layout") == "BTD" else values
        small = {RaMbIT: {"L": 3}, ShapleySampling: {"num_permutations": 3}}.get(kind, {})
        given = {} if kind is FO else {"background": values}
        return kind(model, groups=groups, **small, **given, **options)

    check(testing.Case(make, testing.Decay(3), torch.randn(4, 3, 7, generator=generator(8), dtype=torch.float64)))
