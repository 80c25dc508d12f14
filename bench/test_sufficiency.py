"""Sufficient explanations against the one-at-a-time twin: the same question of a GRU, a row a call."""

from __future__ import annotations

import time

import pytest
import torch

from bench.timing import measure, overhead
from rambit import ops
from rambit.models import GRUClassifier
from rambit.sufficiency import explain
from rambit.sufficiency.explain import REMOVAL_DRAW
from tests.naive import sufficiency as naive

D, SAMPLES = 6, 200
#: Search, steps and series; the twin of the greedy one asks about as many rows as there are pairs of terms.
CASES = {
    "harr-120": ("flat_harr", 20, 8),
    "harr-600": ("flat_harr", 100, 8),
    "gadd-120": ("flat_gadd", 20, 8),
    "gadd-600": ("flat_gadd", 100, 2),
}


def setting(T, series):
    """A model that sums up over time, so that a decision is made of many cells, and the series it is surest of."""
    torch.manual_seed(0)
    model = GRUClassifier(D, hidden_size=32, num_classes=2).eval()
    with torch.no_grad():
        model.rnn.bias_ih_l0[32:64] = 3.0  # the update gate: most of the state stays
        model.head.weight.mul_(30)
        model.head.bias.sub_(model(torch.zeros(1, D, T))[0])  # undecided where nothing is kept
        X = torch.randn(50, D, T)
        sure = model(X).softmax(1).amax(1)
    return model, X[sure.argsort(descending=True)[:series]]


def draws(number, first, count, terms):
    """The uniform numbers of series ``number`` that explain draws: both sides see the same masks and order."""
    out = torch.empty(count, 1, 1, terms, dtype=torch.float64)
    return ops.draw(out, torch.tensor([number]), ops.Draw.UNIFORM, first_draw=first)[:, 0, 0]


def twin(search, model, x, number):
    """The mask of the search done one row at a time, and the decision that was asked."""
    decision = naive.Decision(model, x)
    if search == "flat_gadd":
        return naive.add_greedily(decision, x.numel()), decision
    masks = draws(number, 0, SAMPLES, x.numel()) < 0.5
    order = draws(number, REMOVAL_DRAW, 1, x.numel())[0].argsort()
    scores = naive.banzhaf(decision, masks)
    return naive.remove_in_order(decision, naive.add_by_rank(decision, scores), order), decision


@pytest.mark.parametrize("name", CASES)
def test_against_one_row_at_a_time(benchmark, report, threads, name):
    search, T, series = CASES[name]
    model, X = setting(T, series)

    def ours():
        return explain(model, X, search=search, num_samples=SAMPLES)

    begin = time.perf_counter()
    slow = [twin(search, model, x, number) for number, x in enumerate(X)]
    baseline = time.perf_counter() - begin
    found = ours()
    for (_, decision), explanation in zip(slow, found, strict=True):
        assert decision.gap(explanation.mask.flatten()) >= decision.threshold - 1e-5
    seconds, _ = measure(benchmark, ours, rounds=3)
    rows, calls = sum(e.rows for e in found), found[0].calls
    theirs, mine = sum(float(mask.sum()) for mask, _ in slow), sum(e.size for e in found)
    report(
        f"{search}, GRU-32, {series} series of {D * T} terms, {threads}",
        f"{baseline / seconds:.0f} x one row at a time ({baseline:.1f} s, {sum(d.rows for _, d in slow):,} rows; ours "
        f"{seconds:.2f} s, {calls} calls); mean size {mine / series:.1f} against {theirs / series:.1f}",
        ratio=baseline / seconds,
        rows=rows,
        row_steps=rows * T,
        overhead=overhead(ours),
    )
