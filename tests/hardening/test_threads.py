"""Several threads ask at the same time, with one attributor and one model or with their own: the same bits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from rambit import RaMbIT
from rambit.attribution import ExactShapley, WinIT
from rambit.counterfactuals import Marginal
from rambit.game import Boxes, Game, TensorSample
from rambit.predictors import Predictor
from rambit.rex import ReX
from rambit.sufficiency import explain
from tests.models_for_tests import Exact

X = torch.randn(4, 3, 9, generator=torch.Generator().manual_seed(0))
COMMON = {"output": "regression", "num_samples": 2, "background": X}
KINDS = {
    "rambit": lambda model: RaMbIT(model, L=4, **COMMON),
    "rambit-mask": lambda model: RaMbIT(model, L=4, anchor="mask", **COMMON),
    "winit": lambda model: WinIT(model, window_size=3, **COMMON),
    "shapley": lambda model: ExactShapley(model, distance="abs", **COMMON),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shared", [True, False])
def test_attributors(kind, shared):
    one = KINDS[kind](Exact())
    expected = [one.attribute(X[b : b + 1], ids=[b]) for b in range(4)]

    def work(b):
        method = one if shared else KINDS[kind](Exact())
        return method.attribute(X[b : b + 1], ids=[b])

    with ThreadPoolExecutor(4) as pool:
        for round_ in range(3):
            for found, right in zip(pool.map(work, range(4)), expected, strict=True):
                assert torch.equal(found, right), round_


def test_a_module_that_was_training_answers_as_in_evaluation_and_trains_on():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(27, 2)).train()
    method = RaMbIT(model, L=3, anchor="end", **{**COMMON, "output": "logits"})
    expected = method.attribute(X)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: method.attribute(X), range(16)):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert all(m.training for m in model.modules())


def test_boxes():
    sample = TensorSample(X[:1], torch.arange(1))
    question = Boxes(np.arange(41, dtype=np.int64), np.random.default_rng(0).integers(0, 4, (40, 6)).astype(np.int32))
    question.boxes[:, :2] = 0, 1

    def work(seed):
        game = Game(Predictor.of(Exact(), output="regression"), sample, Marginal(X), seed=seed, batch_size=7)
        return torch.cat(list(game.evaluate(question)))

    expected = [work(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for found, right in zip(pool.map(work, range(4)), expected, strict=True):
            assert torch.equal(found, right)


def bright(x):
    """Is the upper left corner bright? One sum an image, so that the answer does not depend on the batch."""
    logits = torch.stack([8 * (image[:, :8, :8].mean() - 0.3) for image in x])
    return torch.stack((torch.zeros_like(logits), logits), dim=1)


@pytest.mark.parametrize("shared", [True, False])
def test_responsibility_maps(shared):
    images = torch.rand(4, 1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.3
    images[..., :8, :8] += 0.6
    method = ReX(bright, iters=2, min_box_size=4)
    expected = [method.explain(image) for image in images]

    def work(image):
        return (method if shared else ReX(bright, iters=2, min_box_size=4)).explain(image)

    with ThreadPoolExecutor(4) as pool:
        for found, right in zip(pool.map(work, images), expected, strict=True):
            assert found.stats == right.stats
            assert torch.equal(found.responsibility, right.responsibility)
            assert torch.equal(found.mask, right.mask)


@pytest.mark.parametrize("heuristic", ["banzhaf", "shapley", "random"])
def test_sufficient_masks(heuristic):
    def model(x):
        logits = torch.stack([row.sum() for row in x[:, 0]])
        return torch.stack((torch.zeros_like(logits), logits), dim=1)

    def work(seed):
        return explain(model, X[seed : seed + 1], heuristic=heuristic, num_samples=20, seed=seed, output="logits")

    expected = [work(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for found, right in zip(pool.map(work, range(4)), expected, strict=True):
            assert (found.target, found.rows, found.gap) == (right.target, right.rows, right.gap)
            assert torch.equal(found.mask, right.mask)
