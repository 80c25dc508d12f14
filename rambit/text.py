"""Limits of what is given as text, and how long text is shown. Imports nothing: the command line starts with it."""

from __future__ import annotations

#: The largest numbers that options take: more would only fill the memory, or never end.
MOST, MOST_UNITS = 1_000_000, 8192


def shortened(text: str, most: int = 600) -> str:
    """Both ends of a text that is longer than ``most`` characters."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-(most // 2) :]}"
