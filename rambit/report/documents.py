"""Nested records: what of a document suffices, beside the whole of it."""

from __future__ import annotations

import json
from typing import Any

from rambit.report.packing import Packed
from rambit.report.page import About, page


def document_page(kept: Any, about: About, *, whole: Any = None) -> str:
    """A page of the kept part of a JSON document and, beside it, the ``whole`` document with that part marked."""
    data = {"kept": _lines(kept, kept), "whole": None if whole is None else _lines(whole, kept)}
    return page("document", about, data, Packed("f4"))


def _lines(whole: Any, kept: Any) -> list[tuple[int, str, bool]]:
    """The lines of a document: indent, text, and whether they belong to the kept part."""
    lines: list[tuple[int, str, bool]] = []
    _write(lines, 0, "", whole, kept, True, "")
    return lines


def _write(
    lines: list[tuple[int, str, bool]], depth: int, key: str, value: Any, kept: Any, there: bool, end: str
) -> None:
    if isinstance(value, dict) and value:
        parts = kept if there and isinstance(kept, dict) else {}
        lines.append((depth, f"{key}{{", there))
        for number, (name, part) in enumerate(value.items(), 1):
            comma = "," if number < len(value) else ""
            _write(lines, depth + 1, f"{json.dumps(name)}: ", part, parts.get(name), there and name in parts, comma)
        lines.append((depth, f"}}{end}", there))
    elif isinstance(value, list) and value:
        left = list(kept) if there and isinstance(kept, list) else []
        lines.append((depth, f"{key}[", there))
        for number, part in enumerate(value, 1):
            # What is kept of a list stands in its order: each part goes to the first item that holds it.
            found = bool(left) and _holds(part, left[0])
            _write(
                lines, depth + 1, "", part, left.pop(0) if found else None, found, "," if number < len(value) else ""
            )
        lines.append((depth, f"]{end}", there))
    else:
        lines.append((depth, f"{key}{json.dumps(value, ensure_ascii=False, default=str)}{end}", there))


def _holds(whole: Any, part: Any) -> bool:
    """Whether a part of a document may be what is left of it."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and _holds(whole[name], one) for name, one in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        rest = iter(whole)
        return all(any(_holds(one, wanted) for one in rest) for wanted in part)
    return bool(whole == part)
