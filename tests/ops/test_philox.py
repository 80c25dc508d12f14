"""The random numbers below every mask and draw. The twin is checked here; the tests of the ops hold them to it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from rambit import ops
from tests.naive import ops as naive


@pytest.mark.parametrize(
    ("counter", "key", "expected"),  # Random123's kat_vectors
    [
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers(counter, key, expected):
    assert naive.philox4x32(counter, key) == expected


def test_below_reaches_both_ends():
    assert [naive.below(bits, 6) for bits in (0, (1 << 64) - 1)] == [0, 5]
    assert naive.below(1 << 63, 10) == 5


def test_unit_is_open():
    low, high = naive.unit(0), naive.unit((1 << 64) - 1)
    assert (low, high) == (2.0**-53, 1 - 2.0**-53)


def test_logarithm():
    x = np.concatenate(
        [
            10.0 ** np.random.default_rng(0).uniform(-300, 300, 3000),
            1 + np.linspace(-0.5, 1, 3001),
            [2.0**-53, 1 - 2.0**-53],
        ]
    )
    ours = np.array([naive.portable_log(float(v)) for v in x])
    np.testing.assert_allclose(ours, [math.log(v) for v in x], rtol=1e-15, atol=2e-16)


def test_normal_quantile_on_all_that_unit_reaches():
    p = np.concatenate(
        [
            np.linspace(0.001, 0.999, 1999),
            2.0 ** -np.arange(2, 54),
            1 - 2.0 ** -np.arange(2, 54),
            [1e-300, 1e-100, 1e-30],
        ]
    )
    ours = np.array([naive.normal_quantile(float(v)) for v in p])
    np.testing.assert_allclose(ours, stats.norm.ppf(p), rtol=1e-12, atol=1e-16)


def draws(device, kind, n=20_000, **more):
    out = torch.empty(1, 1, 10, n // 10, dtype=torch.float64, device=device)
    ids = torch.zeros(1, dtype=torch.int64, device=device)
    return ops.draw(out, ids, kind, seed=20, **more).flatten().cpu().numpy()


def test_uniform_and_normal_fit_their_distributions(device):
    assert stats.kstest(draws(device, ops.Draw.UNIFORM, low=-3, high=5), stats.uniform(-3, 8).cdf).pvalue > 0.001
    assert stats.kstest(draws(device, ops.Draw.GAUSSIAN, low=1, high=2), stats.norm(1, 2).cdf).pvalue > 0.001


def test_neighbours_are_uncorrelated(device):
    x = draws(device, ops.Draw.GAUSSIAN).reshape(10, -1)
    n = x[:, 1:].size
    assert abs((x[:, 1:] * x[:, :-1]).mean()) < 4 / np.sqrt(n)
    assert abs((x[1:] * x[:-1]).mean()) < 4 / np.sqrt(n)


@pytest.mark.parametrize("n", [3, 7, 1000])
def test_below_is_uniform(device, n):
    background = torch.arange(n, dtype=torch.float64, device=device).reshape(n, 1, 1).repeat(1, 10, 1)
    picks = draws(device, ops.Draw.MARGINAL, background=background)
    counts = np.bincount(picks.astype(int), minlength=n)
    assert len(counts) == n
    assert stats.chisquare(counts).pvalue > 0.001
