"""Memory runs out once: at each call of the model, each buffer of the engine and each op that allocates, in turn.

Where that was in a piece of several rows, the piece halves and no bit changes; elsewhere that very error comes out.
Either way nothing is left broken: training flags are as they were, and asked again the same objects answer as ever.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import rambit
from rambit import RaMbIT, memory, ops
from rambit.attribution import AFO, Banzhaf, BiWinIT, ExactShapley, Occlusion, WinIT, checkpoint
from rambit.counterfactuals import Zero
from rambit.game import Boxes, Coalitions, Game, Soft, TensorSample
from rambit.game.nested import NestedGame
from rambit.game.runner import Piece, Runner
from rambit.models import GRUClassifier
from rambit.predictors import Predictor
from rambit.predictors.fused import StepsWalk
from rambit.predictors.predictor import Walk
from rambit.structure.classifier import Prepared
from tests.models_for_tests import Exact
from tests.sufficiency.problems import nested

PACKAGE, TORCH = (str(Path(module.__file__).parent) for module in (rambit, torch))
X = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
WORDS = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"

# -- what is asked ----------------------------------------------------------------------------------------------------


class Module(nn.Module):
    """The batch-independent model as a module, in training in a part of it."""

    def __init__(self):
        super().__init__()
        self.exact, self.training_part, self.frozen_part = Exact(), nn.Dropout(), nn.Dropout().eval()

    def advance(self, x, state):
        return self.exact.advance(x, state)

    def forward(self, x, return_all=False):
        outputs = self.advance(x, None)[0]
        return outputs if return_all else outputs[:, :, -1]


class InPlace(Module):
    """A state of two parts, which a step writes over."""

    def advance(self, x, state):
        total, steps = (torch.zeros(len(x), 1, dtype=torch.float64) for _ in range(2)) if state is None else state
        outputs = []
        for t in range(x.shape[2]):
            for d in range(x.shape[1]):
                total.mul_(0.9).add_(x[:, d, t : t + 1].double() * self.exact.weight[d])
            steps.add_(1)
            outputs.append(torch.cat((total / (1 + total * total), total / steps), dim=1))
        return torch.stack(outputs, dim=2), (total, steps)


def gru():
    torch.manual_seed(0)
    return GRUClassifier(num_features=3, hidden_size=4, num_classes=2)


@functools.cache  # with its trace, which is made once
def conv():
    torch.manual_seed(0)
    layers = nn.Conv1d(3, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 2)).eval()


@functools.cache
def pooled():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(3, 4, 1), nn.GELU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2)).eval()


def boxes():
    offsets = np.arange(0, 21, 2, dtype=np.int64)
    edges = np.random.default_rng(0).integers(0, 4, (20, 6)).astype(np.int32)
    edges[:, :2] = 0, 1
    model, sample = Module(), TensorSample(X[:1], torch.arange(1))
    game = Game(Predictor.of(model, output="regression"), sample, Zero(), evaluation="full", batch_size=4)
    return model, lambda: torch.cat(list(game.evaluate(Boxes(offsets, edges))))


def coalitions():
    masks = torch.rand(9, 18, generator=torch.Generator().manual_seed(1)) < 0.5
    model = Module()
    game = Game(Predictor.of(model, output="regression"), TensorSample(X, torch.arange(2)), Zero(), batch_size=6)
    return model, lambda: torch.cat(list(game.evaluate(Coalitions(masks))))


documents_of = functools.cache(nested)


def documents():
    model, sample = documents_of(0, B=2)
    masks = torch.rand(11, sample.terms, generator=torch.Generator().manual_seed(1)) < 0.7
    row_bytes = NestedGame(model, sample).prepared.row_bytes
    game = NestedGame(model, sample, max_memory=4 * 4 * row_bytes)
    return model, lambda: torch.cat(list(game.evaluate(Coalitions(masks))))


def attributed(kind, model=Module, **options):
    def make():
        evaluated = model()
        method = kind(evaluated, **{"output": "regression", "batch_size": 16, **options})
        return evaluated, lambda: method.attribute(X)

    return make


BLOCKS = torch.ones(2, 3, 6, dtype=torch.bool)
BLOCKS[0, :2, 2:4] = BLOCKS[1, 1:, 4] = False
SMALL = {"masks": BLOCKS, "num_samples": 1, "window_size": 2, "background": X}
WINDOWED = {"anchor": "end", "evaluation": "incremental"}
GROUPS = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2], [3, 3, 3, 4, 4, 4]])
RUNS = {
    **{
        f"rambit-{anchor}-{mode}": attributed(RaMbIT, anchor=anchor, evaluation=mode, **SMALL)
        for anchor in ("cell", "mask")
        for mode in ("prefix", "causal", "stateful")
    },
    "rambit-cell-in-place": attributed(RaMbIT, InPlace, anchor="cell", **SMALL),
    "rambit-mask-in-place": attributed(RaMbIT, InPlace, anchor="mask", **SMALL),
    "rambit-cell-gru": attributed(RaMbIT, gru, anchor="cell", output="logits", **SMALL),
    "rambit-mask-gru": attributed(RaMbIT, gru, anchor="mask", output="logits", **SMALL),
    "rambit-end": attributed(RaMbIT, anchor="end", evaluation="full", **SMALL),
    "rambit-interpolate": attributed(RaMbIT, masks=BLOCKS, num_samples=1, window_size=2, counterfactuals="interpolate"),
    "rambit-fresh": attributed(RaMbIT, share_draws=False, **SMALL),
    **{
        f"rambit-groups-{anchor}-{mode}": attributed(RaMbIT, anchor=anchor, evaluation=mode, groups=GROUPS, **SMALL)
        for anchor, mode in (("cell", "prefix"), ("mask", "causal"), ("end", "stateful"))
    },
    "winit": attributed(WinIT, window_size=3, num_samples=1, background=X),
    "winit-gru": attributed(WinIT, gru, window_size=3, num_samples=1, background=X, output="logits"),
    "biwinit": attributed(BiWinIT, window_size=2, height=2, num_samples=1, background=X),
    "afo": attributed(AFO, num_samples=1, background=X),
    "occlusion": attributed(Occlusion),
    "shapley": attributed(ExactShapley, players="features", distance="abs"),
    "banzhaf": attributed(Banzhaf, players="features", distance="abs", num_masks=8),
    "rambit-incremental": attributed(RaMbIT, conv, **WINDOWED, **SMALL),
    "rambit-incremental-gaps": attributed(RaMbIT, pooled, **WINDOWED, masks=BLOCKS, counterfactuals="interpolate"),
    "occlusion-incremental": attributed(Occlusion, conv, evaluation="incremental", batch_size=4),
    "coalitions": coalitions,
    "boxes": boxes,
    "documents": documents,
}
#: Their arithmetic depends on the batch: they agree up to rounding.
ROUNDED = {name for name in RUNS if "gru" in name or "incremental" in name or name == "documents"}

# -- where memory runs out --------------------------------------------------------------------------------------------


#: How many rows the piece has that is being worked on, if any is.
UNDER_WAY: list[int] = []


class Fails:
    """Counts calls; the one with number ``at`` finds no memory. ``rows``: of the piece that was under way."""

    def __init__(self, at=None):
        self.calls, self.at, self.rows = 0, at, 0
        self.error = RuntimeError(WORDS)

    def check(self):
        self.calls += 1
        if self.calls == self.at:
            self.rows = UNDER_WAY[-1] if UNDER_WAY else 0
            raise self.error

    def wrap(self, function, *, late=False):
        """``late``: it fails when all is done."""

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            if not late:
                self.check()
            found = function(*args, **kwargs)
            if late:
                self.check()
            return found

        return wrapped


@pytest.fixture(autouse=True)
def pieces_under_way(monkeypatch):
    """Keep ``UNDER_WAY``."""
    enter, leave = Piece.__enter__, Piece.__exit__

    def entered(self):
        UNDER_WAY.append(len(self))
        return enter(self)

    def left(self, *error):
        UNDER_WAY.pop()
        return leave(self, *error)

    monkeypatch.setattr(Piece, "__enter__", entered)
    monkeypatch.setattr(Piece, "__exit__", left)


def calls_of(*functions, late=False):
    """A context in which these functions, given as (owner, name), fail."""

    @contextmanager
    def context(fails):
        with ExitStack() as stack:
            for owner, name in functions:
                stack.enter_context(mock.patch.object(owner, name, fails.wrap(getattr(owner, name), late=late)))
            yield

    return context


PLACES = {
    "predictor": calls_of(  # late: it may have written over the state that it was given
        *itertools.product((Predictor,), ("whole", "steps", "advance")),
        *itertools.product((Walk, StepsWalk), ("step", "outputs")),
        (Prepared, "evaluate"),
        late=True,
    ),
    "batch": calls_of(*((ops, name) for name in ("masked_batch", "boxed_batch", "distance"))),
    "allocator": calls_of((memory, "empty")),
    "check": calls_of((Runner, "check")),
}


class Scarce(TorchDispatchMode):
    """Memory that torch's own ops find missing. ``sites``: which lines were under way at each that takes memory."""

    def __init__(self, fails):
        super().__init__()
        self.fails, self.sites = fails, []

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        if takes_memory(op):
            if self.fails.at is None:
                self.sites.append(lines_under_way())
            self.fails.check()
        return op(*args, **(kwargs or {}))


