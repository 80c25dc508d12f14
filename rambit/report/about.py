"""What a page says of a result beside what it shows: how it was made, and the call that makes it again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from rambit.report.page import About

#: What settings say of a call that is no argument of the method.
_SAID = ("method", "name")
#: What is an argument of ``explain``.
_ASKED = ("target", "targets")


def about(
    title: str | None, line: str, settings: Mapping[str, Any], seed: int, model: str | None, numbers: Mapping[str, Any]
) -> About:
    """A page's About, from what every result keeps; ``numbers``: what it cost, by name."""
    method = str(settings.get("method", "rambit"))
    facts = {
        "method": method,
        **{name: _number(value) for name, value in numbers.items()},
        "seed": str(seed),
        **({} if model is None else {"model (hash)": model}),
        "rambit": version("rambit"),
        **{name: value for name, value in settings.items() if name != "method"},
    }
    return About(method if title is None else title, line, facts, call(method, settings, seed))


def _number(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def call(method: str, settings: Mapping[str, Any], seed: int) -> str:
    """Python that repeats it; what only an object can say stands as a comment."""
    said = {name: value for name, value in settings.items() if name not in (*_SAID, "seed") and value is not None}
    given = {name: _named(value) if isinstance(value, dict) else value for name, value in said.items()}
    plain = {name: value for name, value in given.items() if isinstance(value, (str, int, float, bool, list))}
    functions = {name for name in _ASKED if "." in str(plain.get(name))}
    of_method = [f"{name}={value!r}" for name, value in plain.items() if name not in _ASKED]
    of_call = [f"{name}={_outputs(plain[name])!r}" for name in _ASKED if name in plain and name not in functions]
    if any(isinstance(value, dict) and "background" in value for value in said.values()):
        of_method.append("background=background")
    if method.endswith("explain"):  # a function, and no class
        line = f"{method}(model, X, {', '.join([*of_call, *of_method, f'seed={seed}'])})"
    else:
        line = f"{method}(model, {', '.join([*of_method, f'seed={seed}'])}).explain({', '.join(['X', *of_call])})"
    return "\n".join([line, *(f"# {name}: {said[name]}" for name in said if name not in plain or name in functions)])


def _outputs(said: Any) -> Any:
    """Outputs as ``explain`` takes them: of a list of one number that, of two the pair."""
    if not isinstance(said, list):
        return said
    if any(isinstance(one, list) for one in said):
        return [_outputs(one) for one in said]
    return said[0] if len(said) == 1 else tuple(said)


def _named(said: Mapping[str, Any]) -> str | None:
    """A family or strategy by its name in the registry, with its options: what its record is of; None for others."""
    options = {name: value for name, value in said.items() if name not in ("name", "background", "single")}
    if "name" not in said or not all(isinstance(value, (int, float)) for value in options.values()):
        return None
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", str(said["name"])).lower()
    return name + "".join(
        f"{',' if n else ':'}{key}={str(value).lower()}" for n, (key, value) in enumerate(options.items())
    )
