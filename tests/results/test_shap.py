"""Results as shap's explanations: rows, columns, base values, and the plots that draw them."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rambit.attribution import Banzhaf, ExactShapley, Occlusion, ShapleySampling
from rambit.labels import Labels
from rambit.results import Attribution
from tests.results.made import NAMES, at, cells, result

shap = pytest.importorskip("shap", reason="shap is not installed: pip install 'rambit[shap]'")
B, D, T = 4, 3, 5


def model(x: Tensor) -> Tensor:
    """Two logits that mix features and times of x (N, D, T), whatever T is."""
    mixed = x[:, 0].sum(dim=1) * x[:, 1, 0] - x[:, 2, -1] + 0.3 * x.sum(dim=(1, 2))
    return torch.stack((mixed, -0.5 * mixed), dim=1)


def series() -> Tensor:
    return torch.randn(B, D, T, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def loops(a: Attribution, columns: str) -> tuple[np.ndarray, np.ndarray]:
    """Sums of scores and means of values, cell by cell: (B, n, K) and (B, n)."""
    n = {"features": 3, "timestamps": 5, "cells": 15}[columns]
    scores = np.zeros((2, n, 1 if a.targets is None else len(a.targets)))
    seen: dict[tuple[int, int], list[float]] = {}
    for b, k, d, t in cells(a):
        column = {"features": d, "timestamps": t, "cells": 5 * d + t}[columns]
        scores[b, column, k or 0] += at(a.values, a, b, k, d, t)
        if not k:
            seen.setdefault((b, column), []).append(at(a.X, a, b, None, d, t))
    means = [[sum(found) / len(found) if (found := seen.get((b, c))) else math.nan for c in range(n)] for b in (0, 1)]
    return scores, np.array(means)


@pytest.mark.parametrize("columns", ["features", "timestamps", "cells"])
@pytest.mark.parametrize(
    "case",
    [{}, {"layout": "BTD"}, {"targets": [1, 0]}, {"targets": [1, 0], "layout": "BTD"}, {"lengths": None}],
    ids=str,
)
def test_sums_of_cells(case: dict[str, Any], columns: str) -> None:
    a = result(**case)
    found = a.to_shap(columns)
    scores, values = loops(a, columns)
    np.testing.assert_allclose(found.values, scores if a.targets else scores[..., 0], rtol=1e-6)
    if columns == "timestamps":
        assert found.data is None, "no number stands for the time of several features"
    else:
        np.testing.assert_allclose(found.data, values, rtol=1e-5)
    assert found.base_values.shape == ((2, 2) if a.targets else (2,))
    assert not found.base_values.any(), "scores of no named distance are no changes of an output"


def test_names() -> None:
    a = result()
    assert list(a.to_shap().feature_names) == ["hr", "bp", "t"]
    assert list(a.to_shap("timestamps").feature_names)[:2] == ["2024-03-01T00:00", "2024-03-01T06:00"]
    assert list(a.to_shap("cells").feature_names)[6] == "bp, 2024-03-01T06:00"
    assert result(targets=[1, 0]).to_shap().output_names == ["ill", "well"]
    named = {"none": Labels(), "each": Labels(times=np.arange(10.0).reshape(2, 5))}
    for labels in named.values():
        assert list(result(labels=labels).to_shap("cells").feature_names)[6] == "feature 1, step 1"
    half = Labels(times=np.arange(5) / 2, unit="s")
    assert list(result(labels=half).to_shap("timestamps").feature_names)[:2] == ["0 s", "0.5 s"]
    delta = Labels(times=np.arange(5) * np.timedelta64(90, "s"))
    assert list(result(labels=delta).to_shap("timestamps").feature_names)[1] == "90 s"


def test_one_feature_is_shown_by_time() -> None:
    a = result().isel(feature=0)
    found = a.to_shap()
    assert found.shape == (2, 5)
    assert a.X is not None
    np.testing.assert_allclose(found.data[0], a.X[0, 0])
    assert np.isnan(found.data[1, 3:]).all(), "beyond the second series' end"


# -- base values -------------------------------------------------------------------------------------------------------

PLAYERS = (
    {"players": "features"},
    {"players": "timestamps"},
    {"players": "segments", "segment": 2},
    {"players": torch.arange(D * T).view(D, T) // 4},
    {"groups": [[0], [1], [0]]},
)


@pytest.mark.parametrize("options", PLAYERS, ids=str)
@pytest.mark.parametrize("lengths", [None, [5, 3, 5, 4]], ids=["whole", "lengths"])
def test_shapley_values_lead_from_everything_replaced_to_the_output(options: Any, lengths: Any) -> None:
    """However many cells share a player's value, it counts once."""
    X = series()
    ends = [T] * B if lengths is None else lengths
    explained = ExactShapley(model, output="regression", **options).explain(X, target=1, lengths=lengths)
    wanted = torch.cat([model(X[b : b + 1, :, :end])[:, 1] for b, end in enumerate(ends)])
    for columns in ("features", "timestamps", "cells"):
        found = explained.to_shap(columns)
        np.testing.assert_allclose(found.base_values, np.zeros(B), atol=1e-9)  # of the model at zeros
        np.testing.assert_allclose(found.base_values + found.values.sum(axis=1), wanted, atol=1e-9)


