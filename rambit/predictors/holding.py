"""Holding modules in evaluation mode while they are asked, wherever a callable keeps them."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import types
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: Objects looked at for one callable: a bound for what keeps whole data sets beside its model.
MAX_OBJECTS = 10_000
#: What every module keeps for itself; its submodules are listed by ``modules()``.
OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_LEAVES = (str, bytes, int, float, complex, type(None), type, Tensor, np.ndarray, types.ModuleType, torch.dtype)
_LIBRARIES = sys.stdlib_module_names | {"torch", "numpy", "scipy", "sklearn", "pandas", "matplotlib", "numba", "rambit"}
_CALLED = ("__call__", "forward", "predict", "predict_proba", "advance")


def held_modules(model: Any) -> list[nn.Module]:
    """Every module that a call of ``model`` may reach, itself first: submodules, and those in closures, globals that
    its code names, bound objects, partials, attributes, and lists or dicts of these."""
    found: list[nn.Module] = []
    seen: set[int] = set()
    waiting = [model]
    while waiting and len(seen) < MAX_OBJECTS:
        thing = waiting.pop()
        if isinstance(thing, _LEAVES) or id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, nn.Module):
            found.append(thing)
        waiting.extend(_parts(thing))
    return found


def _parts(thing: Any) -> Iterable[Any]:
    if isinstance(thing, functools.partial):
        return thing.func, thing.args, thing.keywords
    if isinstance(thing, types.MethodType):
        return thing.__self__, thing.__func__
    if isinstance(thing, types.FunctionType):
        return [value for _, value in function_parts(thing)]
    if isinstance(thing, (list, tuple, set, frozenset)):
        return thing
    if isinstance(thing, dict):
        return thing.values()
    parts = [value for _, value in attributes(thing)]
    if isinstance(thing, nn.Module):
        parts += thing.children()
    parts += [vars(owner)[name] for owner in own_classes(thing) for name in _CALLED if name in vars(owner)]
    return parts


def attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    """What an object keeps in its own attributes, but for what every module has."""
    for name, value in getattr(thing, "__dict__", {}).items():
        if not (isinstance(thing, nn.Module) and name in OF_EVERY_MODULE):
            yield name, value
    for owner in type(thing).__mro__:
        slots = owner.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(thing, name):
                yield name, getattr(thing, name)


def own_classes(thing: Any) -> list[type]:
    """The classes of an object that are no library's."""
    return [owner for owner in type(thing).__mro__ if not is_library(owner.__module__)]


def is_library(module: str) -> bool:
    """Whether the module of this name belongs to Python, to torch and its like, or to this package."""
    return module.partition(".")[0] in _LIBRARIES


def function_parts(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function reads beside its arguments: its closure, its defaults, and the globals that its code names."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not filled yet
            yield name, cell.cell_contents
    yield "defaults", (function.__defaults__, function.__kwdefaults__)
    if not is_library(function.__globals__.get("__name__", "")):
        for name in sorted(global_names(function.__code__)):
            if name in function.__globals__:
                yield name, function.__globals__[name]


def global_names(code: types.CodeType) -> set[str]:
    """The names that some code, and the functions made in it, may look up."""
    inner = [global_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*inner)


_LOCK = threading.RLock()
_HELD: dict[int, tuple[int, bool, nn.Module]] = {}  # by id: how many hold it, whether it was training, itself


@contextlib.contextmanager
def evaluating(model: Any, *, gradients: bool = False) -> Iterator[None]:
    """Evaluation mode for every module that ``model`` holds, without gradients unless asked for.

    Each module's training flag comes back when the last of those that hold it leaves, in whatever thread. Where a call
    is made in inference mode it is left for a while: what a model keeps from a call must be usable in training.
    """
    modules = [] if model is None else held_modules(model)
    _hold(modules)
    try:
        with torch.inference_mode(False):
            if gradients:  # cuDNN's recurrent layers have no gradient in evaluation mode
                with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
                    yield
            else:
                with torch.no_grad():
                    yield
    finally:
        _release(modules)


def _hold(modules: list[nn.Module]) -> None:
    with _LOCK:
        fresh = [module for module in modules if id(module) not in _HELD]
        for module in modules:
            holders, training, _ = _HELD.get(id(module), (0, getattr(module, "training", False), module))
            _HELD[id(module)] = holders + 1, training, module
        _switch(fresh, False)
        for module in fresh:
            _set_flag(module, False)


def _release(modules: list[nn.Module]) -> None:
    with _LOCK:
        free = []
        for module in modules:
            holders, training, _ = _HELD.pop(id(module))
            if holders > 1:
                _HELD[id(module)] = holders - 1, training, module
            else:
                free.append((module, training))
        _switch([module for module, training in free if training], True)
        for module, training in free:
            _set_flag(module, training)
        for _, _, module in list(_HELD.values()):  # a switch reaches submodules that others still hold
            _set_flag(module, False)


def _switch(modules: list[nn.Module], training: bool) -> None:
    """Tell those modules whose switch is more than the flag. One that refuses is taken as it is."""
    for module in modules:
        own = type(module)
        if (
            own.train is not nn.Module.train
            or own.eval is not nn.Module.eval
            or {"train", "eval"} & vars(module).keys()
        ):
            try:
                module.train() if training else module.eval()
            except Exception:
                continue


def _set_flag(module: nn.Module, training: bool) -> None:
    with contextlib.suppress(Exception):  # a frozen scripted module has no flag to set
        module.training = training


def is_there(module: nn.Module, device: torch.device) -> bool:
    """Whether all parameters and buffers lie on the device: ``to`` rearranges a recurrent layer even where they do."""
    tensors: Iterable[Tensor] = [*module.parameters(), *module.buffers()]
    return all(t.device.type == device.type and device.index in (None, t.device.index) for t in tensors)


def move(module: nn.Module, device: torch.device) -> None:
    """Move a module, unless it is there: another thread may be calling it."""
    if not is_there(module, device):
        module.to(device)
