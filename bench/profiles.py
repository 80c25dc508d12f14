"""Where each capability's time goes, as a markdown table: ``make profile``.

torch's profiler times every torch and rambit op; what is called within the model counts as the model.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from unittest.mock import patch

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler announces itself otherwise

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from bench.machine import machine
from bench.test_rambit import Opaque
from bench.test_rex import Planted, planted
from bench.test_selection import Pooled
from bench.timing import around_model, best
from rambit import RaMbIT
from rambit._plan import FlipPlan
from rambit.attribution import FO, WinIT
from rambit.masks import Block
from rambit.models import GRUClassifier
from rambit.rex import ReX
from rambit.selection import InfluenceFramework, ModelAgnosticWrapper
from rambit.sufficiency import explain

PARTS = ("model", "building rows", "other rambit ops", "other torch", "Python and the rest")
BUILDING = ("rambit::masked_batch", "rambit::boxed_batch")
Work = Callable[[], object]


class MarkedPlan(FlipPlan):
    """A row plan whose chunks the profiler sees."""

    def next(self, batch):
        with record_function("rambit::plan"):
            return super().next(batch)


class Marked(nn.Module):
    """A model that the profiler sees where no predictor stands before it."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        with record_function("model"):
            return self.inner(x)


def rambit(anchor: str, *, opaque: bool = False) -> Work:
    model, X = GRUClassifier(6, hidden_size=200).eval(), torch.randn(8, 6, 40)
    masks, draws = Block().sample(2 if opaque else 10, 6, 40, seed=0).masks, torch.randn(2, 8, 6, 40)
    method = RaMbIT(Opaque(model) if opaque else model, anchor=anchor)
    return lambda: method.explain(X, masks=masks, counterfactuals=draws)


def winit() -> Work:
    model, X = GRUClassifier(3, hidden_size=200).eval(), torch.randn(4, 3, 80)
    method = WinIT(model, background=X)
    return lambda: method.explain(X)


def feature_occlusion() -> Work:
    model, X = GRUClassifier(6, hidden_size=64).eval(), torch.randn(16, 6, 40)
    method = FO(model, anchor="end", counterfactuals="zero", distance="diff", num_samples=1)
    return lambda: method.explain(X)


def rex() -> Work:
    x, roi = planted(224)
    explainer = ReX(Planted(roi), seed=0)
    return lambda: explainer.explain(x)


def selection() -> Work:
    wrapper = ModelAgnosticWrapper(Marked(Pooled()), InfluenceFramework(4, k=20, task_loss_fn=nn.CrossEntropyLoss()))
    optimiser = torch.optim.Adam(wrapper.parameters())
    x, targets = torch.randn(32, 200, 4), torch.randint(3, (32,))
    return lambda: wrapper.train_step(x, targets, optimiser)


def sufficiency() -> Work:
    model, X = GRUClassifier(6, hidden_size=32, num_classes=2).eval(), torch.randn(8, 6, 100)
    return lambda: explain(model, X, search="flat_harr")


CASES: dict[str, Callable[[], Work]] = {
    "RaMbIT, anchor mask, GRU-200, stateful": lambda: rambit("mask"),
    "RaMbIT, anchor cell, GRU-200, stateful": lambda: rambit("cell"),
    "RaMbIT, anchor mask, opaque GRU-200": lambda: rambit("mask", opaque=True),
    "WinIT, GRU-200": winit,
    "FO at the last step, GRU-64, 16 series of 240 cells": feature_occlusion,
    "ReX, 224², a model that costs next to nothing": rex,
    "selection, one training step, GRU-16, 32 series of 200 steps": selection,
    "sufficiency, flat_harr, GRU-32, 8 series of 600 cells": sufficiency,
}


def part_of(name: str) -> str:
    """Which part an op that nothing else called belongs to."""
    if name == "model":
        return "model"
    if name in BUILDING:
        return "building rows"
    return "other rambit ops" if name.startswith("rambit::") else "other torch"


def shares(work: Work) -> tuple[dict[str, float], float]:
    """The share of each part in the time of one run under the profiler, and that time in seconds."""
    with (
        patch("rambit.game.flips.FlipPlan", MarkedPlan),
        around_model(lambda: record_function("model")),
        profile(activities=[ProfilerActivity.CPU], acc_events=True) as found,
    ):
        seconds = best(work, rounds=1)
    spent = Counter[str]()
    for event in found.events():
        if event.cpu_parent is None:
            spent[part_of(event.name)] += event.time_range.elapsed_us() / 1e6
    spent["Python and the rest"] = seconds - spent.total()
    return {part: spent[part] / seconds for part in PARTS}, seconds


def main() -> None:
    threads = torch.get_num_threads()
    print(f"{machine()}, torch {torch.__version__}, {threads} thread{'s' * (threads > 1)}\n")
    print("|", " | ".join(("case", "seconds", *PARTS, "under the profiler")), "|")
    print("|---" + "|--:" * (len(PARTS) + 2) + "|")
    for name, make in CASES.items():
        torch.manual_seed(0)
        work = make()
        work()
        seconds = best(work, rounds=3)
        found, profiled = shares(work)
        cells = (f"{100 * found[part]:.0f} %" for part in PARTS)
        print("|", " | ".join((name, f"{seconds:.3f}", *cells, f"{profiled / seconds:.2f} ×")), "|")


if __name__ == "__main__":
    main()
