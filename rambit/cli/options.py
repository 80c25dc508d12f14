"""RaMbIT's options as flags, and the check that each one given applies. `attribute` and `cost` share them."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rambit import RaMbIT
from rambit.attribution.base import CLASS_METRICS
from rambit.cli import common
from rambit.counterfactuals import STRATEGIES, needs_background, reads_background, resolve
from rambit.game import ANCHORS, EVALUATIONS
from rambit.masks import FAMILIES
from rambit.registry import Registry

#: Of all masks together, and of all drawn values (in each of their bytes); and what goes with each mask.
MOST_BYTES, MASK_BYTES = 1 << 30, 32
BLOCK_SIZES = ("Wt_min", "Wt_max", "Wd_min", "Wd_max")


@dataclass(frozen=True)
class Flag:
    """One of RaMbIT's arguments on the command line, under the same name and with the same default."""

    name: str
    help: str
    type: Callable[[str], Any] = str
    choices: Iterable[str] | None = None
    switch: bool | None = None  # a flag without a value, and what it sets
    default: str = field(default="")  # how the default reads; RaMbIT's own, if empty
    most: int = common.MOST  # of a whole number

    def add(self, group: argparse._ArgumentGroup) -> None:
        """Without a default of its own, so that only what was given is handed on."""
        if self.switch is not None:
            option = "--" if self.switch else "--no-"
            action = "store_true" if self.switch else "store_false"
            group.add_argument(
                option + self.name.replace("_", "-"),
                dest=self.name,
                action=action,
                default=argparse.SUPPRESS,
                help=self.help,
            )
            return
        default = self.default or str(inspect.signature(RaMbIT).parameters[self.name].default)
        choices = f"; one of {', '.join(self.choices)}" if self.choices else ""
        group.add_argument(
            "--" + self.name.replace("_", "-"),
            type=common.whole(self.most) if self.type is int else self.type,
            choices=None if isinstance(self.choices, Registry) else self.choices,
            metavar="N" if self.type is int else "NAME" if self.choices else "VALUE",
            default=argparse.SUPPRESS,
            help=f"{self.help}{choices} ({default})",
        )


def _named(registry: Registry[Any]) -> Callable[[str], str]:
    """A reader of what is registered, by its name or as name:option=value."""

    def read(text: str) -> str:
        try:
            registry.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return read


FLAGS = (
    Flag("num_samples", "draws of counterfactual values", int, default="10; 1 where all draws are the same"),
    Flag("L", "random masks", int),
    Flag("window_size", "window shifts: how many horizons", int),
    Flag("Wt_min", "shortest block, in steps", int),
    Flag("Wt_max", "longest block, in steps", int),
    Flag("Wd_min", "lowest block, in features", int),
    Flag("Wd_max", "highest block, in features", int),
    Flag("anchor", "where answers are compared: from the cell on, after the block, at the last step", choices=ANCHORS),
    Flag("reduce", "over horizons", choices=("mean", "max")),
    Flag(
        "normalize",
        "average over all masks, or with anchor mask over those that see the cell",
        choices=("all", "visible"),
    ),
    Flag("metric", "distance between answers", choices=("auto", *CLASS_METRICS)),
    Flag(
        "counterfactuals",
        "what stands in, with its options as in uniform:lo=-1,hi=1",
        _named(STRATEGIES),
        STRATEGIES,
        default="marginal with --background, else zero",
    ),
    Flag("background", "reference data: train (DATA's train part), a data set or a file", default="none"),
    Flag("all_zero_cf", "short for --counterfactuals zero", switch=True),
    Flag("masks", "the mask family, with its options as in bernoulli:p=0.3", _named(FAMILIES), FAMILIES),
    Flag("share_masks", "L masks for each cell, instead of the same for all", switch=False),
    Flag("share_draws", "counterfactual values for each mask, instead of the same for all", switch=False),
    Flag("evaluation", "how the model is asked; changes no number beyond rounding", choices=EVALUATIONS),
    Flag("batch_size", "rows in one call of the model", common.batch_size),
    Flag("max_memory", "bound on what the engine allocates, such as 512M or 2G", common.memory, default="1G"),
    Flag("seed", "of masks and draws", int, most=common.MOST_SEED),
    Flag("device", "cpu, cuda or cuda:N", common.device, default="cpu"),
)


