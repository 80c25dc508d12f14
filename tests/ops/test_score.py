"""``score`` against its twin."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambit import ops
from rambit.game.rows import Column
from tests.naive import ops as naive
from tests.ops.layouts import POISON, assert_refused, laid_out, layouts, rng

DTYPES = [torch.float32, torch.float64]
sizes = st.integers(1, 4)


class Case:
    """Random operands of one call: each slot at most once, horizons inside the steps that were answered."""

    def __init__(self, M, S, B, D, T, C, width, K, dtype, seed, own=False):
        g = rng(seed)

        def below(n, high):
            return torch.randint(0, high, (n,), generator=g, dtype=torch.int32)

        slots = 1 if own else D * T
        total = M * S * B * slots
        n = min(total, 12)
        self.contributions = torch.randn(M, S, B, slots, generator=g, dtype=torch.float64) * 0.01
        self.reference = torch.randn(B, C, T, generator=g, dtype=dtype).softmax(1)
        self.outputs = torch.randn(n, C, K, generator=g, dtype=dtype).softmax(1)
        self.base = torch.rand(M * S * B, T, generator=g, dtype=torch.float64)
        self.masks = torch.rand(M, D, T, generator=g) < 0.5
        self.target = below(B, C).long()
        self.rows = torch.full((n, len(Column)), 77, dtype=torch.int32)
        slot = torch.randperm(total, generator=g)[:n]
        self.rows[:, Column.SLOT] = slot
        self.rows[:, Column.SERIES] = slot // slots % B
        self.rows[:, Column.MASK] = slot // slots // (S * B)
        self.rows[:, Column.CELL] = below(n, D * T) if own else slot % slots
        self.rows[:, Column.START] = below(n, T - width + 1)
        # The first horizon: any step that was answered, or none of them.
        self.rows[:, Column.HORIZON] = self.rows[:, Column.START] + width - K + below(n, K + 1)
        self.rows[:, Column.NORM] = 1 + below(n, 5)
        self.width = width

    def tensors(self):
        return self.contributions, self.outputs, self.reference, self.base, self.masks, self.rows, self.target


@pytest.mark.parametrize("metric", list(ops.Metric))
@pytest.mark.parametrize("reduce", list(ops.Reduce))
@given(
    data=st.data(),
    M=sizes,
    S=st.integers(1, 2),
    B=sizes,
    D=sizes,
    T=st.integers(1, 6),
    C=sizes,
    dtype=st.sampled_from(DTYPES),
    own=st.booleans(),
    seed=st.integers(0, 1 << 20),
)
def test_equals_the_twin(device, metric, reduce, data, M, S, B, D, T, C, dtype, own, seed):
    width = data.draw(st.integers(1, T))
    case = Case(M, S, B, D, T, C, width, data.draw(st.integers(1, width)), dtype, seed, own)
    expected = naive.score(*case.tensors(), width, metric.name.lower(), reduce.name.lower())
    found = case.contributions.to(device)
    outputs, reference = (
        laid_out(t.to(device), data.draw(layouts(3)), POISON)[0] for t in (case.outputs, case.reference)
    )
    rest = (t.to(device) for t in case.tensors()[3:])
    ops.score(found, outputs, reference, *rest, width=width, metric=metric, reduce=reduce)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-12, atol=1e-14)
    untouched = torch.ones(found.numel(), dtype=torch.bool)
    untouched[case.rows[:, Column.SLOT].long()] = False
    assert torch.equal(found.cpu().flatten()[untouched], case.contributions.flatten()[untouched])


@pytest.mark.parametrize("reduce", list(ops.Reduce))
def test_horizons_one_call_at_a_time_add_up_to_all_at_once(device, reduce):
    """A model asked on prefixes scores each horizon of a row in a call of its own."""
    case = Case(2, 2, 2, 3, 6, 3, 6, 6, torch.float64, 4)
    case.contributions.zero_()
    case.rows[:, Column.HORIZON] = 2
    together, apart = case.contributions.to(device), case.contributions.to(device)
    outputs, *rest, rows, target = (t.to(device) for t in case.tensors()[1:])
    ops.score(together, outputs, *rest, rows, target, width=6, metric=ops.Metric.JS, reduce=reduce)
    for h in range(2, 6):
        rows = rows.clone()
        rows[:, Column.HORIZON], rows[:, Column.START] = h, 0
        at = outputs[:, :, h : h + 1]
        ops.score(apart, at, *rest, rows, target, width=h + 1, metric=ops.Metric.JS, reduce=reduce)
    torch.testing.assert_close(together, apart, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("reduce", list(ops.Reduce))
def test_nan_shows(device, reduce):
    case = Case(1, 1, 1, 2, 4, 2, 4, 4, torch.float64, 0)
    case.rows[:, Column.HORIZON] = 0
    case.outputs[3, :, 1] = torch.nan
    found, *rest = (t.to(device) for t in case.tensors())
    ops.score(found, *rest, width=4, metric=ops.Metric.PD, reduce=reduce)
    assert found.flatten().isnan().nonzero().flatten().tolist() == [int(case.rows[3, Column.SLOT])]


def test_threads_do_not_matter(threads):
    case = Case(4, 3, 8, 4, 6, 5, 6, 6, torch.float32, 0)
    case.rows = case.rows.repeat(400, 1)
    case.rows[:, Column.SLOT] = torch.arange(len(case.rows), dtype=torch.int32) % 2304
    case.outputs = case.outputs.repeat(400, 1, 1)
    case.rows, case.outputs = case.rows[:2304], case.outputs[:2304]
    found = []
    for n in (1, 2):
        threads(n)
        found.append(case.contributions.clone())
        ops.score(found[-1], *case.tensors()[1:], width=6, metric=ops.Metric.KL, reduce=ops.Reduce.MEAN)
    assert torch.equal(*found)


def test_no_rows(device):
    case = Case(1, 1, 2, 2, 4, 2, 4, 2, torch.float32, 0)
    case.rows, case.outputs = case.rows[:0], case.outputs[:0]
    found, *rest = (t.to(device) for t in case.tensors())
    ops.score(found, *rest, width=4, metric=ops.Metric.PD, reduce=ops.Reduce.MEAN)
    assert torch.equal(found.cpu(), case.contributions)


NAMES = ("contributions", "outputs", "reference", "base", "masks", "rows", "target", "width", "metric", "reduce")


def call():
    case = Case(2, 2, 2, 3, 6, 3, 5, 4, torch.float32, 0)
    return dict(zip(NAMES, (*case.tensors(), 5, 0, 0), strict=True))


WRONG = {
    "contributions": [("rank", lambda t: t[0]), ("float", torch.Tensor.float), ("rows", lambda t: t[:1]),
                      ("strides", lambda t: t.mT.contiguous().mT)],
    "outputs": [("rank", lambda t: t[0]), ("C", lambda t: t[:, :2]), ("double", torch.Tensor.double),
                ("rows", lambda t: t[:3]), ("no steps", lambda t: t[:, :, :0])],
    "reference": [("rank", lambda t: t[0]), ("T", lambda t: t[:, :, :5]), ("B", lambda t: t[:1])],
    "base": [("rank", lambda t: t[0]), ("rows", lambda t: t[:3]), ("float", torch.Tensor.float),
             ("strides", lambda t: t.mT.contiguous().mT)],
    "masks": [("rank", lambda t: t[0]), ("float", torch.Tensor.float), ("strides", lambda t: t.mT.contiguous().mT)],
    "rows": [("rank", lambda t: t[0]), ("columns", lambda t: t[:, :8].contiguous()), ("long", torch.Tensor.long)],
    "target": [("B", lambda t: t[:1]), ("int", torch.Tensor.int)],
    "width": [("3", lambda _: 3)],
    "metric": [("6", lambda _: 6), ("-1", lambda _: -1)],
    "reduce": [("2", lambda _: 2), ("-1", lambda _: -1)],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "wrong"), [pytest.param(n, f, id=f"{n}-{what}") for n, all_of in WRONG.items() for what, f in all_of]
)
def test_bad_arguments(name, wrong):
    given = call()
    given[name] = wrong(given[name])
    assert_refused(torch.ops.rambit.score, given.values())


def test_half_answers():
    given = call()
    for name in ("outputs", "reference"):
        given[name] = given[name].half()
    assert_refused(torch.ops.rambit.score, given.values(), match="float32 or float64")


OUTSIDE = {
    "SERIES": (-1, 2), "MASK": (-1, 2), "CELL": (-1, 18), "START": (-1, 2), "HORIZON": (-1, 0), "NORM": (0, -1),
    "SLOT": (-1, 144),
}  # fmt: skip


@pytest.mark.parametrize(("column", "value"), [(c, v) for c, values in OUTSIDE.items() for v in values])
def test_rows_that_point_outside(column, value):
    given = call()
    given["rows"][2, Column[column]] = value
    assert_refused(torch.ops.rambit.score, given.values(), IndexError, match="row 2 points outside")


@pytest.mark.parametrize("reduce", [0, 1])
def test_opcheck(device, reduce):
    given = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in call().items()}
    torch.library.opcheck(torch.ops.rambit.score.default, tuple({**given, "reduce": reduce}.values()))
