"""`rambit study --small`: the whole grid end to end, resumed, with numbers that the stored results give again."""

from __future__ import annotations

import csv

import pytest

from rambit import metrics
from rambit.cli.compare.methods import parse
from rambit.cli.compare.runs import Case, Data
from rambit.cli.study import DATA, FAMILIES, SHORT, SMALL, WINIT, grid
from rambit.results import Attribution


def test_the_grid():
    points = list(grid(small=False))
    assert len(points) == len({point.text() for point in points}) == (2 * len(FAMILIES) + 3) * 3
    assert {point.family for point in points} == set(FAMILIES)
    assert {point.anchor for point in points} == {"cell", "mask"}
    assert {point.reduce for point in points} == {"mean", "max"}
    for point in points:
        parse(point.text())
    assert [name for name in DATA if name.startswith("state")] == ["state:truth=change", "state:truth=active"]


def test_end_to_end_and_again(rambit, tmp_path):
    out = tmp_path / "study"
    done = rambit("study", "--small", "--out", out)
    assert done.code == 0, done.err
    with (out / "study.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(SMALL) * (len(list(grid(small=True))) + len(WINIT))
    for name in SMALL:
        data = Data.read(name, SHORT.series)
        for row in (row for row in rows if row["data"] == name):
            result = Attribution.load(Case(data, 0, SHORT, out).result_path(parse(row["method"])))
            assert float(row["auprc"]) == metrics.auprc(result.values, data.explained.salient, skip_first=True)
            assert int(float(row["row_steps"])) == result.row_steps
        # The table names the best setting first.
        best = max((row for row in rows if row["data"] == name), key=lambda row: float(row["auprc"]))
        table = done.out[done.out.index(f"{name}: ") :].splitlines()
        assert table[3].split()[1] == f"{float(best['auprc']):.3f}"
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


def test_out_is_needed(fails):
    assert "--out" in fails("study")


@pytest.mark.parametrize("name", ["compare", "study"])
def test_help_names_the_defaults(rambit, name):
    done = rambit(name, "--help")
    assert done.code == 0
    assert "(50)" in done.out
