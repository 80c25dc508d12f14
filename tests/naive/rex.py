"""ReX the slow way: boxes are objects, mutants are made, asked and counted one at a time, iterations one by one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.stats import betabinom


class Node:
    """A box: half-open spans along z, y and x."""

    def __init__(self, spans, name="R", depth=0):
        self.spans, self.name, self.depth = spans, name, depth
        self.children = []

    def mask(self, grid):
        mask = np.zeros(grid, dtype=bool)
        mask[tuple(slice(start, stop) for start, stop in self.spans)] = True
        return mask

    def extents(self):
        return [stop - start for start, stop in self.spans]

    def area(self):
        return int(np.prod(self.extents()))


def pmf(n, count, arguments):
    return betabinom(n, *arguments).pmf(range(count))


def weighted_choice(rng, weights):
    return int(rng.choice(len(weights), p=weights / weights.sum()))


def split_line(node, rng, options, running):
    z, y, (start, stop) = node.spans
    width = stop - start
    if width < 4:
        return []
    part = None if running is None else running[0, 0, start:stop].astype(np.float64)
    if options["distribution"] == "betabinom":
        cuts = rng.choice(width + 1, 3, replace=False, p=pmf(width, width + 1, options["dist_args"]))
    elif part is not None and (part > 0).sum() >= 3:
        cuts = rng.choice(width, 3, replace=False, p=part / part.sum())
    else:
        cuts = rng.choice(width, 3, replace=False)
    edges = [start, *(start + int(cut) for cut in sorted(cuts)), stop]
    return [(z, y, (edges[i], edges[i + 1])) for i in range(4)]


def split_plane(node, rng, options, running):
    z, (top, bottom), (left, right) = node.spans
    height, width = bottom - top, right - left
    if height * width <= 1:
        return []
    part = None
    if running is not None:
        part = running[0, top:bottom, left:right].astype(np.float64).ravel()
        part[0] = 0
    if options["distribution"] == "betabinom":
        table = np.outer(pmf(height, height, options["dist_args"]), pmf(width, width, options["dist_args"]))
        position = weighted_choice(rng, table.ravel())
    elif part is not None and part.sum() > 0:
        position = weighted_choice(rng, part)
    else:
        position = rng.randint(1, height * width)
    row, column = top + position // width, left + position % width
    return [
        (z, (top, row), (left, column)),
        (z, (top, row), (column, right)),
        (z, (row, bottom), (left, column)),
        (z, (row, bottom), (column, right)),
    ]


def split_volume(node, rng, options, running):
    part = None
    if running is not None:
        part = running[tuple(slice(start, stop) for start, stop in node.spans)].astype(np.float64)
    axes = [{0: 1, 1: 2, 2: 0}[int(a)] for a in rng.choice([0, 1, 2], 2, replace=False)]  # rows, columns, depth
    cuts = []
    for axis in axes:
        start, stop = node.spans[axis]
        extent = stop - start
        along = None if part is None else np.array([np.take(part, i, axis=axis).sum() for i in range(extent)])
        if extent <= 1:
            cuts.append(int(rng.choice([start, stop])))
        elif options["distribution"] == "betabinom":
            cuts.append(start + weighted_choice(rng, pmf(extent, extent, options["dist_args"])))
        elif along is not None and along.sum() > 0:
            cuts.append(start + weighted_choice(rng, along))
        else:
            cuts.append(start + int(rng.choice(extent, 1, replace=False)[0]))
    children = []
    for first_high in (False, True):
        for second_high in (False, True):
            spans = list(node.spans)
            for axis, cut, high in zip(axes, cuts, (first_high, second_high), strict=True):
                spans[axis] = (cut, spans[axis][1]) if high else (spans[axis][0], cut)
            children.append(tuple(spans))
    return children


SPLITS = {1: split_line, 2: split_plane, 3: split_volume}


def subsets():
    return [list(c) for size in (1, 2, 3) for c in combinations(range(4), size)]


class Mutant:
    def __init__(self, grid, active, static, output):
        self.active, self.static = active, static
        self.mask = np.zeros(grid, dtype=bool)
        for node in active + static:
            self.mask |= node.mask(grid)
        self.area = int(self.mask.sum())
        self.depth = max(node.depth for node in active + static)
        classes, confidences = output(self.mask[None])
        self.label, self.confidence = int(classes[0]), float(confidences[0])


def prune(mutants, queue, keep):
    """The mutants to look into; each needs ``area`` and ``active``, nodes with a ``name``."""
    if queue in ("all", "dc"):
        return list(mutants)
    if queue == "intersection":
        if len(mutants) < 2:
            return list(mutants)
        names = [{node.name for node in m.active} for m in mutants]
        for i in range(len(mutants)):
            common = set.intersection(*names[i:])
            if common:
                break
        mutants = [m for m, own in zip(mutants, names, strict=True) if common <= own]
    ordered = sorted(mutants, key=lambda m: m.area)
    return ordered if keep is None else ordered[:keep]


def iterate(output, grid, dimensions, target, threshold, options, number, running):
    """One iteration: its maps by class and (mutants, passing, depth)."""
    rng = np.random.RandomState(options["seed"] + number)
    conjunctive = options["search"] == "conjunctive"
    fill = 0 if options["responsibility_style"] == "additive" else 1
    root = Node(tuple((0, n) for n in grid))
    queue, maps = [[root]], {}
    work = passed = reached = 0
    while queue:
        passing, on_last = [], False
        for job in queue:
            for place, node in enumerate(job):
                on_last = place == len(job) - 1
                static = job[:place] + job[place + 1 :]
                big_enough = node.depth <= options["tree_depth"] and node.area() >= options["min_box_size"]
                if not node.children and big_enough:
                    node.children = [
                        Node(spans, f"{node.name}:{i}", node.depth + 1)
                        for i, spans in enumerate(SPLITS[dimensions](node, rng, options, running))
                    ]
                if not node.children:
                    if conjunctive:
                        continue
                    break
                mutants = [Mutant(grid, [node.children[i] for i in s], static, output) for s in subsets()]
                good = [m for m in mutants if m.label == target and m.confidence >= threshold]
                work += 14
                passed += len(good)
                if good:
                    for m in mutants:
                        add_responsibility(maps, m, grid, fill, options)
                if conjunctive:
                    passing += good
                else:
                    passing = prune(good, options["queue"], options["queue_len"])
                reached = max([reached, *(m.depth for m in good)])
        if conjunctive:
            distinct = {m.mask.tobytes(): m for m in reversed(passing)}
            whole = [m for m in passing if distinct[m.mask.tobytes()] is m]
            for m in whole:
                m.active, m.static = m.active + m.static, []
            passing = prune(whole, options["queue"], options["queue_len"])
        elif reached > options["tree_depth"] and on_last:
            break
        if options["search_limit"] is not None and work > options["search_limit"]:
            break
        queue = [m.active for m in passing]
    return maps, (work, passed, reached)


def add_responsibility(maps, mutant, grid, fill, options):
    if mutant.label not in maps:
        maps[mutant.label] = np.full(grid, fill, dtype=np.float32)
    for node in mutant.active:
        share = 1 / len(mutant.active)
        if options["weighted"]:
            share *= mutant.confidence
        share = np.float32(share)
        if options["concentrate"]:
            share *= np.float32(node.depth)
        maps[mutant.label][node.mask(grid)] += share


def search(output, grid, dimensions, options):
    """Maps by class and (mutants, passing, depth) over all iterations."""
    classes, confidences = output(np.ones((1, *grid), dtype=bool))
    target, threshold = int(classes[0]), float(confidences[0]) * options["confidence_filter"]
    merged, totals = {}, np.zeros(3, dtype=int)
    for number in range(1, options["iters"] + 1):
        running = merged.get(target) if options["distribution"] == "adaptive" else None
        maps, counts = iterate(output, grid, dimensions, target, threshold, options, number, running)
        totals = np.array([totals[0] + counts[0], totals[1] + counts[1], max(totals[2], counts[2])])
        for label, local in maps.items():
            if options["responsibility_style"] == "additive":
                merged[label] = merged.get(label, np.zeros(grid, dtype=np.float32)) + local
            else:
                product = merged.get(label, np.ones(grid, dtype=np.float32)) * local
                merged[label] = product / product.max()
    if options["negative_responsibility"] and target in merged:
        for label in merged:
            if label != target:
                merged[target] = merged[target] - merged[label]
    return merged, totals.tolist()
