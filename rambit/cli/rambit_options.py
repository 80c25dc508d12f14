"""RaMbIT's options as flags, for `attribute` and `cost`. What contradicts, RaMbIT itself refuses."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from rambit import RaMbIT
from rambit.cli import common
from rambit.counterfactuals import STRATEGIES, read_background, resolve
from rambit.masks import FAMILIES
from rambit.options import Option
from rambit.registry import Registry

#: Of all masks together, and of all drawn values (in each of their bytes); and what goes with each mask.
MOST_BYTES, MASK_BYTES = 1 << 30, 32


def _window_size(text: str) -> int | str:
    return text if text == "auto" else common.whole()(text)


#: How an option is read from text, where its type alone does not say.
READERS: dict[str, Callable[[str], Any]] = {
    "counterfactuals": common.registered(STRATEGIES),
    "masks": common.registered(FAMILIES),
    "batch_size": common.batch_size,
    "window_size": _window_size,
    "max_memory": common.memory,
    "device": common.device,
    "seed": common.whole(common.MOST_SEED),
}
#: What can be named, where that is not a closed set.
KNOWN: dict[str, Registry[Any]] = {"counterfactuals": STRATEGIES, "masks": FAMILIES}
#: How a default reads that depends on other options or on the machine.
DEFAULTS = {
    "counterfactuals": "with --background conditional, with anchor end mean, with anchor mask marginal; else zero",
    "background": "none",
    "max_memory": "1G",
    "device": "cpu",
    "anchor": "cell; end where each series has one label",
}
#: What `models.add_model` has, under these names or others, since it makes the Predictor; tables have no short text.
NO_FLAGS = ("model", "output", "layout", "model_id", "groups", "categorical", "categorical_name")
FLAGS = tuple(option for option in RaMbIT.options() if option.name not in NO_FLAGS)


def _add(group: argparse._ArgumentGroup, option: Option) -> None:
    """One option under its own name; without a default, so that only what was given is handed on."""
    flag = "--" + option.name.replace("_", "-")
    if bool in option.kinds and option.default is None:
        both = argparse.BooleanOptionalAction
        group.add_argument(flag, dest=option.name, action=both, default=argparse.SUPPRESS, help=option.help)
        return
    if isinstance(option.default, bool):
        action = "store_false" if option.default else "store_true"
        flag = flag.replace("--", "--no-", 1) if option.default else flag
        group.add_argument(flag, dest=option.name, action=action, default=argparse.SUPPRESS, help=option.help)
        return
    whole = int in option.kinds and not option.names
    choices = () if int in option.kinds else option.names
    listed = f"; one of {', '.join(KNOWN.get(option.name, choices))}" if choices or option.name in KNOWN else ""
    reader: Callable[[str], Any] = common.whole() if whole else str
    # Where the class chooses, the option's own line says what.
    default = DEFAULTS.get(option.name, option.default)
    group.add_argument(
        flag,
        type=READERS.get(option.name, reader),
        choices=choices or None,
        metavar="N" if whole and option.name != "max_memory" else "NAME" if listed else "VALUE",
        default=argparse.SUPPRESS,
        help=f"{option.help}{listed}" + (f" ({default})" if default is not None else ""),
    )


def add_flags(parser: common.Parser) -> None:
    """All of RaMbIT's options."""
    group = parser.add_argument_group("options of RaMbIT (default)")
    for option in FLAGS:
        _add(group, option)
    for old, new in RaMbIT.renamed.items():
        flag = "--" + old.replace("_", "-")
        group.add_argument(flag, dest=old, metavar="NAME", default=argparse.SUPPRESS, help=f"the older name of --{new}")


def make_attributor(args: argparse.Namespace, model: Any) -> RaMbIT:
    """RaMbIT with the options that were given. Raises ValueError for one that does not apply."""
    given = {flag.name: getattr(args, flag.name) for flag in FLAGS if hasattr(args, flag.name)}
    given |= {old: getattr(args, old) for old in RaMbIT.renamed if hasattr(args, old)}
    if "background" in given:
        given["background"] = _background(args, given["background"], given.get("counterfactuals"))
    strategy = "zero" if "all_zero_cf" in given else given.get("counterfactuals")
    if resolve(strategy, read_background(given.get("background"))).single:
        given.setdefault("num_samples", 1)
    return RaMbIT(model, **given)


def check_size(args: argparse.Namespace, attributor: RaMbIT, shape: Sequence[int]) -> None:
    """Raise ValueError if the --L or --num-samples that was given would only fill the memory, for series (B, D, T)."""
    B, D, T = shape
    each = (D * T + MASK_BYTES) * (1 if attributor.share_masks else D * T)
    if attributor.anchor == "end":
        each *= int(attributor.window_size)  # the mask is shifted
    sizes = {"L": (each, f"masks of {D} × {T} cells"), "num_samples": (B * D * T, f"{B} series of {D} × {T} cells")}
    for name, (size, what) in sizes.items():
        if hasattr(args, name) and getattr(args, name) * size > MOST_BYTES:
            most = MOST_BYTES // size
            option = f"--{name.replace('_', '-')}"
            raise ValueError(
                f"{option} must be at most {most:,} for {what} and these options, got {getattr(args, name)}"
            )


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
    seen = ~X.isnan()  # empty cells of the file are missing values
    if data.lengths is None:
        return {"X": X, "observed": seen}
    if strategy is not None and strategy.partition(":")[0] == "conditional":  # windows lie within a series
        return {"X": X, "observed": seen, "lengths": data.lengths}
    if strategy == "joint":
        raise ValueError("--counterfactuals joint needs background series of one length")
    # One long series of the steps that count: drawing from it, and its mean, leave the padding out.
    inside = torch.arange(X.shape[2]) < torch.from_numpy(data.lengths)[:, None]
    return {"X": X.transpose(1, 2)[inside].T[None], "observed": seen.transpose(1, 2)[inside].T[None]}
