"""``sample_masks`` against its twin, bit for bit; the keys and the distributions of masks."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rambit import ops
from tests.naive import ops as naive
from tests.ops.layouts import all_written, assert_refused, bytes_poisoned

FAMILIES = [f.name for f in ops.Family]


def evaluate(device, index, D, T, family, wt=(1, 1), wd=(1, 1), p=0.5, seed=0, target_cells=None):
    index = torch.as_tensor(index, dtype=torch.int64, device=device)
    if target_cells is not None:
        target_cells = torch.as_tensor(target_cells, dtype=torch.int32, device=device)
    out = bytes_poisoned((len(index), D, T), device)
    torch.ops.rambit.sample_masks(out, index, target_cells, int(ops.Family[family]), *wt, *wd, p, seed)
    assert all_written(out)
    assert torch.equal(
        out, ops.sample_masks(index, D, T, ops.Family[family], wt=wt, wd=wd, p=p, seed=seed, target_cells=target_cells)
    )
    return out.cpu()


def bounds(most):
    return st.tuples(st.integers(1, most), st.integers(1, most)).map(lambda b: tuple(sorted(b)))


@pytest.mark.parametrize("family", FAMILIES)
@given(
    data=st.data(),
    D=st.integers(1, 5),
    T=st.integers(1, 8),
    seed=st.integers(-(2**63), 2**63 - 1),
    index=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4),
)
def test_equals_the_twin(device, family, data, D, T, seed, index):
    past_the_grid = 3 if family == "UPPER_TRIANGLE" else 0
    wt, wd = data.draw(bounds(T + past_the_grid)), data.draw(bounds(D + past_the_grid))
    p = data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    cells = st.integers(0, D * T - 1)
    target_cells = data.draw(st.none() | st.lists(cells, min_size=len(index), max_size=len(index)))
    expected = [
        naive.mask(family, D, T, wt, wd, p, seed, i, 0 if target_cells is None else target_cells[l])
        for l, i in enumerate(index)
    ]
    assert torch.equal(evaluate(device, index, D, T, family, wt, wd, p, seed, target_cells), torch.stack(expected))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mask_is_keyed_by_seed_owner_and_number_alone(device, family):
    more = {"D": 4, "T": 9, "family": family, "wt": (2, 5), "wd": (1, 3), "seed": 8}
    target_cells = [(7 * i) % 36 for i in range(50)]
    together = evaluate(device, range(50), target_cells=target_cells, **more)
    assert torch.equal(evaluate(device, [31], target_cells=[target_cells[31]], **more), together[31:32])
    assert torch.equal(evaluate(device, range(20, 50), target_cells=target_cells[20:], **more), together[20:])
    assert torch.equal(evaluate(device, [3, 3], target_cells=[target_cells[3]] * 2, **more), together[[3, 3]])


@pytest.mark.parametrize("family", FAMILIES)
def test_other_seeds_owners_and_numbers_differ(device, family):
    def some(seed=0, target_cell=5, first=0):
        return evaluate(device, range(first, first + 20), 4, 9, family, (1, 9), (1, 4), 0.5, seed, [target_cell] * 20)

    base = some()
    for other in (some(seed=1), some(seed=1 << 32), some(target_cell=6), some(first=20)):
        assert not torch.equal(base, other)


@pytest.mark.parametrize("family", FAMILIES)
def test_threads_do_not_matter(threads, family):
    found = []
    for n in (1, 2):
        threads(n)
        found.append(evaluate("cpu", range(3000), 6, 20, family, (1, 10), (1, 5), target_cells=range(3000)))
    assert torch.equal(*found)


def fits(counts, expected=None):
    return stats.chisquare(counts, expected).pvalue > 0.001


def test_block_sizes_and_corners_are_uniform(device):
    D, T, wt, wd = 4, 7, (2, 5), (1, 3)
    blocks = Counter()
    for m in evaluate(device, range(12_000), D, T, "BLOCK", wt, wd, seed=3):
        d, t = (~m).nonzero(as_tuple=True)
        d0, t0, d1, t1 = (int(v) for v in (d.min(), t.min(), d.max() + 1, t.max() + 1))
        assert len(d) == (d1 - d0) * (t1 - t0)
        blocks[t1 - t0, d1 - d0, t0, d0] += 1
    places = [
        (w, h, t, d)
        for w in range(wt[0], wt[1] + 1)
        for h in range(wd[0], wd[1] + 1)
        for t in range(T - w + 1)
        for d in range(D - h + 1)
    ]
    assert set(blocks) == set(places)
    expected = [12_000 / 12 / ((T - w + 1) * (D - h + 1)) for w, h, _, _ in places]
    assert fits([blocks[p] for p in places], expected)


def test_segments_are_uniform_and_independent(device):
    T, wt = 6, (1, 3)
    masks = evaluate(device, range(6000), 2, T, "SEGMENTS", wt, (1, 1), seed=4)
    runs = [(~masks[:, d]).numpy() for d in range(2)]
    length = [r.sum(1) for r in runs]
    for r, n in zip(runs, length, strict=True):
        assert fits(np.bincount(n)[1:])
        for w in range(1, 4):
            assert fits(np.bincount(r[n == w].argmax(1), minlength=T - w + 1))
    assert fits(np.bincount(3 * length[0] + length[1] - 4))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_bernoulli_cells_are_independent(device, p):
    replaced = ~evaluate(device, range(4000), 2, 3, "BERNOULLI", p=p, seed=5).flatten(1)
    assert stats.binomtest(int(replaced.sum()), replaced.numel(), p).pvalue > 0.001
    sizes = np.bincount(replaced.sum(1).numpy(), minlength=7)
    assert fits(sizes, 4000 * stats.binom.pmf(range(7), 6, p))
    for p_end, all_kept in [(0.0, True), (1.0, False)]:
        assert (evaluate(device, range(50), 2, 3, "BERNOULLI", p=p_end) == all_kept).all()


@pytest.mark.parametrize(("D", "T"), [(1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (2, 4)])
def test_permutation_prefixes_are_of_every_size_and_every_subset_is_equally_likely(device, D, T):
    n, count = D * T, 40_000
    kept = evaluate(device, range(count), D, T, "PERMUTATION", seed=6).flatten(1).numpy()
    size, subset = kept.sum(1), kept @ (1 << np.arange(n))
    assert fits(np.bincount(size, minlength=n + 1))
    for k in range(1, n):
        subsets, counts = np.unique(subset[size == k], return_counts=True)
        assert len(subsets) == math.comb(n, k)
        assert fits(counts), f"subsets of {k} of {n} cells: {counts.min()} … {counts.max()} times each"


def test_permutation_of_a_large_grid(device):
    D, T = 5, 7
    kept = evaluate(device, range(40_000), D, T, "PERMUTATION", seed=7).flatten(1).numpy()
    size = kept.sum(1)
    assert fits(np.bincount(size, minlength=D * T + 1))
    middle = kept[size == 17].astype(float)  # each cell, and each pair of cells, as often as any other
    n = len(middle)
    assert abs(middle.mean(0) - 17 / 35).max() < 4.5 * np.sqrt(0.25 / n)
    pairs = (middle.T @ middle / n)[~np.eye(35, dtype=bool)]
    assert abs(pairs - 17 / 35 * 16 / 34).max() < 4.5 * np.sqrt(0.18 / n)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 15, 16, 17, 64, 65, 200])
def test_ranks_are_a_bijection(n):
    for index in range(5):
        assert sorted(naive.order_of(n, 1, index, 0)) == list(range(n))


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_nothing_to_sample(device, shape):
    assert evaluate(device, range(shape[0]), *shape[1:], "BLOCK").shape == shape


def bad_calls():
    out, index, target_cells = (
        torch.empty(4, 3, 5, dtype=torch.bool),
        torch.arange(4),
        torch.zeros(4, dtype=torch.int32),
    )
    call = {"out": out, "index": index, "target_cells": None, "family": 0, "wt0": 1, "wt1": 2, "wd0": 1, "wd1": 2}
    yield "rank", {**call, "out": out[0]}
    yield "strides", {**call, "out": torch.empty(4, 5, 3, dtype=torch.bool).mT}
    yield "dtype", {**call, "out": out.view(torch.uint8)}
    yield "index", {**call, "index": index[:3]}
    yield "index dtype", {**call, "index": index.int()}
    yield "target_cells", {**call, "target_cells": target_cells[:3]}
    yield "target_cells dtype", {**call, "target_cells": target_cells.long()}
    yield "family", {**call, "family": 5}
    yield "no family", {**call, "family": -1}
    for name, value in [("wt0", 0), ("wt1", 0), ("wt1", 6), ("wd0", 0), ("wd1", 0), ("wd1", 4)]:
        yield f"{name}={value}", {**call, name: value}


@pytest.mark.parametrize("call", [pytest.param(c, id=n) for n, c in bad_calls()])
def test_bad_arguments(call):
    assert_refused(torch.ops.rambit.sample_masks, (*call.values(), 0.5, 0))


@pytest.mark.parametrize("family", FAMILIES)
def test_opcheck(device, family):
    out, index = torch.empty(4, 3, 5, dtype=torch.bool, device=device), torch.arange(4, device=device)
    target_cells = torch.arange(4, dtype=torch.int32, device=device)
    arguments = (int(ops.Family[family]), 1, 2, 1, 2, 0.5, 3)
    torch.library.opcheck(torch.ops.rambit.sample_masks.default, (out, index, target_cells, *arguments))
