"""The page around what is shown: styles, scripts, data and, at the end, what was asked."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from rambit.report.packing import Packed

ASSETS = Path(__file__).parent / "assets"
#: What a page of a result weighs at most, in bytes; its numbers are packed so that it does.
MOST_BYTES = 12 * 1000 * 1000

#: Nothing is fetched, whatever a page holds.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True)
class About:
    """What a page says of its result: a ``title``, a ``line``, ``facts`` in order, and the ``call`` that repeats it."""

    title: str
    line: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    call: str = ""


@cache
def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def page(kind: str, about: About, data: Mapping[str, Any], packed: Packed) -> str:
    """The HTML text. Whatever comes from users is data: the script writes it as text, never as HTML."""
    facts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.facts.items()}
    whole = {
        "kind": kind, "title": about.title, "line": about.line, "facts": facts, "call": about.call,
        "arrays": packed.specs, **data,
    }  # fmt: skip
    arrays = "\n".join(
        f'<script type="text/plain" id="array-{html.escape(name)}">{text}</script>'
        for name, text in packed.texts.items()
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{html.escape(about.title)}</title>
<style>
{_asset("uPlot.min.css")}
{_asset("report.css")}
</style>
</head>
<body>
<main id="page"><noscript>This page draws itself by a script, which is inside it and asks no network.</noscript></main>
<script type="application/json" id="data">{as_script(whole)}</script>
{arrays}
<script>
/* {_asset("uPlot.LICENSE").splitlines()[0]}, {_asset("uPlot.LICENSE").splitlines()[2]}: github.com/leeoniya/uPlot */
{_asset("uPlot.iife.min.js")}
</script>
<script>
{_asset("report.js")}
</script>
</body>
</html>
"""


def as_script(value: Any) -> str:
    """JSON that ends no script element, whatever text is in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
