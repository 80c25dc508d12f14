"""Older names of what a package offers: they work, and warn."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any


def older_names(package: str, **names: str) -> Callable[[str], Any]:
    """A module's ``__getattr__`` that knows these older names, each with what it is called now."""

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        warnings.warn(f"{package}.{name} is called {names[name]} now", DeprecationWarning, stacklevel=2)
        return getattr(sys.modules[package], names[name])

    return find
