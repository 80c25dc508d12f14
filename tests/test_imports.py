"""Modules do not import each other in circles, not even for their types."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "rambit"


def modules():
    """Every module's file, by its name."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("rambit", *path.relative_to(ROOT).with_suffix("").parts)
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(tree, names):
    """The modules that one names at its top level, whether it runs or is only for types."""
    nodes = [node for one in tree.body for node in (ast.walk(one) if isinstance(one, ast.If) else [one])]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module in names:
            inside = {f"{node.module}.{name.name}" for name in node.names}
            yield from inside & names
            if not inside <= names:  # something that the package itself holds
                yield node.module


def order(sources):
    """Modules in an order in which each comes after all that it imports. Raises CycleError."""
    trees = {name: ast.parse(text) for name, text in sources.items()}
    return list(TopologicalSorter({n: set(imported(t, trees.keys())) - {n} for n, t in trees.items()}).static_order())


def test_no_circles():
    found = order({name: path.read_text(encoding="utf-8") for name, path in modules()})
    assert found.index("rambit.game.rows") < found.index("rambit.game.game") < found.index("rambit.cli.attribute")


def test_a_circle_for_types_alone_is_seen():
    with pytest.raises(CycleError):
        order({
            "a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from b import B\n",
            "b": "from a import A\n",
        })  # fmt: skip


#: What takes long to import, and most users of one method do not need.
LATER = ("scipy", "pandas", "xarray", "matplotlib", "sklearn", "pyarrow", "onnxruntime", "captum", "tint", "shap")


def test_what_takes_long_is_imported_where_it_is_used():
    code = f"import sys, rambit; rambit.RaMbIT; print([name for name in {LATER} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
