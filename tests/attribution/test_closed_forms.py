"""Rare-Time and Rare-Feature: where the truth is a formula, |x² - mean²| on salient cells and 0 elsewhere."""

from __future__ import annotations

import pytest
import torch

from rambit.attribution import FO, Occlusion, RaMbIT, ShapleySampling
from rambit.datasets import rare_feature, rare_model, rare_time


@pytest.mark.parametrize("make", [rare_feature, rare_time])
def test_replacing_a_cell_by_its_mean(make):
    data = make(n=2)
    for i in range(2):
        model = rare_model(data, i)
        X = torch.from_numpy(data.X[i : i + 1]).double()
        salient = torch.from_numpy(data.salient[i : i + 1])
        expected = torch.where(salient, (X**2 - X.mean(dim=2, keepdim=True) ** 2).abs(), 0.0)
        assert float(expected.max()) > 0.1
        common = {"counterfactuals": "mean", "output": "regression", "num_samples": 1}

        def of_all_steps(x, model=model):  # the sum over time: every cell counts at the last step
            return model(x, return_all=True).sum(dim=1)

        each_step = FO(model, **common).attribute(X)
        torch.testing.assert_close(each_step, expected, rtol=0, atol=1e-5)
        for method in (
            FO(of_all_steps, anchor="end", **common),
            Occlusion(of_all_steps, **common),
            RaMbIT(model, L=2, distance="diff", window_size=1, **common),
            ShapleySampling(of_all_steps, num_permutations=1, **common),
        ):
            torch.testing.assert_close(method.attribute(X).abs(), expected, rtol=0, atol=1e-5)
