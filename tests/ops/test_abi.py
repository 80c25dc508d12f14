"""The built library asks nothing of torch but its stable ABI: one build serves every torch from 2.10 on."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess

import pytest

LIBRARIES = ["_ops", "_ops_cuda"]


def undefined(path, *flags):
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", *flags, path], capture_output=True, text=True, check=True
    ).stdout
    return [line.split(maxsplit=1)[1] for line in listed.splitlines()]


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


def test_nothing_of_the_unstable_namespaces(library):
    names = undefined(library) + undefined(library, "--demangle")
    assert [n for n in names if re.search(r"\b(c10|at|torch)::|_ZN?K?(3c10|2at)", n)] == []


def test_the_plan_does_not_know_torch():
    spec = importlib.util.find_spec("rambit._plan")
    if shutil.which("nm") is None:
        pytest.skip("nm is not here")
    assert [s for s in undefined(spec.origin) if "torch" in s or "c10" in s] == []
