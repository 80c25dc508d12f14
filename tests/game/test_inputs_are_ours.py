"""A model may write into what it is given, and keep or return a part of it: what is read again is the engine's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rambit import RaMbIT
from rambit.attribution import AFO, FO, Banzhaf, BiWinIT, ExactShapley, Occlusion, ShapleySampling, WinIT
from rambit.counterfactuals import Zero
from rambit.game import Boxes, Game, TensorSample
from rambit.predictors import Predictor
from rambit.rex import ReX

B, D, T = 3, 2, 7
X = torch.randn(B, D, T, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1
SMALL = {"output": "regression", "background": X, "num_samples": 2}
KINDS = {
    "rambit-cell": lambda m, e: RaMbIT(m, L=3, evaluation=e, window_size=2, **SMALL),
    "rambit-mask": lambda m, e: RaMbIT(m, L=3, evaluation=e, window_size=2, anchor="mask", **SMALL),
    "rambit-end": lambda m, e: RaMbIT(m, L=3, evaluation=e, window_size=2, anchor="end", **SMALL),
    "rambit-interpolate": lambda m, e: RaMbIT(
        m, L=3, evaluation=e, window_size=2, num_samples=1, output="regression", counterfactuals="interpolate"
    ),
    "winit": lambda m, e: WinIT(m, window_size=3, evaluation=e, **SMALL),
    "biwinit": lambda m, e: BiWinIT(m, window_size=3, evaluation=e, **SMALL),
    "fo": lambda m, e: FO(m, evaluation=e, output="regression", num_samples=2),
    "afo": lambda m, e: AFO(m, evaluation=e, **SMALL),
    "occlusion": lambda m, e: Occlusion(m, width=2, **SMALL),
    "exact": lambda m, e: ExactShapley(m, distance="abs", **SMALL),
    "sampled": lambda m, e: ShapleySampling(m, distance="abs", num_permutations=3, **SMALL),
    "banzhaf": lambda m, e: Banzhaf(m, distance="abs", num_masks=9, **SMALL),
}
ENDS = ("rambit-end", "occlusion", "exact", "sampled", "banzhaf")
CASES = [
    (kind, evaluation)
    for kind in KINDS
    for evaluation in (("full", "stateful") if kind in ENDS else ("prefix", "causal", "stateful"))
]


class Clean(nn.Module):
    """Sums with a decay; two answers, between 0 and 1 with sum 1. Elementwise, so that little depends on the batch."""

    def advance(self, x, state):
        total = torch.zeros(len(x), dtype=x.dtype) if state is None else state
        outputs = []
        for t in range(x.shape[2]):
            total = 0.8 * total + 2 * x[:, 0, t] - x[:, 1, t]
            outputs.append(torch.stack((total.sigmoid(), 1 - total.sigmoid()), dim=1))
        return torch.stack(outputs, dim=2), total

    def forward(self, x, return_all=False):
        outputs = self.advance(x, None)[0]
        return outputs if return_all else outputs[:, :, -1]


class Writes(Clean):
    """Overwrites its input and its state."""

    def advance(self, x, state):
        outputs, after = super().advance(x.clone(), None if state is None else state.clone())
        x.mul_(3).sub_(1)
        if state is not None:
            state.fill_(torch.nan)
        return outputs, after


class Views(nn.Module):
    """Its state is a view of its last input, and so are its answers, or the first of them."""

    def advance(self, x, state):
        before = torch.zeros(len(x), D, 1, dtype=x.dtype) if state is None else state
        past = torch.cat((before, x[:, :, :-1]), dim=2)
        outputs = x[:, :1] if self.plain else torch.cat((x[:, :1], past[:, 1:]), dim=1)
        return outputs, x[:, :, -1:]

    def __init__(self, plain):
        super().__init__()
        self.plain = plain

    def forward(self, x, return_all=False):
        outputs = self.advance(x, None)[0]
        return outputs if return_all else outputs[:, :, -1]


@pytest.mark.parametrize(("kind", "evaluation"), CASES)
def test_a_model_that_overwrites_what_it_gets(kind, evaluation):
    make, kept = KINDS[kind], X.clone()
    expected = make(Clean(), evaluation).attribute(X)
    assert float(expected.abs().max()) > 0
    for batch_size in (5, "auto"):
        method = make(Writes(), evaluation)
        method.batch_size = batch_size
        torch.testing.assert_close(method.attribute(X), expected, rtol=0, atol=1e-12)
    assert torch.equal(X, kept)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
def test_a_state_or_an_answer_that_is_a_view_of_the_input(plain, anchor):
    options = {**SMALL, "L": 4, "anchor": anchor, "window_size": 3}
    whole = "full" if anchor == "end" else "prefix"
    expected = RaMbIT(Views(plain), evaluation=whole, **options).attribute(X)
    found = RaMbIT(Views(plain), evaluation="stateful", **options).attribute(X)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_closed_forms():
    def doubles(x):
        x *= 2
        return x.sum((1, 2))[:, None]

    x = torch.tensor([[[1.0, 2.0, 3.0]]])
    options = {"output": "regression", "counterfactuals": "zero"}
    right = 2 * x
    assert torch.equal(ExactShapley(doubles, players="timestamps", **options).attribute(x), right)
    cells = FO(doubles, distance="diff", num_samples=1, **options).attribute(x, target=0)
    assert torch.equal(cells, right)


def through_data(x):
    x.data.mul_(2)


def through_numpy(x):
    x.numpy()[...] *= 2


def in_place(x):
    x.mul_(2)


@pytest.mark.parametrize("write", [in_place, through_data, through_numpy])
@pytest.mark.parametrize("module", [True, False])
def test_boxes_in_a_buffer_that_is_written_over(write, module):
    weight = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(1))

    def clean(x):
        return (x * weight[0]).flatten(1).sum(1, keepdim=True)

    def dirty(x):
        output = clean(x)
        write(x)
        return output

    class Module(nn.Module):
        def forward(self, x):
            return dirty(x)

    image = torch.rand(1, 1, 6, 6)
    edges = np.random.default_rng(0).integers(0, 6, (60, 6)).astype(np.int32)
    edges[:, :2] = 0, 1
    question = Boxes(np.arange(0, 61, 2, dtype=np.int64), edges)

    def outputs(model):
        predictor = Predictor.of(model, output="regression")
        game = Game(predictor, TensorSample.spatial(image), Zero(), batch_size=7)
        return torch.cat([*game.evaluate(question), *game.evaluate(question)])

    torch.testing.assert_close(outputs(Module() if module else dirty), outputs(clean))


def test_rex_and_an_instance_norm_in_place():
    def norm(x):
        x -= x.mean(dim=(1, 2, 3), keepdim=True)
        return torch.stack((x[:, 0, 2:5, 2:5].sum((1, 2)), torch.zeros(len(x))), dim=1)

    image = torch.zeros(1, 1, 12, 12)
    image[0, 0, 2:5, 2:5] = 1
    found = ReX(norm, iters=3).explain(image.clone())
    right = ReX(lambda x: norm(x.clone()), iters=3).explain(image.clone())
    assert torch.equal(found.responsibility, right.responsibility)
    assert torch.equal(found.mask, right.mask)
