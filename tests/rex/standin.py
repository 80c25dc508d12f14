"""A decision whose answers are worked out in NumPy from painted masks: no game, no model, no masked batch."""

from __future__ import annotations

import numpy as np


def softmax_answers(regions, kept):
    """Classes and confidences of masks (N, ...) by how much of two regions (2, ...) they keep: three classes."""
    kept, regions = kept.reshape(len(kept), -1), regions.reshape(2, -1)
    f = np.stack([kept[:, region].mean(axis=1) for region in regions])
    logits = np.stack([np.zeros(len(kept)), 12 * (f[0] - 0.5), 9 * (f[1] - 0.6)])
    e = np.exp(logits - logits.max(axis=0))
    p = (e / e.sum(axis=0)).astype(np.float32)
    return p.argmax(axis=0).astype(np.int32), p.max(axis=0)


def paint(grid, offsets, boxes):
    """Masks (N, Z, H, W) of unions of boxes."""
    masks = np.zeros((len(offsets) - 1, *grid), dtype=bool)
    for row in range(len(masks)):
        for z0, z1, y0, y1, x0, x1 in boxes[offsets[row] : offsets[row + 1]]:
            masks[row, z0:z1, y0:y1, x0:x1] = True
    return masks


class Painted:
    """What the search asks; ``answer`` gives classes and confidences of masks (N, Z, H, W)."""

    def __init__(self, grid, dimensions, output):
        self.grid, self.dimensions, self.output = grid, dimensions, output
        classes, confidences = output(np.ones((1, *grid), dtype=bool))
        self.whole = self.target, self.confidence = int(classes[0]), float(confidences[0])
        self.rows = self.calls = 0
        self.evaluated = []

    def boxes(self, offsets, boxes):
        masks = paint(self.grid, offsets, boxes)
        self.rows += len(masks)
        self.calls += 1
        self.evaluated += [mask.tobytes() for mask in masks]
        return self.output(masks)
