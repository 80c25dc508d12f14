"""Run by the peer's own Python: times rex-xai 0.4.1 on the planted image that it is given. Prints JSON.

Usage: python bench/rex_peer.py CASE.npz MAPS.npz
The case holds x (1, C, H, W) float32, roi (H, W) bool, seeds and threads; the maps are one for each seed.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
from rex_xai.explanation.explanation import Explanation
from rex_xai.explanation.rex import calculate_responsibility
from rex_xai.input.config import CausalArgs
from rex_xai.input.input_data import Data
from rex_xai.responsibility.prediction import Prediction
from rex_xai.utils._utils import get_map_locations

case = np.load(sys.argv[1])
torch.set_num_threads(int(case["threads"]))
x, roi = torch.from_numpy(case["x"]), torch.from_numpy(case["roi"])
weight, size = roi.flatten().float(), int(roi.sum())
inside = 0.0


def predict(batch, target=None, raw=False):
    """As bench/test_rex.py's model, with the class and confidence that rex-xai wants."""
    global inside
    begin = time.perf_counter()
    kept = batch[:, 0].flatten(1) @ weight / size
    logits = torch.stack([torch.zeros_like(kept), 20 * (kept - 0.5)], dim=1)
    confidence, label = logits.softmax(1).max(1)
    outputs = list(zip(label.tolist(), confidence.tolist(), strict=True))
    inside += time.perf_counter() - begin
    return [Prediction(c, p, target=target) for c, p in outputs]


results, map_of_seed = [], {}
for seed in case["seeds"].tolist():
    args = CausalArgs()
    args.progress_bar, args.seed, args.batch_size = False, seed, 64
    data = Data(np.zeros((2, 2)), tuple(x.shape), mode="RGB")
    data.data = x
    data.set_mask_value(0)
    data.target = predict(x)[0]
    inside = 0.0
    begin = time.perf_counter()
    maps, stats = calculate_responsibility(data, args, predict)
    searched = time.perf_counter() - begin
    in_search = inside
    map_ = maps.get(1).copy()
    explanation = Explanation(maps, predict, data, args, stats)
    explanation.extract()
    whole = time.perf_counter() - begin
    begin = time.perf_counter()
    get_map_locations(map_)
    ranking = time.perf_counter() - begin
    mutants = stats["total_passing"] + stats["total_failing"]
    mask = explanation.sufficiency_mask.numpy().reshape(-1, *roi.shape)[0]
    results.append(
        {
            "mutants": mutants,
            "overhead_ms": (searched - in_search) / mutants * 1e3,
            "seconds": whole,
            "model_seconds": inside,
            "ranking_ms": ranking * 1e3,
            "area": int(mask.sum()),
        }
    )
    map_of_seed[str(seed)] = map_
np.savez(sys.argv[2], **map_of_seed)
print(json.dumps(results))
