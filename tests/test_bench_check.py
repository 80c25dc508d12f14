"""What counts as a loss against the accepted ratios, what was not measured, and that the thresholds can be read."""

from __future__ import annotations

import pytest

from bench import check, peers

ACCEPTED = {
    "higher": {"a": 100.0, "b": 10.0, "gone": 3.0},
    "lower": {"c": 1.0, "d": 2.0},
    "at_least": {"a": 90.0, "b": 9.0},
    "at_most": {"c": 1.2, "d": 1.0},
}


def record(not_run=None, **figures):
    rows = [{"test": test, "ratio": ratio} for test, ratio in figures.items()]
    return {"machine": "here", "figures": rows, "not_run": not_run or {}}


def test_more_than_fifteen_percent_is_a_loss_and_nothing_less():
    changes = {section: ACCEPTED[section] for section in ("higher", "lower")}
    assert check.losses({"a": 87.0, "b": 9.0, "c": 1.14, "d": 1.0}, changes) == {}
    worse = check.losses({"a": 86.0, "b": 20.0, "c": 1.16, "d": 3.0}, changes)
    assert set(worse) == {"a", "c", "d"}
    assert worse["a"] == "86, higher: 100"


def test_a_requirement_has_no_allowance():
    required = {section: ACCEPTED[section] for section in ("at_least", "at_most")}
    assert check.losses({"a": 90.0, "b": 9.0, "c": 1.2, "d": 1.0}, required) == {}
    assert set(check.losses({"a": 89.9, "b": 9.0, "c": 1.21, "d": 1.0}, required)) == {"a", "c"}


def test_what_was_not_measured_is_named_with_its_reason():
    thresholds = {"higher": {"f.py::t[x]": 1.0, "f.py::t[x] # part": 1.0, "g.py::t": 1.0, "h.py::t": 1.0, "i": 2.0}}
    found = record(not_run={"f.py::t[x]": "no peer", "g.py": "not installed"}, i=2.0)
    assert check.missing(found, thresholds) == {
        "f.py::t[x]": "no peer",
        "f.py::t[x] # part": "no peer",
        "g.py::t": "not installed",
        "h.py::t": "no such benchmark",
    }


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (record(a=95.0, b=10.0, c=1.0, d=1.0, gone=3.0), None, 0),
        (record(a=80.0, b=10.0, c=1.0, d=1.0, gone=3.0), record(a=95.0), 0),  # noise
        (record(a=80.0, b=10.0, c=1.0, d=1.0, gone=3.0), record(a=80.0), 1),  # a loss
        (record(a=80.0, b=10.0, c=1.0, d=1.0, gone=3.0), record({"a": "failed"}), 1),  # nobody knows
        (record({"gone": "no peer"}, a=95.0, b=10.0, c=1.0, d=1.0), None, 1),
    ],
    ids=["good", "noise", "loss", "failed again", "not run"],
)
def test_only_what_falls_short_twice_or_is_not_run_fails(monkeypatch, capsys, first, second, code):
    evaluated = []

    def run(tests, path):
        evaluated.append(tests)
        return first if len(evaluated) == 1 else second

    monkeypatch.setattr(check, "run", run)
    monkeypatch.setattr(check.tomllib, "loads", lambda text: {"machine": "here", **ACCEPTED})
    assert check.main() == code
    assert evaluated == [["bench"]] + [["bench/a"]] * (second is not None)
    assert ("LOST  a" in capsys.readouterr().out) == (code == 1 and second is not None)


def test_elsewhere_only_what_must_hold_everywhere_is_checked(monkeypatch, capsys):
    monkeypatch.setattr(check, "run", lambda tests, path: record(a=90.0, b=9.0, c=1.2, d=1.0, gone=1.0))
    monkeypatch.setattr(check.tomllib, "loads", lambda text: {"machine": "there", **ACCEPTED})
    assert check.main() == 0
    assert "accepted on there, this is here" in capsys.readouterr().out


def test_the_thresholds_name_each_figure_once_in_a_known_section():
    thresholds = check.tomllib.loads((check.HERE / "thresholds.toml").read_text(encoding="utf-8"))
    assert thresholds.pop("machine")
    assert set(thresholds) == set(check.SECTIONS)
    for one, other in (("higher", "lower"), ("at_least", "at_most")):
        assert not thresholds[one].keys() & thresholds[other].keys()
    for figures in thresholds.values():
        for figure in figures:
            file, _, test = figure.partition("::")
            name = test.partition("[")[0].partition(" #")[0]
            assert f"def {name}(" in (check.HERE / file).read_text(encoding="utf-8")


def test_peers_tests_are_counted_by_class():
    peer = peers.PEERS["time_interpret"]
    name = "TimeForwardTunnel"
    tests = {
        "served": {"outcome": "passed", "calls": {name: 2}, "delegated": {}},
        "other": {"outcome": "passed", "calls": {name: 3}, "delegated": {name: 1}},
        "failed": {"outcome": "failed", "calls": {name: 1}, "delegated": {name: 1}, "why": "it did"},
        "skipped": {"outcome": "skipped", "calls": {}, "delegated": {}},
    }
    found = peers.summary(peer, {"tests": tests, "reasons": {"a reason": 2}})
    wanted = {"passed": 1, "delegated": 1, "refused": 1, "calls": 6, "calls_delegated": 2}
    assert found["classes"][name] == wanted
    assert found["refused"] == {"failed": "it did"}
    assert found["tests"] == 4
    lines = peers.table(found)
    assert lines[1].split() == [name, "1", "1", "1", "6", "2"]
    assert lines[2:] == ["     2 x a reason", "refused: failed"]
