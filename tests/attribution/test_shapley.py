"""Shapley and Banzhaf values against brute force over all coalitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from rambit.attribution import Banzhaf, ExactShapley, ShapleySampling
from rambit.game import shapley_values
from rambit.masks import Bernoulli
from tests.models_for_tests import GRU

N = 8


def brute_force(v, n, weight):
    out = np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            for S in itertools.combinations(others, size):
                out[i] += weight(n, size) * (v[frozenset(S) | {i}] - v[frozenset(S)])
    return out


def shapley_weight(n, size):
    return math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)


@pytest.mark.parametrize("seed", range(3))
def test_exact_values_equal_brute_force(seed):
    payoffs = torch.randn(1 << N, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    coalitions = shapley_values.all_coalitions(N)
    for b in range(2):
        v = {frozenset(np.flatnonzero(c).tolist()): float(payoffs[k, b]) for k, c in enumerate(coalitions.numpy())}
        assert len(v) == 1 << N
        np.testing.assert_allclose(
            shapley_values.exact_shapley(payoffs)[:, b], brute_force(v, N, shapley_weight), atol=1e-12
        )
        banzhaf = brute_force(v, N, lambda n, size: 0.5 ** (n - 1))
        np.testing.assert_allclose(shapley_values.exact_banzhaf(payoffs)[:, b], banzhaf, atol=1e-12)


def game(seed=0):
    torch.manual_seed(seed)
    model = GRU(D=N, H=12).double().eval()
    X = torch.randn(2, N, 5, dtype=torch.float64) * 2
    draws = torch.randn(1, 2, N, 5, dtype=torch.float64) * 2

    def f(x):
        with torch.no_grad():
            return model(x).softmax(-1)

    return model, f, X, draws


def test_exact_shapley_of_a_model():
    model, f, X, draws = game()
    scores = ExactShapley(model).attribute(X, counterfactuals=draws)
    for b in range(2):
        target = int(f(X[b : b + 1])[0].argmax())
        v = {}
        for size in range(N + 1):
            for S in itertools.combinations(range(N), size):
                x = draws[0, b].clone()
                x[list(S)] = X[b, list(S)]
                v[frozenset(S)] = float(f(x[None])[0, target])
        expected = brute_force(v, N, shapley_weight)
        np.testing.assert_allclose(scores[b].numpy(), np.repeat(expected[:, None], 5, 1), atol=1e-10)
        assert abs(expected.sum() - (v[frozenset(range(N))] - v[frozenset()])) < 1e-12


@pytest.mark.parametrize("players", ["features", "timestamps", "cells", "segments"])
def test_sampling_is_efficient_and_converges(players):
    model, f, X, draws = game()
    method = ShapleySampling(model, num_permutations=60, players=players, segment=2)
    result = method.explain(X, counterfactuals=draws)
    target = f(X).argmax(1)
    drop = (f(X) - f(draws[0])).gather(1, target[:, None])[:, 0]
    table = result.values
    total = {
        "features": table[:, :, 0].sum(1),
        "timestamps": table[:, 0].sum(1),
        "cells": table.sum((1, 2)),
        "segments": table[:, :, ::2].sum((1, 2)),
    }[players]
    torch.testing.assert_close(total, drop, rtol=0, atol=1e-10)
    if players == "features":
        exact = ExactShapley(model).attribute(X, counterfactuals=draws)
        assert float(result.stderr.max()) > 0
        off = (table - exact).abs()
        assert float((off <= 3 * result.stderr + 1e-12).double().mean()) > 0.95
        assert bool((off <= 5 * result.stderr + 1e-12).all())


def test_banzhaf_converges_to_the_exact_values():
    model, f, X, draws = game()
    exact = torch.empty(2, N, dtype=torch.float64)
    for b in range(2):
        coalitions = shapley_values.all_coalitions(N)
        x = torch.where(coalitions[:, :, None], X[b], draws[0, b])
        payoffs = f(x)[:, f(X[b : b + 1])[0].argmax()]
        exact[b] = shapley_values.exact_banzhaf(payoffs[:, None])[:, 0]
    result = Banzhaf(model, num_masks=4000, players="features").explain(X, counterfactuals=draws)
    off = (result.values[:, :, 0] - exact).abs()
    assert bool((off <= 3.5 * result.stderr[:, :, 0]).all())
    assert float(off.max()) < 0.1 * float(exact.abs().max())


def test_orders_are_permutations_and_repeat():
    order = shapley_values.orders(50, 9, seed=3)
    assert bool((order.sort(dim=1).values == torch.arange(9)).all())
    assert torch.equal(shapley_values.orders(20, 9, seed=3, first=30), order[30:])
    assert not torch.equal(order[0], order[1])
    prefix = shapley_values.prefixes(order)
    for r in range(3):
        for k in range(10):
            assert set(np.flatnonzero(prefix[r, k])) == set(order[r, :k].tolist())


def test_players_given_as_labels_and_bad_input():
    model, _, X, draws = game()
    labels = torch.zeros(N, 5, dtype=torch.int64)
    labels[:, 3:] = 7
    scores = ExactShapley(model, players=labels).attribute(X, counterfactuals=draws)
    assert bool((scores[:, :, :3] == scores[:, :1, :1]).all())
    assert bool((scores[:, :, 3:] == scores[:, :1, 3:4]).all())
    for build, words in (
        (lambda: ExactShapley(model, players="rows"), "players"),
        (lambda: ShapleySampling(model, num_permutations=0), "num_permutations"),
        (lambda: Banzhaf(model, num_masks=0), "num_masks"),
        (lambda: ShapleySampling(model, segment=0), "segment"),
        (lambda: ExactShapley(model, players="cells").attribute(X, counterfactuals=draws), "40 are too many"),
        (lambda: ExactShapley(model, players=labels[:2]).attribute(X, counterfactuals=draws), "players"),
    ):
        with pytest.raises(ValueError, match=words):
            build()


def test_players_that_no_coalition_tells_about_have_no_value():
    model, _, X, draws = game()
    result = Banzhaf(model, num_masks=3, players="cells").explain(X, counterfactuals=draws)
    coalitions = Bernoulli(0.5).sample(3, 1, X[0].numel(), seed=0).masks[:, 0]
    told = (coalitions.any(dim=0) & ~coalitions.all(dim=0)).view(X.shape[1:])
    assert 0 < int(told.sum()) < told.numel()
    assert torch.equal(result.evaluated, told.expand(X.shape))
    assert bool((result.values[~result.evaluated] == 0).all())
