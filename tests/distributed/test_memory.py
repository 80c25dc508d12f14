"""Eight times the series take no more memory, from every kind of file, nor does reading the results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from rambit.attribution import FO
from rambit.attribution.attributor import Part

pyarrow = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402

HERE = Path(__file__).parents[2]
D, T = 4, 512


class Copy(FO):
    """Scores that cost nothing, so that what is measured is what holds the series and their scores."""

    def _score(self, call, game, indices):
        return Part(game.sample.x.double(), None)


def last(x):
    return x[:, :2, -1]


MEASURE = """
import sys
from pathlib import Path
from rambit.distributed import attribute_many
from tests.distributed.test_memory import Copy, last
folder = Path(sys.argv[1])
for path in sorted(folder.glob("x.*")):
    attributor = Copy(last, anchor="end", output="regression", model_id="last")
    results = attribute_many(attributor, path, folder / f"scores-{path.suffix[1:]}")
    print(len(results), float(sum(part.values.double().sum() for part in results.shards())))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def write(folder, n):
    """n series in a file of each kind; returns their sum."""
    X = np.random.default_rng(0).normal(size=(n, D, T)).astype(np.float32)
    folder.mkdir()
    np.savez_compressed(folder / "x.npz", X=X)
    safetensors.numpy.save_file({"X": X}, folder / "x.safetensors")
    columns = {"series": np.repeat(np.arange(n), T), "time": np.tile(np.arange(T), n)}
    columns |= {f"f{d}": X[:, d].ravel() for d in range(D)}
    parquet.write_table(pyarrow.table(columns), folder / "x.parquet", row_group_size=1 << 16, use_dictionary=False)
    return float(X.astype(np.float64).sum())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_the_series(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    peaks = []
    for n in (1024, 8192):  # 8 and 64 MiB of series
        folder = tmp_path / str(n)
        total = write(folder, n)
        out = subprocess.run(
            [sys.executable, "-c", MEASURE, folder], capture_output=True, text=True, env=environment, check=True
        ).stdout.split()
        assert out[:-1:2] == [str(n)] * 3
        np.testing.assert_allclose([float(value) for value in out[1:-1:2]], total, rtol=1e-9)
        peaks.append(int(out[-1]))
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] - peaks[0] < 32 << 10, "half of what the larger file holds more, its scores not counted"
