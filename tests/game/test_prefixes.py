"""Prefixes of a ranking: the searches against walks that ask every length, alone and in lock-step."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambit.game.lockstep import run_together
from rambit.game.prefixes import first_passing, prefix_masks, ranking_of, shortest_by_bisection


def game(seed, n):
    """A random question of masks: whether the weights of what is kept reach a threshold; not monotone."""
    g = torch.Generator().manual_seed(seed)
    weights = torch.randn(n, generator=g) + 0.3
    threshold = torch.randn((), generator=g)
    return weights, lambda masks: masks.float() @ weights >= threshold


def alone(search, passes):
    evaluated = []

    def evaluate(masks, _):
        evaluated.append(len(masks))
        return passes(masks)

    return run_together([search], evaluate)[0], evaluated


@given(seed=st.integers(0, 10**6), n=st.integers(1, 20))
def test_prefix_masks(seed, n):
    g = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 3, (n,), generator=g).float()
    ranking = ranking_of(scores)
    assert ranking.tolist() == sorted(range(n), key=lambda i: (-scores[i], i))
    masks = prefix_masks(ranking, torch.arange(n + 1))
    for k in range(n + 1):
        assert set(masks[k].nonzero()[:, 0].tolist()) == set(ranking[:k].tolist())


@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), step=st.integers(1, 7), width=st.integers(1, 40))
def test_first_passing(seed, n, step, width):
    weights, passes = game(seed, n)
    ranking, sizes = ranking_of(weights), torch.arange(step, n + step, step).clamp(max=n)
    walked = [i for i, size in enumerate(sizes) if passes(prefix_masks(ranking, size[None]))[0]]
    found, evaluated = alone(first_passing(ranking, sizes, width=width), passes)
    assert found == (walked[0] if walked else None)
    assert max(evaluated) <= width


@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), width=st.integers(1, 9))
def test_bisection_ends_at_a_step(seed, n, width):
    weights, passes = game(seed, n)
    ranking = ranking_of(weights.abs())
    walked = [bool(passes(prefix_masks(ranking, torch.tensor([size])))[0]) for size in range(n + 1)]
    found, evaluated = alone(shortest_by_bisection(ranking, width=width), passes)
    if walked[0]:
        assert found == 0
    elif not walked[n]:
        assert found is None
    else:
        assert walked[found]
        assert not walked[found - 1]
    assert len(evaluated) <= 2 + torch.log(torch.tensor(float(n))) / torch.log(torch.tensor(width + 1.0)) * 2


def test_lockstep_gives_what_each_gives_alone_in_as_many_rounds_as_the_longest():
    problems = [game(seed, 30) for seed in range(12)]

    def searches():
        return [shortest_by_bisection(ranking_of(weights), width=3) for weights, _ in problems]

    singles = [alone(search, passes) for search, (_, passes) in zip(searches(), problems, strict=True)]
    rounds = []

    def evaluate(masks, target_cell):
        rounds.append(len(masks))
        assert target_cell.tolist() == sorted(target_cell.tolist())
        return torch.stack([problems[i][1](mask[None])[0] for i, mask in zip(target_cell.tolist(), masks, strict=True)])

    assert run_together(searches(), evaluate) == [found for found, _ in singles]
    assert len(rounds) == max(len(evaluated) for _, evaluated in singles)
    assert sum(rounds) == sum(sum(evaluated) for _, evaluated in singles)


def test_nothing_to_search():
    assert run_together([], lambda masks, target_cell: pytest.fail("nothing was evaluated")) == []
