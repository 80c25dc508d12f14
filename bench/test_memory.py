"""Peak memory must not grow with the number of masks, nor that of whole runs with series: a process for each count.

glibc raises its mmap threshold as it goes and then keeps freed blocks, which blurs the peak by up to a third; the
threshold is held fixed here, so that what is measured is what the engine holds.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MASKS = """
import torch
from rambit import RaMbIT
from rambit.models import GRUClassifier
torch.manual_seed(0)
model, X = GRUClassifier(6, hidden_size=32).eval(), torch.randn(8, 6, 30)
RaMbIT(model, L={L}, num_samples=3, counterfactuals="marginal", background=X, anchor="{anchor}").attribute(X)
"""
#: The values that stand in are (4, B, 6, 60, 60): 7 and 360 MB of B = 20 and 1024.
RUNS = """
import torch
from rambit.counterfactuals import Conditional
from rambit.game import Coalitions, Game, TensorSample
from rambit.models import GRUClassifier
from rambit.predictors import Predictor
torch.manual_seed(0)
model, X = GRUClassifier(6, hidden_size=32).eval(), torch.randn({B}, 6, 60)
strategy, sample = Conditional(X[:20], whole_runs=True), TensorSample(X, torch.arange({B}))
game = Game(Predictor.of(model), sample, strategy, draws=4, max_memory=1 << 25)
for outputs in game.evaluate(Coalitions(torch.rand(8, 360) < 0.5)):
    pass
"""
PEAK = """
# Not ru_maxrss: that of a child begins with its parent's size.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak(script):
    """KiB of a process that runs it."""
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
    out = subprocess.run([sys.executable, "-c", script + PEAK], capture_output=True, check=True, env=env)
    return int(out.stdout)


@pytest.mark.parametrize("anchor", ["cell", "mask"])
def test_peak_memory_does_not_grow_with_masks(benchmark, report, anchor):
    few, many = benchmark.pedantic(lambda: [peak(MASKS.format(L=L, anchor=anchor)) for L in (10, 1000)], rounds=1)
    report(
        f"peak memory, L = 1000 over L = 10, anchor {anchor}",
        f"{many / few:.3f} ({few >> 10} and {many >> 10} MiB)",
        ratio=many / few,
    )


def test_peak_memory_of_whole_runs_does_not_grow_with_series(benchmark, report):
    few, many = benchmark.pedantic(lambda: [peak(RUNS.format(B=B)) for B in (20, 1024)], rounds=1)
    report(
        "peak memory, coalitions of whole runs, B = 1024 over B = 20, max_memory 32 MiB",
        f"{many / few:.3f} ({few >> 10} and {many >> 10} MiB)",
        ratio=many / few,
    )
