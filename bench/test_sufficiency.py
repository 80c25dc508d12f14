"""Sufficient explanations against the one-at-a-time twin: the same question of a GRU with 600 terms, a row a call."""

from __future__ import annotations

import time

import pytest
import torch

from rambit import ops
from rambit.models import GRUClassifier
from rambit.sufficiency import explain
from rambit.sufficiency.explain import REMOVAL_DRAW
from tests.naive import sufficiency as naive

D, T, SERIES, SAMPLES = 6, 100, 8, 200


def case():
    """A model that sums up over time, so that a decision is made of many cells, and the series it is surest of."""
    torch.manual_seed(0)
    model = GRUClassifier(D, hidden_size=32, num_classes=2).eval()
    with torch.no_grad():
        model.rnn.bias_ih_l0[32:64] = 3.0  # the update gate: most of the state stays
        model.head.weight.mul_(30)
        model.head.bias.sub_(model(torch.zeros(1, D, T))[0])  # undecided where nothing is kept
        X = torch.randn(50, D, T)
        sure = model(X).softmax(1).amax(1)
    return model, X[sure.argsort(descending=True)[:SERIES]]


def draws(number, first, count):
    """The uniform numbers of series ``number`` that explain draws: both sides see the same masks and order."""
    out = torch.empty(count, 1, 1, D * T, dtype=torch.float64)
    return ops.draw(out, torch.tensor([number]), ops.Draw.UNIFORM, first_draw=first)[:, 0, 0]


def twin(search, model, x, number):
    """The mask of the search done one row at a time, and the decision that was asked."""
    decision = naive.Decision(model, x)
    if search == "flat_gadd":
        return naive.add_greedily(decision, D * T), decision
    masks, order = draws(number, 0, SAMPLES) < 0.5, draws(number, REMOVAL_DRAW, 1)[0].argsort()
    scores = naive.banzhaf(decision, masks)
    return naive.remove_in_order(decision, naive.add_by_rank(decision, scores), order), decision


@pytest.mark.parametrize("search", ["flat_gadd", "flat_harr"])
def test_against_one_row_at_a_time(benchmark, report, threads, search):
    model, X = case()
    begin = time.perf_counter()
    slow = [twin(search, model, x, number) for number, x in enumerate(X)]
    seconds = time.perf_counter() - begin
    found = explain(model, X, search=search)
    for (_, decision), explanation in zip(slow, found, strict=True):
        assert decision.gap(explanation.mask.flatten()) >= decision.threshold - 1e-5
    benchmark.pedantic(lambda: explain(model, X, search=search), rounds=3)
    best = benchmark.stats.stats.min
    rows, calls = sum(e.rows for e in found), found[0].calls
    theirs, ours = sum(float(mask.sum()) for mask, _ in slow), sum(e.size for e in found)
    benchmark.extra_info.update(ratio=seconds / best, rows=rows, calls=calls)
    report(
        f"{search}, GRU-32, {SERIES} series of {D * T} terms, {threads} threads",
        f"{seconds / best:.0f} x one row at a time ({seconds:.1f} s, {sum(d.rows for _, d in slow):,} rows; ours "
        f"{best:.2f} s, {rows:,} rows in {calls} calls); mean size {ours / SERIES:.1f} against {theirs / SERIES:.1f}",
    )
