"""The code of the documentation runs as it stands there, page by page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rambit.attribution import METHODS
from rambit.counterfactuals import STRATEGIES
from rambit.masks import FAMILIES
from rambit.metrics import FAITHFULNESS, MEASURES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = {
    page: re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for page in PAGES
    if page.exists()
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own compiler
@pytest.mark.parametrize("page", [page for page in BLOCKS if BLOCKS[page]], ids=lambda page: page.stem)
def test_code_blocks_run(page, tmp_path, monkeypatch):
    for needed in re.findall(r"<!-- needs: (\w+) -->", page.read_text(encoding="utf-8")):
        pytest.importorskip(needed)
    monkeypatch.chdir(tmp_path)
    for registry in (STRATEGIES, FAMILIES, METHODS, MEASURES, FAITHFULNESS):  # pages register what others must not see
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    names = {"__name__": page.stem}  # as somebody pastes them, one after another
    for block in BLOCKS[page]:
        exec(compile(block, str(page), "exec"), names)
