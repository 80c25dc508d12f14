"""rambit: explains what a time-series model looked at, exactly and fast."""

from __future__ import annotations

import gc
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rambit.allocator import tune_allocator
    from rambit.attribution import RaMbIT
    from rambit.frames import pad
    from rambit.predictors import PredictionError, Predictor
    from rambit.results import Attribution

    __version__: str

__all__ = ["Attribution", "PredictionError", "Predictor", "RaMbIT", "__version__", "pad", "tune_allocator"]

_MODULES = {
    "Attribution": "results",
    "PredictionError": "predictors",
    "Predictor": "predictors",
    "RaMbIT": "attribution",
    "pad": "frames",
    "tune_allocator": "allocator",
}
_PACKAGES = ("attribution", "counterfactuals", "game", "masks", "metrics", "models", "ops", "predictors", "results")


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used: until torch is needed, an interrupt is only that."""
    if name in _MODULES:
        return getattr(_imported(f"rambit.{_MODULES[name]}"), name)
    if name in _PACKAGES:
        return _imported(f"rambit.{name}")
    if name == "__version__":  # that of pyproject.toml, as it was installed
        from importlib.metadata import version

        return version("rambit")
    raise AttributeError(f"module 'rambit' has no attribute {name!r}")


def _imported(name: str) -> ModuleType:
    """A module. What it makes stays, so that a collection in between would walk through all of torch for nothing."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return import_module(name)
    finally:
        if collects:
            gc.enable()


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})
