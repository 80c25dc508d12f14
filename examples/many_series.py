"""Many series: a stream or a file is explained a piece at a time, and a killed run goes on where it was."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from rambit import RaMbIT
from rambit.distributed import Attributions, attribute_many


def alarm(x: torch.Tensor) -> torch.Tensor:
    """Probabilities of "quiet" and "alarm" for series (B, 2, T): is a sensor far above its own mean at the end?"""
    p = torch.sigmoid(4 * ((x[:, :, -1] - x.mean(dim=2)).amax(dim=1) - 1.5))
    return torch.stack([1 - p, p], dim=1)


folder = Path(tempfile.mkdtemp())
X = np.random.default_rng(0).normal(size=(1000, 2, 24)).astype(np.float32)
X[::10, 1, -1] += 4  # every tenth series ends with a peak in sensor 1
np.save(folder / "series.npy", X)  # stands for a file that is larger than memory

# A name for the function, by which a later run knows that it goes on with the same one.
attributor = RaMbIT(
    alarm, output="probs", anchor="end", window_size=1, L=5, counterfactuals="mean", num_samples=1, model_id="alarm"
)


def first_half():
    """The file's first 500 series in batches of 100, and then the power goes."""
    for start in range(0, 500, 100):
        yield torch.from_numpy(X[start : start + 100])
    raise KeyboardInterrupt


try:
    attribute_many(attributor, first_half(), folder / "scores", shard_size=128)
except KeyboardInterrupt:
    print("interrupted; what is finished is kept:", len(list((folder / "scores").glob("shard-*"))) - 1, "shards")

# The same call again, now from the file: finished shards are compared with their input, and not asked again.
results = attribute_many(attributor, folder / "series.npy", folder / "scores", shard_size=128)
print(f"{len(results)} series, {results.rows:,} questions in all")

# Later, anywhere: the results are read as they are asked for.
results = Attributions(folder / "scores")
print("series 730, its highest score:", results[730].top(1)[0])
highest = results[::10].values.flatten(1).argmax(dim=1)  # 2 sensors x 24 steps: cell 47 is the last of sensor 1
print(f"in {int((highest == 47).sum())} of the {len(highest)} series with a peak, it has the highest score")
