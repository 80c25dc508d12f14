"""What counts as a loss against limits and against another checkout, what was not measured, the page of the history."""

from __future__ import annotations

import json

import pytest

from bench import check, history, peers

LIMITS = {"at_least": {"a": 90.0, "b": 9.0}, "at_most": {"c": 1.2, "d": 1.0}}
GOOD = {"a": 95.0, "b": 10.0, "c": 1.0, "d": 1.0}
CAPABILITIES = "rambit winit rex selection sufficiency captum time_interpret memory import masked_batch incremental"


def stored(commit="0123456789", day=1, machine="here", **extra_info):
    """A run as pytest-benchmark stores it."""
    return {
        "machine_info": {"class": machine},
        "commit_info": {"id": commit},
        "datetime": f"2026-01-{day:02}T00:00:00+00:00",
        "benchmarks": [{"fullname": "bench/f.py::t[one thread]", "extra_info": extra_info}],
    }


@pytest.fixture
def runs(monkeypatch):
    """Has ``check.run`` return these ratios in turn; lists what was asked of it: the folder, and the tests."""
    asked = []

    def provide(*outcomes):
        left = iter(outcomes)

        def run(folder, storage, *options, failures=True):
            asked.append((folder, *[option for option in options if option.startswith("bench")]))
            return next(left)

        monkeypatch.setattr(check, "run", run)
        return asked

    return provide


def test_ratios_are_found_in_what_is_stored():
    run = stored(ratio=2.0, rows=5, figure="2 x", **{"ratio bare model": 0.5, "figure bare model": "half"})
    assert check.ratios(run) == {"f.py::t[one thread]": 2.0, "f.py::t[one thread] # bare model": 0.5}


def test_a_limit_has_no_allowance():
    assert check.losses({"a": 90.0, "b": 9.0, "c": 1.2, "d": 1.0}, LIMITS) == {}
    worse = check.losses({"a": 89.9, "b": 9.0, "c": 1.21, "d": 1.0}, LIMITS)
    assert worse == {"a": "89.9, limit: 90", "c": "1.21, limit: 1.2"}


@pytest.mark.parametrize(
    ("first", "second", "lost"),
    [
        (GOOD, None, {}),
        (GOOD | {"a": 80.0}, {"a": 95.0}, {}),  # noise
        (GOOD | {"a": 80.0}, {"a": 81.0}, {"a": "81, limit: 90"}),
        (GOOD | {"a": 80.0}, {}, {"a": "80, limit: 90"}),  # it failed: nobody knows
        ({"a": 95.0, "b": 10.0, "c": 1.0}, None, {"d": "not measured; pytest says why above"}),
    ],
    ids=["good", "noise", "loss", "failed again", "not run"],
)
def test_only_what_falls_short_twice_or_is_not_measured_is_lost(runs, tmp_path, first, second, lost):
    asked = runs(first, second)
    assert check.against_limits(LIMITS, tmp_path) == lost
    assert [tests for _, *tests in asked] == [["bench"]] + [["bench/a"]] * (second is not None)


def test_fifteen_percent_worse_than_the_other_checkout_in_every_pair_is_a_loss(runs, tmp_path):
    base = {"a": 200.0, "b": 10.0, "c": 1.0, "d": 0.5, "gone": 1.0}
    head = {"a": 170.0, "b": 8.8, "c": 1.16, "d": 0.57}
    later = {"a": 200.0, "c": 1.0}, {"a": 180.0, "c": 1.2}
    asked = runs(base, head, *later, *later, {"c": 1.0}, {"c": 1.3})
    assert check.against_checkout(tmp_path, LIMITS, tmp_path) == {"c": "1.3, base: 1"}
    assert [folder for folder, *_ in asked] == [tmp_path, check.ROOT] * check.PAIRS
    assert asked[2][1:] == asked[3][1:] == ("bench/a", "bench/c")
    assert asked[4][1:] == asked[7][1:] == ("bench/c",)


def test_what_is_no_loss_is_not_run_again(runs, tmp_path, capsys):
    asked = runs({"a": 200.0, "old": 1.0}, {"a": 180.0, "new": 1.0})
    assert check.against_checkout(tmp_path, LIMITS, tmp_path) == {}
    assert len(asked) == 2
    said = capsys.readouterr().out
    assert all(f"not compared, since not in both or without a limit: {figure}\n" in said for figure in ("new", "old"))


def test_the_thresholds_name_each_figure_once_and_every_capability():
    limits = check.tomllib.loads((check.HERE / "thresholds.toml").read_text(encoding="utf-8"))
    assert set(limits) == {"at_least", "at_most"}
    assert not limits["at_least"].keys() & limits["at_most"].keys()
    figures = [figure for figures in limits.values() for figure in figures]
    for figure in figures:
        file, _, test = figure.partition("::")
        name = test.partition("[")[0].partition(" #")[0]
        assert f"def {name}(" in (check.HERE / file).read_text(encoding="utf-8")
    for capability in CAPABILITIES.split():
        mine = [figure for figure in figures if figure.startswith(f"test_{capability}.py")]
        assert any(all(part in figure for part in quick.split(" and ")) for figure in mine for quick in check.QUICK)


def test_the_page_has_a_line_for_each_figure_and_machine_with_the_commits_in_order(tmp_path):
    for number, run in enumerate(
        [stored("b" * 40, 2, ratio=3.0), stored("a" * 40, 1, ratio=2.0), stored(machine="<there>", ratio=1.0)]
    ):
        (tmp_path / f"{number:04}_run.json").write_text(json.dumps(run), encoding="utf-8")
    (tmp_path / "other.json").write_text("[]", encoding="utf-8")
    read = history.read(tmp_path)
    assert read["here"]["f.py::t[one thread]"] == [("a" * 9 + " of 2026-01-01", 2.0), ("b" * 9 + " of 2026-01-02", 3.0)]
    page = history.page(read)
    assert page.count("<polyline") == 2
    assert "<h2>&lt;there&gt;</h2>" in page
    first, second = (page.index("a" * 9), page.index("b" * 9))
    assert first < second


def test_the_page_reads_the_runs_that_are_kept_here():
    read = history.read(check.HERE / "results")
    assert {"amd-epyc-2", "nvidia-h200"} <= set(read)
    assert read["nvidia-h200"]["test_captum.py::test_feature_ablation[cuda-free-16384]"]


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
