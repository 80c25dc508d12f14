"""A minute of the soak with a seed of its own each day; that it finds what it looks for, and leaves nothing out."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
import torch

from rambit import metrics
from tests.soak import __main__ as command
from tests.soak import coverage, engine
from tests.soak.engine import Case, Draw, Mismatch, Tally

#: How long the test goes on, and a seed instead of today's date.
SECONDS = float(os.environ.get("RAMBIT_SOAK_SECONDS", "60"))
SEED = int(os.environ.get("RAMBIT_SOAK_SEED", command.today()))


@pytest.mark.slow
def test_a_minute_of_it(capsys):
    with capsys.disabled():
        print(f"\npython -m tests.soak --seed {SEED} --seconds {SECONDS:g}")
    told: list[str] = []
    tallies = engine.soak(SEED, seconds=SECONDS, say=told.append)
    print(engine.table(tallies))
    assert not engine.failed(tallies), "\n".join(told)


@pytest.mark.parametrize("name", sorted(one.name for one in engine.chosen([])))
def test_each_case_runs_and_repeats(name):
    """Quickly, with a seed that never changes: the cases themselves are right, and what they draw is the same again."""
    pairs = []
    for _ in range(2):
        tally = Tally()
        told: list[str] = []
        engine.run(engine.CASES[name], 2, tally, told.append)
        assert not tally.failed, "\n".join(told)
        pairs.append((tally.calls, tally.refused, tally.worst))
    assert pairs[0] == pairs[1]


def test_every_public_name_has_a_case():
    assert coverage.uncovered() == []


def test_no_excuse_is_out_of_date():
    names, there = dict(coverage.public()), coverage.used()
    assert [name for name in coverage.WITHOUT if name not in names or id(names[name]) in there] == []


def outcome(function, seed=3):
    """The tally of one case, and what was said."""
    tally, told = Tally(), []
    engine.run(Case("test.one", function, 1), seed, tally, told.append)
    return tally, "\n".join(told)


def wrong(draw):
    scores = draw.normal(2, 3)
    draw.note(scores=scores)
    draw.close(draw.call(torch.add, scores, 1.0), scores, what="the sums")


def test_a_mismatch_is_found_and_told():
    tally, told = outcome(wrong)
    assert (len(tally.mismatches), tally.errors, tally.calls) == (1, [], 1)
    for words in ("MISMATCH test.one: the sums differ in 6 of 6 places", "scores=tensor", "--only test.one --case 3"):
        assert words in told
    assert engine.failed({"test.one": tally})
    assert "test.one" in engine.table({"test.one": tally})


def in_place(draw):
    draw.call(lambda x: x.add_(1), draw.normal(3))


def random(draw):
    draw.call(lambda: torch.rand(1))


def old_random(draw):
    draw.call(lambda: np.random.rand())  # noqa: NPY002


def warned(draw):
    draw.call(lambda: np.float64(1) / np.float64(0))


def taken(draw):
    draw.call(metrics.auroc, [[0.1, 0.2]], [[0, 1]], refused="not salient")


@pytest.mark.parametrize("function", [in_place, random, old_random, taken])
def test_what_a_call_must_not_do(function):
    assert len(outcome(function)[0].mismatches) == 1


def test_warnings_and_errors_fail_but_not_what_is_said_to_users():
    assert len(outcome(warned)[0].errors) == 1
    assert len(outcome(lambda draw: draw.call(metrics.auroc, [[0.1]], [[1]]))[0].errors) == 1
    assert outcome(lambda draw: warnings.warn("do it so", UserWarning, stacklevel=1))[0].failed == 0
    assert outcome(lambda draw: draw.call(metrics.auroc, [[0.1]], [[1]], refused="not salient"))[0].refused == 1


def test_comparisons():
    draw = Draw("test", 0, None)
    draw.close([1.0, np.nan, np.inf], [1.0 + 5e-7, np.nan, np.inf])
    assert 0.4 < draw.worst < 0.6
    nan = np.nan
    for found, expected in (([1.0], [1.1]), ([nan], [1.0]), ([1.0], [nan]), ([np.inf], [1.0]), ([1.0], [1.0, 1.0])):
        with pytest.raises(Mismatch):
            draw.close(found, expected)
    for found, expected in ((1, 1.0), ([1], (1,)), (torch.zeros(1), torch.zeros(1).double())):
        with pytest.raises(Mismatch):
            draw.equal(found, expected)


def test_values_are_placed_anywhere_and_the_same():
    draw = Draw("test", 1, None)
    strides = set()
    for _ in range(50):
        values = draw.normal(2, 3, 4)
        placed = draw.placed(values)
        assert torch.equal(placed, values)
        strides.add(placed.stride())
    assert len(strides) > 6


def test_the_command(capsys):
    name = "metrics.truth"
    assert command.main(["--only", name, "--seed", "5", "--cases", "4"]) == 0
    assert "metrics.truth      4" in capsys.readouterr().out
    assert command.main(["--only", name, "--case", "5000001"]) == 0
    assert command.main(["--list"]) == 0
    assert name in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.main(["--only", "nothing"])
    engine.CASES["test.wrong"] = Case("test.wrong", wrong, 1)
    try:
        assert command.main(["--only", "test.wrong", "--cases", "2"]) == 1
    finally:
        del engine.CASES["test.wrong"]
