"""What tells one model from another: weights, structure and code, for resumed runs."""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import pickletools
import re
import types
import zipfile
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rambit.predictors.holding import (
    MAX_OBJECTS,
    attributes,
    evaluating,
    function_parts,
    is_library,
    own_classes,
)

_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_MAX_DEPTH = 50  # of objects in objects
_MEMBERS = (types.FunctionType, property, staticmethod, classmethod, int, float, str, Tensor, list, tuple, dict)
_SPECIAL = ("__call__", "__getattr__", "__getattribute__")


def identity(module: nn.Module) -> dict[str, Any]:
    """Tensors and JSON values that differ between two modules whose outputs may differ.

    Seen: weights and buffers; types, attributes, hooks and structure of all submodules; the code of their classes
    (compiled, so that comments and files changed meanwhile don't count), of functions and constants that it names, and
    of scripted and exported modules. Not seen: the inside of libraries, environment variables, files and other state
    outside the process, and objects that show neither attributes nor code. What a model keeps of its last call counts.
    """
    tensors = dict(module.named_buffers())
    state = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    return {"state_dict": {**tensors, **state}, "structure": structure(module)}


def structure(module: nn.Module) -> dict[str, Any]:
    """What ``identity`` sees of a module beside the values of its weights and buffers."""
    describe = _Description()
    return {name: describe.module(part) for name, part in module.named_modules()}


def described(thing: Any) -> Any:
    """Tensors and JSON values that differ between two functions, or objects, that may do different things."""
    return _Description().value(thing)


class _Description:
    """Turns objects into what ``resume_key`` takes; an object that was met before is named by its place."""

    def __init__(self) -> None:
        self.depth = 0
        self.met: dict[int, int] = {}
        self.kept: list[Any] = []  # so that no id is used twice

    def module(self, module: nn.Module) -> dict[str, Any]:
        own = {name: self.value(value) for name, value in attributes(module) if not _is_torchs(module, name)}
        hooks = {name: [self.value(hook) for hook in getattr(module, name).values()] for name in _HOOKS}
        script = _script(module) if isinstance(module, torch.jit.ScriptModule) else getattr(module, "code", None)
        return {
            **self.object(module),
            "attributes": own,
            "hooks": hooks,
            "script": script if isinstance(script, (str, list)) else None,
        }

    def object(self, thing: Any) -> dict[str, Any]:
        kind = type(thing)
        members = [
            {
                name: self.value(member)
                for name, member in sorted(vars(owner).items())
                if isinstance(member, _MEMBERS) and (name in _SPECIAL or not name.startswith("__"))
            }
            for owner in own_classes(kind)
        ]
        return {"type": f"{kind.__module__}.{kind.__qualname__}", "members": members}

    def value(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, (torch.dtype, torch.device, bytes, complex, slice, type, range)):
            return repr(value)
        if isinstance(value, Tensor):
            plain = value.layout == torch.strided and value.device.type != "meta" and not value.is_quantized
            return value.detach() if plain else repr(value)
        if isinstance(value, np.generic):
            return repr(value)
        if isinstance(value, np.ndarray) and value.dtype != object:
            return value
        if id(value) in self.met:
            return f"as {self.met[id(value)]}"
        if self.depth == _MAX_DEPTH or len(self.met) == MAX_OBJECTS:
            return type(value).__qualname__
        self.met[id(value)] = len(self.met)
        self.kept.append(value)
        self.depth += 1
        try:
            return self._inside(value)
        finally:
            self.depth -= 1

    def _inside(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        if isinstance(value, (set, frozenset)):
            return sorted(repr(self.value(item)) for item in value)
        if isinstance(value, dict):
            return {repr(key): self.value(item) for key, item in value.items()}
        if isinstance(value, types.FunctionType):
            if is_library(value.__module__ or ""):
                return f"{value.__module__}.{value.__qualname__}"
            return {
                "code": _code(value.__code__),
                "reads": {name: self.value(part) for name, part in function_parts(value)},
            }
        if isinstance(value, types.MethodType):
            return [self.value(value.__self__), self.value(value.__func__)]
        if isinstance(value, (staticmethod, classmethod)):
            return self.value(value.__func__)
        if isinstance(value, property):
            return [self.value(value.fget)]
        if isinstance(value, functools.partial):
            return [self.value(value.func), self.value(value.args), self.value(value.keywords)]
        if isinstance(value, nn.Module):
            return {name: self.module(part) for name, part in value.named_modules()} | {
                "state": self.value({name: t for name, t in value.state_dict().items() if isinstance(t, Tensor)})
            }
        if isinstance(value, types.ModuleType):
            return value.__name__
        if isinstance(value, (types.SimpleNamespace, argparse.Namespace)):
            return self.value(vars(value))
        if is_library(type(value).__module__):
            name = getattr(value, "__qualname__", "")
            return f"{type(value).__module__}.{type(value).__qualname__} {name}"
        return {**self.object(value), "attributes": {name: self.value(part) for name, part in attributes(value)}}


def _is_torchs(module: nn.Module, name: str) -> bool:
    """Whether an attribute is torch's own bookkeeping: references to weights, which are told anyway."""
    return name.startswith("_") and is_library(type(module).__module__)


def _code(code: types.CodeType) -> str:
    """A hash of compiled code, without names of files and lines."""
    digest = hashlib.sha256(code.co_code)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            digest.update(_code(constant).encode())
        elif isinstance(constant, frozenset):
            digest.update(repr(sorted(map(repr, constant))).encode())
        else:
            digest.update(repr(constant).encode())
    digest.update(repr((code.co_names, code.co_freevars, code.co_argcount, code.co_kwonlyargcount)).encode())
    return digest.hexdigest()


def _script(module: torch.jit.ScriptModule) -> list[str]:
    """Hashes of what a scripted module is saved as: code, constants, attributes; not the names of files and lines."""
    if not hasattr(module, "save_to_buffer"):
        return []
    with evaluating(module), zipfile.ZipFile(io.BytesIO(module.save_to_buffer())) as saved:
        names = [n for n in saved.namelist() if not n.endswith((".debug_pkl", "/version", "/serialization_id"))]
        parts = [_without_numbers(saved.read(name), pickled=name.endswith(".pkl")) for name in sorted(names)]
    return [hashlib.sha256(part).hexdigest() for part in parts]


def _without_numbers(data: bytes, *, pickled: bool) -> bytes:
    """Saved data without the numbers that a process gives to scripted classes, which their names hold."""
    if pickled:
        data = repr([(op.name, arg) for op, arg, _ in pickletools.genops(data)]).encode()
    return re.sub(rb"___torch_mangle_\d+", b"", data)
