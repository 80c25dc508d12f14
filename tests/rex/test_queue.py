"""Mutants and pruning, against the naive twin on random sets."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambit.rex import Mutant, Queue, get_combinations, initialise_tree, prune
from tests.naive import rex as naive


def mutant(boxes, active, static=(), shape=(8, 8)):
    """A mutant of a one-channel image of ones."""
    return Mutant(torch.ones(1, 1, *shape), [boxes[i] for i in static], [boxes[i] for i in active])


def test_the_fourteen_combinations():
    assert get_combinations() == naive.subsets()
    assert len(get_combinations()) == 14


def test_a_mutant_keeps_its_boxes():
    root = initialise_tree(8, 8, seed=2)
    root.add_children_to_tree(1, "RGB")
    one = mutant(root.children, [0, 3], [1])
    assert one.get_active_boxes() == ["R:0", "R:3"]
    assert one.get_name() == "R:0_R:3"
    assert one.depth == 1
    assert one.area() == 64 - root.children[2].area() == int(one.mask.sum())
    assert torch.equal(one.masked()[0, 0] == 1, one.mask)
    one.masking_func = lambda mask, data: data * mask + 5 * ~mask
    assert torch.equal(one.masked()[0, 0] == 5, ~one.mask)


class Fixed(Mutant):
    """A mutant of a given area whose active boxes have given names."""

    def __init__(self, area, names):
        super().__init__(torch.ones(1, 1, 1, 1), [], [SimpleNamespace(name=name) for name in names])
        self._area = area

    def area(self):
        return self._area


sets = st.lists(st.tuples(st.integers(0, 6), st.sets(st.sampled_from("abcdef"), min_size=1, max_size=4)), max_size=14)


@given(sets, st.sampled_from(list(Queue)), st.sampled_from([None, 1, 2, 5]))
def test_pruning_equals_the_twin(described, queue, keep):
    mutants = [Fixed(area, sorted(names)) for area, names in described]
    twins = [SimpleNamespace(area=area, active=[SimpleNamespace(name=n) for n in names]) for area, names in described]
    expected = [twins.index(twin) for twin in naive.prune(twins, queue.value, keep)]
    kept = prune(mutants, queue, keep)
    assert [(m.area(), set(m.get_active_boxes())) for m in kept] == [described[i] for i in expected]


def test_pruning_takes_the_queue_by_name():
    mutants = [Fixed(3, "a"), Fixed(1, "ab"), Fixed(2, "b")]
    assert prune(mutants, "area", 1) == [mutants[1]]
    assert prune(mutants) == [mutants[1], mutants[2]]  # Intersection: the suffix from the second on shares b
    with pytest.raises(ValueError, match="technique must be one of area, all, intersection, dc"):
        prune(mutants, "largest")


def test_an_empty_list_stays_empty():
    assert [prune([], queue, 1) for queue in Queue] == [[]] * len(Queue)
