"""The ops in plain torch give what the native ones give; ``pytest --fallback`` runs every test of an op on them."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import torch
from torch.utils import backend_registration

from rambit import RaMbIT, fallback, ops
from rambit.attribution import WinIT
from tests.models_for_tests import GRU
from tests.plain_torch import PLAIN_TORCH

X = torch.randn(5, 3, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_every_op_has_a_stand_in_with_its_arguments():
    assert fallback.OPS.keys() == set(ops._OPS)
    for name, function in fallback.OPS.items():
        wanted = [argument.name for argument in getattr(torch.ops.rambit, name).default._schema.arguments]
        taken = inspect.signature(function).parameters
        if not any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in taken.values()):
            assert len(taken) == len(wanted), name


@pytest.mark.parametrize(
    "options",
    [
        {"num_samples": 3, "L": 5, "background": X},
        {"num_samples": 2, "L": 4, "anchor": "mask", "reduce": "max", "background": X},
        {"L": 4, "anchor": "end", "counterfactuals": "interpolate", "num_samples": 1, "distance": "kl"},
        {"L": 4, "share_masks": False, "counterfactuals": "gaussian", "num_samples": 2},
    ],
    ids=["cell", "mask", "conditional", "own masks"],
)
def test_scores_are_those_of_the_native_ops(options, monkeypatch):
    torch.manual_seed(0)
    method = RaMbIT(GRU().double().eval(), **options)
    expected = method.explain(X)
    monkeypatch.setattr(ops, "_native", PLAIN_TORCH)
    found = method.explain(X)
    assert float(expected.values.abs().max()) > 1e-3
    torch.testing.assert_close(found.values, expected.values, rtol=1e-12, atol=1e-14)
    assert found.rows == expected.rows


def test_windows_of_predictions(monkeypatch):
    torch.manual_seed(0)
    method = WinIT(GRU().double().eval(), window_size=3, num_samples=2, background=X)
    expected = method.explain(X).windows
    monkeypatch.setattr(ops, "_native", PLAIN_TORCH)
    torch.testing.assert_close(method.explain(X).windows, expected, rtol=1e-12, atol=1e-14)


REGISTERED = """
import warnings
import torch
from rambit import fallback, ops
has = torch._C._dispatch_has_kernel_for_dispatch_key
assert not has("rambit::distance", "CUDA") or ops.HAS_CUDA_OPS or "cuda" in ops.FALLBACK
if not has("rambit::distance", "CUDA"):
    fallback.register("cuda", ops._OPS)
assert all(has(f"rambit::{name}", "CUDA") for name in ops._OPS)
call = fallback._with_a_warning("cuda", fallback.OPS["put_windows"])
out, window = torch.zeros(1, 3, 1), torch.ones(1, 1, 1)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    for start in (0, 2):
        call(out, window, torch.tensor([start]))
assert len(told) == 1 and "no native ops for cuda" in str(told[0].message), told
assert out.flatten().tolist() == [1, 0, 1]
"""


def test_a_device_without_kernels_is_served_with_one_warning():
    subprocess.run([sys.executable, "-c", REGISTERED], check=True)


WITHOUT_FLOAT64 = """
import torch
from torch import nn
from rambit import RaMbIT, memory, testing
from rambit.attribution import WinIT
from tests.device_without_float64 import NAME, Device, There, add_device
add_device()
memory.WITHOUT_FLOAT64 = (NAME,)
X = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(0))
torch.manual_seed(0)
class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20, 2))
    def forward(self, x):
        called_there.append(isinstance(x, There))
        return self.layers(x)
called_there = []
def values(place):
    x, convolution, stateful = (one.to(place) for one in (X, Convolution().eval(), testing.Decay(3).float()))
    for method in (
        RaMbIT(convolution, anchor="end", L=4, num_samples=2, counterfactuals="gaussian", seed=1),
        RaMbIT(stateful, L=4, num_samples=2, background=x, window_size=3),
        WinIT(stateful, window_size=2, counterfactuals="zero"),
    ):
        torch.manual_seed(0)
        found = method.attribute(x)
        assert found.device.type == place, found.device
        yield found.cpu()
torch.manual_seed(1); expected = list(values("cpu")); called_there.clear()
with Device():
    torch.manual_seed(1); found = list(values(NAME))
assert called_there and all(called_there)
for one, other in zip(found, expected, strict=True):
    assert float(other.abs().max()) > 1e-4
    assert torch.equal(one, other.float())
"""


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"), reason="needs a newer torch"
)
def test_a_device_without_float64_evaluates_the_model_and_the_cpu_does_the_rest():
    """A stand-in for Apple's GPUs: it refuses float64, and tensors of another device beside its own."""
    subprocess.run([sys.executable, "-c", WITHOUT_FLOAT64], check=True)
