"""The removals of WinIT's and RaMbIT's repositories: their definition, ties, names and bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rambit.attribution import WinIT
from rambit.compat import Masker, Masker1, aggregate_scores
from tests.models_for_tests import GRU
from tests.naive import masker as naive
from tests.naive.winit import aggregate

CALLS = [
    ("std", 3, False),
    ("std", 4, True),
    ("std", 0.2, False),
    ("end", 2, False),
    ("end", 9, True),
    ("end", 0.1, False),
    ("end_fit", 2, False),
    ("end_fit", 0.3, False),
    ("end_fit", 0, False),
]


@pytest.mark.parametrize(("method", "top", "balanced"), CALLS)
@pytest.mark.parametrize("absolutize", [False, True])
def test_is_what_the_twin_removes(method, top, balanced, absolutize):
    for seed in range(8):
        random = np.random.default_rng(seed)
        x, scores = random.normal(size=(3, 2, 14)), random.normal(size=(3, 2, 14))
        made = Masker(method, top, balanced, seed, absolutize)
        kept, given = x.copy(), scores.copy()
        found = made.mask(x, {"a": scores, 1: scores + 5})
        expected = naive.masker(x, abs(scores) if absolutize else scores, method, top, balanced)
        np.testing.assert_array_equal(found["a"], expected[0])
        np.testing.assert_array_equal(made.all_masked_count["a"], expected[1].sum(axis=0))
        np.testing.assert_array_equal(made.start_masked_count["a"], expected[2].sum(axis=0))
        np.testing.assert_array_equal(made.feature_masked["a"], expected[2].any(axis=1).sum(axis=0))
        np.testing.assert_array_equal(found[1], naive.masker(x, scores + 5, method, top, balanced)[0])
        np.testing.assert_array_equal(x, kept)
        np.testing.assert_array_equal(scores, given)


def test_equal_scores_are_shuffled_by_the_seed():
    x = np.random.default_rng(0).normal(size=(2, 3, 12))
    scores = np.zeros_like(x)
    scores[:, 0, 4] = 1.0
    makers = [Masker("end", 2, False, seed, False) for seed in (*range(6), 3)]
    found = [made.mask(x, {0: scores})[0] for made in makers]
    assert len({one.tobytes() for one in found}) > 1
    for made in makers:  # the highest goes first, whatever the seed
        assert made.start_masked_count[0][0, 4] == 2
        assert made.start_masked_count[0].sum() == 4
    np.testing.assert_array_equal(found[6], found[3])


def test_scores_below_the_threshold_stay():
    x = np.random.default_rng(1).normal(size=(1, 2, 5))
    scores = np.full_like(x, -2000.0)
    scores[0, 1, 3] = 1.0
    for top in (8, 1.0):
        made = Masker("end", top, False, 0, False)
        assert (made.mask(x, {0: scores})[0] != x).sum() == 2
        assert made.start_masked_count[0].sum() == 1


def test_scores_by_window_are_aggregated():
    X = torch.randn(2, 3, 13, generator=torch.Generator().manual_seed(0))
    windows = WinIT(GRU(), window_size=4).explain(X).windows.numpy()
    for how in ("mean", "max", "absmax"):
        expected = aggregate(windows, how)
        np.testing.assert_allclose(aggregate_scores(windows, how), expected, atol=1e-7)
        by_window, by_cell = (Masker("end_fit", 0.2, False, 0, True, how) for _ in range(2))
        np.testing.assert_array_equal(
            by_window.mask(X.numpy(), {0: windows})[0],
            by_cell.mask(X.numpy(), {0: aggregate_scores(windows, how)})[0],
        )
    assert aggregate_scores(expected) is expected
    with pytest.raises(ValueError, match="aggregate_method must be one of"):
        aggregate_scores(windows, "median")
    with pytest.raises(ValueError, match=r"scores must be \(N, D, T\)"):
        aggregate_scores(windows[0, 0])


@pytest.mark.parametrize("substitution", ["zero", "mean"])
@pytest.mark.parametrize("mode", ["remove", "keep"])
@pytest.mark.parametrize("direction", ["top", "bottom"])
def test_single_cells(direction, mode, substitution):
    random = np.random.default_rng(5)
    x, scores = random.normal(size=(3, 2, 5)), random.normal(size=(3, 2, 5))
    made = Masker1("cells", False, 0, False, substitution=substitution)
    for k, removed in ((1, 1), (4, 4), (10, 10), (0.26, 3), (0.01, 1), (1.0, 10)):
        found = made.mask(x, {0: scores}, k=k, direction=direction, mode=mode)[0]
        expected, masked = naive.cells(x, scores, removed, direction, mode, substitution)
        np.testing.assert_allclose(found, expected, atol=1e-15)
        np.testing.assert_array_equal(made.all_masked_count[0], masked.sum(axis=0))
        np.testing.assert_array_equal(made.start_masked_count[0], masked.sum(axis=0))
    assert made.get_name() == f"cells_{substitution}_mean"


def test_single_cells_refuse():
    x = np.ones((1, 2, 5))
    for change, words in (
        ({"mask_method": "std"}, "mask_method must be one of cells"),
        ({"balanced": True}, "balanced=True does not apply"),
        ({"substitution": "median"}, "substitution must be one of zero, mean"),
    ):
        with pytest.raises(ValueError, match=words):
            Masker1(**{"mask_method": "cells", "balanced": False, "seed": 0, "absolutize": False, **change})
    made = Masker1("cells", False, 0, True)
    for call, words in (
        ({"k": 11}, "k must be at most 10"),
        ({"k": 0}, "k must be at least 1"),
        ({"k": 0.0}, "k must be above 0"),
        ({"k": 1, "direction": "up"}, "direction must be one of top, bottom"),
        ({"k": 1, "mode": "drop"}, "mode must be one of remove, keep"),
    ):
        with pytest.raises(ValueError, match=words):
            made.mask(x, {0: x}, **call)


def test_names():
    names = [Masker(*call, 0, False).get_name() for call in CALLS[:5]] + [
        Masker("end", 0.05, False, 0, True).get_name()
    ]
    assert names == [
        "top3_std_mean",
        "bal4_std_mean",
        "globaltop20_std_mean",
        "top2_end_mean",
        "bal9_end_mean",
        "globaltop5_end_mean",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask_method": "cell"}, "mask_method must be one of std, end, end_fit"),
        ({"top": -1}, "top must be at least 0"),
        ({"top": 1.5}, "top must be .* at most 1"),
        ({"top": 0.5, "balanced": True}, "balanced=True applies to a count"),
        ({"mask_method": "end_fit", "balanced": True}, "balanced=True applies to a count"),
        ({"aggregate_method": "sum"}, "aggregate_method must be one of"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_bad_settings(change, words):
    with pytest.raises(ValueError, match=words):
        Masker(**{"mask_method": "std", "top": 2, "balanced": False, "seed": 0, "absolutize": False, **change})


def test_bad_series():
    x = np.zeros((2, 3, 10))
    with pytest.raises(ValueError, match="T at least 11"):
        Masker("end_fit", 1, False, 0, False).mask(x, {0: x})
    with pytest.raises(ValueError, match=r"importance_scores\[3\] must be \(2, 3, 10\)"):
        Masker("end", 1, False, 0, False).mask(x, {3: x[:1]})
