"""Limits of what is given as text, and how text is shown. Imports nothing else: the command line starts with it."""

from __future__ import annotations

from collections.abc import Iterable

#: Names that are compared with a mistyped one.
MOST_COMPARED = 10_000
#: The largest numbers that options take: more would only fill the memory, or never end.
MOST, MOST_UNITS = 1_000_000, 8192


def shortened(text: str, most: int = 600) -> str:
    """Both ends of a text that is longer than ``most`` characters."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-(most // 2) :]}"


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names with commas between, and "…" for those beyond ``most``."""
    first = list(names)
    return ", ".join(first[:most]) + (", …" if len(first) > most else "")


def closest_first(wanted: str, names: Iterable[str]) -> list[str]:
    """The names in the order of how much they look like a mistyped one; equals, and very many, stay in their order."""
    from difflib import SequenceMatcher

    if len(names := list(names)) > MOST_COMPARED:
        return names

    def likeness(name: str) -> tuple[float, float]:
        pairs = (wanted.lower(), name.lower()), (wanted, name)
        first, second = (SequenceMatcher(None, *pair, autojunk=False).ratio() for pair in pairs)
        return first, second

    return sorted(names, key=likeness, reverse=True)
