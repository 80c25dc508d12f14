"""What every attributor promises, as checks that can be run on yours: ``check_attributor``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rambit.attribution.attributor import Attributor
from rambit.results import Attribution

Make = Callable[..., Attributor]


class Decay(nn.Module):
    """A causal model with a state: probabilities (N, 2) of x (N, D, w), each row by arithmetic of its own.

    Its weights are float64; ``rows`` counts what it was called with.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        weight = torch.randn(features, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        self.weight, self.drop, self.rows = nn.Parameter(weight), nn.Dropout(0.5), 0

    def advance(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Outputs (N, 2, w) along x, and the state (N, 1) after it."""
        total = x.new_zeros(len(x), 1) if state is None else state
        outputs = []
        for step in self.drop(x).unbind(2):
            for feature, weight in zip(step.unbind(1), self.weight, strict=True):
                total = total + (weight * feature)[:, None]
            total = 0.9 * total
            share = 0.5 + 0.5 * total / (1 + total.abs())
            outputs.append(torch.cat((1 - share, share), dim=1))
        return torch.stack(outputs, dim=2), total

    def forward(self, x: Tensor, return_all: bool = False) -> Tensor:
        """Outputs (N, 2) at the last step, or (N, 2, w) at all."""
        self.rows += len(x)
        outputs = self.advance(x, None)[0]
        return outputs if return_all else outputs[:, :, -1]


@dataclass
class Case:
    """What a check gets: how attributors are made, a model and series (B, D, T) for them."""

    make: Make
    model: nn.Module
    X: Tensor

    def method(self, model: Any = None, **options: Any) -> Attributor:
        """An attributor of the model, or of another."""
        return self.make(self.model if model is None else model, **{"output": "probs", **options})

    def observed(self) -> Tensor:
        """About three of four cells."""
        return torch.rand(self.X.shape, generator=torch.Generator().manual_seed(2)) < 0.75


def check_attributor(make: Make, *, model: nn.Module | None = None, X: Tensor | None = None) -> None:
    """Raise AssertionError where the attributors of ``make(model, **options)`` break what all of them promise.

    ``make`` passes the options on (layout, batch_size, output) and sets what the method needs besides. What does not
    apply to a method, an option or missing values, may be refused with ValueError or TypeError; then it is not checked.
    ``model`` returns probabilities (N, C) of ``X`` (B, D, T), at least three series of three steps; default: one that
    every method here can explain. The global generator is as before afterwards.
    """
    if X is None:
        X = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if len(X) < 3 or X.shape[2] < 3:
        raise ValueError(f"X must have at least 3 series of 3 steps, got {tuple(X.shape)}")
    case = Case(make, Decay(X.shape[1]) if model is None else model, X)
    with torch.random.fork_rng():
        for check in CHECKS:
            check(case)


def scores_are_like_the_series(case: Case) -> None:
    """A score for every cell, in X's shape, type and place; the same from ``attribute`` and ``explain``."""
    method = case.method()
    scores, result = method.attribute(case.X), method.explain(case.X)
    assert (scores.shape, scores.dtype, scores.device) == (case.X.shape, case.X.dtype, case.X.device), "scores like X"
    assert torch.equal(result.values, scores), "explain() and attribute() differ"
    assert bool(torch.isfinite(scores).all()), "scores must be finite"
    assert float(scores.abs().max()) > 0, "every score is 0"
    narrow = case.method(case.model).attribute(case.X.float())
    assert narrow.dtype == torch.float32, "scores of float32 series are float32"


def layouts_agree(case: Case) -> None:
    """A model that reads (B, T, D) is explained like one that reads (B, D, T)."""
    walks = "return_all" in signature(case.model.forward).parameters
    turned = (_TurnedInTime if walks else _Turned)(case.model)
    found = case.method(turned, layout="BTD").attribute(case.X.transpose(1, 2).contiguous())
    torch.testing.assert_close(found.transpose(1, 2), case.method().attribute(case.X), msg="layout='BTD' differs")


def missing_cells_have_no_score(case: Case) -> None:
    """They score 0, the result says that they were not evaluated, and their values do not matter."""
    seen = case.observed()
    try:
        result = case.method().explain(case.X, observed=seen)
    except (TypeError, ValueError):
        return
    assert result.evaluated is not None and not bool(result.evaluated[~seen].any()), "missing, but evaluated"  # noqa: PT018
    assert bool((result.values[~seen] == 0).all()), "a missing cell has a score"
    assert float(result.values[seen].abs().max()) > 0, "every score is 0 where values are missing"


def padding_does_not_matter(case: Case) -> None:
    """Beyond a series' length scores are 0, whatever stands there; before it they are those of the series cut."""
    T = case.X.shape[2]
    lengths = [T, T - 2] + [T] * (len(case.X) - 2)
    padded = case.X.clone()
    padded[1, :, T - 2 :] = torch.nan
    found = case.method().attribute(padded, lengths=lengths)
    assert bool((found[1, :, T - 2 :] == 0).all()), "padding has a score"
    alone = case.method().attribute(case.X[1:2, :, : T - 2], ids=[1])
    torch.testing.assert_close(found[1:2, :, : T - 2], alone, msg="a padded series differs from the series cut")


def ids_key_the_draws(case: Case) -> None:
    """A series alone, with its id, scores as in its batch."""
    whole, alone = case.method().attribute(case.X), case.method().attribute(case.X[2:3], ids=[2])
    torch.testing.assert_close(whole[2:3], alone, msg="a series alone, with its id, scores otherwise than in its batch")


def cost_is_what_is_evaluated(case: Case) -> None:
    """``cost`` evaluates nothing, and says how many rows ``explain`` evaluates, or at most, if it says so."""
    method = case.method()
    before = getattr(case.model, "rows", 0)
    cost = method.cost(case.X)
    assert getattr(case.model, "rows", 0) == before, "cost() evaluated the model"
    result = method.explain(case.X)
    if "at most" in cost.mode:
        assert cost.rows >= result.rows and cost.row_steps >= result.row_steps, "cost() is less than was evaluated"  # noqa: PT018
        cost = method.cost(case.X)
    assert (cost.rows, cost.row_steps) == (result.rows, result.row_steps), "cost() is not what explain() evaluated"


def bits_do_not_depend_on_the_way(case: Case) -> None:
    """The same bits for other batches and threads, and when evaluated again."""
    expected = case.method().attribute(case.X)
    assert torch.equal(case.method().attribute(case.X), expected), "a second call differs"
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        assert torch.equal(case.method().attribute(case.X), expected), "another number of threads differs"
    finally:
        torch.set_num_threads(threads)
    for size in (1, 3):
        try:
            method = case.method(batch_size=size)
        except (TypeError, ValueError):
            return
        assert torch.equal(method.attribute(case.X), expected), f"batch_size={size} differs"


def nothing_else_changes(case: Case) -> None:
    """Series, weights, training flags and the global generator stay as they were."""
    kept, weights = case.X.clone(), {name: t.clone() for name, t in case.model.state_dict().items()}
    case.model.train()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    case.method().attribute(case.X)
    assert torch.equal(torch.get_rng_state(), before), "the global random state changed"
    assert torch.equal(case.X, kept), "X changed"
    assert all(torch.equal(t, weights[name]) for name, t in case.model.state_dict().items()), "weights changed"
    assert all(module.training for module in case.model.modules()), "training flags changed"


def results_are_saved(case: Case) -> None:
    """A result comes back from its file as it was."""
    result = case.method().explain(case.X)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.safetensors"
        result.save(path)
        found = Attribution.load(path)
    assert torch.equal(found.values, result.values.cpu()), "values differ after loading"
    assert (found.rows, found.seed, found.settings) == (result.rows, result.seed, result.settings), "a record differs"
    assert (found.stderr is None) == (result.stderr is None), "the standard error was lost"


def what_is_explained_is_kept(case: Case) -> None:
    """A result holds the series as they were given and the model's outputs for them, unless that is turned off."""
    method = case.method()
    lengths = [case.X.shape[2]] * (len(case.X) - 1) + [case.X.shape[2] - 1]
    result = method.explain(case.X, lengths=lengths, labels={"series": [f"<{i}>" for i in range(len(case.X))]})
    assert result.X is not None and torch.equal(result.X[:-1].cpu(), case.X[:-1].cpu()), "the series differ"  # noqa: PT018
    assert result.labels.series is not None and result.labels.series[0] == "<0>", "labels were lost"  # noqa: PT018
    with method.predictor.session():
        whole = [method.predictor.whole(x[None, :, :end])[0, :, 0] for x, end in zip(case.X, lengths, strict=True)]
    torch.testing.assert_close(result.outputs, torch.stack(whole), msg="the outputs are not those of the series")
    assert method.explain(case.X, keep_input=False).X is None, "keep_input=False is of no effect"


class _Turned(nn.Module):
    """A model of (N, D, w) as one of (N, w, D)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        return self.model(x.transpose(1, 2))


class _TurnedInTime(_Turned):
    """The same of a model that has a state."""

    def advance(self, x: Tensor, state: Any) -> Any:
        return self.model.advance(x.transpose(1, 2), state)  # type: ignore[operator]

    def forward(self, x: Tensor, return_all: bool = False) -> Any:
        return self.model(x.transpose(1, 2), return_all=return_all)


CHECKS: tuple[Callable[[Case], None], ...] = (
    scores_are_like_the_series,
    layouts_agree,
    missing_cells_have_no_score,
    padding_does_not_matter,
    ids_key_the_draws,
    cost_is_what_is_evaluated,
    bits_do_not_depend_on_the_way,
    nothing_else_changes,
    results_are_saved,
    what_is_explained_is_kept,
)
