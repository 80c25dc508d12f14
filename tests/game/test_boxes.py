"""Boxes and spatial samples: the same answers as for the masks that they paint, whatever the grid, layout or fill."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambit.counterfactuals import Interpolate, Replay, Zero
from rambit.game import Boxes, Coalitions, Game, TensorSample
from rambit.predictors import PredictionError, Predictor

SHAPES = {"image": (3, 5, 7), "volume": (2, 3, 4, 5), "series": (4, 9), "spectrum": (1, 30)}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def model(x):
    """A row's arithmetic does not depend on its batch."""
    flat = x.flatten(1).double()
    weight = torch.arange(1.0, flat.shape[1] + 1, dtype=torch.float64, device=x.device).cos()
    return torch.stack(((flat * weight).sum(1), (flat * weight.flip(0)).sum(1).sin()), dim=1)


def make(name, strategy=None, *, evaluate=model, **options):
    x = torch.randn(1, *SHAPES[name], dtype=torch.float64, generator=rng(1))
    sample = TensorSample.spatial(x) if x.ndim > 3 else TensorSample(x, torch.arange(1))
    predictor = Predictor.of(evaluate, output="regression", layout=options.pop("layout", "BDT"))
    return Game(predictor, sample, strategy or Zero(), evaluation="full", **options)


def random_boxes(count, grid, seed):
    g = np.random.default_rng(seed)
    offsets = np.concatenate(([0], g.integers(0, 4, count).cumsum())).astype(np.int64)
    ends = [np.sort(g.integers(0, size + 1, (offsets[-1], 2)), axis=1) for size in grid]
    return Boxes(offsets, np.stack(ends, axis=1).reshape(-1, 6).astype(np.int32))


def painted(question, grid):
    masks = torch.zeros(len(question), *grid, dtype=torch.bool)
    for n in range(len(question)):
        for z0, z1, y0, y1, x0, x1 in question.boxes[question.offsets[n] : question.offsets[n + 1]]:
            masks[n, z0:z1, y0:y1, x0:x1] = True
    return masks


def evaluated(game, question):
    return torch.cat(list(game.evaluate(question)))


@pytest.mark.parametrize("name", SHAPES)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 9), batch=st.sampled_from([1, 4, 100]))
def test_boxes_are_the_masks_they_paint(name, seed, count, batch):
    game = make(name, batch_size=batch)
    question = random_boxes(count, game.sample.grid, seed)
    masks = painted(question, game.sample.grid)
    x = game.sample.x[0].reshape(-1, *game.sample.grid) if len(SHAPES[name]) > 2 else game.sample.x[0]
    expected = torch.stack(
        [model((x * mask.view(1, *mask.shape) if x.ndim > 2 else x * mask[0])[None])[0] for mask in masks]
    )
    outputs = evaluated(game, question)
    assert torch.equal(outputs[:, 0, 0], expected)
    assert torch.equal(outputs, evaluated(game, Coalitions(masks.flatten(1))))
    assert game.cost().rows == 2 * count


@pytest.mark.parametrize("name", ["series", "spectrum"])
def test_values_that_depend_on_what_is_kept(name):
    game = make(name, Interpolate(), batch_size=4)
    question = random_boxes(9, game.sample.grid, 3)
    masks = painted(question, game.sample.grid)
    assert torch.equal(evaluated(game, question), evaluated(game, Coalitions(masks.flatten(1))))


def test_several_draws():
    values = torch.randn(3, 1, 3, 35, dtype=torch.float64, generator=rng(2))
    game = make("image", Replay(values), draws=3, batch_size=7)
    question = random_boxes(9, game.sample.grid, 4)
    outputs = evaluated(game, question)
    assert outputs.shape == (9, 3, 1, 2)
    assert torch.equal(outputs, evaluated(game, Coalitions(painted(question, game.sample.grid).flatten(1))))


def test_a_model_that_reads_time_first():
    question = random_boxes(9, (1, 4, 9), 5)
    turned = make("series", evaluate=lambda x: model(x.transpose(1, 2)), layout="BTD", batch_size=4)
    assert torch.equal(evaluated(turned, question), evaluated(make("series"), question))


