"""ReX's options, as flags and in a settings file, under one name and with one meaning; and rex-xai's names of them."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rambit.cli import common
from rambit.cli.terminal import shortened
from rambit.options import Option as Declared
from rambit.rex import ReX, SearchSettings
from rambit.rex.explainer import MAX_POSITIONS
from rambit.rex.extraction.extraction_options import CircleOptions

_MOST = 2**31 - 1  # what the search counts with
_whole = common.whole(_MOST)


def _count(text: str) -> int | None:
    return None if text == "all" else _whole(text)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _number_or_name(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _deviation(text: str) -> float:
    if (found := common.finite(text)) < 0:
        raise ValueError
    return found


def _size(text: str) -> tuple[int, int]:
    parts = [int(part) for part in text.replace("x", ",").split(",")]
    if len(parts) > 2 or min(parts) < 1:
        raise ValueError
    if parts[0] * parts[-1] > MAX_POSITIONS:
        raise argparse.ArgumentTypeError(f"must be of at most {MAX_POSITIONS:,} pixels, got {shortened(text, 40)}")
    return parts[0], parts[-1]


def _strategy(text: str) -> str:
    """rex-xai's names are taken too."""
    return {"multi": "multi_spotlight", "spotlight": "multi_spotlight", "linear": "global"}.get(text, text)


def _class(text: str) -> int | str:
    return common.output(text, _MOST)


def _output(text: str) -> str:
    if text not in ("auto", "logits", "probs"):
        raise ValueError
    return text


@dataclass(frozen=True)
class Option:
    """One option: `parse` reads it from text, the flag's or the settings file's value; None means a switch."""

    name: str
    help: str
    parse: Callable[[str], Any] | None = str
    expects: str = "text"
    aliases: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The same name on the command line."""
        return "--" + self.name.replace("_", "-")

    def add(self, group: argparse._ArgumentGroup) -> None:
        """Without a default of its own, so that only what was given is handed on."""
        default = _DEFAULTS.get(self.name)
        default = default.value if isinstance(default, Enum) else default
        help_ = self.help if default is None or self.parse is None else f"{self.help} ({default})"
        if self.parse is None:
            group.add_argument(self.flag, dest=self.name, action="store_true", default=argparse.SUPPRESS, help=help_)
        else:
            flags = (self.flag, *self.aliases)
            group.add_argument(
                *flags, dest=self.name, metavar="VALUE", type=self.read, default=argparse.SUPPRESS, help=help_
            )

    def read(self, value: Any) -> Any:
        """The option's value from a flag's text or from a TOML value. Raises ArgumentTypeError."""
        if self.parse is None or isinstance(value, bool):
            if self.parse is not None or not isinstance(value, bool):
                expected = "true or false" if self.parse is None else self.expects
                raise argparse.ArgumentTypeError(f"must be {expected}, got {value!r}")
            return value
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        try:
            return self.parse(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be {self.expects}, got {shortened(repr(value), 80)}") from None


_INT, _FLOAT = "a whole number", "a number"
#: How an option of ReX is read from text, and what is expected, where its type alone does not say.
READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "iters": (common.whole(), _INT),
    "queue_len": (_count, "a whole number or all"),
    "dist_args": (_numbers, "numbers such as 1.5,1.5"),
    "mask_value": (_number_or_name, "a number, a name or a file"),
    "max_memory": (common.memory, "a size"),
    "seed": (int, _INT),
    "output": (_output, "auto, logits or probs"),
    "strategy": (_strategy, "text"),
    "device": (common.device, "a device"),
}
#: Flags of rex-xai's that mean the same.
ALIASES = {"minimum_confidence_threshold": ("--confidence",), "strategy": ("-s",)}


def _declared(declared: Declared) -> Option:
    """An option of ReX's as one of the command line."""
    by_type: dict[type, tuple[Callable[[str], Any], str]] = {
        int: (common.whole(int(min(declared.high, _MOST))), _INT),
        float: (float, _FLOAT),
    }
    of_its_type = next((found for kind, found in by_type.items() if kind in declared.kinds), (str, "text"))
    parse, expects = READERS.get(declared.name, of_its_type)
    listed = f": {', '.join(declared.names)}" if declared.enum is not None or declared.name not in READERS else ""
    aliases = ALIASES.get(declared.name, ())
    return Option(declared.name, declared.help + listed, None if bool in declared.kinds else parse, expects, aliases)


