"""Values that would make a kernel read or write outside its tensors raise; none of them ends the process.

Each call runs in a process of its own, forked from one that has done nothing but import torch (a fork after a parallel
region would hang).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings

import pytest

CASES = {
    "shift_windows: room past the series": "ops.shift_windows(ones(1, 2, 3).bool(), i32([9]), 6)",
    "shift_windows: negative room": "ops.shift_windows(ones(1, 2, 3).bool(), i32([-1]), 6)",
    "masked_batch: no draws for fixed values": "batch(draws=ones(0, 2, 3, 4))",
    "masked_batch: draw outside": "batch(draws=ones(1, 2, 3, 4), draw=1)",
    "masked_batch: no windows for windows": "batch(draws=ones(0, 2, 3, 4), fill=3, windows=ones(0, 2, 3, 4, 2))",
    "gather_windows: no such series": "gather(which=2)",
    "gather_windows: negative series": "gather(which=-1)",
    "gather_windows: start too far": "gather(start=-(2**63))",
    "gather_windows: window too far": "gather(window_start=2**63 - 1)",
    "put_windows: past the end": "put(start=3)",
    "put_windows: negative start": "put(start=-1)",
    "put_windows: start too far": "put(start=2**63 - 1)",
    "distance: series outside": "distance(series=[0, 2], metric=0)",
    "distance: negative series": "distance(series=[0, -1], metric=0)",
    "distance: target outside": "distance(series=[0, 1], metric=3, target=[0, 3])",
    "distance: negative target": "distance(series=[0, 1], metric=3, target=[0, -1])",
    "score: target outside": "score(target=3)",
    "score: negative target": "score(target=-1)",
    "accumulate: own cell outside": "accumulate(own=4)",
    "accumulate: negative own cell": "accumulate(own=-1)",
}
SETTING = """
import torch
from rambit import ops
ones = torch.ones
i32 = lambda values: torch.tensor(values, dtype=torch.int32)
f64 = lambda *shape: torch.ones(shape, dtype=torch.float64)
def batch(draws, draw=0, fill=0, windows=None):
    out, x, masks = ones(1, 3, 4), ones(2, 3, 4), torch.zeros(1, 3, 4, dtype=torch.bool)
    rows = i32([[0, draw, 0, -1, 0, 0, 1, 0, 0]])
    return ops.masked_batch(out, x, draws, masks, rows, None, ops.Fill(fill), windows)
def gather(which=0, start=0, window_start=0):
    which, start, window_start = (torch.tensor([value]) for value in (which, start, window_start))
    return ops.gather_windows(ones(1, 3, 2), ones(2, 4, 2), which, start, ones(1, 2, 2), window_start)
def put(start):
    return ops.put_windows(ones(1, 4, 2), ones(1, 2, 2), torch.tensor([start]))
def distance(series, metric, target=(0, 0)):
    return ops.distance(f64(2, 1), ones(2, 3, 1), ones(2, 3, 1), i32(series), torch.tensor(target), ops.Metric(metric))
def score(target):
    rows = i32([[0, 0, 0, 1, 0, 0, 1, 1, 0]])
    return ops.score(f64(1, 1, 1, 4), ones(1, 3, 2), ones(1, 3, 2), f64(1, 2), ones(1, 2, 2).bool(), rows,
                     torch.tensor([target]), width=2, metric=ops.Metric.DIFF, reduce=ops.Reduce.MEAN)
def accumulate(own):
    return ops.accumulate(f64(2, 4), f64(2, 4), f64(1, 1, 2, 1), i32([0]), f64(1), f64(1), f64(1), i32([own]))
"""


def run_each():
    """Forks once a case and says how each ended."""
    scope = {}
    exec(SETTING, scope)
    warnings.simplefilter("ignore")  # Python warns of every fork
    found = {}
    for name, call in CASES.items():
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            try:
                eval(call, scope)
            except (RuntimeError, IndexError) as error:
                os._exit(10 if "rambit" in str(error) else 11)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        code = os.waitstatus_to_exitcode(status)
        found[name] = (
            f"died of signal {-code}" if code < 0 else {0: "no error", 10: "raised"}.get(code, "another error")
        )
    print(json.dumps(found))


@pytest.fixture(scope="module")
def endings():
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this platform")
    done = subprocess.run(
        [sys.executable, "-c", "from tests.ops.test_out_of_bounds import run_each; run_each()"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=os.path.join(os.path.dirname(__file__), "..", ".."),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_raises(endings, case):
    assert endings[case] == "raised"
