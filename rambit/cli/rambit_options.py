"""--method, and RaMbIT's options as flags, for `attribute` and `cost`. What contradicts, the method itself refuses."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from rambit import RaMbIT
from rambit.attribution import FIT, METHODS
from rambit.attribution.attributor import Attributor
from rambit.attribution.external import External
from rambit.cli import common
from rambit.cli.models import Model
from rambit.compare.methods import OTHERS, Method, masks_with_p, names, parse
from rambit.compare.runs import PREDICTED
from rambit.counterfactuals import STRATEGIES, FeatureGenerator, JointGenerator, read_background, resolve
from rambit.masks import FAMILIES
from rambit.options import Option
from rambit.registry import Registry

Generator = TypeVar("Generator", FeatureGenerator, JointGenerator)
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
#: What a switch that is on by default does when it is off.
OFF = {"share_masks": "L masks for each cell, in place of the same L for all cells"}
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
        help_ = OFF[option.name] if option.default else option.help
        group.add_argument(flag, dest=option.name, action=action, default=argparse.SUPPRESS, help=help_)
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
    """--method, and all of RaMbIT's options."""
    parser.add_argument(
        "--method",
        metavar="NAME",
        type=_method,
        default="rambit",
        help=f"what scores: {', '.join(_known())}; with options of its own: winit:window_size=5,aggregate=max (rambit)",
    )
    group = parser.add_argument_group("options of RaMbIT, and of other methods that have them (default of RaMbIT)")
    for option in FLAGS:
        _add(group, option)
    for old, new in RaMbIT.renamed.items():
        flag = "--" + old.replace("_", "-")
        group.add_argument(flag, dest=old, metavar="NAME", default=argparse.SUPPRESS, help=f"the older name of --{new}")


def _known() -> list[str]:
    """The methods that score by a model's outputs; rex and suffice have commands of their own."""
    return [name for name in names() if name not in OTHERS]


def _method(text: str) -> Method:
    try:
        return parse(text, _known())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("methods: ")) from None


def is_anchor_open(args: argparse.Namespace) -> bool:
    """Whether the method has an anchor, and nobody named it."""
    has_one = any(option.name == "anchor" for option in METHODS[args.method.kind].options())
    return has_one and not hasattr(args, "anchor") and "anchor" not in args.method.options


def make_attributor(args: argparse.Namespace, model: Model) -> Attributor:
    """The method with the options that were given. Raises ValueError for one that does not apply."""
    method, kind = args.method, METHODS[args.method.kind]
    given = {flag.name: getattr(args, flag.name) for flag in FLAGS if hasattr(args, flag.name)}
    given |= {old: getattr(args, old) for old in RaMbIT.renamed if hasattr(args, old)}
    given |= _of_text(method, kind, given)
    background = given.get("background")
    if background is not None:
        given["background"] = _background(args, background, given.get("counterfactuals"))
    if given.get("counterfactuals") == "generator":
        given["counterfactuals"] = _generator(args, FeatureGenerator, given.pop("background", None))
    if kind is FIT:
        given["generator"] = _generator(args, JointGenerator, given.pop("background", None))
    if kind is RaMbIT:
        strategy = "zero" if "all_zero_cf" in given else given.get("counterfactuals")
        if resolve(strategy, read_background(given.get("background"))).single:
            given.setdefault("num_samples", 1)
    # What needs gradients takes the module alone.
    return kind(model.bare if issubclass(kind, External) else model.predictor, **given)


def _of_text(method: Method, kind: type[Attributor], flags: Mapping[str, Any]) -> dict[str, Any]:
    """The options behind a method's name. Raises ValueError for a flag that it does not take, or that repeats one."""
    takes = {one.name for one in kind.options()} | set(kind.renamed)
    for name in flags:
        flag = f"--{name.replace('_', '-')}"
        if name not in takes:
            raise ValueError(f"{flag} does not apply to --method {method.text}")
        if name in method.options:
            raise ValueError(f"{flag} and --method {method.text} give the same option: leave one out")
    return masks_with_p(method.options)


def _generator(args: argparse.Namespace, kind: type[Generator], background: Any) -> Generator:
    """A generator, trained on the background. Raises ValueError where there is none, or it is not complete."""
    if not isinstance(background, Mapping):
        raise ValueError(f"--method {args.method.text} needs --background, on which its generator is trained")
    X = background["X"]
    if "lengths" in background or bool(X.isnan().any()) or len(X) < 2:
        raise ValueError(f"--method {args.method.text} needs a --background of complete series of one length")
    generator = kind(X.shape[1], prediction_size=PREDICTED, seed=getattr(args, "seed", 0))
    if hasattr(args, "progress"):  # cost only counts, for which an untrained one will do
        generator.fit(X, seed=getattr(args, "seed", 0), show_progress=common.shows_progress(args))
    return generator


def check_size(args: argparse.Namespace, attributor: Attributor, shape: Sequence[int]) -> None:
    """Raise ValueError if the L or num_samples that was given would only fill the memory, for series (B, D, T)."""
    B, D, T = shape
    sizes = {"num_samples": (B * D * T, f"{B} series of {D} × {T} cells")}
    if isinstance(attributor, RaMbIT):
        each = (D * T + MASK_BYTES) * (1 if attributor.share_masks else D * T)
        if attributor.anchor == "end":
            each *= int(attributor.window_size)  # the mask is shifted
        sizes["L"] = each, f"masks of {D} × {T} cells"
    for name, (size, what) in sizes.items():
        given = args.method.options.get(name, getattr(args, name, 0))
        if given * size > MOST_BYTES:
            most = MOST_BYTES // size
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} must be at most {most:,} for {what} and these options, got {given}")


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
