"""Explanations as the specification words them: Python sets of positions, one mask at a time. Slow and obvious.

`ask(kept)` answers (class, confidence) for a set of flat positions.
"""

from __future__ import annotations

import itertools
import math

import numpy as np


class Nothing(Exception):
    pass


def ranking(scores, logs=None):
    """Descending (score, then flat index); among zeros, the sum of logarithms comes before the index."""
    return sorted(
        range(len(scores)),
        key=lambda i: (scores[i], logs[i] if logs is not None and scores[i] == 0 else 0.0, i),
        reverse=True,
    )


def suffices(evaluate, kept, target, confidence, share):
    found, sure = evaluate(kept)
    return found == target and round(sure, 4) >= round(confidence * share, 4)


def prefixes(order, chunk):
    return [set(order[:size]) for size in [*range(chunk, len(order), chunk), len(order)]]


def global_part(evaluate, order, target, confidence, *, chunk=10, share=0.0):
    for kept in prefixes(order, chunk):
        if suffices(evaluate, kept, target, confidence, share):
            return kept
    raise Nothing


def circle(grid, centre, radius):
    places = itertools.product(*(range(extent) for extent in grid))
    return {i for i, place in enumerate(places) if math.dist(place, centre) <= radius}


def spatial_part(evaluate, scores, grid, order, target, confidence, *, chunk=10, share=0.0, radius=25, growth=1.2):
    centre = np.unravel_index(int(np.argmax(scores)), grid)
    while True:
        inside = circle(grid, centre, radius)
        if suffices(evaluate, inside, target, confidence, share):
            return global_part(
                evaluate, [i for i in order if i in inside], target, confidence, chunk=chunk, share=share
            )
        if len(inside) == math.prod(grid):
            raise Nothing
        radius = max(radius + 1, int(growth * radius))


def is_necessary(evaluate, kept, everything, target, confidence, *, sure=1.0):
    """As sure of the target as is demanded with it alone, and another class without it."""
    removed, _ = evaluate(everything - kept)
    return suffices(evaluate, kept, target, confidence, sure) and removed != target


def necessary_part(evaluate, order, target, confidence, *, chunk=10, share=0.0, sure=1.0):
    for kept in prefixes(order, chunk):
        necessary = is_necessary(evaluate, kept, set(order), target, confidence, sure=sure)
        if necessary and suffices(evaluate, kept, target, confidence, share):
            return kept
    raise Nothing


def complete_part(evaluate, order, necessary, target, confidence, *, chunk=10, share=0.0):
    rest = [i for i in reversed(order) if i not in necessary]
    for added in [set(), *prefixes(rest, chunk)] if rest else [set()]:
        kept = necessary | added
        found, sure = evaluate(kept)
        equal = found == target and round(sure, 2) == round(confidence, 2)
        if equal and suffices(evaluate, kept, target, confidence, share):
            return kept
    raise Nothing


def dice(a, b):
    return 2 * len(a & b) / (len(a) + len(b))


def family(parts, overlap):
    """The numbers of the most parts that pairwise overlap no more, of least total area; smallest part first."""
    for size in range(len(parts), 0, -1):
        fitting = [
            chosen
            for chosen in itertools.combinations(range(len(parts)), size)
            if all(dice(parts[i], parts[j]) <= overlap for i, j in itertools.combinations(chosen, 2))
        ]
        if fitting:
            best = min(fitting, key=lambda chosen: sum(len(parts[i]) for i in chosen))
            return sorted(best, key=lambda i: (len(parts[i]), i))
    return []