@functools.cache
def takes_memory(op):
    """Whether an op makes a tensor, or sorts indices on the way."""
    makes = any(str(result.type).startswith("Tensor") and result.alias_info is None for result in op._schema.returns)
    return op.namespace == "aten" and (makes or op is torch.ops.aten.index_put_.default)


def lines_under_way():
    """The package's lines in the order of the calls, innermost first, and before them the line that calls torch."""
    frame, lines = sys._getframe(2), []
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PACKAGE) or (not lines and not name.startswith(TORCH)):
            lines.append((name, frame.f_lineno))
        frame = frame.f_back
    return tuple(lines)


def one_for_each_site(sites):
    """The middle one of the ops that were reached by the same lines."""
    numbers = defaultdict(list)
    for number, lines in enumerate(sites, start=1):
        numbers[lines].append(number)
    return sorted(at[len(at) // 2] for at in numbers.values())


# -- what must hold ---------------------------------------------------------------------------------------------------


def same(name, found, expected):
    if name in ROUNDED:
        torch.testing.assert_close(found, expected)
    else:
        assert torch.equal(found, expected)


def counted(name, context):
    """The answer without a failure, how many calls there are that could fail, and what the context gives."""
    RUNS[name]()[1]()  # so that what is made only once is there
    fails, (_, evaluate) = Fails(), RUNS[name]()
    with context(fails) as given:
        expected = evaluate()
    return expected, fails.calls, given


def survives(evaluate, name, context, at, expected):
    """Whether a run with one failure gave the answer all the same."""
    fails = Fails(at)
    try:
        with context(fails):
            found = evaluate()
    except RuntimeError as error:
        if error is not fails.error or fails.rows > 1:
            raise
        return False
    assert fails.rows > 1, f"call {at}"
    same(name, found, expected)
    return True


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", RUNS)
def test_at_each_call(name, place):
    if name == "documents" and place != "predictor":
        pytest.skip("documents have no batches that the engine builds")
    expected, calls, _ = counted(name, PLACES[place])
    survived = [survives(RUNS[name]()[1], name, PLACES[place], at, expected) for at in range(1, calls + 1)]
    assert any(survived)


def check_ops(name, chosen):
    """Fail at the ops that ``chosen`` picks from those of a run. Then, with memory, everything is as it was."""
    expected, _, mode = counted(name, Scarce)
    outcomes = set()
    for at in chosen(mode.sites):
        model, evaluate = RUNS[name]()
        training = [module.training for module in model.modules()]
        outcomes.add(survives(evaluate, name, Scarce, at, expected))
        assert [module.training for module in model.modules()] == training
        same(name, evaluate(), expected)
    assert True in outcomes


@pytest.mark.parametrize("name", RUNS)
def test_at_some_ops_that_allocate(name):
    check_ops(name, lambda sites: one_for_each_site(sites)[:: 1 + len(set(sites)) // 8])


#: Of these a slow test fails at each op, which is more than at each line.
AT_EACH_OP = ("boxes", "coalitions", "rambit-mask-gru")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RUNS if name not in AT_EACH_OP])
def test_at_each_line_that_allocates(name):
    check_ops(name, one_for_each_site)


@pytest.mark.slow
@pytest.mark.parametrize("name", AT_EACH_OP)
def test_at_each_op_that_allocates(name):
    check_ops(name, lambda sites: range(1, len(sites) + 1))


class Buffers(TorchDispatchMode):
    """Who makes uninitialised or constant tensors of more than a few numbers: file and line of the package."""

    MAKERS = ("empty", "new_empty", "zeros", "new_zeros", "ones", "new_ones", "full", "new_full")

    def __init__(self):
        super().__init__()
        self.makers = set()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        found = op(*args, **(kwargs or {}))
        if op.namespace == "aten" and op._opname in self.MAKERS and found.numel() > 16:
            self.makers.add(lines_under_way()[0])
        return found


@pytest.mark.parametrize("name", RUNS)
def test_the_engine_allocates_in_one_place(name):
    _, evaluate = RUNS[name]()
    with Buffers() as buffers:
        evaluate()
    engine = [str(Path(PACKAGE) / part) for part in ("game", "predictors")]
    assert not {maker for maker in buffers.makers if maker[0].startswith(tuple(engine))}


@pytest.mark.parametrize("anchor", ["cell", "mask"])
@pytest.mark.parametrize("context", [PLACES["predictor"], PLACES["allocator"], Scarce])
def test_a_run_that_stopped_for_lack_of_memory_goes_on_from_its_store(context, anchor, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(Game, "_group_size", lambda *_: 1)
    options = {**SMALL, "num_samples": 2, "model_id": "module"}
    method = RaMbIT(Module(), anchor=anchor, output="regression", batch_size=1, **options)
    method.attribute(X)  # so that what is made and asked only once has been
    counted = Fails()
    with context(counted):
        expected = method.explain(X, checkpoint=tmp_path / "whole")
    rows = []
    for at in np.linspace(1, counted.calls, 6).astype(int).tolist():
        fails, folder = Fails(at), tmp_path / str(at)
        with context(fails), pytest.raises(RuntimeError) as caught:
            method.explain(X, checkpoint=folder)
        assert caught.value is fails.error
        resumed = method.explain(X, checkpoint=folder)
        assert torch.equal(resumed.values, expected.values)
        assert torch.equal(resumed.stderr, expected.stderr)
        rows.append(resumed.rows)
    assert rows[0] == expected.rows > rows[-1]


def test_soft_masks_say_it_plainly():
    sample = TensorSample(X, torch.arange(2))
    game = Game(Predictor.of(Module(), output="regression"), sample, Zero(), evaluation="full")
    game.runner.begin()
    with PLACES["predictor"](Fails(1)), pytest.raises(RuntimeError, match="allocate memory"):
        list(game.evaluate(Soft(torch.ones(3, 18))))
