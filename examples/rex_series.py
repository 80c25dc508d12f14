"""Which steps of which sensors suffice to tell what somebody does? BasicMotions: the 6 sensors of a smart watch.

pip install "rambit[data,plots]"
"""

import sys

import torch

from rambit.datasets import load
from rambit.models import build_model
from rambit.rex import ReX
from rambit.training import evaluate, fit

train, test = load("BasicMotions", "train"), load("BasicMotions", "test")
sensors = [f"{kind} {axis}" for kind in ("acceleration", "rotation") for axis in "xyz"]
config = {"model": "GRUClassifier", "num_features": 6, "num_classes": 4, "hidden_size": 64, "dropout": 0.3}
model = build_model({**config, "standardize": True}, seed=0)
fit(model, train.X, train.y, per_step=True, standardize=True, epochs=20, batch_size=10, lr=5e-3, weight_decay=1e-2)
print(f"the model is right about {evaluate(model, test.X, test.y)['accuracy']:.0%} of 40 other series")

# A value that is not kept is 0: no movement. An explanation may cost at most a tenth of the model's confidence.
explainer = ReX(model, mask_value=0, min_box_size=4, chunk_size=5, minimum_confidence_threshold=0.9, seed=0)
for i in (30, 10):
    x = torch.from_numpy(test.X[i : i + 1])
    explanation = explainer.explain(x)
    kept = explanation.mask.sum(dim=1).tolist()
    parts = ", ".join(f"{count} of {sensor}" for sensor, count in zip(sensors, kept, strict=True) if count)
    print(f"series {i}, {train.class_names[explanation.target]}: {explanation.area:.1%} of 600 values suffice: {parts}")

# The last of them: responsibility as shades, the part that suffices in colour.
if len(sys.argv) > 1:
    explanation.plot(sys.argv[1], x=x)
    print(f"wrote {sys.argv[1]}")