def add_flags(parser: common.Parser) -> None:
    """All of RaMbIT's options."""
    group = parser.add_argument_group("options of RaMbIT (default)")
    for flag in FLAGS:
        flag.add(group)


def make_attributor(args: argparse.Namespace, model: Any) -> RaMbIT:
    """RaMbIT with the options that were given. Raises ValueError for one that does not apply."""
    given = {flag.name: getattr(args, flag.name) for flag in FLAGS if hasattr(args, flag.name)}
    check_applies(given)
    if "background" in given:
        given["background"] = _background(args, given["background"], given.get("counterfactuals"))
    if given.pop("all_zero_cf", False):
        given["counterfactuals"] = "zero"
    strategy = resolve(given.get("counterfactuals"), given.get("background"))
    if strategy.single:
        if "share_draws" in given:
            raise ValueError(f"--no-share-draws does not apply: {type(strategy).__name__} values are always the same")
        given.setdefault("num_samples", 1)
    return RaMbIT(model, **given)


def check_size(args: argparse.Namespace, attributor: RaMbIT, shape: Sequence[int]) -> None:
    """Raise ValueError if the --L or --num-samples that was given would only fill the memory, for series (B, D, T)."""
    B, D, T = shape
    each = (D * T + MASK_BYTES) * (1 if attributor.share_masks else D * T)
    if attributor.anchor == "end":
        each *= attributor.window_size  # the mask is shifted
    sizes = {"L": (each, f"masks of {D} × {T} cells"), "num_samples": (B * D * T, f"{B} series of {D} × {T} cells")}
    for name, (size, what) in sizes.items():
        if hasattr(args, name) and getattr(args, name) * size > MOST_BYTES:
            most = MOST_BYTES // size
            option = f"--{name.replace('_', '-')}"
            raise ValueError(
                f"{option} must be at most {most:,} for {what} and these options, got {getattr(args, name)}"
            )


def check_applies(given: dict[str, Any]) -> None:
    """Raise ValueError for an option that would have no effect beside the others, or that needs another."""
    masks, anchor = given.get("masks", "block").partition(":")[0], given.get("anchor", "cell")
    strategy, background = given.get("counterfactuals"), "background" in given
    if "all_zero_cf" in given:
        for name in ("counterfactuals", "background"):
            if name in given:
                raise ValueError(f"--{name} does not apply: --all-zero-cf says what replaces")
    if background and not reads_background(strategy):
        raise ValueError(f"--background does not apply to --counterfactuals {strategy}")
    if not background and strategy is not None and needs_background(strategy):
        raise ValueError(f"--counterfactuals {strategy} needs --background (train, a data set or a file)")
    for name in BLOCK_SIZES:
        if name in given and name not in FAMILIES.parameters(masks):
            raise ValueError(f"--{name.replace('_', '-')} does not apply to --masks {masks}")
    if FAMILIES[masks].sized and "L" in given:
        raise ValueError(f"--L does not apply to --masks {masks}, which says itself how many there are")
    if FAMILIES[masks].per_cell and given.get("share_masks", True):
        raise ValueError(f"--masks {masks} needs --no-share-masks: each of them belongs to one cell")
    if "normalize" in given and anchor != "mask":
        raise ValueError(f"--normalize does not apply to --anchor {anchor}, only to --anchor mask")
    if "reduce" in given and anchor == "end":
        raise ValueError("--reduce does not apply to --anchor end, which has one horizon")


def _background(args: argparse.Namespace, name: str, strategy: str | None) -> Any:
    """The values (N, D, T) that counterfactuals are drawn from."""
    import torch

    if name == "train" and common.is_file(args.data):
        raise ValueError(f"--background train: {args.data} has no train part; name a file")
    if name == "train":
        data = common.read(args, "train")
    else:
        data = common.read(args, "train", y=None, name=name)
    X = torch.from_numpy(data.X)
    if data.lengths is None:
        return X
    if strategy == "joint":
        raise ValueError("--counterfactuals joint needs background series of one length")
    # One long series of the steps that count: drawing from it, and its mean, leave the padding out.
    inside = torch.arange(X.shape[2]) < torch.from_numpy(data.lengths)[:, None]
    return X.transpose(1, 2)[inside].T[None].contiguous()