def test_a_model_that_writes_into_its_input():
    def spoils(x):
        outputs = model(x)
        x.mul_(3)
        return outputs

    question = random_boxes(20, (1, 5, 7), 6)
    assert torch.equal(
        evaluated(make("image", evaluate=spoils, batch_size=4), question), evaluated(make("image"), question)
    )


def test_an_error_names_the_row():
    question = Boxes(
        np.arange(6, dtype=np.int64), np.array([[0, 1, 0, 5, 0, i] for i in (7, 7, 7, 0, 7)], dtype=np.int32)
    )
    game = make(
        "image", evaluate=lambda x: torch.where((x == 0).flatten(1).all(1)[:, None], torch.nan, model(x)), batch_size=2
    )
    with pytest.raises(PredictionError, match="draw 0, mask 3"):
        list(game.evaluate(question))


def test_each_mask_of_a_series_of_its_own():
    x = torch.randn(4, 3, 5, 7, dtype=torch.float64, generator=rng(7))
    game = Game(Predictor.of(model, output="regression"), TensorSample.spatial(x), Zero(), batch_size=3)
    masks = torch.rand(10, 35, generator=rng(8)) < 0.5
    series = torch.randint(0, 4, (10,), generator=rng(9))
    everything = evaluated(game, Coalitions(masks))
    own = evaluated(game, Coalitions(masks, series=series))
    assert torch.equal(own[:, :, 0], everything[torch.arange(10), :, series])


@pytest.mark.parametrize("series", [torch.tensor([0, 1]), torch.tensor([0, 1, 4]), torch.tensor([[0, 1, 2]])])
def test_bad_series(series):
    game = Game(Predictor.of(model, output="regression"), TensorSample(torch.ones(4, 2, 3), torch.arange(4)), Zero())
    with pytest.raises(ValueError, match=r"series must be \(3,\), one of 0 … 3"):
        list(game.evaluate(Coalitions(torch.ones(3, 6, dtype=torch.bool), series=series)))


def test_what_images_cannot_have():
    sample = TensorSample.spatial(torch.ones(1, 3, 4, 4))
    with pytest.raises(ValueError, match="anchor='end'"):
        Game(Predictor.of(model), sample, Zero(), anchor="cell")
    with pytest.raises(ValueError, match="layout='BDT'"):
        Game(Predictor.of(model, layout="BTD"), sample, Zero())
    two = Game(Predictor.of(model), TensorSample.spatial(torch.ones(2, 3, 4, 4)), Zero())
    with pytest.raises(ValueError, match="which each row is of"):
        list(two.evaluate(random_boxes(2, (1, 4, 4), 0)))
    with pytest.raises(ValueError, match="images"):
        TensorSample.spatial(torch.ones(1, 3, 4))


@pytest.mark.parametrize("fill", [Zero(), Interpolate()], ids=["zero", "interpolate"])
def test_boxes_of_several_series(fill):
    X = torch.rand(3, 2, 12, generator=torch.Generator().manual_seed(0))
    row = np.array([[0, 1, 0, 2, 1, 5], [0, 1, 1, 2, 3, 9], [0, 1, 0, 1, 0, 12], [0, 1, 0, 2, 6, 7]], np.int32)
    question = {"offsets": np.arange(5), "boxes": row}
    series = np.array([2, 0, 0, 1])

    def rows(x):
        return torch.stack([torch.stack((one.sum(), (one * one).sum())) for one in x])

    game = Game(Predictor.of(rows), TensorSample(X, torch.arange(3)), fill)
    [together] = game.evaluate(Boxes(**question, series=series))
    for n, b in enumerate(series):
        alone = Game(Predictor.of(rows), TensorSample(X[b : b + 1], torch.zeros(1, dtype=torch.int64)), fill)
        [expected] = alone.evaluate(Boxes(np.arange(2), row[n : n + 1]))
        assert torch.equal(together[n], expected[0])
    with pytest.raises(ValueError, match="series must be"):
        list(game.evaluate(Boxes(**question, series=series + 1)))
