"""Memory runs out once, at each call of the model and at each allocation of the engine in turn: no bit changes."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from rambit import RaMbIT, ops
from rambit.attribution import AFO, Banzhaf, BiWinIT, ExactShapley, Occlusion, WinIT
from rambit.counterfactuals import Zero
from rambit.game import Boxes, Coalitions, Game, Soft, TensorSample
from rambit.game.runner import Runner
from rambit.predictors import Predictor
from tests.models_for_tests import Exact

X = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0))
WORDS = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"


class Fails:
    """Counts calls; the one with number ``at`` finds no memory."""

    def __init__(self, at=None):
        self.calls, self.at = 0, at

    def check(self):
        self.calls += 1
        if self.calls == self.at:
            raise RuntimeError(WORDS)

    def wrap(self, function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            self.check()
            return function(*args, **kwargs)

        return wrapped


class Failing(Exact):
    """The batch-independent model, through a counter."""

    def __init__(self, fails):
        super().__init__()
        self.fails = fails

    def advance(self, x, state):
        self.fails.check()
        return super().advance(x, state)


def boxes(model):
    offsets = np.arange(0, 21, 2, dtype=np.int64)
    edges = np.random.default_rng(0).integers(0, 4, (20, 6)).astype(np.int32)
    edges[:, :2] = 0, 1
    sample = TensorSample(X[:1], torch.arange(1))
    game = Game(Predictor.of(model, output="regression"), sample, Zero(), evaluation="full", batch_size=4)
    return torch.cat(list(game.ask(Boxes(offsets, edges))))


def coalitions(model):
    masks = torch.rand(9, 21, generator=torch.Generator().manual_seed(1)) < 0.5
    game = Game(Predictor.of(model, output="regression"), TensorSample(X, torch.arange(2)), Zero(), batch_size=6)
    return torch.cat(list(game.ask(Coalitions(masks))))


def attributed(kind, **options):
    return lambda model: kind(model, output="regression", batch_size=16, **options).attribute(X)


SMALL = {"L": 2, "num_samples": 1, "window_size": 2, "background": X}
RUNS = {
    **{
        f"rambit-{anchor}-{mode}": attributed(RaMbIT, anchor=anchor, evaluation=mode, **SMALL)
        for anchor in ("cell", "mask")
        for mode in ("prefix", "causal", "stateful")
    },
    "rambit-end": attributed(RaMbIT, anchor="end", evaluation="full", **SMALL),
    "winit": attributed(WinIT, window_size=3, num_samples=1, background=X),
    "biwinit": attributed(BiWinIT, window_size=2, height=2, num_samples=1, background=X),
    "afo": attributed(AFO, num_samples=1, background=X),
    "occlusion": attributed(Occlusion),
    "shapley": attributed(ExactShapley, players="features", metric="abs"),
    "banzhaf": attributed(Banzhaf, players="features", metric="abs", num_masks=8),
    "coalitions": coalitions,
    "boxes": boxes,
}


def survives(run):
    """Run with no failure, then with one at each call in turn; how many there were and how many were survived.

    Only where a single row did not fit may the error come out.
    """
    counted = Fails()
    expected = run(counted)
    survived = 0
    for at in range(1, counted.calls + 1):
        try:
            found = run(Fails(at))
        except RuntimeError as error:
            if WORDS not in str(error):
                raise
            continue
        survived += 1
        assert torch.equal(found, expected), f"call {at}"
    return counted.calls, survived


@pytest.mark.parametrize("name", RUNS)
def test_at_each_call_of_the_model(name):
    calls, survived = survives(lambda fails: RUNS[name](Failing(fails)))
    assert survived >= calls / 3 > 0


@pytest.mark.parametrize("name", RUNS)
def test_at_each_batch_that_is_built(name, monkeypatch):
    originals = {op: getattr(ops, op) for op in ("masked_batch", "boxed_batch", "distance")}

    def run(fails):
        for op, original in originals.items():
            monkeypatch.setattr(ops, op, fails.wrap(original))
        return RUNS[name](Exact())

    calls, survived = survives(run)
    assert survived >= calls / 3 > 0


@pytest.mark.parametrize("name", RUNS)
def test_at_each_check_of_answers(name, monkeypatch):
    original = Runner.check

    def run(fails):
        monkeypatch.setattr(Runner, "check", fails.wrap(original))
        return RUNS[name](Exact())

    calls, survived = survives(run)
    assert survived >= calls / 3 > 0


def test_soft_masks_say_it_plainly():
    sample = TensorSample(X, torch.arange(2))
    game = Game(Predictor.of(Failing(Fails(1)), output="regression"), sample, Zero(), evaluation="full")
    with pytest.raises(RuntimeError, match="allocate memory"):
        list(game.ask(Soft(torch.ones(3, 21))))
