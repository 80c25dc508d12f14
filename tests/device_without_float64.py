"""A device that has no float64 and mixes with no other, in the place of a Mac's GPU: tensors that wrap the CPU's."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = "gpu_stand_in"


def add_device() -> None:
    """Make torch know the device; for the whole process, and for good."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend(NAME)


class There(torch.Tensor):
    """A tensor on the device."""

    @staticmethod
    def __new__(cls, inner):
        if inner.dtype == torch.float64:
            raise TypeError("the device has no float64")
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=NAME
        )
        made.inner = inner
        return made

    def __repr__(self):
        return f"There({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        with Device():
            return function(*args, **(kwargs or {}))


class Device(TorchDispatchMode):
    """What torch does where the device is there."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        there = any(isinstance(tensor, There) for tensor in given)
        if kwargs.get("device") is not None:
            there = torch.device(kwargs["device"]).type == NAME
            kwargs["device"] = "cpu"
        elif there and function is not torch.ops.aten.copy_.default:
            assert all(isinstance(tensor, There) or not tensor.ndim for tensor in given), f"{function} on two devices"
        inner_args, inner_kwargs = tree_map_only(There, lambda tensor: tensor.inner, (args, kwargs))
        found = function(*inner_args, **inner_kwargs)
        if not there:
            return found
        known = {id(tensor.inner): tensor for tensor in given if isinstance(tensor, There)}  # written in place
        return tree_map_only(
            torch.Tensor, lambda tensor: known[id(tensor)] if id(tensor) in known else There(tensor), found
        )
