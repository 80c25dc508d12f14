"""The drop-in explainers: what they add to the attributors that they call."""

from __future__ import annotations

import pytest
import torch

from bench.timing import best, measure
from rambit import RaMbIT
from rambit.attribution import WinIT
from rambit.compat import JIMEx, WinITExplainer
from rambit.models import GRUClassifier

CASES = {"small": (32, 4, 3, 20), "large": (64, 16, 6, 60)}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", ["JIMEx", "WinITExplainer"])
def test_drop_in(benchmark, report, threads, method, case, tmp_path):
    H, B, D, T = CASES[case]
    torch.manual_seed(0)
    model, X, train = GRUClassifier(D, hidden_size=H).eval(), torch.randn(B, D, T), torch.randn(32, D, T)
    if method == "JIMEx":
        explainer = JIMEx(D, train_loader=train, random_state=0)
        direct = RaMbIT(
            model, num_samples=3, L=3, window_size=10, Wt_max=3, Wd_max=3, anchor="mask", background=train, seed=0
        )
    else:
        explainer = WinITExplainer("cpu", D, "noise", tmp_path, train_loader=train, random_state=0)
        direct = WinIT(model, background=train, seed=0)
    explainer.set_model(model)

    def attributor():
        result = direct.explain(X)
        return result.values if method == "JIMEx" else result.windows.double()

    assert torch.equal(torch.from_numpy(explainer.attribute(X)), attributor())
    seconds, _ = measure(benchmark, lambda: explainer.attribute(X), rounds=10)
    alone = best(attributor, rounds=10)
    report(
        f"{method}, GRU-{H}, B={B} D={D} T={T}, {threads}",
        f"{seconds / alone:.2f} of the attributor's time ({alone:.3f} s)",
        ratio=seconds / alone,
    )
