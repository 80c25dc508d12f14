"""`rambit study --small`: the whole grid end to end, resumed, with numbers that the stored results give again."""

from __future__ import annotations

import csv

import pytest

from rambit import metrics
from rambit.cli.compare.methods import parse
from rambit.cli.compare.runs import Case, Data
from rambit.cli.study import DATA, FAMILIES, NONE, SHORT, SMALL, WINIT, grid
from rambit.results import Attribution


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
def test_end_to_end_and_again(rambit, tmp_path):
    out = tmp_path / "study"
    done = rambit("study", "--small", "--out", out)
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
    again = rambit("study", "--small", "--out", out)
    assert again.out == done.out
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (out / "results").iterdir()} == made


def test_other_settings_are_refused(fails, tmp_path):
    out = tmp_path / "study"
    out.mkdir()
    (out / "settings.json").write_text('{"hidden": 3}')
    assert "was made with hidden 3, not 8" in fails("study", "--small", "--out", out)
    (out / "settings.json").write_text("no JSON")
    assert "holds no settings" in fails("study", "--small", "--out", out)
    assert not (out / "results").exists()


def test_both_halves_of_the_series_must_have_something_to_find(fails, tmp_path):
    assert "--series 3: every other of them" in fails("study", "--small", "--series", 3, "--out", tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_out_is_needed(fails):
    assert "--out" in fails("study")


@pytest.mark.parametrize("name", ["compare", "study"])
def test_help_names_the_defaults(rambit, name):
    done = rambit(name, "--help")
    assert done.code == 0
    assert "(50)" in done.out
