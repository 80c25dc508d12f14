"""Trained selectors as files that hold no code: safetensors, and JSON beside for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from rambit.selection.selector import TimestampSelector
from rambit.store import atomic_write, encode, load_tensors

FORMAT = "rambit selector 1"


def save_selector(path: str | Path, selector: TimestampSelector, extra: dict[str, Any] | None = None) -> None:
    """Writes a selector: its weights and, as JSON in their metadata, its configuration and ``extra``.

    For people, the same JSON goes into a file beside it whose name ends in .json instead of .safetensors.
    Raises ValueError for another ending of `path`, TypeError or ValueError if `extra` is not JSON.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: the name of a selector's file must end in .safetensors")
    document = {"format": FORMAT, "selector": selector.config(), "extra": extra or {}}
    text = json.dumps(document, indent=2, allow_nan=False)
    atomic_write(path, encode(selector.state_dict(), {"rambit": text}))
    atomic_write(path.with_suffix(".json"), (text + "\n").encode())


def load_selector(path: str | Path) -> tuple[TimestampSelector, dict[str, Any]]:
    """The selector of a file, on the CPU and in evaluation mode, and its ``extra``.

    Runs no code from the file and draws no random number. Raises ValueError, naming the file, if it is damaged, holds
    something else, or its weights do not fit its configuration; OSError if there is none.
    """
    weights, metadata = load_tensors(path)
    try:
        document = json.loads(metadata["rambit"])
        if document["format"] != FORMAT:
            raise ValueError(f"its format is {document['format']!r}, this version reads {FORMAT!r}")
        with torch.device("meta"):  # so that a wrong size costs nothing before it is compared
            selector = TimestampSelector(**document["selector"])
        selector.load_state_dict(weights, assign=True)
        return selector.eval(), dict(document["extra"])
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        reason = f"there is no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path}: is not a saved selector: {reason}") from error
