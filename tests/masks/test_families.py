"""Mask families: shapes, bounds, target_cells, keys, spans, and errors that name the argument."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambit import masks, ops
from rambit.masks import (
    AllBlocks,
    Bernoulli,
    Block,
    Columns,
    Explicit,
    MaskSet,
    Permutation,
    Rows,
    Segments,
    UpperTriangle,
)
from rambit.masks.families import span
from tests.naive import ops as naive
from tests.ops.layouts import rng

SAMPLED = {
    "block": Block(2, 5, 1, 3),
    "rows": Rows(1, 2),
    "columns": Columns(2, 4),
    "segments": Segments(1, 4),
    "upper_triangle": UpperTriangle(2, 5, 2, 3),
    "bernoulli": Bernoulli(0.3),
    "permutation": Permutation(),
}
D, T = 4, 9


def sample(family, count, D=D, T=T, **more):
    more = {"seed": 3, **more}
    if family.per_cell and "target_cells" not in more:
        more["target_cells"] = torch.tensor([5])
    return family.sample(count, D, T, **more)


def replaced(mask):
    d, t = (~mask).nonzero(as_tuple=True)
    return set(zip(d.tolist(), t.tolist(), strict=True))


# -- every sampled family --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLED)
def test_is_what_the_twin_samples(device, name):
    family = SAMPLED[name]
    target_cells = torch.tensor([5, 31])
    found = sample(family, 3, target_cells=target_cells.to(device), first=7, device=device)
    wt, wd = {
        "block": ((2, 5), (1, 3)),
        "rows": ((T, T), (1, 2)),
        "columns": ((2, 4), (D, D)),
        "segments": ((1, 4), (1, 1)),
        "upper_triangle": ((2, 5), (2, 3)),
    }.get(name, ((1, 1), (1, 1)))
    kind = {"rows": "BLOCK", "columns": "BLOCK"}.get(name, name.upper())
    expected = [naive.mask(kind, D, T, wt, wd, 0.3, 3, i, target_cell) for target_cell in (5, 31) for i in range(7, 10)]
    assert torch.equal(found.masks.cpu(), torch.stack(expected))
    assert found.target_cells.tolist() == [5, 5, 5, 31, 31, 31]
    assert (found.masks.device.type, found.weights.device.type, found.target_cells.device.type) == (device.type,) * 3


@pytest.mark.parametrize("name", SAMPLED)
def test_types_and_weights(name):
    found = sample(SAMPLED[name], 5)
    assert len(found) == 5
    assert (found.masks.dtype, found.weights.dtype) == (torch.bool, torch.float64)
    assert found.weights.tolist() == [1.0] * 5
    assert not found.exact
    if found.target_cells is not None:
        assert found.target_cells.dtype == torch.int32


@pytest.mark.parametrize("name", SAMPLED)
def test_a_stream_goes_on_where_it_stopped(name):
    family = SAMPLED[name]
    whole = sample(family, 12).masks
    assert torch.equal(whole[5:], sample(family, 7, first=5).masks)
    assert torch.equal(whole, sample(family, 12).masks)
    assert not torch.equal(whole, sample(family, 12, seed=4).masks)


@pytest.mark.parametrize("name", SAMPLED)
def test_owners_have_masks_of_their_own(name):
    together = sample(SAMPLED[name], 6, target_cells=torch.tensor([2, 20, 11])).masks
    for k, target_cell in enumerate((2, 20, 11)):
        assert torch.equal(
            together[6 * k : 6 * k + 6], sample(SAMPLED[name], 6, target_cells=torch.tensor([target_cell])).masks
        )
    assert not torch.equal(together[:6], together[6:12])


@pytest.mark.parametrize("name", SAMPLED)
def test_global_random_state_is_not_touched(name):
    before = torch.get_rng_state()
    sample(SAMPLED[name], 3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (2, 3)])
@pytest.mark.parametrize("name", SAMPLED)
def test_bounds_are_clipped_to_the_grid(name, shape):
    wide = {
        "block": Block(8, 20, 9, 30),
        "rows": Rows(9, 30),
        "columns": Columns(8, 20),
        "segments": Segments(8, 20),
        "upper_triangle": UpperTriangle(8, 20, 9, 30),
    }
    found = sample(wide.get(name, SAMPLED[name]), 20, *shape, target_cells=torch.tensor([0]))
    assert found.masks.shape == (20, *shape)
    if name in wide and name != "upper_triangle":
        assert not found.masks.any()  # the smallest block is already the whole grid
    if name == "upper_triangle":
        assert replaced(found.masks[0]) == {(d, t) for d in range(shape[0]) for t in range(d, shape[1])}


# -- shapes ----------------------------------------------------------------------------------------------------------


def test_rows_replace_neighbouring_features_over_all_time():
    sizes = Counter()
    for mask in sample(Rows(2, 3), 200).masks:
        d, t = (sorted({c[i] for c in replaced(mask)}) for i in (0, 1))
        assert t == list(range(T))
        assert d == list(range(d[0], d[-1] + 1))
        sizes[len(d)] += 1
    assert set(sizes) == {2, 3}


def test_columns_replace_neighbouring_steps_of_every_feature():
    sizes = Counter()
    for mask in sample(Columns(2, 4), 200).masks:
        d, t = (sorted({c[i] for c in replaced(mask)}) for i in (0, 1))
        assert d == list(range(D))
        assert t == list(range(t[0], t[-1] + 1))
        sizes[len(t)] += 1
    assert set(sizes) == {2, 3, 4}


def test_segments_replace_one_run_of_every_feature():
    found = sample(Segments(2, 4), 200).masks
    for line in found.flatten(0, 1):
        steps = (~line).nonzero().flatten().tolist()
        assert steps == list(range(steps[0], steps[-1] + 1))
        assert 2 <= len(steps) <= 4
    assert any(not torch.equal(m[0], m[1]) for m in found)


def test_upper_triangle_is_a_staircase_from_its_cell():
    for target_cell in range(D * T):
        d0, t0 = divmod(target_cell, T)
        for mask in sample(UpperTriangle(3, 3, 2, 2), 2, target_cells=torch.tensor([target_cell])).masks:
            expected = {(d0 + i, t) for i in range(2) for t in range(t0 + i, t0 + 3) if d0 + i < D and t < T}
            assert replaced(mask) == expected
            assert (d0, t0) in expected


def test_upper_triangle_needs_owners():
    with pytest.raises(ValueError, match="share_masks"):
        UpperTriangle().sample(3, D, T, seed=0)


# -- span ------------------------------------------------------------------------------------------------------------


@given(L=st.integers(1, 5), D=st.integers(1, 4), T=st.integers(1, 7), p=st.floats(0, 1), seed=st.integers(0, 999))
def test_span(device, L, D, T, p, seed):
    sampled = (torch.rand(L, D, T, generator=rng(seed)) < p).to(device)
    first, end = MaskSet(sampled, torch.ones(L)).span()
    for l in range(L):
        steps = [t for t in range(T) if not bool(sampled[l, :, t].all())]
        assert int(first[l]) == (steps[0] if steps else T)
        assert int(end[l]) == (steps[-1] + 1 if steps else 0)
    assert first.dtype == end.dtype == torch.int32
    assert torch.equal(torch.stack(span(sampled)), torch.stack((first, end)))


@pytest.mark.parametrize("name", SAMPLED)
def test_t_end_of_every_family(name):
    found = sample(SAMPLED[name], 30)
    for mask, first, end in zip(found.masks, *found.span(), strict=True):
        times = [t for _, t in replaced(mask)]
        assert (int(first), int(end)) == ((min(times), max(times) + 1) if times else (T, 0))


# -- all blocks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [(1, 10, 1, 5), (2, 3, 1, 2), (4, 4, 3, 3), (9, 9, 9, 9)])
@pytest.mark.parametrize("shape", [(3, 5), (1, 4), (4, 1)])
def test_all_blocks_enumerate_the_distribution_of_block(bounds, shape):
    D, T = shape
    found = AllBlocks(*bounds).sample(99, D, T, seed=0)
    assert found.exact
    assert math.isclose(float(found.weights.sum()), 1.0, rel_tol=1e-12)
    clip = [min(b, size) for b, size in zip(bounds, (T, T, D, D), strict=True)]
    sizes = [(wt, wd) for wt in range(clip[0], clip[1] + 1) for wd in range(clip[2], clip[3] + 1)]
    expected = {}
    for wt, wd in sizes:
        places = [(t, d) for t in range(T - wt + 1) for d in range(D - wd + 1)]
        for t, d in places:
            cells = frozenset((i, j) for i in range(d, d + wd) for j in range(t, t + wt))
            expected[cells] = 1 / len(sizes) / len(places)
    got = {frozenset(replaced(m)): float(w) for m, w in zip(found.masks, found.weights, strict=True)}
    assert len(found) == len(got)
    assert got == pytest.approx(expected)


def test_all_blocks_are_the_expectation_of_block():
    exact, n = AllBlocks(2, 5, 1, 3).sample(1, D, T, seed=0), 20_000
    sampled = Block(2, 5, 1, 3).sample(n, D, T, seed=1).masks.double().mean(0)
    expected = (exact.masks * exact.weights[:, None, None]).sum(0)
    error = (expected * (1 - expected) / n).sqrt()
    assert ((sampled - expected).abs() < 4.5 * error).all()


def test_all_blocks_for_each_owner():
    alone, owned = (
        AllBlocks(1, 2, 1, 2).sample(1, 2, 3, seed=0),
        AllBlocks(1, 2, 1, 2).sample(1, 2, 3, seed=0, target_cells=torch.tensor([4, 0])),
    )
    n = len(alone)
    assert owned.target_cells.tolist() == [4] * n + [0] * n
    for part in (slice(0, n), slice(n, None)):
        assert torch.equal(owned.masks[part], alone.masks)
        assert torch.equal(owned.weights[part], alone.weights)


def test_all_blocks_of_a_large_grid_are_refused():
    with pytest.raises(ValueError, match=r"masks: AllBlocks .* use Block"):
        AllBlocks(1, 500, 1, 50).sample(1, 50, 500, seed=0)


# -- explicit ----------------------------------------------------------------------------------------------------------


def test_explicit_masks_are_replayed():
    given = torch.rand(5, D, T, generator=rng(0)) < 0.5
    found = Explicit(given).sample(99, D, T, seed=0)
    assert torch.equal(found.masks, given)
    assert found.weights.tolist() == [1.0] * 5
    assert found.target_cells is None
    shorter = Explicit(given).sample(99, D, 4, seed=0).masks
    assert torch.equal(shorter, given[:, :, :4])
    assert shorter.is_contiguous()
    owned = Explicit(given).sample(99, D, T, seed=0, target_cells=torch.tensor([3, 1]))
    assert torch.equal(owned.masks, given.repeat(2, 1, 1))
    assert owned.target_cells.tolist() == [3] * 5 + [1] * 5


@pytest.mark.parametrize(
    "wrong",
    [
        torch.ones(D, T, dtype=torch.bool),
        torch.ones(0, D, T, dtype=torch.bool),
        torch.ones(2, D, T),
        torch.ones(2, D, T, dtype=torch.uint8),
        [[[True]]],
        None,
    ],
)
def test_explicit_checks_its_masks(wrong):
    with pytest.raises((ValueError, TypeError), match="masks must be"):
        Explicit(wrong)


def test_explicit_masks_from_arrays():
    kept = np.random.default_rng(0).random((4, D, T)) < 0.5
    for given_masks in (kept, kept[::-1].copy()[::-1], np.asfortranarray(kept), kept.astype(object), np.ma.array(kept)):
        assert torch.equal(Explicit(given_masks).sample(1, D, T, seed=0).masks, torch.tensor(kept))
    with pytest.raises(ValueError, match=r"masks is a masked array with .*masks.filled\(...\)"):
        Explicit(np.ma.array(kept, mask=~kept))
    with pytest.raises(TypeError, match=r"masks is stored as torch.sparse_coo: write masks.to_dense\(\)"):
        Explicit(torch.tensor(kept).to_sparse())
    with pytest.raises(TypeError, match=r"got ndarray: write torch.tensor\(masks\)"):
        masks.resolve(kept, (1, 2), (1, 2))


@pytest.mark.parametrize("shape", [(D + 1, T), (D - 1, T), (D, T + 1)])
def test_explicit_masks_must_fit_the_series(shape):
    with pytest.raises(ValueError, match="masks must be"):
        Explicit(torch.ones(2, D, T, dtype=torch.bool)).sample(1, *shape, seed=0)


# -- names and mistakes ------------------------------------------------------------------------------------------------


NAMED = {
    "block": Block,
    "all_blocks": AllBlocks,
    "rows": Rows,
    "columns": Columns,
    "segments": Segments,
    "upper_triangle": UpperTriangle,
    "bernoulli": Bernoulli,
    "permutation": Permutation,
}


@pytest.mark.parametrize("name", NAMED)
def test_resolve_names(name):
    family = masks.resolve(name, (2, 5), (1, 3))
    assert type(family) is NAMED[name]
    told = family.describe()
    assert told["name"] == type(family).__name__
    for key, value in {"Wt_min": 2, "Wt_max": 5, "Wd_min": 1, "Wd_max": 3}.items():
        uses = {"rows": "Wd", "columns": "Wt", "segments": "Wt", "bernoulli": "-", "permutation": "-"}.get(name, "W")
        if key.startswith(uses):
            assert told[key] == value


def test_resolve_takes_families_and_tensors():
    family = Block()
    assert masks.resolve(family, (1, 1), (1, 1)) is family
    given = torch.ones(1, 2, 3, dtype=torch.bool)
    assert masks.resolve(given, (1, 1), (1, 1)).masks is given


def test_unknown_names_and_types():
    with pytest.raises(ValueError, match=r"masks: unknown family 'blocks'; known: .*block"):
        masks.resolve("blocks", (1, 1), (1, 1))
    for wrong in (3, None, ["block"], Block):
        with pytest.raises(TypeError, match="masks must be"):
            masks.resolve(wrong, (1, 1), (1, 1))


@pytest.mark.parametrize("family", [Block, AllBlocks, UpperTriangle, Rows, Columns, Segments])
@pytest.mark.parametrize("name", ["Wt_min", "Wt_max", "Wd_min", "Wd_max"])
@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-3, ValueError), (1.5, TypeError), (True, TypeError), ("2", TypeError)]
)
def test_bad_bounds(family, name, value, error):
    if name not in family.__init__.__code__.co_varnames:
        return
    with pytest.raises(error, match=name):
        family(**{name: value})


def test_bounds_in_the_wrong_order():
    with pytest.raises(ValueError, match="Wt_min must not exceed Wt_max, got Wt_min=4, Wt_max=3"):
        Block(4, 3)
    with pytest.raises(ValueError, match="Wd_min must not exceed Wd_max"):
        Rows(3, 2)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, math.inf])
def test_bad_probability(p):
    with pytest.raises(ValueError, match="p must be a probability"):
        Bernoulli(p)


@pytest.mark.parametrize("p", ["0.5", None, [0.5]])
def test_a_probability_of_the_wrong_type(p):
    with pytest.raises((TypeError, ValueError), match=r"\bp must be"):
        Bernoulli(p)


def test_the_families_are_those_of_the_library():
    assert [f.value for f in ops.Family] == list(range(5))
