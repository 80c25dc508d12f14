"""Images evaluated by the rectangle where they differ, against whole images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rambit.counterfactuals import Uniform, Zero
from rambit.game import Game, rectangles
from rambit.game.questions import Boxes, Coalitions
from rambit.game.tensor_sample import TensorSample
from rambit.predictors import PredictionError, Predictor
from rambit.predictors.differing import Differing
from rambit.rex import ReX

H, W = 20, 24


def model(dtype=torch.float64):
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, 2, 1), nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).to(dtype).eval()


def game(evaluation, B=2, strategy=None, net=None, **options):
    x = torch.randn(B, 2, H, W, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    predictor = Predictor.of(model() if net is None else net, output="logits")
    return Game(predictor, TensorSample.spatial(x), strategy or Zero(), evaluation=evaluation, **options)


def masks_of(count, seed=2):
    """Some replace a rectangle, some keep one, some are coins; all kept and all replaced are among them."""
    generator = np.random.default_rng(seed)
    masks = np.ones((count, H, W), dtype=bool)
    for k, mask in enumerate(masks):
        y, z = generator.integers(0, H - 4), generator.integers(0, W - 4)
        mask[y : y + 4, z : z + 5] = False
        if k % 3 == 1:
            np.logical_not(mask, out=mask)
        if k % 7 == 6:
            mask[:] = generator.random((H, W)) < 0.5
    masks[0], masks[1] = True, False
    return torch.from_numpy(masks).flatten(1)


def outputs(of, question):
    return torch.cat(list(of.evaluate(question)))


@pytest.mark.parametrize("strategy", [Zero(), Uniform(-1.0, 1.0)], ids=["zero", "uniform"])
@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"max_memory": 1 << 20}], ids=["auto", "small", "tight"])
def test_coalitions_are_those_of_whole_images(strategy, options):
    question = Coalitions(masks_of(40))
    draws = 1 if isinstance(strategy, Zero) else 2
    incremental, whole = (game(mode, strategy=strategy, draws=draws, **options) for mode in ("incremental", "full"))
    torch.testing.assert_close(outputs(incremental, question), outputs(whole, question), atol=1e-12, rtol=1e-12)
    assert incremental.cost().rows == whole.cost().rows
    assert incremental.mode == "incremental"


def test_boxes_are_those_of_whole_images():
    generator = np.random.default_rng(3)
    low = np.column_stack((np.zeros(30), generator.integers(0, H - 6, 30), generator.integers(0, W - 6, 30)))
    size = np.column_stack((np.ones(30), generator.integers(1, 7, 30), generator.integers(1, 7, 30)))
    boxes = np.stack((low, low + size), axis=2).reshape(30, 6).astype(np.int32)
    question = Boxes(np.array([0, 0, 1, 3, 4, 8, 9, 15, 20, 30]), boxes)
    found, expected = (outputs(game(mode, B=1), question) for mode in ("incremental", "full"))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_rectangles_are_used_and_references_are_few(monkeypatch):
    sizes, images = [], []
    windows, reference = rectangles.RectangleRunner._windows, rectangles.RectangleRunner._image

    def note(self, rows, own, which, size):
        sizes.append((size, len(which)))
        return windows(self, rows, own, which, size)

    monkeypatch.setattr(rectangles.RectangleRunner, "_windows", note)
    monkeypatch.setattr(
        rectangles.RectangleRunner, "_image", lambda self, number: images.append(number) or reference(self, number)
    )
    outputs(game("incremental", B=1), Coalitions(masks_of(40)))
    assert sum(count for size, count in sizes if size == (8, 8)) >= 30
    assert sorted(images) == [0, 1]  # the image, and the replaced one


def test_new_weights_count():
    net = model()
    played, question = game("incremental", net=net), Coalitions(masks_of(9))
    before = outputs(played, question)
    with torch.no_grad():
        net[0].weight.mul_(-1.5)
    after = outputs(played, question)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, outputs(game("full", net=net), question), atol=1e-12, rtol=1e-12)


def test_rex_finds_the_same_maps():
    x = torch.randn(1, 2, H, W, generator=torch.Generator().manual_seed(4))
    found, expected = (
        ReX(model(torch.float32), iters=3, output="logits", evaluation=mode).explain(x)
        for mode in ("incremental", "full")
    )
    assert torch.equal(found.responsibility, expected.responsibility)
    assert torch.equal(found.mask, expected.mask)
    assert found.stats == expected.stats


def test_what_cannot_be_evaluated_so_says_why():
    with pytest.raises(ValueError, match="is no module"):
        game("incremental", net=lambda x: x.mean(dim=(2, 3)))
    volumes = TensorSample.spatial(torch.zeros(1, 1, 3, 4, 4))
    with pytest.raises(ValueError, match="volumes are evaluated whole"):
        Game(Predictor.of(nn.Sequential(nn.Flatten(), nn.Linear(48, 2))), volumes, Zero(), evaluation="incremental")


def test_a_graph_that_fails_for_other_values_is_not_used(monkeypatch):
    def fails(self, reference, which, windows, starts):
        raise RuntimeError("no kernel for this")

    monkeypatch.setattr(Differing, "outputs", fails)
    with pytest.raises(ValueError, match=r"evaluating it that way failed \(RuntimeError: no kernel"):
        game("incremental")


def test_unusable_outputs_are_named():
    class Breaks(nn.Module):
        def forward(self, x):
            return torch.stack((x.mean(dim=(1, 2, 3)), (x[:, 0, 5, 5].abs() * 1e308) * 1e308), dim=1)

    masks = torch.ones(8, H, W, dtype=torch.bool)
    masks[3:, 5, 5] = False
    with pytest.raises(PredictionError, match="mask 0"):
        outputs(game("incremental", B=1, net=Breaks()), Coalitions(masks.flatten(1)))
