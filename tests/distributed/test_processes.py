"""Several processes give the bits of one; a worker that fails or is killed costs no finished shard."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from rambit import PredictionError, RaMbIT
from rambit.distributed import Attributions, attribute_many
from rambit.distributed.processes import pack_attributor, unpack_attributor
from tests.models_for_tests import GRU, Exact

X = torch.randn(23, 3, 7, generator=torch.Generator().manual_seed(0))
HERE = Path(__file__).parents[2]
TWO = ["cpu", "cpu"]
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def rambit(model=None, **options):
    given = {"L": 3, "num_samples": 2, "background": X[:4].clamp(-2, 2), "output": "regression", "model_id": "exact"}
    return RaMbIT(model or Exact(), **{**given, **options})


class Dies(Exact):
    """Kills its own process at the first series that begins with a number above 2, once."""

    def __init__(self, flag):
        super().__init__()
        self.flag = Path(flag)

    def advance(self, x, state):
        if not self.flag.exists() and float(x[:, 0, 0].max()) > 2:
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().advance(x, state)


class Chokes(Exact):
    """Has no answer to a series that begins with a number above 2."""

    def advance(self, x, state):
        outputs, state = super().advance(x, state)
        return outputs.masked_fill(x[:, :1, :1] > 2, float("nan")), state


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one(tmp_path):
    """Of a model that rounds by batch; one that does not is compared with a single call below."""
    torch.manual_seed(0)
    attributor = RaMbIT(GRU(), L=2, counterfactuals="uniform", num_samples=1)
    one = attribute_many(attributor, [X], tmp_path / "b", shard_size=6)
    two = attribute_many(attributor, X.split(1), tmp_path / "c", shard_size=6, devices=TWO)
    assert torch.equal(one[:].values, two[:].values)


@pytest.mark.slow
def test_a_killed_worker_costs_no_finished_shard(tmp_path):
    data = X.clamp(-2, 2)
    data[17, 0, 0] = 2.5
    model = Dies(tmp_path / "flag")
    with pytest.raises(RuntimeError, match=r"the worker on cpu died \(exit code -9\); finished shards are kept"):
        attribute_many(rambit(model), [data], tmp_path / "s", shard_size=2, devices=TWO)
    assert model.flag.exists()
    kept = {path.name: path.read_bytes() for path in (tmp_path / "s").glob("shard-*")}
    assert len(kept) > 3
    results = attribute_many(rambit(model), [data], tmp_path / "s", shard_size=2)
    assert all((tmp_path / "s" / name).read_bytes() == content for name, content in kept.items() if name)
    assert torch.equal(results[:].values, rambit().explain(data).values)


@pytest.mark.slow
def test_what_a_worker_raises_is_raised(tmp_path):
    data = X.clamp(-2, 2)
    data[9, 0, 0] = 2.5
    with pytest.raises(PredictionError, match="series id 9") as caught:
        attribute_many(rambit(Chokes()), [data], tmp_path, shard_size=2, devices=["cpu"])
    assert "in a worker" in str(caught.value.__cause__)
    assert "_here" not in str(caught.value.__cause__)


ORPHAN = """
import sys, torch
from rambit.distributed import attribute_many
from tests.distributed.test_processes import X, rambit
from tests.distributed.test_processes import Exact
def batches():
    for x in X.split(2):
        import multiprocessing
        print(*[child.pid for child in multiprocessing.active_children()], flush=True)
        yield x
if __name__ == "__main__":
    attribute_many(rambit(L=300), batches(), sys.argv[1], shard_size=2, devices=["cpu", "cpu"])
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN)
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, script, tmp_path / "s"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        pids = []
        while len(pids) < 2:
            pids = process.stdout.readline().split()
        assert all(map(alive, pids))
        process.kill()
    deadline = time.monotonic() + 60
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, pids))


def test_an_attributor_travels(tmp_path):
    attributor = rambit(masks=torch.rand(4, 3, 7) < 0.5, L=20)
    again = unpack_attributor(pack_attributor(attributor), "cpu")
    assert torch.equal(again.attribute(X[:3]), attributor.attribute(X[:3]))
    assert again.settings() == attributor.settings()
    if torch.cuda.is_available():
        moved = unpack_attributor(pack_attributor(RaMbIT(GRU(), L=2, background=X)), "cuda")
        assert moved.predictor.device.type == "cuda"
        assert all(p.is_cuda for p in moved.predictor.module.parameters())
        assert moved.attribute(X).shape == X.shape


def test_what_can_not_travel_is_refused(tmp_path):
    with pytest.raises(TypeError, match="attributor can't be sent to another process"):
        attribute_many(rambit(lambda x: x[:, :2, -1], anchor="end"), [X], tmp_path / "s", devices=["cpu"])
    with pytest.raises(StopIteration):
        next(iter((tmp_path / "s").glob("shard-*")))


def test_a_device_that_is_none(tmp_path):
    with pytest.raises(ValueError, match=r"devices: 'nothing' is none: (?i:.*device)"):
        attribute_many(rambit(), [X], tmp_path / "s", devices=["nothing"])


def test_unfinished_results_are_not_read(tmp_path):
    with pytest.raises(TypeError):
        attribute_many(rambit(lambda x: x), [X], tmp_path, devices=["cpu"])
    with pytest.raises(ValueError, match="summary is corrupt"):
        Attributions(tmp_path)
