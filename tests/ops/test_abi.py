"""The built library asks nothing of torch but its stable ABI: one build serves every torch from 2.10 on."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.wheel
LIBRARIES = ["_ops", "_ops_cuda"]
#: What a library may ask the loader for: torch, by no version, and what every Linux has.
NEEDED = r"lib(torch_cpu|torch_cuda|stdc\+\+|m|gcc_s|c|dl|rt|pthread)\.so(\.\d)?|ld-linux[\w-]*\.so\.\d"
TARGET = (2, 10)  # as in CMakeLists.txt
#: Where torch declares the C functions of its stable ABI, each under a guard that names the version it came with.
HEADERS = [f"torch/csrc/{name}" for name in ("stable/c/shim.h", "inductor/aoti_torch/c/shim.h")]


def undefined(path, *flags):
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", *flags, path], capture_output=True, text=True, check=True
    ).stdout
    return [line.split(maxsplit=1)[1] for line in listed.splitlines()]


def versions(header):
    """Each function that a header declares, and the torch version that its guards ask for."""
    found, guards = {}, []
    for line in header.splitlines():
        if re.match(r"\s*#\s*if", line):
            evaluated = re.search(r"TORCH_FEATURE_VERSION >= TORCH_VERSION_(\d+)_(\d+)_0", line)
            guards.append((int(evaluated[1]), int(evaluated[2])) if evaluated else (0, 0))
        elif re.match(r"\s*#\s*el", line):
            guards[-1] = (0, 0)
        elif re.match(r"\s*#\s*endif", line):
            guards.pop()
        else:
            for name in re.findall(r"\b((?:aoti_)?torch_\w+)\(", line):
                found[name] = max(guards, default=(0, 0))
    return found


@pytest.fixture(params=LIBRARIES)
def library(request):
    if shutil.which("nm") is None:
        pytest.skip("nm is not here")
    spec = importlib.util.find_spec(f"rambit.{request.param}")
    if spec is None:
        pytest.skip(f"{request.param} was not built")
    return spec.origin


def test_only_the_stable_symbols_of_torch(library):
    torch_symbols = [s for s in undefined(library) if "torch" in s]
    assert len(torch_symbols) > 10
    assert [s for s in torch_symbols if not re.match(r"(aoti_)?torch_", s)] == []


def test_all_of_them_are_as_old_as_the_target(library):
    include = Path(torch.__file__).parent / "include"
    if not (include / HEADERS[0]).exists():
        pytest.skip("torch came without its headers")
    known = {name: v for header in HEADERS for name, v in versions((include / header).read_text()).items()}
    assert known["torch_parallel_for"] == (2, 10)  # the guards are read
    evaluated = [s for s in undefined(library) if "torch_" in s]
    assert [s for s in evaluated if s not in known] == []
    assert [s for s in evaluated if known[s] > TARGET] == []


def test_a_newer_function_would_be_seen():
    header = """
    #if TORCH_FEATURE_VERSION >= TORCH_VERSION_2_9_0
    AOTI_TORCH_EXPORT AOTITorchError aoti_torch_old(int a);
    #ifdef USE_CUDA
    #if TORCH_FEATURE_VERSION >= TORCH_VERSION_2_11_0
    AOTI_TORCH_EXPORT AOTITorchError
    torch_new(int a);
    #endif
    #endif
    #else
    int torch_plain();
    #endif
    """
    assert versions(header) == {"aoti_torch_old": (2, 9), "torch_new": (2, 11), "torch_plain": (0, 0)}


def test_nothing_of_the_unstable_namespaces(library):
    names = undefined(library) + undefined(library, "--demangle")
    assert [n for n in names if re.search(r"\b(c10|at|torch)::|_ZN?K?(3c10|2at)", n)] == []


def test_it_needs_no_library_of_a_version_of_cuda_or_torch(library):
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not here")
    listed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", listed)
    assert "libtorch_cpu.so" in needed
    assert [name for name in needed if not re.fullmatch(NEEDED, name)] == []


def test_the_cuda_library_is_loaded_where_torch_has_cuda():
    loaded = any("_ops_cuda" in path for path in torch.ops.loaded_libraries)
    assert loaded == (torch.version.cuda is not None and importlib.util.find_spec("rambit._ops_cuda") is not None)


def test_the_plan_does_not_know_torch():
    spec = importlib.util.find_spec("rambit._plan")
    if shutil.which("nm") is None:
        pytest.skip("nm is not here")
    assert [s for s in undefined(spec.origin) if "torch" in s or "c10" in s] == []
