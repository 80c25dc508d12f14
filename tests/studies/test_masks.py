"""`studies.masks --small`: the whole grid end to end, resumed, with numbers that the stored results give again."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import pytest

from rambit import metrics
from rambit.compare.methods import parse
from rambit.compare.runs import Case, Data
from rambit.results import Attribution
from studies import masks
from studies.masks import DATA, FAMILIES, NONE, SHORT, SMALL, WINIT, grid

HUGE = (str(10**30), "9223372036854775808", "-" + "9" * 30)
LIMITS = {"--epochs": 10**6, "--series": 10**6, "--hidden": 8192}


@pytest.fixture
def study(capsys):
    """Run the study with arguments: its exit status, what it printed, and what it said on stderr."""

    def run(*arguments):
        capsys.readouterr()
        code = 0
        try:
            masks.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        return SimpleNamespace(code=code, **capsys.readouterr()._asdict())

    return run


@pytest.fixture
def fails(study):
    """Run it with arguments that must fail with one line, and return that line."""

    def run(*arguments):
        done = study(*arguments)
        assert done.code == 2
        assert done.out == ""
        assert done.err.startswith("studies.masks: error: ")
        assert done.err.count("\n") == 1
        return done.err

    return run


def test_the_grid():
    points = list(grid(small=False))
    assert len(points) == len({point.text() for point in points}) == (len(FAMILIES) + 2 + 2) * 5
    assert {point.family for point in points} == set(FAMILIES)
    assert {point.anchor for point in points} == {"cell", "mask"}
    assert {point.W for point in points} == {1, 5, 10}
    assert {point.reduce for point in points} == {"mean", "max"}
    for point in points:
        parse(point.text())
    assert [name for name in DATA if name.startswith("state")] == ["state:truth=change", "state:truth=active"]


@pytest.mark.slow
def test_end_to_end_and_again(study, tmp_path):
    out = tmp_path / "study"
    done = study("--small", "--out", out)
    assert done.code == 0, done.err
    with (out / "study.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(SMALL) * (len(list(grid(small=True))) + len(WINIT))
    for name in SMALL:
        data, chosen = Data.read(name, SHORT.series), {}
        for row in (row for row in rows if row["data"] == name):
            result = Attribution.load(Case(data, 0, SHORT, out).result_path(parse(row["method"])))
            halves = [(result.values[i::2], data.explained.salient[i::2]) for i in (0, 1)]
            assert float(row["auprc"]) == metrics.auprc(*halves[0], skip_first=True)
            assert int(float(row["row_steps"])) == result.row_steps
            chosen[row["method"]] = metrics.auprc(*halves[1], skip_first=True)
        # The table holds, of each group, the setting that does best on the other half.
        table = done.out[done.out.index(f"{name}: ") :].split("\n\n")[0].splitlines()[3:]
        told = {line.split()[0]: line.split()[1] for line in table}
        groups = {}
        for point in grid(small=True):
            groups.setdefault(point.group, []).append(point.text())
        best = [max(group, key=chosen.get) for group in groups.values()]
        assert (NONE, "cell", "marginal") in groups
        assert set(told) == {*best, *WINIT}
        for row in (row for row in rows if row["data"] == name and row["method"] in told):
            assert told[row["method"]] == f"{float(row['auprc']):.3f}"
        assert [float(value) for value in told.values()] == sorted(map(float, told.values()), reverse=True)
    assert (out / "study.png").stat().st_size > 1000

    made = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (out / "results").iterdir()}
    again = study("--small", "--out", out)
    assert again.out == done.out
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (out / "results").iterdir()} == made


def test_other_settings_are_refused(fails, tmp_path):
    out = tmp_path / "study"
    out.mkdir()
    (out / "settings.json").write_text('{"hidden": 3}')
    assert "was made with hidden 3, not 8" in fails("--small", "--out", out)
    (out / "settings.json").write_text("no JSON")
    assert "holds no settings" in fails("--small", "--out", out)
    assert not (out / "results").exists()


def test_both_halves_of_the_series_must_have_something_to_find(fails, tmp_path):
    assert "--series 3: every other of them" in fails("--small", "--series", 3, "--out", tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_out_is_needed(fails):
    assert "--out" in fails()


@pytest.mark.parametrize("option", LIMITS)
def test_whole_numbers(fails, tmp_path, option):
    most = LIMITS[option]
    for number in (*HUGE, str(most + 1), str(-most - 1)):
        said = fails("--out", tmp_path / "study", f"{option}={number}")
        assert f"argument {option}: must be at most {most:,}, got {number}" in said
    for number in ("nan", "inf", "1e308", "x", "", "9" * 5000):
        assert option in fails("--out", tmp_path / "study", f"{option}={number}")
    assert list(tmp_path.iterdir()) == []


def test_help_names_the_defaults_and_has_an_example(study):
    done = study("--help")
    assert done.code == 0
    assert "(50)" in done.out
    assert "\n  python -m studies.masks --out" in done.out
