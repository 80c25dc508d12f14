"""What a page says of a result beside what it shows: how it was made, and the call that makes it again."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from rambit.report.page import About

#: What settings say of a call that is no argument of the method.
_SAID = ("method", "output", "name")


def about(
    title: str | None, line: str, settings: Mapping[str, Any], seed: int, model: str | None, numbers: Mapping[str, Any]
) -> About:
    """A page's About, from what every result keeps; ``numbers``: what it cost, by name."""
    method = str(settings.get("method", "rambit"))
    facts = {
        "method": method,
        **{name: value if isinstance(value, str) else f"{value:,.6g}" for name, value in numbers.items()},
        "seed": str(seed),
        **({} if model is None else {"model (hash)": model}),
        "rambit": version("rambit"),
        **{name: value for name, value in settings.items() if name != "method"},
    }
    return About(method if title is None else title, line, facts, call(method, settings, seed))


def call(method: str, settings: Mapping[str, Any], seed: int) -> str:
    """Python that repeats it; settings that are no plain values stand as comments."""
    plain = {
        name: value
        for name, value in settings.items()
        if name not in (*_SAID, "seed") and isinstance(value, (str, int, float, bool))
    }
    others = [f"# {name}: {value}" for name, value in settings.items() if isinstance(value, (dict, list))]
    arguments = ", ".join(f"{name}={value!r}" for name, value in plain.items())
    return "\n".join([f"{method}(model, {arguments}, seed={seed}).explain(X)", *others])
