"""The example scripts, the notebook's cells and the documentation's page on selection run as they are."""

from __future__ import annotations

import contextlib
import io
import json
import re
import runpy
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SAID = {
    "selection_basic.py": r"the three steps whose removal moves the model most: \[4, 11, 15\]",
    "selection_advanced.py": r"(9\d|100)% of its three best timestamps are marked",
}

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the sources are not here")


@pytest.fixture(autouse=True)
def seeded():
    """Examples seed torch's generator, which the tests after them must not see."""
    with torch.random.fork_rng():
        yield


@pytest.mark.slow
@pytest.mark.parametrize("name", SAID)
def test_script(name, capsys):
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    out, err = capsys.readouterr()
    assert re.search(SAID[name], out)
    assert err == ""


@pytest.mark.slow
def test_notebook(monkeypatch):
    """As a script: every code cell in order, in one name space."""
    monkeypatch.setattr(pytest.importorskip("matplotlib.pyplot"), "show", lambda: None)
    cells = json.loads((EXAMPLES / "selection.ipynb").read_text(encoding="utf-8"))["cells"]
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code"), "saved without outputs"
    names: dict[str, object] = {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for number, cell in enumerate(cells):
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), f"selection.ipynb, cell {number}", "exec"), names)
    assert names["recall"] >= 0.95
    assert "of the marked timestamps are kept" in said.getvalue()


def test_the_documentation():
    """The blocks that import from rambit.selection, as they stand there."""
    text = (ROOT / "docs/selection.md").read_text(encoding="utf-8")
    blocks = [b for b in re.findall(r"```python\n(.*?)```", text, flags=re.S) if "rambit.selection" in b]
    assert blocks
    for block in blocks:
        names: dict[str, object] = {}
        exec(compile(block, "selection.md", "exec"), names)
        assert names["predictions"].shape == (32, 1)
        assert names["selected"].shape == (32, 50, 10)
        assert set(names["loss_dict"]) == {"task_loss", "diversity_loss", "total_loss"}
        assert names["mask"].shape == names["scores"].shape == (8, 50)
