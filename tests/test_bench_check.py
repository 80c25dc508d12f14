"""What counts as a loss against the accepted ratios."""

from __future__ import annotations

from bench.check import losses

ACCEPTED = {"higher": {"a": 100.0, "b": 10.0, "gone": 3.0}, "lower": {"c": 1.0, "d": 2.0}}


def test_more_than_fifteen_percent_is_a_loss_and_nothing_less():
    assert losses({"a": 87.0, "b": 9.0, "c": 1.14, "d": 1.0}, ACCEPTED) == {}
    worse = losses({"a": 86.0, "b": 20.0, "c": 1.16, "d": 3.0}, ACCEPTED)
    assert set(worse) == {"a", "c", "d"}
    assert "was 100 (higher is better)" in worse["a"]
