"""The examples run as they are, and say what they promise."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
SAID = {
    "quickstart.py": "the highest score of all 120 cells lies in the bump",
    "recurrent.py": "largest difference between the scores",
    "function.py": "attic |",
}


def test_every_example_is_tested():
    assert {path.name for path in FOLDER.glob("*.py")} == set(SAID)


@pytest.mark.parametrize("name", SAID)
def test_example(name, capsys):
    runpy.run_path(str(FOLDER / name), run_name="__main__")
    out, err = capsys.readouterr()
    assert SAID[name] in out
    assert err == ""
