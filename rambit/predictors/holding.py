"""Holding modules in evaluation mode while they are evaluated, wherever a callable keeps them."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import types
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: Objects looked at for one callable: a bound for what keeps whole data sets beside its model.
MAX_OBJECTS = 10_000
#: What every module keeps for itself; its submodules are listed by ``modules()``.
OF_EVERY_MODULE = frozenset(vars(nn.Module()))
#: What holds no module; torch's own check of a Tensor is slow, so it comes last.
_PLAIN = (str, int, float, type(None), bytes, complex, type, types.ModuleType, torch.dtype, torch.device)
_LEAVES = (*_PLAIN, np.ndarray, Tensor)
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
        if not isinstance(thing, nn.Module):
            seen.add(id(thing))
            waiting.extend(_parts(thing))
            continue
        for module in thing.modules():
            if id(module) not in seen:
                seen.add(id(module))
                found.append(module)
                if own_classes(type(module)):  # a library's modules keep none that they do not list
                    waiting.extend(_parts(module))
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
    called = [vars(owner)[name] for owner in own_classes(type(thing)) for name in _CALLED if name in vars(owner)]
    return called + [value for _, value in attributes(thing)]


def attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    """What an object keeps in its own attributes, but for what every module has."""
    for name, value in getattr(thing, "__dict__", {}).items():
        if not (isinstance(thing, nn.Module) and name in OF_EVERY_MODULE):
            yield name, value
    for owner in own_classes(type(thing)):
        slots = vars(owner).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(thing, name):
                yield name, getattr(thing, name)


_OWN_CLASSES: weakref.WeakKeyDictionary[type, list[type]] = weakref.WeakKeyDictionary()


def own_classes(kind: type) -> list[type]:
    """The classes that an object of this kind has, but for those of libraries."""
    found = _OWN_CLASSES.get(kind)
    if found is None:
        found = _OWN_CLASSES[kind] = [owner for owner in kind.__mro__ if not is_library(owner.__module__)]
    return found


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
        for name in global_names(function.__code__):
            if name in function.__globals__:
                yield name, function.__globals__[name]


@functools.lru_cache(maxsize=1024)
def global_names(code: types.CodeType) -> tuple[str, ...]:
    """The names that some code, and the functions made in it, may look up."""
    inner = [global_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return tuple(sorted(set(code.co_names).union(*inner)))


_LOCK = threading.RLock()
_HELD: dict[int, tuple[int, bool, nn.Module]] = {}  # by id: how many hold it, whether it was training, itself


@contextlib.contextmanager
def evaluating(model: Any, *, gradients: bool = False, inference: bool = False) -> Iterator[None]:
    """Evaluation mode for every module that ``model`` holds, without gradients unless asked for.

    Each module's training flag comes back when the last of those that hold it leaves, in whatever thread. The caller's
    inference mode and autocast end for a while: what a model keeps from a call must be usable in training, and how
    precisely it is evaluated is an option of the predictor, which results record. ``inference``: inference mode all the
    same, a tenth faster for small steps, for a model that is known to keep nothing.
    """
    modules = [] if model is None else held_modules(model)
    _hold(modules)
    try:
        with torch.inference_mode(False), _full_precision():
            if gradients:  # cuDNN's recurrent layers have no gradient in evaluation mode
                with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
                    yield
            elif inference:
                with torch.inference_mode():
                    yield
            else:
                with torch.no_grad():
                    yield
    finally:
        _release(modules)


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def _hold(modules: list[nn.Module]) -> None:
    with _LOCK:
        fresh = []
        for module in modules:
            held = _HELD.get(id(module))
            if held is None:
                fresh.append(module)
                _HELD[id(module)] = 1, getattr(module, "training", False), module
            else:
                _HELD[id(module)] = held[0] + 1, held[1], module
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
        switched = _switch([module for module, training in free if training], True)
        for module, training in free:
            _set_flag(module, training)
        if switched:  # a switch reaches submodules that others may still hold
            for _, _, module in _HELD.values():
                _set_flag(module, False)


def _switch(modules: list[nn.Module], training: bool) -> bool:
    """Tell the modules whose switch is more than the flag; whether there are any. One that refuses stays as it is."""
    special = [
        module for module in modules if not _plain_switch(type(module)) or {"train", "eval"} & vars(module).keys()
    ]
    for module in special:
        with contextlib.suppress(Exception):
            module.train() if training else module.eval()
    return bool(special)


def _plain_switch(kind: type[nn.Module]) -> bool:
    return kind.train is nn.Module.train and kind.eval is nn.Module.eval


def _set_flag(module: nn.Module, training: bool) -> None:
    own = vars(module)
    if "training" in own:
        own["training"] = training  # as an attribute it would pass through torch's checks of every value
    elif getattr(module, "training", training) != training:
        with contextlib.suppress(Exception):  # a scripted module keeps its flag elsewhere, a frozen one has none
            module.training = training


def is_there(module: nn.Module, device: torch.device) -> bool:
    """Whether all parameters and buffers lie on the device: ``to`` rearranges a recurrent layer even where they do."""
    tensors: Iterable[Tensor] = [*module.parameters(), *module.buffers()]
    return all(t.device.type == device.type and device.index in (None, t.device.index) for t in tensors)


def move(module: nn.Module, device: torch.device) -> None:
    """Move a module, unless it is there: another thread may be calling it."""
    if not is_there(module, device):
        module.to(device)
