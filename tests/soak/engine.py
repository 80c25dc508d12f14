"""How cases are drawn, run and counted.

A case is a function of a `Draw` under `@case()`, in the file of its topic. It draws its arguments, calls the package
through `draw.call`, and compares with a slow twin through `draw.close` or `draw.equal`:

    @case()
    def entropy(draw):
        scores = draw.normal(draw.whole(1, 4), 2, 5)
        found = draw.call(metrics.entropy, scores, scores > 0)
        draw.close(found, naive.entropy(...))

It is the same case whenever its seed is the same: all that is random comes from the draw.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import re
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.random_state import numpy_state

#: Case r of a run with seed N has the seed N * PER_RUN + r.
PER_RUN = 1_000_000
#: Mismatches of one case, and errors, that are told in full, and that are named: the summary counts the others.
TOLD, NAMED = 2, 5
#: What two ways to the same number may differ by, (relative, absolute): they round differently, nothing more.
TOLERANCE = {torch.float32: (1e-3, 2e-5), torch.float64: (1e-6, 1e-9)}


class Mismatch(AssertionError):
    """The package says something else than the twin."""


class Refused(Exception):
    """The call was refused, as it should be: there is nothing to compare."""


class Draw:
    """The random choices of one case, and what is found out about them."""

    def __init__(self, name: str, seed: int, folder: Path) -> None:
        self.rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        self.seed = int(self.rng.integers(2**31))
        self.generator = torch.Generator().manual_seed(self.seed)
        self.folder = folder
        self.notes: dict[str, Any] = {}
        self.calls, self.seconds, self.worst = 0, 0.0, 0.0

    # -- choices --------------------------------------------------------------------------------------------------

    def whole(self, low: int, high: int) -> int:
        """An integer, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def number(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, p: float = 0.5) -> bool:
        return bool(self.rng.random() < p)

    def of(self, *options: Any) -> Any:
        return options[self.whole(0, len(options) - 1)]

    def note(self, **notes: Any) -> dict[str, Any]:
        """Notes what was chosen, for the report of a failure; returns it."""
        self.notes.update(notes)
        return notes

    def options(self, **choices: tuple[Any, ...]) -> dict[str, Any]:
        """One of the values of each, noted."""
        return self.note(**{name: self.of(*values) for name, values in choices.items()})

    def some(self, p: float, **choices: tuple[Any, ...]) -> dict[str, Any]:
        """As `options`, but each only with chance p: what is left out keeps its default."""
        return self.options(**{name: values for name, values in choices.items() if self.chance(p)})

    def normal(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=dtype)

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.rand(shape, generator=self.generator, dtype=dtype)

    def bools(self, *shape: int, p: float = 0.5) -> Tensor:
        return torch.rand(shape, generator=self.generator) < p

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """int64, both ends included."""
        return torch.randint(low, high + 1, shape, generator=self.generator)

    def placed(self, values: Tensor) -> Tensor:
        """The same values anywhere in memory: in another order of the axes, with gaps, or as they are."""
        if values.ndim == 0 or self.chance():
            return values
        order = self.rng.permutation(values.ndim).tolist()
        step = self.of(1, 2)
        buffer = torch.zeros([step * values.shape[i] + 1 for i in order], dtype=values.dtype)
        view = buffer[tuple(slice(1, 1 + step * values.shape[i], step) for i in order)]
        view = view.permute([order.index(i) for i in range(values.ndim)])
        return view.copy_(values)

    # -- verdicts -------------------------------------------------------------------------------------------------

    def call(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        refused: str | None = None,
        pure: bool = True,
        **options: Any,
    ) -> Any:
        """What the package returns, timed.

        refused: a pattern of the ValueError or TypeError that must come instead; the case ends there. pure: the call
        changes neither its arguments nor a global generator.
        """
        given = [value for value in (*arguments, *options.values()) if isinstance(value, Tensor)] if pure else []
        before = [value.clone() for value in given]
        states = _random_state() if pure else None
        start = time.perf_counter()
        try:
            output = function(*arguments, **options)
        except (ValueError, TypeError) as error:
            if refused is not None and re.search(refused, str(error)):
                raise Refused from error
            raise
        finally:
            self.seconds += time.perf_counter() - start
            self.calls += 1
        if refused is not None:
            raise Mismatch(f"{_name(function)} takes what it should refuse with {refused!r}")
        if any(not _same_bits(a, b) for a, b in zip(given, before, strict=True)):
            raise Mismatch(f"{_name(function)} changes its arguments")
        if states != (_random_state() if pure else None):
            raise Mismatch(f"{_name(function)} draws from a global generator")
        return output

    def close(
        self, found: Any, expected: Any, rtol: float = 1e-6, atol: float = 1e-9, *, what: str = "the values"
    ) -> None:
        """Mismatch unless |found - expected| <= atol + rtol |expected| everywhere; NaN is only equal to NaN."""
        a, b = _array(found), _array(expected)
        if a.shape != b.shape:
            raise Mismatch(f"{what} have the shape {a.shape}, the twin's {b.shape}")
        with np.errstate(invalid="ignore", divide="ignore"):
            off = np.abs(a - b) / (atol + rtol * np.abs(b))
        off = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.where(np.isnan(off), np.inf, off))
        worst = float(off.max(initial=0.0))
        self.worst = max(self.worst, worst)
        if worst > 1:
            place = np.unravel_index(int(off.argmax()), off.shape)
            raise Mismatch(
                f"{what} differ in {int((off > 1).sum())} of {off.size} places, most at {tuple(map(int, place))}: "
                f"{a[place]!r}, the twin {b[place]!r} ({worst:.3g} tolerances)"
            )

    def equal(self, found: Any, expected: Any, *, what: str = "the output") -> None:
        """Mismatch unless both are the same, type and all."""
        if isinstance(found, Tensor) and isinstance(expected, Tensor):
            if not _same_bits(found, expected):
                raise Mismatch(f"{what} is {found}, the twin's {expected}")
        elif type(found) is not type(expected) or found != expected:
            raise Mismatch(f"{what} is {found!r}, the twin's {expected!r}")

    def true(self, holds: Any, what: str) -> None:
        if not bool(holds):
            raise Mismatch(f"it is not true that {what}")


