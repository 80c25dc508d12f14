"""Trained selectors as files that hold no code: safetensors, and JSON beside for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from rambit.checks import check_saved
from rambit.selection.selector import TimestampSelector
from rambit.store import fill, load_module, save_module

FORMAT = "rambit selector 1"


def save_selector(path: str | Path, selector: TimestampSelector, extra: dict[str, Any] | None = None) -> None:
    """Writes a selector: its weights and, as JSON in their metadata, its configuration and ``extra``.

    For people, the same JSON goes into a file beside it whose name ends in .json instead of .safetensors.
    Raises ValueError for another ending of `path`, TypeError for what is no selector, TypeError or ValueError if
    `extra` is not JSON.
    """
    check_saved(path, selector, "selector", TimestampSelector)
    save_module(path, FORMAT, selector, {"selector": selector.config(), "extra": extra or {}})


def load_selector(path: str | Path) -> tuple[TimestampSelector, dict[str, Any]]:
    """The selector of a file, on the CPU and in evaluation mode, and its ``extra``.

    Runs no code from the file and draws no random number. Raises ValueError, naming the file, if it is damaged, holds
    something else, or its weights do not fit its configuration; OSError if there is none.
    """

    def build(weights: dict[str, Tensor], document: dict[str, Any]) -> tuple[TimestampSelector, dict[str, Any]]:
        return fill(lambda: TimestampSelector(**document["selector"]), weights), dict(document["extra"])

    return load_module(path, FORMAT, "a saved selector", build)