def test_a_features_own_column_is_its_value() -> None:
    explained = ExactShapley(model, output="regression").explain(series(), target=0)
    np.testing.assert_allclose(explained.to_shap().values, explained.values[..., 0])
    np.testing.assert_allclose(explained.to_shap("cells").values.reshape(B, D, T), explained.values / T)


def test_several_targets_and_functions() -> None:
    X = series()
    method = ShapleySampling(model, num_permutations=2, output="regression")
    both = method.explain(X, targets=[1, 0]).to_shap()
    assert both.shape == (B, D, 2)
    np.testing.assert_allclose(both.base_values + both.values.sum(axis=1), model(X)[:, [1, 0]])
    one = method.explain(X, targets=[1, 0]).to_shap(target=1)
    np.testing.assert_allclose(one.values, both.values[..., 0])
    np.testing.assert_allclose(one.base_values, both.base_values[:, 0])
    each = method.explain(X, target=torch.tensor([0, 1, 1, 0])).to_shap()
    np.testing.assert_allclose(each.base_values + each.values.sum(axis=1), model(X)[range(B), [0, 1, 1, 0]])
    margin = method.explain(X, target=lambda outputs: outputs[:, 0] - outputs[:, 1]).to_shap()
    np.testing.assert_allclose(
        margin.base_values + margin.values.sum(axis=1), model(X) @ torch.tensor([1.0, -1.0]).double()
    )


def test_forecasts() -> None:
    """Outputs (B, H, Q), each explained by its pair."""
    settings = {"distance": "diff", "layout": "BDT"}
    outputs, pairs = torch.arange(12.0).view(2, 3, 2), torch.tensor([[2, 1], [0, 1]])
    kept = {"outputs": outputs, "labels": Labels(), "settings": settings}
    for parts, shape, wanted in (
        ({"target": pairs}, (2, 3, 5), [5.0, 7.0]),
        ({"targets": [[2, 1], [0, 0]]}, (2, 2, 3, 5), [[5.0, 0.0], [11.0, 6.0]]),
    ):
        found = Attribution(torch.ones(shape), None, 1, 1, 0.0, seed=0, **kept, **parts).to_shap()
        np.testing.assert_allclose(found.base_values + found.values.sum(axis=1), wanted)


def test_what_is_no_sum_has_a_remainder_or_nothing() -> None:
    X = series()
    found = Occlusion(model, output="regression").explain(X, target=0)
    scores = found.to_shap()
    np.testing.assert_allclose(scores.base_values, model(X)[:, 0] - found.values.sum(dim=(1, 2)))
    assert not Occlusion(model, output="logits").explain(X).to_shap().base_values.any()
    np.testing.assert_allclose(
        Banzhaf(model, output="regression").explain(X, target=0).to_shap("cells").values.shape, (B, D * T)
    )


# -- errors ------------------------------------------------------------------------------------------------------------


def test_wrong_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    a = result()
    with pytest.raises(ValueError, match="columns must be one of features, timestamps, cells, got 'rows'"):
        a.to_shap("rows")
    with pytest.raises(ValueError, match="target applies to results with targets"):
        a.to_shap(target=1)
    with pytest.raises(ValueError, match="X must have the shape"):
        a.to_shap(X=torch.zeros(2, 3, 4))
    grouped = ExactShapley(model, output="regression", groups=torch.arange(D * T).view(D, T) // 4)
    explained = grouped.explain(series(), target=0)
    with pytest.raises(ValueError, match=r"settings list groups of \(3, 5\) cells, and these are \(2, 5\)"):
        explained.isel(feature=[0, 1]).to_shap()
    segments = ExactShapley(model, output="regression", players="segments", segment=2).explain(series(), target=0)
    with pytest.raises(ValueError, match="sum a whole result, not its parts"):
        segments.isel(time=slice(1, 5)).to_shap()
    explained.settings["groups"] = {"digest": "0" * 16}
    with pytest.raises(ValueError, match="settings do not list the groups of cells"):
        explained.to_shap()
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(ImportError, match=r"this needs shap: pip install 'rambit\[shap\]'"):
        a.to_shap()


def test_the_input_can_be_given() -> None:
    X = torch.ones(2, 3, 5)
    np.testing.assert_allclose(result(X=None).to_shap(X=X).data, np.ones((2, 3)))
    assert result(X=None).to_shap().data is None


# -- pictures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plot", ["bar", "beeswarm", "heatmap", "waterfall"])
@pytest.mark.parametrize("columns", ["features", "timestamps"])
def test_shap_draws_it(plot: str, columns: str) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    labels = Labels(features=NAMES.features)
    explained = ExactShapley(model, output="regression").explain(series(), target=1, labels=labels).to_shap(columns)
    try:
        getattr(shap.plots, plot)(explained[0] if plot == "waterfall" else explained, show=False)
        drawn = pyplot.gcf()
        drawn.canvas.draw()
        said = {text.get_text() for axes in drawn.axes for text in axes.get_yticklabels()}
    finally:
        pyplot.close("all")
    for name in explained.feature_names:
        assert any(text.endswith(name) for text in said), (name, said)
