"""InterpretTime's set against plain loops over the same random numbers, and what its salient cells say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rambit.datasets import sine_sum
from rambit.datasets.sine_sum import _draw


@given(n=st.integers(1, 3), T=st.integers(102, 130), D=st.integers(2, 4), seed=st.integers(0, 2**64))
@settings(max_examples=10, deadline=None)
def test_equals_plain_loops(n, T, D, seed):
    made, draws = sine_sum(n, T, D, seed), _draw(n, D, seed)
    for i in range(n):
        total = 0
        for rank, d in enumerate(draws.features[i]):
            slow, fast = int(draws.base[i, d]), int(draws.wave[i, d])
            start = math.floor(draws.start[i, d] * (T - T // 5))
            total += fast if rank < 2 else 0
            for t in range(T):
                x, inside = 0.5 * math.sin(2 * math.pi * slow * t / (T - 1)), start <= t < start + T // 5
                wave = math.sin(2 * math.pi * fast * (t - start) / (T - 1)) if inside else 0.0
                if rank < 2:
                    x += wave
                elif draws.square[i, d] and abs(wave) > 1e-9:
                    x += math.copysign(1, wave)
                assert made.salient[i, d, t] == (inside and rank < 2)
                if abs(wave) > 1e-9 or not inside:  # the sign of a zero is left open
                    assert made.X[i, d, t] == pytest.approx(x, rel=1e-5, abs=1e-5)
        assert made.y[i] == (total > 60)


def test_salient_cells_alone_give_the_label():
    """The frequency that fits best within the salient cells of a feature is that of its wave."""
    data, T = sine_sum(60, seed=2), 500
    frequencies, steps = np.arange(10, 51), np.arange(100)
    waves = np.sin(2 * np.pi * frequencies[:, None] * steps / (T - 1))
    for i in range(60):
        total = 0
        for d in np.flatnonzero(data.salient[i].any(axis=1)):
            cells = data.X[i, d, data.salient[i, d]]
            # The slow wave under it has at most one cycle here, which a polynomial takes away.
            rest = [np.polyfit(steps, cells - wave, 7, full=True)[1][0] for wave in waves]
            total += frequencies[int(np.argmin(rest))]
        assert data.y[i] == (total > 60)


def test_statistics():
    data = sine_sum(1500, T=102)
    rows = data.salient.any(axis=2)
    assert (rows.sum(axis=1) == 2).all()
    assert (data.salient.sum(axis=2)[rows] == 20).all()
    np.testing.assert_allclose(rows.mean(axis=0), 1 / 3, atol=0.05)
    sums = np.add.outer(np.arange(10, 51), np.arange(10, 51))
    assert np.median(sums) == 60
    assert data.y.mean() == pytest.approx((sums > 60).mean(), abs=0.05)


@pytest.mark.parametrize("arguments", [{"n": 0}, {"T": 101}, {"D": 1}, {"seed": -1}])
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be at least"):
        sine_sum(**arguments)