def _random_state() -> tuple[bytes, object]:
    return torch.get_rng_state().numpy().tobytes(), numpy_state()


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape or a.device != b.device:
        return False
    return _bytes(a) == _bytes(b)


def _bytes(tensor: Tensor) -> bytes:
    dense = tensor.detach().cpu().reshape(-1).clone()
    return dense.as_strided((len(dense),), (1,)).view(torch.uint8).numpy().tobytes()


def _array(values: Any) -> np.ndarray[Any, Any]:
    return values.detach().cpu().double().numpy() if isinstance(values, Tensor) else np.array(values, dtype=np.float64)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


def either(*patterns: str | None) -> str | None:
    """A pattern of what a call is refused with for any of these reasons; None for no reason."""
    return "|".join(pattern for pattern in patterns if pattern) or None


# -- the registry -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    name: str
    run: Callable[[Draw], None]
    weight: int


CASES: dict[str, Case] = {}


def case(*, weight: int = 1) -> Callable[[Callable[[Draw], None]], Callable[[Draw], None]]:
    """Registers a function as the case "file.function"; weight: how often it comes in a round."""

    def register(function: Callable[[Draw], None]) -> Callable[[Draw], None]:
        name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        CASES[name] = Case(name, function, weight)
        return function

    return register


def topics() -> list[Any]:
    """The modules that hold cases, imported."""
    package = importlib.import_module("tests.soak.cases")
    names = [found.name for found in pkgutil.iter_modules(package.__path__)]
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]


# -- running ----------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What was found about one case so far. ``seconds`` are the package's own, ``whole`` the twin's as well."""

    cases: int = 0
    calls: int = 0
    refused: int = 0
    seconds: float = 0.0
    whole: float = 0.0
    worst: float = 0.0
    mismatches: list[int] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return len(self.mismatches) + len(self.errors)


