"""Any function can be explained. One that only judges whole series needs anchor="end"."""

import torch

from rambit import RaMbIT


def alarm(x: torch.Tensor) -> torch.Tensor:
    """A rule on series of exactly 24 hours: it goes off if a sensor's afternoon is far above its morning."""
    assert x.shape[2] == 24
    rise = x[:, :, 12:18].mean(dim=2) - x[:, :, 6:12].mean(dim=2)  # (B, D)
    p = torch.sigmoid(4 * (rise.amax(dim=1) - 1.5))
    return torch.stack([1 - p, p], dim=1)  # probabilities of "quiet" and "alarm"


sensors = ("cellar", "kitchen", "attic")
generator = torch.Generator().manual_seed(0)
X = 15 + 0.3 * torch.randn(20, 3, 24, generator=generator)
X[:10, 2, 12:18] += 3.0  # in the first ten houses the sun heats the attic

# `joint` replaces a cell by its value in another house, so that a replaced value is always one that occurs.
attributor = RaMbIT(alarm, output="probs", anchor="end", window_size=1, counterfactuals="joint", background=X[10:])
result = attributor.explain(X[:1])
print(f"the alarm goes off: {float(alarm(X[:1])[0, 1]):.0%} sure; {result.rows} questions, mode {result.mode}")
for name, scores in zip(sensors, result.values[0], strict=True):
    bars = "".join(" .:-=+*#%@"[min(9, int(10 * max(0.0, s) / float(result.values.max())))] for s in scores.tolist())
    print(f"{name:>8} |{bars}| hour 0 to 23")
