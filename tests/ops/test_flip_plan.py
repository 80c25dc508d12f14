"""``rambit._plan.FlipPlan`` against a plain enumeration of its rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rambit._plan import FlipPlan
from rambit.game.rows import Column, StartRule, StateRule
from tests.naive.ops import plan_rows

ARRAYS = ("first", "h0", "h1", "low", "high", "draw_base", "target_cell", "start")


@st.composite
def settings(draw):
    D, T, S, B, M = (draw(st.integers(1, most)) for most in (3, 6, 2, 3, 4))
    g = np.random.default_rng(draw(st.integers(0, 1 << 20)))

    def ordered(most):
        a, b = g.integers(0, most + 1, (2, M))
        return np.minimum(a, b), np.maximum(a, b)

    h0, h1 = ordered(T)
    low, high = ordered(T)
    if draw(st.booleans()):
        low, high = np.zeros(M), np.full(M, T)
    rule = draw(st.sampled_from(StartRule))
    s = {
        "D": D,
        "T": T,
        "S": S,
        "B": B,
        "window": draw(st.integers(1, T + 2)),
        "anchor_cell": draw(st.booleans()),
        "per_horizon": draw(st.booleans()),
        "start_rule": int(rule),
        "state_rule": int(draw(st.sampled_from(StateRule))),
        "at": 0,
        "first": g.integers(0, T + 1, M),
        "h0": h0,
        "h1": h1,
        "low": low,
        "high": high,
        "draw_base": g.integers(0, 50, M),
    }
    if draw(st.booleans()):
        s["target_cell"] = g.integers(0, D * T, M)
    if rule == StartRule.TABLE or (rule == StartRule.ZERO and draw(st.booleans())):  # no later than the flipped cell
        s["start"] = (g.random((M, D, T)) * (np.arange(T) + 1)).astype(np.int32).reshape(M, D * T)
    if rule == StartRule.AT:  # every asked cell, and every horizon, lies there or later
        s["at"] = int(g.integers(0, T))
        for name in ("low", "high", "h0", "h1"):
            s[name] = np.maximum(s[name], s["at"])
    if draw(st.booleans()):
        s["skip"] = (g.random((S, B, D * T)) < 0.4).astype(np.uint8)
    for name in ARRAYS:
        if name in s:
            s[name] = np.asarray(s[name], dtype=np.int32)
    return s


def chunks(plan, limit):
    while (chunk := plan.next(limit)) is not None:
        yield chunk


@given(s=settings())
def test_equals_the_enumeration_in_chunks_of_any_size(s):
    expected = plan_rows(s)
    for limit in (1, 7, 1000):
        plan = FlipPlan(**s)
        assert plan.rows == len(expected)
        assert plan.row_steps == sum(width for width, _ in expected)
        found = []
        for rows, width in chunks(plan, limit):
            assert rows.dtype == np.int32
            assert rows.shape[1] == len(Column)
            assert 1 <= len(rows) <= limit
            assert (
                len(set(rows[:, Column.START] > 0)) == 1
            )  # one model call has a state for all of its rows or for none
            found += [(width, tuple(row)) for row in rows.tolist()]
        assert found == expected
        assert plan.next(limit) is None


@given(s=settings())
def test_rows_stay_inside_and_slots_are_distinct(s):
    rows = [(w, r) for chunk, w in chunks(FlipPlan(**s), 1000) for r in chunk]
    slots = 1 if "target_cell" in s else s["D"] * s["T"]
    total = len(s["first"]) * s["S"] * s["B"] * slots
    for width, row in rows:
        start, horizon, t = row[Column.START], row[Column.HORIZON], row[Column.CELL] % s["T"]
        assert 0 <= start <= horizon < start + width <= s["T"]
        assert s["per_horizon"] or start <= t or s["start_rule"] == StartRule.AT
        assert 0 <= row[Column.SLOT] < total
        assert row[Column.NORM] >= 1
    evaluated = [(r[Column.SLOT], r[Column.HORIZON] if s["per_horizon"] else 0) for _, r in rows]
    assert len(set(evaluated)) == len(evaluated)


def small(**changed):
    one = np.array([0], dtype=np.int32)
    s = {
        **{"D": 2, "T": 3, "S": 1, "B": 2, "window": 1, "anchor_cell": True, "per_horizon": False, "at": 0},
        **{"start_rule": 1, "state_rule": 0, "first": one, "h0": one, "h1": one + 3, "low": one, "high": one + 3},
        "draw_base": one,
    }
    return {**s, **changed}


def test_a_plan_without_rows():
    for s in (
        small(high=np.array([0])),
        small(skip=np.ones((1, 2, 6), dtype=np.uint8)),
        small(**{n: [] for n in ARRAYS[:6]}),
    ):
        plan = FlipPlan(**s)
        assert (plan.rows, plan.row_steps, plan.next(5)) == (0, 0, None)


@pytest.mark.parametrize("name", ["D", "T", "S", "B", "window"])
def test_sizes_must_be_positive(name):
    with pytest.raises(ValueError, match=name):
        FlipPlan(**small(**{name: 0}))


@pytest.mark.parametrize("name", [*ARRAYS[1:], "skip"])
def test_arrays_must_fit(name):
    with pytest.raises(ValueError, match=f"{name} has 7 values"):
        FlipPlan(**small(**{name: np.zeros(7, dtype=np.int32)}))


def test_other_mistakes():
    with pytest.raises(ValueError, match="start table"):
        FlipPlan(**small(start_rule=3))
    with pytest.raises(ValueError, match="limit"):
        FlipPlan(**small()).next(0)
    with pytest.raises(ValueError, match="too many rows"):
        FlipPlan(**small(B=1 << 29))
    with pytest.raises(TypeError):
        FlipPlan(**small(D=2.5))


@pytest.mark.parametrize(
    "change", [{"target_cell": [6]}, {"low": [-1]}, {"high": [4]}, {"h1": [4]}, {"start_rule": 4}, {"state_rule": 3}]
)
def test_values_that_would_lead_outside(change):
    """A cell that is none, a time before or after the series, a rule that does not exist."""
    change = {k: np.array(v, dtype=np.int32) if isinstance(v, list) else v for k, v in change.items()}
    with pytest.raises(ValueError, match=next(iter(change))):
        FlipPlan(**small(**{"anchor_cell": False, **change}))
