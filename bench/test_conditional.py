"""What conditional draws cost beside the run that they are for: neighbours among a thousand series, and the values."""

from __future__ import annotations

import pytest
import torch

from bench.timing import best, measure
from rambit import RaMbIT
from rambit.counterfactuals import Conditional
from rambit.models import GRUClassifier

H, B, D, T, L, W, S, N = 200, 8, 10, 100, 20, 5, 3, 1000


@pytest.mark.parametrize("anchor", ["cell", "mask"])
def test_share_of_a_run(benchmark, report, place, anchor):
    torch.manual_seed(0)
    model, X, background = GRUClassifier(D, hidden_size=H).eval(), torch.randn(B, D, T), torch.randn(N, D, T)
    model, X, ids = model.to(place.device), X.to(place.device), torch.arange(B, device=place.device)
    method = RaMbIT(model, L=L, window_size=W, num_samples=S, anchor=anchor)

    def drawn():
        return Conditional(background).draws(X, None, ids, S, seed=0)

    values = drawn()
    mine = RaMbIT(model, background=background, counterfactuals="conditional", L=2, num_samples=S, anchor=anchor)
    given = RaMbIT(model, L=2, num_samples=S, anchor=anchor).attribute(X, counterfactuals=values)
    torch.testing.assert_close(mine.attribute(X), given)
    run = best(lambda: method.attribute(X, counterfactuals=values), rounds=1)
    drawing, _ = measure(benchmark, drawn, rounds=3)
    report(
        f"anchor {anchor}, GRU-{H}, B={B} D={D} T={T} L={L} W={W} S={S}, background of {N:,} series, {place}",
        f"drawing takes {drawing:.2f} s, {drawing / run:.3f} of the run of {run:.1f} s",
        ratio=drawing / run,
    )
