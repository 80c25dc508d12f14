"""``masked_batch`` against its twin: every fill, dtype and place in memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambit import ops
from rambit.game.rows import Column
from tests.naive import ops as naive
from tests.ops.layouts import POISON, assert_refused, laid_out, layouts, only_wrote, poisoned, rng

pytestmark = pytest.mark.wheel

FLOATS = [torch.float32, torch.float64]
sizes = st.integers(1, 4)


def make_rows(n, B, D, T, K, M, width, seed):
    """Random rows that point inside; about one in four flips nothing."""
    g = rng(seed)
    rows = torch.full((n, len(Column)), 77, dtype=torch.int32)  # what the op does not read
    for column, size in [
        (Column.SERIES, B),
        (Column.DRAW, max(K, 1)),
        (Column.MASK, M),
        (Column.CELL, D * T),
        (Column.START, T - width + 1),
    ]:
        rows[:, column] = torch.randint(0, size, (n,), generator=g, dtype=torch.int32)
    rows[torch.rand(n, generator=g) < 0.25, Column.CELL] = -1
    return rows


class Case:
    """Random operands of one call."""

    def __init__(self, n, B, D, T, K, M, width, dtype, seed, see=None, P=0):
        g = rng(seed)
        self.x = torch.randn(B, D, T, generator=g).to(dtype)
        self.draws = torch.randn(K, B, D, T, generator=g).to(dtype)
        self.masks = torch.rand(M, D, T, generator=g) < torch.rand((), generator=g)
        self.rows = make_rows(n, B, D, T, K, M, width, seed + 1)
        self.windows = torch.randn(K, B, D, T, P, generator=g).to(dtype) if P else None
        if P:
            self.draws = self.draws[:0]
        self.observed = None
        if see is not None:
            self.observed = torch.rand(B, D, T, generator=g) < see
            self.x[~self.observed] = torch.nan  # passes through, and is never read as a neighbour
        self.width = width

    def expected(self, kind):
        given = self.x, self.draws, self.masks, self.rows, self.width, self.observed
        return naive.masked_batch(*given, kind, self.windows)

    def on(self, device, draw_layout):
        """The operands on a device, in any layouts; what surrounds them would show."""
        around = {"x": 55.0, "draws": 66.0, "windows": 77.0, "masks": False, "observed": False}
        for name, value in around.items():
            given = getattr(self, name)
            if given is not None:
                setattr(self, name, laid_out(given.to(device), draw_layout(given.ndim), value)[0])
        self.rows = self.rows.to(device)
        return self.x, self.draws, self.masks, self.rows, self.observed, self.windows


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("fill", list(ops.Fill))
@given(
    data=st.data(),
    n=st.integers(1, 6),
    B=sizes,
    D=sizes,
    T=st.integers(1, 7),
    K=st.integers(1, 3),
    M=sizes,
    see=st.sampled_from([None, 0.2, 0.8, 1.0]),
    seed=st.integers(0, 1 << 20),
)
def test_equals_the_twin(device, fill, data, n, B, D, T, K, M, see, seed):
    fixed = fill == ops.Fill.FIXED
    dtype = data.draw(st.sampled_from(FLOATS))
    needs_values = fixed or fill == ops.Fill.WINDOWS or data.draw(st.booleans())
    P = data.draw(st.integers(1, 8)) if fill == ops.Fill.WINDOWS else 0
    case = Case(n, B, D, T, K if needs_values else 0, M, data.draw(st.integers(1, T)), dtype, seed, see, P)
    expected = case.expected(fill.name.lower())
    x, draws, masks, rows, observed, windows = case.on(device, lambda rank: data.draw(layouts(rank)))
    out, buffer = poisoned(expected.shape, data.draw(layouts(3)), dtype, device)
    assert ops.masked_batch(out, x, draws, masks, rows, observed, fill, windows) is out
    same(out.cpu(), expected)
    assert only_wrote(out, buffer)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1)])
@pytest.mark.parametrize("width", [40, 23])
@pytest.mark.parametrize("dtype", FLOATS)
def test_long_rows_in_both_memory_orders(device, order, width, dtype):
    """Wide enough for the vector loops and for several threads; features last, as the models read, or time last."""
    case = Case(60, 3, 18, 40, 2, 5, width, dtype, seed=1)
    expected = case.expected("fixed")
    layout = {3: (order, "dense"), 4: ((0, *(i + 1 for i in order)), "dense")}
    x, draws, masks, rows, *_ = case.on(device, lambda rank: layout[rank])
    out, _ = poisoned(expected.shape, layout[3], dtype, device)
    same(ops.masked_batch(out, x, draws, masks, rows).cpu(), expected)


@pytest.mark.parametrize("fill", list(ops.Fill))
def test_threads_do_not_matter(threads, fill):
    case = Case(400, 3, 6, 50, 2, 5, 50, torch.float32, 3, 0.9, P=4 if fill == ops.Fill.WINDOWS else 0)
    given, found = (case.x, case.draws, case.masks, case.rows, case.observed, fill, case.windows), []
    for n in (1, 2):
        threads(n)
        found.append(ops.masked_batch(torch.full((400, 6, 50), POISON), *given))
    same(*found)


def test_expanded_operands(device):
    """Draws that repeat one value, masks that repeat one line: strides of zero."""
    case = Case(8, 2, 3, 6, 1, 1, 4, torch.float64, 5)
    draws, masks = case.draws[:, :, :, :1].expand(4, 2, 3, 6), case.masks[:, :1].expand(2, 3, 6)
    case.rows[:, Column.DRAW] = torch.arange(8) % 4
    expected = naive.masked_batch(case.x, draws, masks, case.rows, 4)
    out = torch.full((8, 3, 4), POISON, dtype=torch.float64, device=device)
    draws, masks = case.draws[:, :, :, :1].to(device).expand(4, 2, 3, 6), case.masks[:, :1].to(device).expand(2, 3, 6)
    same(ops.masked_batch(out, case.x.to(device), draws, masks, case.rows.to(device)).cpu(), expected)


@pytest.mark.parametrize("fill", [ops.Fill.CARRY_FORWARD, ops.Fill.INTERPOLATE])
def test_nothing_kept_and_nothing_seen(device, fill):
    x = torch.randn(1, 2, 4, device=device)
    rows = torch.tensor([[0, 0, 0, -1, 0, 0, 1, 0, 0]], dtype=torch.int32, device=device)
    masks, no_draws = torch.zeros(1, 2, 4, dtype=torch.bool, device=device), x.new_empty(0, 1, 2, 4)
    out = torch.full((1, 2, 4), POISON, device=device)
    assert (ops.masked_batch(out, x, no_draws, masks, rows, None, fill) == 0).all()
    observed = torch.tensor([[[False] * 4, [True] * 4]], device=device)
    expected = torch.stack((x[0, 0], torch.zeros(4, device=device)))
    same(ops.masked_batch(out, x, no_draws, masks, rows, observed, fill)[0], expected)


def test_interpolation_on_paper(device):
    x = torch.tensor([[[9.0, 2.0, 9.0, 9.0, 8.0, 9.0]]], dtype=torch.float64, device=device)
    masks = torch.tensor([[[0, 1, 0, 0, 1, 0]]], dtype=torch.bool, device=device)
    rows = torch.zeros(2, 9, dtype=torch.int32, device=device)
    rows[:, Column.CELL] = torch.tensor([-1, 4])
    out = torch.full((2, 1, 6), POISON, dtype=torch.float64, device=device)
    none = x.new_empty(0, 1, 1, 6)
    ops.masked_batch(out, x, none, masks, rows, None, ops.Fill.INTERPOLATE)
    assert out[:, 0].tolist() == [[2, 2, 4, 6, 8, 8], [2] * 6]
    ops.masked_batch(out, x, none, masks, rows, None, ops.Fill.CARRY_FORWARD)
    assert out[:, 0].tolist() == [[2, 2, 2, 2, 8, 8], [2] * 6]


@pytest.mark.parametrize("empty", ["rows", "features", "width"])
def test_nothing_to_write(device, empty):
    n, D, w = (0 if empty == name else 3 for name in ("rows", "features", "width"))
    case = Case(n, 2, max(D, 1), 4, 2, 2, w, torch.float32, 0)
    x, draws, masks = (t[..., :D, :].to(device) for t in (case.x, case.draws, case.masks))
    out = torch.full((n, D, w), POISON, device=device)
    assert ops.masked_batch(out, x, draws, masks, case.rows.to(device)).shape == (n, D, w)


def test_windows_on_paper(device):
    """Entry [p, j] stands at step p + j of a window that starts at p; beyond the last entry, that one goes on."""
    windows = torch.arange(12, dtype=torch.float64, device=device).reshape(1, 1, 1, 6, 2)
    x = torch.full((1, 1, 6), 99.0, dtype=torch.float64, device=device)
    masks = torch.tensor([[[1, 0, 0, 0, 1, 0]]], dtype=torch.bool, device=device)
    rows = torch.zeros(3, 9, dtype=torch.int32, device=device)
    rows[:, Column.CELL] = torch.tensor([-1, 2, 4])
    out = torch.full((3, 1, 6), POISON, dtype=torch.float64, device=device)
    ops.masked_batch(out, x, windows[..., 0][:0], masks, rows, None, ops.Fill.WINDOWS, windows)
    assert out[:, 0].tolist() == [[99, 2, 3, 3, 99, 10], [99, 2, 99, 6, 99, 10], [99, 2, 3, 3, 3, 3]]


def call(fill=0):
    case = Case(4, 2, 3, 5, 2, 3, 4, torch.float32, 0, P=3 if fill == ops.Fill.WINDOWS else 0)
    return {
        "out": torch.full((4, 3, 4), POISON),
        "x": case.x,
        "draws": case.draws,
        "masks": case.masks,
        "rows": case.rows,
        "observed": torch.ones(2, 3, 5, dtype=torch.bool),
        "fill": int(fill),
        "windows": case.windows,
    }


WRONG = {
    "out": [("rank", lambda t: t[0]), ("rows", lambda t: t[:3]), ("D", lambda t: t[:, :2]),
            ("double", torch.Tensor.double), ("int", torch.Tensor.int), ("wide", lambda t: torch.cat((t, t), 2))],
    "x": [("rank", lambda t: t[0]), ("D", lambda t: t[:, :2]), ("B", lambda t: t[:1]), ("double", torch.Tensor.double)],
    "draws": [("rank", lambda t: t[0]), ("B", lambda t: t[:, :1]), ("T", lambda t: t[..., :4]),
              ("half", torch.Tensor.half)],
    "masks": [("rank", lambda t: t[0]), ("T", lambda t: t[..., :4]), ("float", torch.Tensor.float)],
    "rows": [("rank", lambda t: t[0]), ("columns", lambda t: t[:, :8].contiguous()), ("long", torch.Tensor.long),
             ("strides", lambda t: t.mT.contiguous().mT), ("fewer", lambda t: t[:3])],
    "observed": [("rank", lambda t: t[0]), ("B", lambda t: t[:1]), ("float", torch.Tensor.float)],
    "fill": [("-1", lambda _: -1), ("3", lambda _: 3), ("4", lambda _: 4)],
    "windows": [("given", lambda _: torch.zeros(2, 2, 3, 5, 3))],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "wrong"), [pytest.param(n, f, id=f"{n}-{what}") for n, all_of in WRONG.items() for what, f in all_of]
)
def test_bad_arguments(name, wrong):
    given = call()
    given[name] = wrong(given[name])
    assert_refused(torch.ops.rambit.masked_batch, given.values())


WRONG_WINDOWS = {
    "missing": lambda _: None,
    "rank": lambda t: t[0],
    "B": lambda t: t[:, :1],
    "D": lambda t: t[:, :, :2],
    "T": lambda t: t[:, :, :, :4],
    "empty": lambda t: t[..., :0],
    "double": torch.Tensor.double,
}


@pytest.mark.parametrize("name", WRONG_WINDOWS)
def test_bad_windows(name):
    given = call(ops.Fill.WINDOWS)
    given["windows"] = WRONG_WINDOWS[name](given["windows"])
    assert_refused(torch.ops.rambit.masked_batch, given.values())


@pytest.mark.parametrize("fill", ops.Fill)
def test_half_precision_is_refused(fill):
    given = call(fill)
    for name in ("out", "x", "draws", "windows"):
        given[name] = None if given[name] is None else given[name].half()
    assert_refused(torch.ops.rambit.masked_batch, given.values(), match="float32 or float64")


OUTSIDE = {"SERIES": (-1, 2), "DRAW": (-1, 2), "MASK": (-1, 3), "CELL": (-2, 15), "START": (-1, 2)}


@pytest.mark.parametrize("fill", list(ops.Fill))
@pytest.mark.parametrize(("column", "value"), [(c, v) for c, values in OUTSIDE.items() for v in values])
def test_rows_that_point_outside(column, value, fill):
    given = call(fill)
    given["rows"][2, Column[column]] = value
    assert_refused(torch.ops.rambit.masked_batch, given.values(), IndexError, match="row 2 points outside")


@pytest.mark.parametrize("fill", list(ops.Fill))
def test_opcheck(device, fill):
    given = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in call(fill).items()}
    for observed in (None, given["observed"]):
        arguments = {**given, "observed": observed}
        torch.library.opcheck(torch.ops.rambit.masked_batch.default, tuple(arguments.values()))
