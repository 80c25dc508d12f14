"""The prices by which ``evaluation="auto"`` chooses, measured: ``python -m bench.mode_costs [cpu|cuda]``.

Runs flips in both modes of recurrent models of several sizes, fits the prices of ``rambit.game.work`` to the seconds,
and prints them, and how much longer than the faster mode the chosen one took.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls
from torch import nn

from bench.timing import best
from rambit import ops
from rambit.counterfactuals import Zero
from rambit.game import Evaluation, Flips, FlipScores, Game, TensorSample, modes, work
from rambit.masks import Block, Whole
from rambit.predictors import Predictor, Recurrent

#: Anchor, masks, series, features, steps.
SETTINGS = [
    ("end", 1, 1, 3, 60),
    ("end", 1, 8, 6, 60),
    ("end", 20, 2, 4, 40),
    ("mask", 1, 4, 4, 60),
    ("mask", 20, 4, 4, 40),
    ("cell", 1, 2, 4, 60),
    ("cell", 5, 8, 6, 40),
]


class Plain(nn.Module):
    """A user's own recurrent model, whose steps are calls of its module."""

    def __init__(self, rnn: nn.RNNBase) -> None:
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(rnn.hidden_size, 2)

    def advance(self, x, state):
        turned = state if state is None else tuple(s.transpose(0, 1).contiguous() for s in state)
        if turned is not None and not isinstance(self.rnn, nn.LSTM):
            turned = turned[0]
        hidden, after = self.rnn(x.transpose(1, 2), turned)
        parts = after if isinstance(after, tuple) else (after,)
        return self.head(hidden).transpose(1, 2), tuple(s.transpose(0, 1) for s in parts)

    def forward(self, x, return_all=False):
        outputs = self.head(self.rnn(x.transpose(1, 2))[0]).transpose(1, 2)
        return outputs if return_all else outputs[:, :, -1]


class Timed(NamedTuple):
    """A run in one mode: what it is said to do, for a model of so many weights, and the seconds that it took."""

    case: str
    mode: Evaluation
    way: work.Way
    weights: int
    work: work.Work
    seconds: float


def networks(D: int, sizes: list[tuple[int, int]]) -> Iterator[tuple[str, Predictor]]:
    """Recurrent models of (units, layers), by our own steps, and the smaller ones as a user's module too."""
    for kind, (H, layers), plain in product((nn.GRU, nn.LSTM, nn.RNN), sizes, (False, True)):
        if plain and (H > 64 or kind is nn.RNN):
            continue
        torch.manual_seed(0)
        rnn = kind(D, H, layers, batch_first=True).eval()
        name = f"{kind.__name__}-{H}x{layers}{', advance of its own' if plain else ''}"
        yield name, Predictor.of(Plain(rnn).eval()) if plain else Recurrent(rnn, nn.Linear(H, 2))


def measured(device: str, sizes: list[tuple[int, int]]) -> Iterator[Timed]:
    """Every setting in both of its modes."""
    for anchor, L, B, D, T in SETTINGS:
        masks = (Whole() if L == 1 and anchor != "mask" else Block()).sample(L, D, T, seed=0)
        question = Flips(replace(masks, masks=masks.masks.to(device)))
        for name, predictor in networks(D, sizes):
            predictor.module.to(device)
            sample = TensorSample(torch.randn(B, D, T, device=device), torch.arange(B, device=device))
            for mode in ("stateful", "full" if anchor == "end" else "causal"):
                options = {"anchor": anchor, "window_size": 3, "evaluation": mode}

                def run(predictor=predictor, sample=sample, options=options, question=question, dry=False):
                    game = Game(predictor, sample, Zero(), **options, dry=dry)
                    target = torch.zeros(1, len(sample), dtype=torch.int64, device=device)
                    shape = tuple(sample.x.shape)
                    game.reduce(question, FlipScores(shape, ops.Metric.PD, ops.Reduce.MEAN, "all", target, game.device))
                    return game

                seconds, game = best(run, rounds=3), run(dry=True)
                done, way, weights = modes.reckoned(game.runner, sample, game.flips(question), mode)
                yield Timed(f"{anchor} L={L} B={B} D={D} T={T} {name}", mode, way, weights, done, seconds)


def fitted(runs: list[Timed], ways: tuple[work.Way, ...]) -> dict[work.Way, work.Price]:
    """The prices that come nearest, in relative terms; a step of a walk is a call."""
    found = {}
    for way in ways:
        own = [run for run in runs if run.way == way]
        table = np.array(
            [
                (r.work.calls, r.work.steps * (way == "whole"), r.work.row_steps, r.work.row_steps * r.weights)
                for r in own
            ]
        )
        scale = table.max(axis=0).clip(min=1e-30)
        seconds = np.array([run.seconds for run in own])
        price, _ = nnls(table / scale / seconds[:, None], np.ones(len(own)))
        found[way] = work.Price(*(price / scale).tolist())
    return found


def regret(runs: list[Timed], prices: dict[work.Way, work.Price]) -> list[tuple[float, str, str]]:
    """How much longer than the faster mode the one that is cheaper by these prices took, the worst first."""
    cases = defaultdict(list)
    for run in runs:
        cases[run.case].append(run)
    found = []
    for case, both in cases.items():
        chosen = min(both, key=lambda run: run.work.seconds(prices[run.way], run.weights))
        found.append((chosen.seconds / min(run.seconds for run in both), case, chosen.mode))
    return sorted(found, reverse=True)


def main(device: str, sizes: list[tuple[int, int]]) -> None:
    """Print the fitted prices, and what choosing by them and by those in use costs."""
    runs = list(measured(device, sizes))
    prices = fitted(runs, ("whole", "own", "advance") if device == "cpu" else ("whole", "advance"))
    for way, price in prices.items():
        print(f'"{way}": Price({price.call:.3g}, {price.step:.3g}, {price.row_step:.3g}, {price.weight:.3g}),')
    for name, used in (("fitted", prices), ("in use", work.PRICES[device])):
        worst = regret(runs, used)
        lost = sum(ratio > 1.1 for ratio, *_ in worst)
        print(f"\n{name}: in {lost} of {len(worst)} cases more than 10 % slower than the faster mode")
        for ratio, case, mode in worst[:12]:
            print(f"  {ratio:.2f}  {mode:8} {case}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "cpu", [(8, 1), (64, 1), (64, 3), (200, 1)])
