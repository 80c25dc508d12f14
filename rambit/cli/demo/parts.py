"""What the two parts of the demo share: how much to do, and how to say it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from rambit import Attribution
from rambit.cli import common
from rambit.datasets import Dataset
from rambit.models import Classifier
from rambit.training import save_checkpoint

WIDTH = 110


@dataclass(frozen=True)
class Size:
    """How much work the demo does."""

    motion_epochs: int
    motion_series: int  # of the 40 test series
    masks: int
    draws: int
    spike_epochs: int
    spike_series: int  # how many are made; the last fifth is explained


FULL = Size(motion_epochs=120, motion_series=40, masks=10, draws=2, spike_epochs=10, spike_series=1000)
FAST = Size(motion_epochs=25, motion_series=8, masks=4, draws=1, spike_epochs=25, spike_series=400)


@dataclass(frozen=True)
class Job:
    """Where files go, how much to do, and whether to draw figures and progress bars."""

    out: Path
    size: Size
    figures: bool
    bars: bool
    place: common.Place

    def file(self, name: str, *beside: str) -> Path:
        """Where that file goes."""
        return self.place(self.out / name, *(self.out / other for other in beside))


def save_model(path: Path, model: Classifier, train: Dataset) -> None:
    """A checkpoint as `rambit train` writes it."""
    names = {"class_names": list(train.class_names), "feature_names": list(train.feature_names)}
    save_checkpoint(path, model, {"data": train.name, **names})


@contextmanager
def one_thread() -> Iterator[None]:
    """Small models gain little from more threads, and lose much where other work keeps them waiting for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def evaluated(result: Attribution) -> str:
    """How much the model was evaluated, in words."""
    return f"{result.rows:,} evaluations of the model in {result.seconds:.1f} s on one core"


def entry(name: str, text: str) -> str:
    """A named paragraph."""
    return textwrap.fill(text, WIDTH, initial_indent=f"  {name:<9}  ", subsequent_indent=" " * 13)


def row(name: str, values: Sequence[str]) -> str:
    """A line of a small table."""
    return f"{'':15}{name:<14}" + "".join(f"{value:>7}" for value in values)


def numbers(values: torch.Tensor) -> list[str]:
    """Probabilities with two digits."""
    return [f"{value:.2f}" for value in values.tolist()]
