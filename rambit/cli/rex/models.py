"""Models that the command line can load without running code from a data file."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rambit.predictors import Predictor
from rambit.predictors.predictor import Output
from rambit.store import read_file
from rambit.training import load_checkpoint

MODEL_HELP = (
    "a checkpoint that `rambit train` wrote (.safetensors), an ONNX file, or package.module:function, which is the "
    "model or, if it takes no arguments, returns it"
)


def read_model(
    name: str, *, output: Output, device: torch.device | None, model_id: str | None, threshold: float = 0.5
) -> Predictor:
    """The model under its predictor. Raises ValueError, TypeError, OSError or ImportError."""
    suffix = Path(name).suffix.lower()
    common: dict[str, Any] = {"output": output, "device": device, "threshold": threshold}
    if suffix == ".safetensors":
        return Predictor.of(load_checkpoint(name)[0], model_id=model_id, **common)
    if suffix == ".onnx":
        identity = model_id or hashlib.sha256(read_file(name)).hexdigest()
        return Predictor.of(_onnx_session(name), model_id=identity, **common)
    module, colon, function = name.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module.split("."), *function.split("."))):
        raise ValueError(
            "--model must be a checkpoint (.safetensors), an ONNX file (.onnx) or package.module:function, "
            f"got {name}; TorchScript and pickled models are not loaded, since they can run any code"
        )
    return Predictor.of(_imported(module, function), model_id=model_id, **common)


def _onnx_session(path: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("ONNX models need onnxruntime: pip install 'rambit[onnx]'") from error
    try:
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own kinds, none of them documented
        raise ValueError(f"{path} can't be read as an ONNX model: {error}") from error


def _imported(module: str, function: str) -> Any:
    """What package.module:function names, also from the current folder, as `python -m` has it."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
    finally:
        sys.path.remove(here)
    for part in function.split("."):
        if not hasattr(found, part):
            raise ValueError(f"--model: {module} has no {function}")
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"--model: {module}:{function} is a {type(found).__name__}, not a model or function")
    makes_it = not isinstance(found, nn.Module) and not inspect.signature(found).parameters
    return found() if makes_it else found
