"""Which public names the cases use: a name that none does has no case."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import rambit
from tests.soak import engine, models, series

#: Public names that no case calls, and why.
WITHOUT = {
    "rambit.__version__": "a string",
    "rambit.tune_allocator": "changes the allocator of the whole process; tests/test_allocator.py has one for it",
    "rambit.attribution.Dynamask": "time_interpret's, which is not among the tests' packages; tests/attribution",
    "rambit.attribution.ExtremalMask": "time_interpret's, which is not among the tests' packages; tests/attribution",
    "rambit.attribution.TemporalOcclusion": "time_interpret's; tests/attribution/test_peers.py",
    "rambit.attribution.TintFIT": "time_interpret's; tests/attribution/test_peers.py",
    "rambit.metrics.FAITHFULNESS": "a registry of functions that have cases",
    "rambit.metrics.SeriesMean": "what metrics return",
    "rambit.cli.main": "the command line; tests/cli",
    "rambit.compat.DeepLiftExplainer": "captum's; tests/compat",
    "rambit.compat.DynamaskExplainer": "time_interpret's; tests/compat",
    "rambit.compat.GradientShapExplainer": "captum's; tests/compat",
    "rambit.compat.IGExplainer": "captum's; tests/compat",
    **dict.fromkeys(
        (
            *("rambit.compat.rex.Explanation", "rambit.compat.rex.MultiExplanation"),
            *("rambit.compat.rex.Prediction", "rambit.compat.rex.ResponsibilityMaps", "rambit.compat.rex.analyze"),
            *("rambit.compat.rex.calculate_responsibility", "rambit.compat.rex.default_prediction_function"),
            *("rambit.compat.rex.from_pytorch_tensor", "rambit.compat.rex.get_device", "rambit.compat.rex.load_config"),
            *("rambit.compat.rex.load_and_preprocess_data", "rambit.compat.rex.predict_target"),
            "rambit.compat.rex.read_config_file",
        ),
        "rex-xai's other ways to the same; tests/compat/test_rex.py",
    ),
    **dict.fromkeys(
        (
            *("rambit.report.About", "rambit.report.about", "rambit.report.document_page", "rambit.report.image_page"),
            *("rambit.report.series_page", "rambit.report.table_page", "rambit.report.gallery_page"),
            "rambit.report.Panel",
        ),
        "the text of pages, which tests/report reads back",
    ),
    "rambit.compare.DATA": "text: the default of compare",
    "rambit.compare.METHODS": "text: the default of compare",
    "rambit.counterfactuals.CounterfactualLike": "a type",
    "rambit.game.Anchor": "a type",
    "rambit.game.Evaluation": "a type",
    "rambit.game.progress": "a bar on a terminal",
    "rambit.datasets.basic_motions": "reads a file of sktime's: nothing of it is random",
    "rambit.datasets.japanese_vowels": "reads a file of sktime's: nothing of it is random",
    "rambit.datasets.ucr_uea": "downloads",
    "rambit.datasets.botocore_operations": "reads botocore's files, which are not among the tests' packages",
    "rambit.datasets.Documents": "what botocore_operations returns",
    "rambit.datasets.KeyField": "what botocore_operations returns",
    "rambit.predictors.ExportedPredictor": "torch.export takes seconds; tests/predictors/test_exported.py",
    "rambit.distributed.attribute_on_ray": "starts a cluster; tests/distributed/test_ray.py",
}


def public() -> Iterator[tuple[str, Any]]:
    """Every name in an ``__all__`` of the package, and the ops, with what it stands for."""
    packages = [found.name for found in pkgutil.walk_packages(rambit.__path__, "rambit.") if found.ispkg]
    for module in (rambit, *map(importlib.import_module, packages)):
        for name in getattr(module, "__all__", ()):
            yield f"{module.__name__}.{name}", getattr(module, name)
    for name, function in inspect.getmembers(rambit.ops, inspect.isfunction):
        if function.__module__ == "rambit.ops" and not name.startswith("_"):
            yield f"rambit.ops.{name}", function


def used() -> set[int]:
    """The ids of everything that the code of the cases names, imports apart."""
    found: set[int] = set()
    for module in (*engine.topics(), models, series):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, (ast.Name, ast.Attribute)):
                found.add(id(_value(module, node)))
    return found


def _value(module: ModuleType, node: ast.expr) -> Any:
    """What a dotted name stands for in a module; None for a local one."""
    if isinstance(node, ast.Name):
        return getattr(module, node.id, None)
    if isinstance(node, ast.Attribute):
        return getattr(_value(module, node.value), node.attr, None)
    return None


def uncovered() -> list[str]:
    """Public names that neither a case uses nor WITHOUT excuses."""
    there = used()
    return sorted(name for name, value in public() if id(value) not in there and name not in WITHOUT)
