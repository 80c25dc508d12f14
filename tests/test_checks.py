"""Arguments are checked alike everywhere, and a warning points at the user's own line."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rambit import RaMbIT
from rambit.checks import count, one_of


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
        with pytest.raises(ValueError, match=rf"k must be below 2\*\*63, got a number of {bits} bits"):
            count("k", wrong)


def test_one_of_says_what_is_allowed():
    assert one_of("k", "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match="k must be one of a, b, got 'c'"):
        one_of("k", "c", ("a", "b"))


def test_a_warning_points_here():
    X = torch.zeros(1, 2, 4)
    attributor = RaMbIT(lambda x: x.sum((1, 2)).view(-1, 1), num_samples=3, counterfactuals="zero")
    with pytest.warns(UserWarning, match="one draw is asked") as caught:
        attributor.attribute(X)
    assert [warning.filename for warning in caught] == [__file__]
