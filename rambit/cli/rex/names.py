"""What classes are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rambit.rex import RexExplanation
from rambit.store import read_file


def read_class_names(path: str) -> tuple[str, ...]:
    """The names of a file: one a line, or JSON, a list or an object from numbers to names.

    A JSON name may be a list that ends in it, as in ImageNet's index. Raises ValueError or OSError naming the file.
    """
    try:
        text = read_file(path).decode()
        if Path(path).suffix.lower() != ".json":
            return tuple(line.strip() for line in text.splitlines() if line.strip())
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} can't be read as names of classes: {error}") from None
    if isinstance(found, dict):
        missing = next((i for i in range(len(found)) if str(i) not in found), None)
        if missing is not None:
            raise ValueError(f"{path} must name every class from 0 to {len(found) - 1}, and has no {missing}")
        found = [found[str(i)] for i in range(len(found))]
    names = [_last(one) for one in found] if isinstance(found, list) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path} must hold a list of names, or an object from numbers to names")
    return tuple(names)


def _last(name: Any) -> Any:
    return name[-1] if isinstance(name, list) and name else name


def class_name(found: RexExplanation, label: int) -> str:
    """A class's number, and its name where it has one."""
    name = found.labels.output(label, "")
    return f"{label} {name}" if name else str(label)