_DECLARED = {declared.name: declared for declared in SearchSettings.options()}
_DECLARED |= {declared.name: declared for declared in ReX.options() if declared.name != "model"}
_DEFAULTS = {name: declared.default for name, declared in _DECLARED.items()}
_CIRCLES = {declared.name for declared in CircleOptions.options()}
#: The arguments of ReX; those of the strategies spatial and multi_spotlight alone; how the model is evaluated, and for
#: which class.
REX = tuple(_declared(declared) for name, declared in _DECLARED.items() if name not in _CIRCLES | {"output", "device"})
CIRCLES = tuple(_declared(declared) for name, declared in _DECLARED.items() if name in _CIRCLES)
CONTEXT = (
    Option("noise", "deviation of normal noise that is added to the file which --mask-value names", _deviation, _FLOAT),
)
MODEL = (
    _declared(_DECLARED["output"]),
    _declared(_DECLARED["device"]),
    Option(
        "target",
        "the class to explain, by number or name (the predicted one); of another one, what must change",
        _class,
        "a number or a name",
    ),
)
#: How image files become inputs.
IMAGES = (
    Option("size", "height and width, such as 224 or 224x320: scaled, and cut at the middle", _size, "HEIGHTxWIDTH"),
    Option("mean", "of each channel, on a scale of 0 to 1, such as .485,.456,.406", _numbers, "numbers"),
    Option("std", "of each channel: a model reads (pixel - mean) / std", _numbers, "numbers"),
    Option("grey", "one channel instead of three", None),
)
GROUPS = {"ReX": (*REX, *CONTEXT), "spatial, multi_spotlight": CIRCLES, "model": MODEL, "image files": IMAGES}
OPTIONS = {option.name: option for group in GROUPS.values() for option in group}


class _Multi(argparse.Action):
    """--multi [N]: several explanations, and how many are looked for."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        namespace.strategy = "multi_spotlight"
        if values is not None:
            namespace.spotlights = values


def add_options(parser: common.Parser) -> None:
    """Every option as a flag, --settings, and rex-xai's flags that mean the same."""
    parser.add_argument(
        "--settings",
        "-c",
        "--config",
        metavar="FILE",
        help="a TOML file with options, such as min_box_size = 20, or with the sections of a rex.toml of rex-xai",
    )
    for title, options in GROUPS.items():
        group = parser.add_argument_group(title)
        for option in options:
            option.add(group)
    group = parser.add_argument_group("rex-xai's flags, beside -c, --config, -s, --confidence")
    group.add_argument(
        "--multi",
        nargs="?",
        type=_whole,
        metavar="N",
        action=_Multi,
        default=argparse.SUPPRESS,
        help="--strategy multi_spotlight [--spotlights N]",
    )
    for strategy in ("contrastive", "complete", "map_only"):
        group.add_argument(
            f"--{strategy.replace('_', '-')}",
            dest="strategy",
            action="store_const",
            const=strategy,
            default=argparse.SUPPRESS,
            help=f"--strategy {strategy}",
        )


def read_options(args: argparse.Namespace) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """What was given, in the file and by flags, which come first; and a line for a report of which file was read.

    Raises ValueError or OSError.
    """
    by_flag = {name: getattr(args, name) for name in OPTIONS if hasattr(args, name)}
    if args.settings is None:
        return by_flag, []
    given, whose = _read_settings(args.settings)
    return given | by_flag, [("settings", f"{args.settings}, {whose}")]


def _read_settings(path: str) -> tuple[dict[str, Any], str]:
    """The options of a file, and in whose names it says them."""
    from rambit.compat.rex import keys
    from rambit.compat.rex.causal_args import read_config_file, warn_of_unused

    try:
        document = read_config_file(path)
        if not keys.is_rex_xai(document):
            return _read_document(document), "in rambit's names"
        values = keys.read_document(document)
        given = keys.as_options(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    except TypeError as error:
        raise TypeError(f"{path}: {error}") from None
    if given.get("mask_value") == "context":
        raise ValueError(f"{path}: [rex] mask_value 'context' needs another input: write --mask-value FILE")
    unused = keys.without_counterpart(values)
    if given.pop("strategy", None) is not None:
        unused.append("[explanation.multi] strategy (as for rex-xai's command line, --strategy says it)")
    warn_of_unused(path, unused)
    return given, "in rex-xai's names"


def _read_document(document: dict[str, Any]) -> dict[str, Any]:
    given = {}
    for name, value in document.items():
        if name not in OPTIONS:
            close = difflib.get_close_matches(name, OPTIONS, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(OPTIONS)}"
            raise ValueError(f"unknown option {name!r}; {hint}")
        try:
            given[name] = OPTIONS[name].read(value)
        except argparse.ArgumentTypeError as error:
            raise ValueError(f"{name} {error}") from None
    return given
