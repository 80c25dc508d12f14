"""Arguments are checked alike everywhere, and a warning points at the user's own line."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rambit import RaMbIT
from rambit.checks import count, flag, number, one_of


def test_an_integer_may_be_of_numpy():
    assert type(count("k", np.int64(3))) is int
    for wrong in (True, 2.0, "2", None, np.bool_(True)):
        with pytest.raises(TypeError, match="k must be an integer"):
            count("k", wrong)
    with pytest.raises(ValueError, match="k must be at least 2, got 1"):
        count("k", np.int8(1), 2)


def test_an_integer_fits_what_counts_in_tensors():
    assert count("k", 2**63 - 1) == 2**63 - 1
    for wrong, bits in ((2**63, 64), (np.uint64(2**63), 64), (10**30, 100), (10**6000, 19932)):
        got = int(wrong) if bits < 128 else f"a number of {bits} bits"
        with pytest.raises(ValueError, match=f"k must be at most 9223372036854775807, got {got}"):
            count("k", wrong)


def test_one_of_says_what_is_allowed():
    assert one_of("k", "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match="k must be one of a, b, got 'c'"):
        one_of("k", "c", ("a", "b"))


def test_a_warning_points_here():
    X = torch.zeros(1, 2, 4)
    attributor = RaMbIT(lambda x: x.sum((1, 2)).view(-1, 1), num_samples=3, counterfactuals="zero")
    with pytest.warns(UserWarning, match="one draw is evaluated") as caught:
        attributor.attribute(X)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize(
    "wrong", [True, 1.0, "1", None, [], object(), np.array(["a"]), np.zeros(2), torch.zeros(0), torch.tensor(math.nan)]
)
def test_what_is_no_integer(wrong):
    with pytest.raises(TypeError, match="k must be an integer"):
        count("k", wrong)
    assert count("k", torch.tensor(3)) == count("k", np.int8(3)) == count("k", np.array(3)) == 3


def test_numbers():
    assert number("p", 1) == number("p", np.float32(1)) == number("p", torch.tensor(1.0)) == 1.0
    assert number("p", 0.0, 0, 1) == 0.0
    for wrong in ("nope", "1", None, [], object(), b"x", 1j, True, torch.zeros(2)):
        with pytest.raises(TypeError, match="p must be a number"):
            number("p", wrong)
    for wrong, low, high, above, words in (
        (math.nan, -math.inf, math.inf, False, "finite"),
        (-1, 0, math.inf, False, "at least 0"),
        (0, 0, math.inf, True, "above 0"),
        (2, 0, 1, False, "at least 0 and at most 1"),
    ):
        with pytest.raises(ValueError, match=f"p must be {words}, got"):
            number("p", wrong, low, high, above=above)
    with pytest.raises(TypeError, match="p must be a number"):
        number("p", 10**400)


def test_flags():
    assert flag("on", np.bool_(True)) is True
    assert flag("on", False) is False
    for wrong in ("no", 1, None):
        with pytest.raises(TypeError, match="on must be True or False"):
            flag("on", wrong)
