"""``batch_size="auto"``: from shapes and settings alone, in bounded memory, and never in the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rambit.attribution import Occlusion
from rambit.counterfactuals import Zero
from rambit.game import Game, TensorSample
from rambit.game.batch_size import AN_OP, BATCH_CAP, FEWEST, GATES, WORKED_ON, WORTH, auto_batch, recurrent_batch
from rambit.models import GRUClassifier
from rambit.predictors import Predictor
from rambit.predictors.activations import Activations

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PLENTY = 1 << 40


class Wide(nn.Module):
    """Makes 3 · 64 channels of each step, and counts its calls."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(2, 64, 3, padding=1), nn.ReLU(), nn.Conv1d(64, 64, 3, padding=1))
        self.sizes, self.most = [], None

    def forward(self, x):
        self.sizes.append(len(x))
        if self.most is not None and len(x) > self.most:
            raise RuntimeError("not enough memory")
        return self.layers(x).mean(dim=2)


def series(B=1, T=100, D=2):
    return torch.randn(B, D, T, generator=torch.Generator().manual_seed(B))


def game(model, X, **options):
    predictor = model if isinstance(model, Predictor) else Predictor.of(model, output="regression")
    return Game(predictor, TensorSample(X, torch.arange(len(X))), Zero(), **options)


def chosen(model, X, **options):
    return game(model, X, **options).runner.batch


def test_by_hand():
    """Two of the three activations are held at a time, beside the row as it is built and as a model may copy it."""
    held = 2 * 64 * 1000 * 4
    assert chosen(Wide(), series(T=1000)) == WORKED_ON // (held + 2 * 2 * 1000 * 4)


@pytest.mark.parametrize("seed", range(20))
def test_against_a_slow_twin(seed):
    """The largest number of rows that holds to the budget and the memory, or the first that is worth a call."""
    draw = np.random.default_rng(seed)
    D, T, memory = (int(n) for n in draw.integers(1, (20, 500, 1 << 24)))
    held, made, ops, weights = (int(n) for n in 2 ** draw.uniform(0, (18, 19, 8, 22)))
    row = 4 * D * T

    def in_memory(n):
        return n * row * 4 <= memory // 4 and n * held <= memory // 4

    def worth(n):
        return n * made >= WORTH * (ops * AN_OP + weights)

    def fits(n):
        return n * (held + 2 * row) <= WORKED_ON or not worth(n - 1)

    sizes = range(1, BATCH_CAP["cpu"] + 1)
    expected = max((n for n in sizes if in_memory(n) and fits(n)), default=1)
    assert auto_batch(D, T, 4, memory, CPU, Activations(held, made, ops, weights)) == expected


def test_on_other_devices_only_memory_counts():
    heavy, light = Activations(1 << 20, 2 << 20, 9, 1 << 10), Activations(1, 1, 1, 1)
    assert auto_batch(2, 100, 4, 1 << 30, CUDA) == auto_batch(2, 100, 4, 1 << 30, CUDA, light) == BATCH_CAP["cuda"]
    assert auto_batch(2, 100, 4, 1 << 30, CUDA, heavy) == 1 << 10


def test_few_series_many_series_threads_and_time():
    expected = chosen(Wide(), series())
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            assert {chosen(Wide(), series(B)) for B in (1, 2, 9)} == {expected}
    finally:
        torch.set_num_threads(threads)
    assert 1 < expected < BATCH_CAP["cpu"]
    assert chosen(Wide(), series(T=200)) == pytest.approx(expected / 2, abs=1)


def test_small_memory():
    held = 2 * 64 * 100 * 4
    assert chosen(Wide(), series(), max_memory=4 * 5 * held) == 5
    assert chosen(Wide(), series(), max_memory=1) == 1


def test_a_given_size_is_taken_and_a_count_calls_nothing():
    model = Wide()
    assert chosen(model, series(), batch_size=7) == 7
    assert chosen(model, series(), dry=True) == BATCH_CAP["cpu"]
    game(model, series())
    assert model.sizes == []  # nor does a game that is never played


def test_the_model_is_called_once_for_a_shape():
    model = Wide()
    predictor = Predictor.of(model, output="regression")
    for X in (series(), series(B=3), series(T=50), series(T=50)):
        chosen(predictor, X)
    assert model.sizes == [2, 2]


def test_training_flags_and_gradients_are_as_before():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Flatten(), nn.Linear(200, 2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    chosen(model, series())
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


def test_what_is_not_seen_is_chosen_by_the_input_alone():
    assert chosen(lambda x: torch.from_numpy(x.numpy().mean(axis=2)), series()) == BATCH_CAP["cpu"]


class Recurrent(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x.transpose(1, 2))[0][:, -1]


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
@pytest.mark.parametrize("hidden", [1, 16, 64, 300])
def test_the_gates_of_a_step_stay_in_the_cache(kind, gates, hidden):
    model = Recurrent(kind(2, hidden, batch_first=True))
    fitting = max(n for n in range(1, 30_000) if n * gates * hidden * 4 <= GATES)
    expected = min(max(fitting, FEWEST), BATCH_CAP["cpu"])
    assert chosen(model, series(), evaluation="full", anchor="end") == expected
    assert recurrent_batch(model, CUDA) == BATCH_CAP["cuda"]


def test_a_model_that_walks_through_time_keeps_large_batches():
    model = GRUClassifier(2, hidden_size=64)
    assert chosen(model, series(), anchor="mask", evaluation="stateful") == BATCH_CAP["cpu"]
    assert chosen(model, series(), anchor="mask", evaluation="causal") == BATCH_CAP["cpu"]


@pytest.mark.parametrize("layout", ["BDT", "BTD"])
def test_extra_inputs_and_lengths(layout):
    class Model(Wide):
        def forward(self, x, lengths=None, static=None):
            return super().forward(x.transpose(1, 2) if layout == "BTD" else x) * static

    predictor = Predictor.of(Model(), output="regression", layout=layout)
    sample = TensorSample(series(3), torch.arange(3), extra={"static": torch.randn(3, 1)})
    assert 1 < Game(predictor, sample, Zero()).runner.batch < BATCH_CAP["cpu"]


def test_memory_that_runs_out_all_the_same():
    """Rows are halved until they fit, and scores are those of rows that fit at once."""
    model, X = Wide(), series(B=2, T=60)
    method = Occlusion(model, output="regression", counterfactuals="zero", distance="abs")
    target = torch.zeros(2, dtype=torch.int64)
    expected = method.explain(X, target=target)
    model.most = 5
    found = method.explain(X, target=target)
    assert max(model.sizes) > 5 >= model.sizes[-1]
    assert found.rows == expected.rows == method.cost(X).rows
    torch.testing.assert_close(found.values, expected.values)


def test_equal_bits_on_every_run():
    X, model = series(B=3, T=50), Wide()
    runs = [Occlusion(model, output="regression", counterfactuals="zero").explain(X, target=0).values for _ in range(2)]
    again = Occlusion(model, output="regression", counterfactuals="zero")
    assert torch.equal(runs[0], runs[1])
    assert all(torch.equal(again.explain(X, target=0).values, runs[0]) for _ in range(2))
