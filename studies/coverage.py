"""How often stated intervals cover the truth: ``python -m studies.coverage --out studies/results/coverage``.

The truth is no estimate. Six cells, each with three values that may stand in for it, have 64 coalitions and 729 draws:
all of them are evaluated, and their mean is what the methods estimate from a few. A run is one seed; coverage is over
the cells of four series, and its standard error is that of a mean over runs. Cells whose score no seed changes are
left out. "given the draws": the values are given, and the truth is the mean over masks beside these.
"""

from __future__ import annotations

import argparse
import math
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rambit import Attribution, RaMbIT
from rambit.attribution import Banzhaf, ExactShapley, ShapleySampling
from rambit.masks import AllBlocks

D, T = 2, 3
LEVELS = torch.tensor([[-1.3, 0.2, 1.1], [-0.9, -0.3, 1.6]], dtype=torch.float64)  # (D, values)
BACKGROUND = LEVELS.T[:, :, None].expand(-1, -1, T).contiguous()  # (3, D, T)
X = torch.randn(4, D, T, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
DRAWS = torch.cartesian_prod(*LEVELS.repeat_interleave(T, dim=0)).view(-1, 1, D, T)  # (729, 1, D, T)
MASKS = torch.cartesian_prod(*[torch.tensor([False, True])] * (D * T)).view(-1, D, T)  # (64, D, T)
#: As a prefix of random length of a random order has them: every size as often.
PREFIXES = MASKS.repeat_interleave(torch.tensor([60 // math.comb(6, int(m.sum())) for m in MASKS]), dim=0)
SIZES: dict[str, Any] = {"Wt_max": 2, "Wd_max": 1}
COMMON: dict[str, Any] = {"output": "regression", "distance": "diff"}
END: dict[str, Any] = {"anchor": "end", "window_size": 1}


def fading(x: Tensor) -> Tensor:
    """(N, D, t) -> (N, 1): sums that fade with age, and products over features and over time."""
    seen = (x * 0.8 ** torch.arange(x.shape[2] - 1, -1, -1, dtype=x.dtype)).sum(dim=2)
    return (seen[:, 0] + 0.5 * seen[:, 0] * seen[:, 1] + x[:, 1].prod(dim=1))[:, None]


def product(x: Tensor) -> Tensor:
    """(N, D, t) -> (N, 1): what a mask does depends on the draw, and the other way round."""
    return (x + 0.3).flatten(1).prod(dim=1, keepdim=True)


@dataclass(frozen=True)
class Setting:
    """A method that is run with each seed, on X, and what infinitely many masks and draws would give it."""

    method: str
    setting: str
    run: Callable[[int], Attribution]
    truth: Callable[[], Tensor]


def values_of(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a run reads values from, and all of these values."""
    if "counterfactuals" in options:
        return {}, {}
    return {"background": BACKGROUND}, {"counterfactuals": DRAWS.expand(-1, len(X), -1, -1)}


def rambit(name: str, model: Any = fading, *, every: Any = "all_blocks", stop: Any = None, **options: Any) -> Setting:
    """RaMbIT. ``every``: all masks of its family; ``stop``: when ``explain`` ends."""
    drawn, all_values = values_of(options)
    options_of = {**COMMON, **END, **(SIZES if every == "all_blocks" else {}), **options}
    of_all = {"L": 20, "share_draws": True, "share_masks": True, "masks": every, **all_values}

    def run(seed: int) -> Attribution:
        return RaMbIT(model, seed=seed, **options_of, **drawn).explain(X, target=0, **(stop or {}))

    return Setting("RaMbIT", name, run, lambda: RaMbIT(model, **options_of | of_all).attribute(X, target=0))


def players(method: Any, name: str, model: Any = fading, **options: Any) -> Setting:
    """A method of cooperative games, with cells as players."""
    drawn, all_values = values_of(options)

    def run(seed: int) -> Attribution:
        result: Attribution = method(model, seed=seed, players="cells", **COMMON, **drawn, **options).explain(
            X, target=0
        )
        return result

    def truth() -> Tensor:
        given = {"counterfactuals": options.get("counterfactuals"), **all_values, **COMMON}
        if method is Banzhaf:  # the mean over all coalitions of what a cell adds
            return RaMbIT(model, masks=MASKS, **END, **given).attribute(X, target=0)
        return ExactShapley(model, players="cells", **given).attribute(X, target=0)

    return Setting(method.__name__, name, run, truth)


MOST_ROWS = 200_000
RANKED = ({"share_draws": False, "num_samples": 2}, {"num_samples": 200})
FEW = DRAWS[::200].expand(-1, len(X), -1, -1).contiguous()  # four draws
SETTINGS = (
    rambit("L=20, S=10 (the default)"),
    rambit("L=20, S=10, product", product),
    rambit("L=100, S=10", L=100),
    rambit("L=20, S=100", num_samples=100),
    rambit("L=100, S=100", L=100, num_samples=100),
    rambit("L=5, S=3", L=5, num_samples=3),
    rambit("anchor=cell, W=2", anchor="cell", window_size=2),
    rambit("anchor=cell, W=2, reduce=max", anchor="cell", window_size=2, reduce="max"),
    rambit("anchor=mask, W=2", anchor="mask", window_size=2),
    rambit("anchor=mask, W=2, L=100", anchor="mask", window_size=2, L=100),
    rambit("anchor=mask, W=2, L=100, normalize=visible", anchor="mask", window_size=2, L=100, normalize="visible"),
    rambit("anchor=end, W=2", window_size=2),
    rambit("masks=bernoulli", masks="bernoulli", every=MASKS),
    rambit("masks=permutation", masks="permutation", every=PREFIXES),
    rambit("masks=columns", masks="columns:Wt_max=2", every=AllBlocks(1, 2, D, D)),
    rambit("masks=rows", masks="rows", every=AllBlocks(T, T, 1, D)),
    rambit("masks=all_blocks", masks="all_blocks"),
    rambit("share_masks=False", share_masks=False),
    rambit("share_draws=False, S=1", share_draws=False, num_samples=1),
    rambit("share_draws=False, S=4", share_draws=False, num_samples=4),
    rambit("share_draws=False, share_masks=False, S=1", share_draws=False, share_masks=False, num_samples=1),
    rambit("tolerance=0.1", L=10, num_samples=40, stop={"tolerance": 0.1}),
    rambit("tolerance=0.1, share_draws=False", L=10, num_samples=2, share_draws=False, stop={"tolerance": 0.1}),
    rambit("given the draws, L=20", counterfactuals=FEW),
    rambit("given the draws, L=100, product", product, counterfactuals=FEW, L=100),
    rambit("given the draws, L=5", counterfactuals=FEW, L=5),
    players(ShapleySampling, "25 orders, S=10", num_samples=10),
    players(ShapleySampling, "25 orders, S=10, product", product, num_samples=10),
    players(ShapleySampling, "25 orders, given the draws", counterfactuals=FEW),
    players(ExactShapley, "S=10", num_samples=10),
    players(Banzhaf, "60 coalitions, S=10", num_samples=10, num_masks=60),
    players(Banzhaf, "60 coalitions, S=10, product", product, num_samples=10, num_masks=60),
    players(Banzhaf, "60 coalitions, given the draws", num_masks=60, counterfactuals=FEW),
)


def measured(one: Setting, runs: int) -> tuple[str, ...]:
    """A line of the table: method, setting, both coverages, and the stated error by the true one."""
    truth = one.truth()
    results = [one.run(seed) for seed in range(runs)]
    values, errors = (torch.stack([getattr(result, name) for result in results]) for name in ("values", "stderr"))
    low, high = (torch.stack(ends) for ends in zip(*(result.interval(0.95) for result in results), strict=True))
    varies = values.std(dim=0) > 1e-9
    off = (values - truth)[:, varies]
    normal = off.abs() <= 1.96 * errors[:, varies]
    student = ((low <= truth) & (truth <= high))[:, varies]
    ratio = (errors[:, varies].square().mean() / off.square().mean()).sqrt()
    return one.method, one.setting, share(normal), share(student), f"{ratio:.2f}"


def share(inside: Tensor) -> str:
    """Of (runs, cells) bool, in percent, with its standard error over the runs."""
    each = 100 * inside.double().mean(dim=1)
    return f"{each.mean():.1f} ± {each.std() / math.sqrt(len(each)):.1f}"


def ranked(k: int, runs: int, **options: Any) -> tuple[str, ...]:
    """A line on runs that stop once the k highest cells are sure, each on a series of its own."""
    many = torch.randn(runs, D, T, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    method = partial(RaMbIT, fading, **COMMON, **END, **SIZES)
    truth = method(masks="all_blocks", counterfactuals=DRAWS.expand(-1, runs, -1, -1)).attribute(many, target=0)
    stopped, right, once, rows = [], [], [], []
    for seed in range(runs):
        attributor, x = method(background=BACKGROUND, seed=seed, **options), many[seed : seed + 1]
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            result = attributor.explain(x, target=0, tolerance=f"top:{k}", max_rows=MOST_ROWS)
        stopped.append(not warned and result.rows < MOST_ROWS)
        right.append(highest(result.values, k) == highest(truth[seed], k))
        once.append(highest(attributor.attribute(x, target=0), k) == highest(truth[seed], k))
        rows.append(result.rows)
    named = ", ".join(f"{name}={value}" for name, value in options.items())
    correct = sum(is_right for is_right, is_sure in zip(right, stopped, strict=True) if is_sure)
    sure = sum(stopped)
    how_often = f"{sure} of {runs}", f"{correct} of {sure}", f"{sum(once)} of {runs}"
    return f"top:{k}, {named}", *how_often, f"{statistics.median(rows):,.0f}"


def highest(scores: Tensor, k: int) -> set[int]:
    """The k highest cells of one series."""
    return set(scores.flatten().topk(k).indices.tolist())


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Lines of as many entries each, one below the other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Print both tables, and write them with ``--out``."""
    parser = argparse.ArgumentParser(prog="studies.coverage", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="seeds of each setting")
    parser.add_argument("--only", default="", help="settings whose line holds this text")
    parser.add_argument("--out", type=Path, help="a folder for coverage.txt")
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore")  # that a tolerance is out of reach is part of what is measured
    chosen = [one for one in SETTINGS if args.only in f"{one.method}, {one.setting}"]
    head = ("method", "setting", "± 1.96 stderr, %", "interval(0.95), %", "stderr / true")
    text = columns([head, *(measured(one, args.runs) for one in chosen)])
    if not args.only:
        head = ("tolerance", "said to be sure", "right then", "right after one round", "rows (median)")
        lines = [ranked(k, args.runs // 5, **how) for k in (1, 2, 3) for how in RANKED]
        text += "\n\n" + columns([head, *lines])
    print(text)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "coverage.txt").write_text(text + "\n")


if __name__ == "__main__":
    main()
