"""What every test shares: the devices, and how hypothesis behaves."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

import pytest
import torch
from hypothesis import HealthCheck, settings

from rambit import ops
from rambit.game import modes
from rambit.game.work import PRICES, Price
from tests.plain_torch import PLAIN_TORCH

collect_ignore = ["without_torch.py"]  # a plugin, which puts a stand-in in torch's place

settings.register_profile(
    "rambit", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("rambit")


def pytest_addoption(parser):
    parser.addoption("--fallback", action="store_true", help="on the CPU, too, plain torch in place of the native ops")


def pytest_configure(config):
    if config.getoption("--fallback"):
        ops._native = PLAIN_TORCH


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """What a test draws does not depend on the tests that ran before it in its process."""
    torch.manual_seed(20)


@pytest.fixture(scope="session", params=["cpu", "cuda"])
def device(request):
    """Each device on which the ops run; one that is absent is skipped."""
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device here")
        if not ops.HAS_CUDA_OPS:
            pytest.skip("rambit was built without CUDA ops")
        torch.backends.cudnn.allow_tf32 = False  # whose rounding is no business of ours
    return torch.device(request.param)


@pytest.fixture
def threads():
    """A setter of the number of threads; the old number comes back afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def free_calls(monkeypatch):
    """As if a call cost nothing: ``evaluation="auto"`` then takes the strongest claim, however small the model."""
    prices = {device: dict.fromkeys(ways, Price(0.0, 0.0, 1.0, 0.0)) for device, ways in PRICES.items()}
    monkeypatch.setattr(modes, "PRICES", prices)
