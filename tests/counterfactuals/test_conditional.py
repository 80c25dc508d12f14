"""Conditional draws: the naive twin's, bit for bit, however they are made; refused or said where they cannot be."""

from __future__ import annotations

import math
import pickle
import warnings

import numpy as np
import pytest
import torch

from rambit.counterfactuals import Conditional, resolve
from rambit.counterfactuals import nearest as search
from tests.naive import conditional as naive
from tests.ops.layouts import rng

SEED = 5


def data(case, N=9, D=3, T=8, B=2, steps=7):
    """A background, series and which of their values are there, by kind."""
    generator = rng(case.__hash__() % 1000 if isinstance(case, int) else sum(map(ord, case)))
    background, X = (torch.randn(n, D, t, generator=generator) for n, t in ((N, T), (B, steps)))
    observed = torch.ones_like(X, dtype=torch.bool)
    if "ties" in case:
        background, X = background.sign(), X.sign()
    if "categories" in case:
        background[:, 1], X[:, 1] = (values[:, 1].mul(2).round() for values in (background, X))
    if "holes" in case:
        background[torch.rand(background.shape, generator=generator) < 0.3] = math.nan
        observed = torch.rand(X.shape, generator=generator) < 0.7
        observed[0, :, :4] = False
    if "padding" in case:
        background[: N // 2, :, T // 2 :] = math.nan
    if "double" in case:
        background, X = background.double() * 1e4 + 1e7, X.double() * 1e4 + 1e7
    return background, X, observed


def known(background):
    return {"X": background, "observed": ~background.isnan()}


CASES = {
    "plain": {},
    "ties": {},
    "ties one feature": {"D": 1},
    "holes": {},
    "ties holes": {},
    "padding": {},
    "double": {},
    "categories": {},
    "categories ties holes": {},
    "one step": {"T": 5, "steps": 1},
    "longer than the background": {"steps": 12},
    "few series": {"N": 2},
}


@pytest.mark.filterwarnings("ignore:background has|X has")
@pytest.mark.parametrize("history, neighbours", [(1, 1), (3, 4), (20, 6)])
@pytest.mark.parametrize("case", CASES)
def test_against_the_twin(case, history, neighbours):
    background, X, observed = data(case, **CASES[case])
    categorical = (1,) if "categories" in case else ()
    strategy = Conditional(known(background), history, neighbours).for_categories(categorical)
    twin = naive.Conditional(background, history, neighbours, categorical)
    ids = torch.tensor([7, 2**31])
    given = None if observed.all() else observed
    seen = X.masked_fill(~observed, math.nan)
    found = strategy.draws(X, given, ids, 3, seed=SEED, first=2)
    assert torch.equal(found, twin.draws(seen, ids.tolist(), 3, SEED, first=2))
    found = strategy.windows(X, given, ids, 2, 4, seed=SEED)
    assert torch.equal(found, twin.windows(seen, ids.tolist(), 2, 4, SEED))
