"""`rambit info`: what is installed and what it can use."""

from __future__ import annotations

import argparse
import importlib.util
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

import rambit
from rambit import ops
from rambit.cli import common

#: Extra -> the module that it brings, and the name of its distribution.
EXTRAS = {
    "data": ("sktime", "sktime"),
    "plots": ("matplotlib", "matplotlib"),
    "metrics": ("sklearn", "scikit-learn"),
    "tables": ("pyarrow", "pyarrow"),
    "onnx": ("onnxruntime", "onnxruntime"),
    "images": ("PIL", "pillow"),
    "volumes": ("nibabel", "nibabel"),
    "baselines": ("captum", "captum"),
    "ray": ("ray", "ray"),
}


def add(commands: common.Commands) -> None:
    """The command; it has no arguments."""
    parser = commands.add_parser(
        "info",
        help="versions, native code, devices and optional parts",
        description="Prints what is installed and what it can use, one thing a line.",
        epilog="example:\n  rambit info",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print one thing a line."""
    rows = [
        ("rambit", rambit.__version__),
        ("torch", torch.__version__),
        ("python", platform.python_version()),
        ("native ops, CPU", "loaded"),  # rambit does not import without
        ("native ops, CUDA", _cuda_ops()),
        ("device cpu", f"{torch.get_num_threads()} threads"),
    ]
    rows += [(f"device cuda:{i}", torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())]
    rows += [(f"extra {extra}", _found(extra, *names)) for extra, names in EXTRAS.items()]
    print(common.table(rows))


def _cuda_ops() -> str:
    if ops.HAS_CUDA_OPS:
        return "loaded"
    if "cuda" in ops.FALLBACK:
        return "not built, plain torch does their work, more slowly"
    if importlib.util.find_spec("rambit._ops_cuda") is None:
        return "not built"
    return "built, not loaded: this torch has no CUDA"


def _found(extra: str, module: str, distribution: str) -> str:
    try:
        if importlib.util.find_spec(module) is None:
            raise PackageNotFoundError(distribution)
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return f"missing: pip install 'rambit[{extra}]'"
