"""Results of ReX 0.4.1 itself, bit for bit: data/rex_golden.npz and data/rex_modes.npz (see data/README.md)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from rambit.rex import ReX, SearchSettings, search
from tests.rex.standin import Painted, softmax_answers

DATA = Path(__file__).parent / "data"
IMAGES = np.load(DATA / "rex_golden.npz")
MODES = np.load(DATA / "rex_modes.npz")

VARIANTS = {
    "area1": {},
    "area4": {"queue_len": 4, "search_limit": 300},
    "inter": {"queue": "intersection"},
    "add": {"responsibility_style": "additive"},
    "all": {"queue": "all", "search_limit": 300, "iters": 5},
}
OPTIONS = {
    "spectral/area1": {},
    "spectral/weighted": {"weighted": True, "concentrate": True},
    "spectral/betabinom": {"distribution": "betabinom", "dist_args": (1.5, 2.0)},
    "spectral/all": {"queue": "all", "search_limit": 200, "iters": 4},
    "spectral/inter": {"queue": "intersection", "queue_len": 3, "search_limit": 400},
    "spectral/add": {"responsibility_style": "additive", "min_box_size": 4},
    "RGB/weighted": {"weighted": True, "concentrate": True},
    "RGB/betabinom": {"distribution": "betabinom", "dist_args": (1.1, 1.1)},
    "RGB/filter": {"confidence_filter": 0.8},
    "RGB/negative": {"negative_responsibility": True},
    "RGB/shallow": {"tree_depth": 2, "queue_len": 3, "min_box_size": 4},
    "RGB/interall": {"queue": "intersection", "queue_len": None, "search_limit": 500},
    "voxel/area1": {},
    "voxel/inter": {"queue": "intersection", "queue_len": 2, "search_limit": 600},
    "voxel/weighted": {"weighted": True, "concentrate": True, "min_box_size": 4},
}


def fraction_model(regions):
    """Two classes: logits [0, 20 (f - 0.5)], f the smallest kept fraction of the regions (K, H, W) in channel 0."""

    def model(x):
        kept = torch.stack([x[:, 0][:, region].sum(dim=1) / region.sum() for region in regions])
        f = kept.amin(dim=0)
        return torch.stack((torch.zeros_like(f), 20 * (f - 0.5)), dim=1)

    return model


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", ["planted64", "and64"])
def test_images_through_a_real_game(case, variant):
    regions = torch.from_numpy(IMAGES[f"{case}/regions"])
    explainer = ReX(fraction_model(regions), seed=0, **VARIANTS[variant])
    explanation = explainer.explain(torch.from_numpy(IMAGES[f"{case}/x"]))
    golden = f"{case}/{variant}"
    counts = [explanation.stats[name] for name in ("mutants", "passing", "depth")]
    assert counts == IMAGES[f"{golden}/counts"].tolist()
    assert sorted(explanation.maps) == [0, 1]
    for label in (0, 1):
        assert np.array_equal(explanation.maps[label].numpy(), IMAGES[f"{golden}/map{label}"])
    assert np.array_equal(explanation.mask.numpy(), IMAGES[f"{golden}/mask"])


@pytest.mark.parametrize("name", OPTIONS)
def test_other_inputs_and_options(name):
    mode = name.split("/")[0]
    regions = MODES[f"{mode}/regions"]
    if mode == "voxel":  # ReX's axes are rows, columns, depth; ours (Z, H, W)
        regions = regions.transpose(0, 3, 1, 2)
    shape = regions.shape[1:]
    grid = (1,) * (3 - len(shape)) + shape
    decision = Painted(grid, len(shape), partial(softmax_answers, regions))
    result = search(decision, SearchSettings(seed=3, **OPTIONS[name]))
    assert [result.stats[key] for key in ("mutants", "passing", "depth")] == MODES[f"{name}/counts"].tolist()
    assert list(result.maps) == MODES[f"{name}/order"].tolist()
    for label, map_ in result.maps.items():
        golden = MODES[f"{name}/map{label}"]
        assert np.array_equal(map_.reshape(shape), golden.transpose(2, 0, 1) if mode == "voxel" else golden)