def run(one: Case, seed: int, tally: Tally, say: Callable[[str], None]) -> None:
    """One case with one seed, added to its tally; a failure is told."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, _alone(seed):
        draw = Draw(one.name, seed, Path(folder))
        failure, of_its_kind = None, tally.errors
        try:
            one.run(draw)
        except Refused:
            tally.refused += 1
        except Mismatch as mismatch:
            failure, of_its_kind = f"MISMATCH {one.name}: {mismatch}", tally.mismatches
        except Exception as error:
            failure = f"ERROR {one.name}: {type(error).__name__}: {error}\n{_where(error)}"
    tally.cases += 1
    tally.calls += draw.calls
    tally.seconds += draw.seconds
    tally.whole += time.perf_counter() - start
    if failure is None:
        tally.worst = max(tally.worst, draw.worst)
        return
    of_its_kind.append(seed)
    if len(of_its_kind) <= TOLD:
        say(failure)
        say("    " + ", ".join(f"{name}={_short(value)}" for name, value in draw.notes.items()))
    if len(of_its_kind) <= NAMED:
        say(f"    again: python -m tests.soak --only {one.name} --case {seed}")


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """What a case does to global generators and to the list of warnings ends with it. A UserWarning is said to users
    about what they gave; any other warning is a fault."""
    state = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def _where(error: BaseException) -> str:
    return "".join(traceback.format_tb(error.__traceback__)[-4:]).rstrip("\n")


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def chosen(only: list[str]) -> list[Case]:
    """The cases whose names begin with one of these, all for none. ValueError for a beginning that no name has."""
    topics()
    for name in only:
        if not any(known.startswith(name) for known in CASES):
            raise ValueError(f"no case begins with {name!r}; there are {', '.join(CASES)}")
    return [one for one in CASES.values() if not only or any(one.name.startswith(name) for name in only)]


def soak(
    seed: int,
    *,
    seconds: float | None = None,
    cases: int | None = None,
    only: list[str] | None = None,
    verbose: bool = False,
    say: Callable[[str], None] = lambda line: print(line, flush=True),
) -> dict[str, Tally]:
    """Rounds of all cases until a time or a number of cases is reached; one round if neither is given."""
    selected = chosen(only or [])
    tallies = {one.name: Tally() for one in selected}
    begin = time.perf_counter()
    rounds = itertools.count() if seconds is not None or cases is not None else range(1)
    done = 0
    for number in rounds:
        for one in selected:
            for k in range(one.weight):
                if seconds is not None and time.perf_counter() - begin > seconds:
                    return tallies
                if cases is not None and done >= cases:
                    return tallies
                own = seed * PER_RUN + number * one.weight + k
                if verbose:
                    say(f"{one.name} --case {own}")
                run(one, own, tallies[one.name], say)
                done += 1
    return tallies


def table(tallies: dict[str, Tally]) -> str:
    """The summary: a line a case, and one of all. ``worst`` is the largest difference, in units of the tolerance."""
    head = ("case", "cases", "calls", "refused", "seconds", "with twins", "worst", "mismatches", "errors")
    rows = [head, *(_row(name, tally) for name, tally in tallies.items()), _row("all", total(tallies))]
    width = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(v.ljust(w) if i == 0 else v.rjust(w) for i, (v, w) in enumerate(zip(row, width, strict=True)))
        for row in rows
    )


def _row(name: str, t: Tally) -> tuple[str, ...]:
    counts = (t.cases, t.calls, t.refused, f"{t.seconds:.1f}", f"{t.whole:.1f}", f"{t.worst:.2g}")
    return tuple(map(str, (name, *counts, len(t.mismatches), len(t.errors))))


def total(tallies: dict[str, Tally]) -> Tally:
    """All of them as one."""
    found = Tally()
    for tally in tallies.values():
        for name in ("cases", "calls", "refused", "seconds", "whole", "mismatches", "errors"):
            setattr(found, name, getattr(found, name) + getattr(tally, name))
        found.worst = max(found.worst, tally.worst)
    return found


def failed(tallies: dict[str, Tally]) -> bool:
    return any(tally.failed for tally in tallies.values())
