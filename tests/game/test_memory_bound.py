"""No buffer of the engine is larger than a quarter of ``max_memory``, however many shifts or series there are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rambit import RaMbIT, memory
from rambit.counterfactuals import Conditional
from rambit.game import Boxes, Coalitions, Game, TensorSample
from rambit.predictors import Predictor
from tests.models_for_tests import Exact
from tests.naive.rambit import fill

X = torch.randn(16, 2, 30, generator=torch.Generator().manual_seed(0))
LIMIT = 1 << 20


def model(x):
    return x[:, :, -1] * torch.tensor([1.0, 2.0]) + x.mean(-1)


@pytest.fixture
def sizes(monkeypatch):
    """Bytes of each buffer, as they are made."""
    found = []
    empty = memory.empty

    def noted(shape, like, dtype=None):
        made = empty(shape, like, dtype)
        found.append(made.numel() * made.element_size())
        return made

    monkeypatch.setattr(memory, "empty", noted)
    return found


@pytest.mark.parametrize("window", [1, 5, 25])
@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
def test_buffers_are_bounded(window, anchor, sizes):
    options = {"anchor": anchor, "window_size": window, "num_samples": 4, "L": 2, "background": X}
    method = RaMbIT(model, output="regression", max_memory=LIMIT, **options)
    cost = method.cost(X)
    assert max(sizes) <= LIMIT // 4
    result = method.explain(X)
    assert max(sizes) <= LIMIT // 4
    assert (result.rows, result.row_steps) == (cost.rows, cost.row_steps)
    plenty = RaMbIT(model, output="regression", **options).attribute(X)
    torch.testing.assert_close(result.values, plenty, rtol=0, atol=1e-6)
    assert max(sizes) > LIMIT // 4 or window == 1  # with plenty of memory they are larger


B, D, T, S = 20, 2, 30, 4
SERIES = torch.randn(B, D, T, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
BACKGROUND = torch.randn(30, D, T, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def random_masks(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3)) < 0.5


def boxes():
    """Two steps that are kept, of each series once and of the first again."""
    kept = [[0, 1, 0, D, t, t + 2] for t in range(B + 1)]
    return Boxes(np.arange(B + 2), np.array(kept, dtype=np.int32), np.append(np.arange(B), 0))


QUESTIONS = {
    "one mask for all": Coalitions(random_masks(9, D * T)),
    "a mask for each series": Coalitions(random_masks(3, B, D * T)),
    "masks of one series each": Coalitions(random_masks(30, D * T), series=torch.arange(30) * 7 % B),
    "players": Coalitions(random_masks(5, D), torch.arange(D).repeat_interleave(T)),
    "boxes": boxes(),
}


def game(max_memory, **options):
    strategy = Conditional(BACKGROUND, neighbours=5, whole_runs=True)
    sample = TensorSample(SERIES, torch.arange(B) + 3)
    return Game(
        Predictor.of(Exact(D), output="regression"), sample, strategy, draws=S, max_memory=max_memory, **options
    )


@pytest.mark.parametrize("name", QUESTIONS)
def test_values_of_whole_runs_are_held_for_as_many_series_as_fit(name, sizes):
    question = QUESTIONS[name]
    plenty = torch.cat(list(game(None).evaluate(question)))
    assert max(sizes) > LIMIT // 4
    sizes.clear()
    few, counted = game(LIMIT), game(LIMIT, dry=True)
    assert torch.equal(torch.cat(list(few.evaluate(question))), plenty)
    assert max(sizes) <= LIMIT // 4
    list(counted.evaluate(question))
    assert counted.cost() == few.cost()


def test_whole_runs_of_few_series_at_a_time_against_the_twin():
    evaluated, masks = game(LIMIT), random_masks(2, B, D, T)
    runs = evaluated.counterfactuals.windows(SERIES, None, torch.arange(B) + 3, S, T, seed=0)
    rows = [fill(SERIES[b], mask[b], runs[s, b], "windows") for mask in masks for s in range(S) for b in range(B)]
    found = torch.cat(list(evaluated.evaluate(Coalitions(masks.flatten(2)))))
    assert torch.equal(found, Exact(D)(torch.stack(rows)).view(found.shape))
