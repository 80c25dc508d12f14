"""``draw`` against its twin, bit for bit, and the keys of its values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rambit import ops
from tests.naive import ops as naive
from tests.ops.layouts import POISON, assert_refused, rng

DTYPES = [torch.float32, torch.float64]
sizes = st.integers(1, 4)
words64 = st.integers(-(2**63), 2**63 - 1)


def evaluate(device, shape, ids, kind, dtype=torch.float64, background=None, **more):
    out = torch.full(shape, POISON, dtype=dtype, device=device)
    background = None if background is None else background.to(device)
    return ops.draw(
        out, torch.as_tensor(ids, dtype=torch.int64, device=device), ops.Draw[kind], background=background, **more
    ).cpu()


@given(data=st.data(), shape=st.tuples(sizes, sizes, sizes, sizes), seed=words64, first=st.integers(0, 2**31))
def test_equals_the_twin(device, data, shape, seed, first):
    S, B, D, T = shape
    dtype, kind = data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from([k.name for k in ops.Draw]))
    ids = data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=B, max_size=B))
    N, Tb = data.draw(sizes), data.draw(st.integers(T if kind == "JOINT" else 1, 6))
    background = torch.randn(N, D, Tb, dtype=dtype, generator=rng(N + Tb))
    given = {"background": background, "low": -1.25, "high": 2.5, "seed": seed}
    expected = naive.draw(kind, S, ids, D, T, dtype, first=first, **given)
    assert torch.equal(evaluate(device, shape, ids, kind, dtype, first_draw=first, **given), expected)


@pytest.mark.parametrize("kind", [k.name for k in ops.Draw])
def test_a_value_is_keyed_by_seed_id_draw_and_position_alone(device, kind):
    background = torch.randn(6, 3, 9, dtype=torch.float64, generator=rng(0))
    more = {"background": background, "seed": 5}
    all_of_it = evaluate(device, (4, 3, 3, 9), [11, 12, 13], kind, **more)
    alone = evaluate(device, (4, 1, 3, 9), [12], kind, **more)
    shuffled = evaluate(device, (4, 3, 3, 9), [13, 11, 12], kind, **more)
    later = evaluate(device, (2, 3, 3, 9), [11, 12, 13], kind, first_draw=2, **more)
    shorter = evaluate(device, (4, 3, 3, 5), [11, 12, 13], kind, **more)
    assert torch.equal(all_of_it[:, 1:2], alone)
    assert torch.equal(all_of_it[:, [2, 0, 1]], shuffled)
    assert torch.equal(all_of_it[2:], later)
    assert torch.equal(all_of_it[:, :, :, :5], shorter)
    if kind in ("UNIFORM", "GAUSSIAN"):
        assert torch.equal(all_of_it[:, :, :2], evaluate(device, (4, 3, 2, 9), [11, 12, 13], kind, seed=5))


@pytest.mark.parametrize("kind", [k.name for k in ops.Draw])
def test_other_seeds_ids_and_draws_differ(device, kind):
    background = torch.randn(50, 2, 8, dtype=torch.float64, generator=rng(0))
    values = [
        evaluate(device, (1, 1, 2, 8), [name], kind, background=background, seed=seed, first_draw=first)
        for name, seed, first in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1 << 32, 0), (0, -1, 0)]
    ]
    for i, a in enumerate(values):
        for b in values[:i]:
            assert not torch.equal(a, b)


@pytest.mark.parametrize("kind", [k.name for k in ops.Draw])
def test_threads_do_not_matter(threads, kind):
    background = torch.randn(20, 5, 60, dtype=torch.float64, generator=rng(0))
    found = []
    for n in (1, 2):
        threads(n)
        found.append(evaluate("cpu", (40, 8, 5, 60), range(8), kind, background=background, seed=1))
    assert torch.equal(*found)


def test_marginal_values_are_of_the_same_feature_and_all_come_up(device):
    background = torch.arange(4 * 3 * 5, dtype=torch.float64).reshape(4, 3, 5)
    values = evaluate(device, (50, 1, 3, 40), [0], "MARGINAL", background=background, seed=3)
    for d in range(3):
        found, counts = np.unique(values[:, :, d].numpy(), return_counts=True)
        assert found.tolist() == sorted(background[:, d].flatten().tolist())
        assert stats.chisquare(counts).pvalue > 0.001


def test_joint_takes_one_series_at_its_own_times(device):
    background = torch.arange(4 * 3 * 9, dtype=torch.float64).reshape(4, 3, 9)
    values = evaluate(device, (500, 4, 3, 7), range(4), "JOINT", background=background, seed=3)
    which = (values[:, :, 0, 0] // 27).long()
    assert torch.equal(values, background[which][..., :7])
    assert stats.chisquare(np.bincount(which.flatten().numpy(), minlength=4)).pvalue > 0.001


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (2, 0, 3, 4), (2, 2, 0, 4), (2, 2, 3, 0)])
def test_nothing_to_draw(device, shape):
    assert evaluate(device, shape, [7] * shape[1], "GAUSSIAN").shape == shape


def bad_calls():
    out, ids, background = torch.empty(2, 3, 4, 5), torch.arange(3), torch.randn(2, 4, 5)
    call = {"out": out, "background": None, "ids": ids, "kind": 0}
    yield "rank", {**call, "out": out[0]}
    yield "contiguous", {**call, "out": out.transpose(2, 3)}
    yield "half", {**call, "out": out.half()}
    yield "int", {**call, "out": out.int()}
    yield "ids", {**call, "ids": ids[:2]}
    yield "ids dtype", {**call, "ids": ids.int()}
    yield "kind", {**call, "kind": 4}
    yield "no kind", {**call, "kind": -1}
    for kind in (2, 3):
        yield f"no background {kind}", {**call, "kind": kind}
        yield f"empty background {kind}", {**call, "kind": kind, "background": background[:0]}
        yield f"background D {kind}", {**call, "kind": kind, "background": background[:, :3]}
        yield f"background rank {kind}", {**call, "kind": kind, "background": background[0]}
        yield f"background dtype {kind}", {**call, "kind": kind, "background": background.double()}
        yield f"background strides {kind}", {**call, "kind": kind, "background": torch.randn(2, 5, 4).mT}
    yield "short joint", {**call, "kind": 3, "background": background[:, :, :4].contiguous()}


@pytest.mark.parametrize("call", [pytest.param(c, id=n) for n, c in bad_calls()])
def test_bad_arguments(call):
    assert_refused(torch.ops.rambit.draw, (*call.values(), 0.0, 1.0, 0, 0))


def test_opcheck(device):
    out, ids = torch.empty(2, 3, 4, 5, device=device), torch.arange(3, device=device)
    background = torch.randn(6, 4, 5, device=device)
    for kind, data in [(0, None), (1, None), (2, background), (3, background)]:
        torch.library.opcheck(torch.ops.rambit.draw.default, (out, data, ids, kind, 0.0, 1.0, 1, 9))
