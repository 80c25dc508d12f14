"""rex-xai's settings as one object, and the file that they are read from."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rambit.checks import warn
from rambit.compat.rex.keys import KEYS, PREPARATION, as_options, read_document, without_counterpart
from rambit.rex import Distribution, Strategy
from rambit.store import read_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: What rex-xai's object has beside the keys of its file, mostly set by its command line.
_OTHERS: dict[str, Any] = {
    "config_location": None,
    "path": "",
    "model": None,
    "mode": None,
    "shape": None,
    "db": None,
    "script": None,
    "script_location": None,
    "processed": False,
    "context": False,
    "context_location": None,
    "occlusion_noise": None,
    "verbosity": 1,
    "output": None,
    "surface": None,
    "heatmap": None,
    "all": False,
    "no_extract": False,
    "complete": False,
    "analyse": None,
    "data_location": None,
}


class CausalArgs:
    """Every setting of rex-xai 0.4.1 under its name there, with its default there.

    Strategies, queues and the like are the members of ours, which have the same names. Seeds start at 0 where there is
    none. Raises AttributeError for a name that rex-xai does not know.
    """

    def __init__(self) -> None:
        vars(self).update(_OTHERS, **{key.name: key.default for key in KEYS})

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in vars(self):
            close = difflib.get_close_matches(name, vars(self), 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise AttributeError(f"rex-xai has no setting {name!r}{hint}")
        vars(self)[name] = value

    def __getattr__(self, name: str) -> Any:  # what the names hold is not known to type checkers
        raise AttributeError(f"rex-xai has no setting {name!r}")

    def __repr__(self) -> str:
        return "\n".join(f"{name:<30} {value!r}" for name, value in vars(self).items())

    def options(self) -> dict[str, Any]:
        """The keyword arguments of `rambit.rex.ReX` that say the same, but for the device. Raises as it does."""
        found = as_options({key.name: getattr(self, key.name) for key in KEYS})
        if self.complete and found["strategy"] is Strategy.Contrastive:
            found["strategy"] = Strategy.Complete
        if found["strategy"] in (Strategy.Contrastive, Strategy.Complete):
            found["necessary_from"] = "ranking"  # as there
        return {name: value for name, value in found.items() if name not in (*PREPARATION, "device")}


def load_config(config_path: str | Path | None = None) -> CausalArgs:
    """The settings of a file, else of rex.toml here, else of ~/.config/rex.toml, else the defaults, with a warning.

    One warning lists keys that change no explanation here. Raises ValueError or TypeError naming the section and the
    key where rex-xai goes on with its defaults, and OSError.
    """
    args = CausalArgs()
    path = _found() if config_path is None else Path(config_path)
    if path is None:
        warn("there is no rex.toml, neither here nor in ~/.config: rex-xai's defaults hold")
        return args
    args.config_location = str(path)
    try:
        process_config_dict(read_config_file(path), args, path)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from None
    return args


def process_config_dict(config_file_args: Mapping[str, Any], args: CausalArgs, path: str | Path = "rex.toml") -> None:
    """Change these settings to what a file's content says. Warns and raises as `load_config`, in the name of `path`."""
    values = read_document(config_file_args)
    vars(args).update(values)
    if args.distribution is Distribution.Uniform:
        args.distribution_args = None
    warn_of_unused(path, without_counterpart(values))


def read_config_file(path: str | Path) -> dict[str, Any]:
    """A TOML file as it is. Raises ValueError or OSError."""
    data = read_file(path)
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a TOML file: {error}") from None


def warn_of_unused(path: str | Path, names: list[str]) -> None:
    """One warning of keys that are read and change nothing."""
    if names:
        warn(f"{path}: these are known, and change no explanation here: {', '.join(names)}")


def _found() -> Path | None:
    places = (Path("rex.toml"), Path("~/.config/rex.toml").expanduser())
    return next((path for path in places if path.exists()), None)
