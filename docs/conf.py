"""Sphinx's settings: `make docs`. Nothing is fetched while it builds; a warning is an error."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, get_origin

os.environ["TQDM_DISABLE"] = "1"

project = "rambit"
author = "The rambit authors"
release = version = version_of("rambit")
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton", "sphinx_design"]
html_theme = "furo"
html_title = "rambit"
html_static_path = ["_static"]
exclude_patterns = ["README.md"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(Path(__file__).parents[1] / "build/docs-notebooks")
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
# Titles of blocks that name no language of a lexer.
suppress_warnings = ["misc.highlighting_failure"]

default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True


#: What is public, one page each.
PACKAGES = (
    "rambit", "rambit.attribution", "rambit.results", "rambit.counterfactuals", "rambit.masks", "rambit.predictors",
    "rambit.rex", "rambit.sufficiency", "rambit.structure", "rambit.selection", "rambit.metrics", "rambit.compare",
    "rambit.datasets", "rambit.models", "rambit.training", "rambit.distributed", "rambit.plots", "rambit.game",
    "rambit.frames", "rambit.labels", "rambit.testing", "rambit.compat", "rambit.compat.captum", "rambit.compat.rex",
)  # fmt: skip
REFERENCE = Path(__file__).parent / "reference"


def _homes() -> dict[str, tuple[list[str], list[str]]]:
    """Of each package the public names that are described there, and those that are described where they come from."""
    public = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        defined = [name for name in vars(module) if getattr(vars(module)[name], "__module__", "") == package]
        public[package] = getattr(module, "__all__", [name for name in defined if not name.startswith("_")])
    found = {}
    for package, names in public.items():
        own, others = [], []
        for name in names:
            comes_from = getattr(getattr(importlib.import_module(package), name), "__module__", package)
            homes = [p for p in PACKAGES if f"{comes_from}.".startswith(f"{p}.") and name in public[p]]
            home = max(homes, key=len, default=package)
            (own if home == package else others).append(name if home == package else f"{home}.{name}")
        found[package] = own, others
    return found


def _said(value: Any) -> str:
    """A constant, a registry by its names, or a type that has a name."""
    names = value if isinstance(value, Iterable) and not isinstance(value, str) and not get_origin(value) else ()
    listed = ", ".join(f"``{name}``" for name in names)
    return listed or f"``{str(value).replace('typing.', '')}``"


def _write_reference(app: Any) -> None:
    """A page for each package, from its docstrings."""
    for package, (own, others) in _homes().items():
        page = f"{package}\n{'=' * len(package)}\n\n.. automodule:: {package}\n"
        if others:
            names = ", ".join(name.rpartition(".")[2] for name in others)
            page += f"   :exclude-members: {names}\n\nAlso here: " + ", ".join(f"`{name}`" for name in others) + ".\n"
        module = importlib.import_module(package)
        for name in own:
            value = getattr(module, name)
            if not name.startswith("__") and (not callable(value) or get_origin(value)):
                page += f"\n.. py:data:: {name}\n\n   {_said(value)}\n"
        path = REFERENCE / f"{package}.rst"
        if not path.exists() or path.read_text() != page:
            path.write_text(page)


def _check_reference(app: Any, error: Exception | None) -> None:
    """Every public name stands in the reference, or the build fails."""
    if error is not None or app.builder.format != "html":
        return
    known = {name for name, *_ in app.env.get_domain("py").get_objects()}
    for package, (own, others) in _homes().items():
        missing = {*(f"{package}.{name}" for name in own if not name.startswith("__")), *others} - known
        if missing:
            raise ValueError(f"the reference lacks {', '.join(sorted(missing))}")


def setup(app: Any) -> None:
    app.connect("builder-inited", _write_reference)
    app.connect("build-finished", _check_reference)
