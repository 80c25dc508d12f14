"""A local Ray of two workers: the bits of one process, also when a worker is killed in the middle."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rambit.distributed import attribute_on_ray
from tests.distributed.test_processes import X, rambit

HERE = Path(__file__).parents[2]
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra ray")

# In a process of its own, so that what Ray starts and warns of stays there.
SCRIPT = """
import json, os, sys, torch
from pathlib import Path
import ray
from rambit.distributed import Attributions, attribute_many, attribute_on_ray
from tests.distributed.test_processes import Chokes, Dies, X, rambit

folder = Path(sys.argv[1])
data = X.clamp(-2, 2)
data[9, 0, 0] = 2.5
expected = rambit().explain(data)
said = {}

def same(results):
    part = results[:]
    return torch.equal(part.values, expected.values) and torch.equal(part.stderr, expected.stderr)

ray.init(address="local", num_cpus=2, object_store_memory=80 << 20, include_dashboard=False, log_to_driver=False,
         logging_level="ERROR", _temp_dir=sys.argv[2])
try:
    killed = attribute_on_ray(rambit(Dies(folder / "flag")), data.split(5), folder / "killed", workers=2, shard_size=2)
    said["killed"] = [(folder / "flag").exists(), same(killed)]

    try:
        attribute_on_ray(rambit(Chokes()), data.split(5), folder / "chokes", workers=2, shard_size=2)
    except Exception as error:
        said["chokes"] = [type(error).__name__, str(error)]
    begun = len(list((folder / "chokes").glob("shard-*")))
    said["begun"] = begun
    # Another model of the same name goes on where the cluster stopped, in one process.
    said["gone on"] = same(attribute_many(rambit(), [data], folder / "chokes", shard_size=2))

    arrays = ray.data.from_numpy([data[:7].numpy(), data[7:].numpy()])
    dataset = arrays.map_batches(lambda batch: {"X": batch["data"]})
    said["dataset"] = same(attribute_on_ray(rambit(), dataset, folder / "dataset", workers=1, shard_size=4))

    for name, call in {
        "other": lambda: attribute_on_ray(rambit(), [data + 1], folder / "killed", workers=1, shard_size=2),
        "generator": lambda: attribute_on_ray(rambit(), (x for x in [data]), folder / "n", workers=1),
        "workers": lambda: attribute_on_ray(rambit(), [data], folder / "n", workers=3),
        "reading": lambda: attribute_on_ray(rambit(), dataset, folder / "n", workers=2),
    }.items():
        try:
            call()
        except (ValueError, TypeError) as error:
            said[name] = [type(error).__name__, str(error)]
finally:
    ray.shutdown()
(folder / "said.json").write_text(json.dumps(said))
"""


@needs_ray
@pytest.mark.slow
def test_two_workers_of_a_local_cluster(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {
        **os.environ,
        "PYTHONPATH": str(HERE),
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as short:  # Ray's sockets need a short path
        done = subprocess.run(
            [sys.executable, script, tmp_path, short], capture_output=True, text=True, env=environment, timeout=550
        )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads((tmp_path / "said.json").read_text())
    assert said["killed"] == [True, True], "a worker was killed, and no bit differs"
    kind, message = said["chokes"]
    assert kind == "PredictionError"
    assert "series id 9" in message
    assert said["gone on"] is True
    assert said["dataset"] is True
    assert said["other"][0] == "StoreError"
    assert "series 0 to 1 of the input are not those" in said["other"][1]
    assert said["generator"][0] == "TypeError"
    assert "can't be pickled" in said["generator"][1]
    assert "workers=3 need a CPU each, but the cluster has 2" in said["workers"][1]
    assert "reading a Dataset takes one" in said["reading"][1]
    assert not (tmp_path / "n").exists()


def test_without_a_cluster(tmp_path, monkeypatch):
    for value in (0, -1):
        with pytest.raises(ValueError, match="workers must be at least 1"):
            attribute_on_ray(rambit(), [X], tmp_path / "s", workers=value)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'rambit\[ray\]'"):
        attribute_on_ray(rambit(), [X], tmp_path / "s", workers=1)
    assert not (tmp_path / "s").exists()
