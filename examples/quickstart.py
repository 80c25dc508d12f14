"""Quick start: a small model on data of your own, and the cells that its answers rest on. Takes a few seconds."""

import torch

from rambit import RaMbIT
from rambit.models import build_model
from rambit.training import evaluate, fit

# Your data: series (B, D, T), here 3 noisy features over 40 steps. Every other series has a bump of 3 steps in
# feature 1. The label of a step is 1 from the bump on, else 0.
generator = torch.Generator().manual_seed(0)
X = 0.3 * torch.randn(240, 3, 40, generator=generator)
start = torch.randint(5, 35, (240,), generator=generator)
has_bump = torch.arange(240) % 2 == 0
for b in range(0, 240, 2):
    X[b, 1, start[b] : start[b] + 3] += 2.0
y = (has_bump[:, None] & (torch.arange(40) >= start[:, None])).long()
train, test = slice(0, 200), slice(200, 240)

# A model that answers at every step. Yours may be any torch module or function that maps (B, D, T) to (B, classes).
model = build_model({"model": "GRUClassifier", "num_features": 3, "hidden_size": 32}, seed=0)
fit(model, X[train], y[train], per_step=True, epochs=15, batch_size=20, lr=1e-2)
accuracy = evaluate(model, X[test], y[test], per_step=True)["accuracy"]
print(f"the model is right at {accuracy:.1%} of the steps of 40 other series")

# The explanation. What replaces a cell is drawn from the background: here, ordinary series, without a bump.
ordinary = X[train][~has_bump[train]]
attributor = RaMbIT(model, background=ordinary)
I_all = attributor.attribute(X[test])  # (B, D, T)
print(f"{tuple(I_all.shape)} scores, one for each cell: how far replacing it moves the model's outputs")

print(f"the first of them has a bump in feature 1 at the steps from {int(start[200])} on; its highest scores:")
for place in I_all[0].flatten().topk(3).indices.tolist():
    d, t = divmod(place, 40)
    print(f"  feature {d}, step {t}: {float(I_all[0, d, t]):.2f}")

found = 0
for b in range(0, 40, 2):
    d, t = divmod(int(I_all[b].argmax()), 40)
    found += d == 1 and 0 <= t - int(start[200 + b]) < 3
print(f"in {found} of 20 series with a bump, the highest score of all 120 cells lies in the bump")
