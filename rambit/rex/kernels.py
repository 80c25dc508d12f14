"""ReX's combinatorics over arrays, in Numba: children, mutants, duplicates, pruning, map updates.

A tree is three arrays over its nodes: ``boxes`` (N, 6) int32, half-open [z0, z1, y0, y1, x0, x1), ``depth`` (N,)
int32, and ``first_child`` (N,) int32, -1 where there are none; the four children of a node follow each other. A job is
a set of nodes; an expansion is one node of a job that is replaced by a proper part of its children, while the job's
other nodes stay: 14 mutants. Lists of lists are flat arrays with offsets.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rambit.jit import compiled

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

#: The proper, non-empty subsets of four children, by size and then in lexicographic order: bit i is child i.
SUBSETS = np.array([1, 2, 4, 8, 3, 5, 9, 6, 10, 12, 7, 11, 13, 14], dtype=np.int64)
#: How many children each subset has.
SIZES = np.array([1] * 4 + [2] * 6 + [3] * 4, dtype=np.int64)
MUTANTS = 14
#: What pruning keeps: all, the smallest, the smallest of those that agree.
KEEP_ALL, SMALLEST, INTERSECTION = range(3)


# -- boxes ------------------------------------------------------------------------------------------------------------


@compiled
def volume(box: Int32) -> int:
    """How many positions a box has."""
    return int(box[1] - box[0]) * int(box[3] - box[2]) * int(box[5] - box[4])


@compiled
def overlap(a: Int32, b: Int32) -> int:
    """How many positions two boxes share."""
    shared = 1
    for axis in range(0, 6, 2):
        extent = int(min(a[axis + 1], b[axis + 1])) - int(max(a[axis], b[axis]))
        if extent <= 0:
            return 0
        shared *= extent
    return shared


@compiled
def copy(source: Int32, out: Int32) -> None:
    """``out[:] = source``, which takes Numba seconds to compile."""
    for i in range(len(source)):
        out[i] = source[i]


@compiled
def can_split(box: Int32, min_size: int, dimensions: int) -> bool:
    """Whether a box is large enough to be cut: four positions in 1-D, more than one in 2-D."""
    size = volume(box)
    if dimensions == 1:
        return size >= min_size and box[5] - box[4] >= 4
    return size >= min_size and (dimensions == 3 or size > 1)


@compiled
def children(box: Int32, cuts: Int64, dimensions: int, out: Int32) -> None:
    """Write the four children of a box to ``out`` (4, 6).

    ``cuts`` are three sorted places along x in 1-D, and (axis, place, axis, place) otherwise, axes 0 … 2 being z, y, x:
    low-low, low-high, high-low, high-high.
    """
    for child in range(4):
        copy(box, out[child])
        if dimensions == 1:
            if child > 0:
                out[child, 4] = cuts[child - 1]
            if child < 3:
                out[child, 5] = cuts[child]
        else:
            for which in range(2):
                axis, place = cuts[2 * which], cuts[2 * which + 1]
                high = child >> (1 - which) & 1
                out[child, 2 * axis + (0 if high else 1)] = place


@compiled
def grow(parents: Int64, cuts: Int64, dimensions: int, boxes: Int32, depth: Int32) -> tuple[Int32, Int32]:
    """Boxes (4 S, 6) and depths (4 S,) of the children of S parents, cut at ``cuts`` (S, 4)."""
    new_boxes = np.empty((4 * len(parents), 6), np.int32)
    new_depth = np.empty(4 * len(parents), np.int32)
    for i in range(len(parents)):
        children(boxes[parents[i]], cuts[i], dimensions, new_boxes[4 * i : 4 * i + 4])
        for child in range(4):
            new_depth[4 * i + child] = depth[parents[i]] + 1
    return new_boxes, new_depth


# -- a generation -----------------------------------------------------------------------------------------------------


@compiled
def expand(
    job_offsets: Int64,
    job_nodes: Int64,
    job_owner: Int64,
    conjunctive: bool,
    tree_depth: int,
    min_size: int,
    dimensions: int,
    boxes: Int32,
    depth: Int32,
    first_child: Int32,
    ended: Bool,
) -> tuple[Int64, Int64, Int64, Int64]:
    """Which boxes are expanded, as (job, place in ``job_nodes``), and the nodes to split with their owners, in order.

    A job is left at its first box without children; a conjunctive one goes on to the next box. Nodes to split are
    given the places of their children in ``first_child``. ``ended[owner]`` becomes whether its last job was not left
    before its last box.
    """
    job = np.empty(len(job_nodes), np.int64)
    place = np.empty(len(job_nodes), np.int64)
    splits = np.empty(len(job_nodes), np.int64)
    owner = np.empty(len(job_nodes), np.int64)
    expansions, to_split, nodes = 0, 0, len(boxes)
    for j in range(len(job_owner)):
        for p in range(job_offsets[j], job_offsets[j + 1]):
            node = job_nodes[p]
            ended[job_owner[j]] = p == job_offsets[j + 1] - 1
            if first_child[node] < 0:
                if depth[node] > tree_depth or not can_split(boxes[node], min_size, dimensions):
                    if conjunctive:
                        continue
                    break
                first_child[node] = nodes
                nodes += 4
                splits[to_split], owner[to_split] = node, job_owner[j]
                to_split += 1
            job[expansions], place[expansions] = j, p
            expansions += 1
    return job[:expansions], place[:expansions], splits[:to_split], owner[:to_split]


@compiled
def mutants(
    job: Int64,
    place: Int64,
    job_offsets: Int64,
    job_nodes: Int64,
    boxes: Int32,
    depth: Int32,
    first_child: Int32,
) -> tuple[Int64, Int32, Int64, Int32]:
    """The 14 mutants of each expansion: offsets and boxes of what is visible, visible areas, and depths.

    Boxes without positions are left out of the lists. A mutant is as deep as its deepest active or static box.
    """
    rows, capacity = MUTANTS * len(job), 0
    for e in range(len(job)):
        capacity += MUTANTS * (job_offsets[job[e] + 1] - job_offsets[job[e]] + 2)
    offsets = np.zeros(rows + 1, np.int64)
    visible = np.empty((capacity, 6), np.int32)
    area = np.zeros(rows, np.int64)
    deepest = np.zeros(rows, np.int32)
    end = 0
    for e in range(len(job)):
        begin, stop = job_offsets[job[e]], job_offsets[job[e] + 1]
        first = first_child[job_nodes[place[e]]]
        for m in range(MUTANTS):
            row = MUTANTS * e + m
            for i in range(stop - begin + 4):
                if i < 4:
                    if not SUBSETS[m] >> i & 1:
                        continue
                    node = int(first) + i
                else:
                    if begin + i - 4 == place[e]:
                        continue
                    node = job_nodes[begin + i - 4]
                deepest[row] = max(deepest[row], depth[node])
                size = volume(boxes[node])
                if size > 0:
                    copy(boxes[node], visible[end])
                    area[row] += size
                    end += 1
            offsets[row + 1] = end
    return offsets, visible[:end], area, deepest


# -- duplicates -------------------------------------------------------------------------------------------------------


@compiled
def _scramble(z: int, y: int, x: int) -> int:
    """32 well-mixed bits of a corner. No product leaves 63 bits."""
    h = (z * 73856093 ^ y * 19349663 ^ x * 83492791) & 0xFFFFFFFF
    for _ in range(2):
        h ^= h >> 16
        h = h * 0x45D9F3B & 0xFFFFFFFF
    return h ^ h >> 16


@compiled
def fingerprint(boxes: Int32) -> int:
    """A number that two unions of disjoint boxes share when they cover the same positions, however they are cut.

    A signed sum over corners telescopes: a box has the sum of its parts.
    """
    total = 0
    for i in range(len(boxes)):
        for corner in range(8):
            a, b, c = corner >> 2 & 1, corner >> 1 & 1, corner & 1
            sign = 1 if (a + b + c) & 1 else -1
            total += sign * _scramble(int(boxes[i, a]), int(boxes[i, 2 + b]), int(boxes[i, 4 + c]))
    return total


@compiled
def same_part(a: Int32, b: Int32, area: int) -> bool:
    """Whether two unions of disjoint boxes, both of this area, cover the same positions."""
    shared = 0
    for i in range(len(a)):
        for j in range(len(b)):
            shared += overlap(a[i], b[j])
    return shared == area


@compiled
def table_of(keys: Int64, size: int) -> Int64:
    """A hash table with open addressing over distinct rows with these keys; ``size`` is a power of two."""
    table = np.full(size, -1, np.int64)
    for i in range(len(keys)):
        slot = keys[i] & (size - 1)
        while table[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        table[slot] = i
    return table


@compiled
def number_rows(
    offsets: Int64,
    boxes: Int32,
    area: Int64,
    known: int,
    known_offsets: Int64,
    known_boxes: Int32,
    known_area: Int64,
    keys: Int64,
    table: Int64,
    number: Int64,
) -> int:
    """Give each row the ``number`` of the known row that keeps the same positions; new ones are appended to the known.

    The arrays of the known rows and the table have room for all. Returns how many are known then.
    """
    mask = len(table) - 1
    for row in range(len(area)):
        own = boxes[offsets[row] : offsets[row + 1]]
        key = fingerprint(own)
        slot = key & mask
        while table[slot] >= 0:
            other = table[slot]
            if keys[other] == key and known_area[other] == area[row]:
                theirs = known_boxes[known_offsets[other] : known_offsets[other + 1]]
                if same_part(own, theirs, area[row]):
                    break
            slot = (slot + 1) & mask
        if table[slot] < 0:
            begin = known_offsets[known]
            for i in range(len(own)):
                copy(own[i], known_boxes[begin + i])
            known_offsets[known + 1] = begin + len(own)
            known_area[known], keys[known], table[slot] = area[row], key, known
            known += 1
        number[row] = table[slot]
    return known


# -- what comes next --------------------------------------------------------------------------------------------------


@compiled
def agreeing(offsets: Int64, names: Int64) -> Int64:
    """Which sets contain the first non-empty intersection over the suffixes i, i + 1, … of the sets.

    Set i is names[offsets[i]:offsets[i + 1]], numbers without repeats.
    """
    count = len(offsets) - 1
    low = high = names[offsets[0]]
    for p in range(offsets[0], offsets[count]):
        low, high = min(low, names[p]), max(high, names[p])
    common = np.zeros((count, high - low + 1), np.bool_)  # row i: the intersection of the sets i, i + 1, …
    first = wanted = 0
    for i in range(count - 1, -1, -1):
        size = 0
        for p in range(offsets[i], offsets[i + 1]):
            if i == count - 1 or common[i + 1, names[p] - low]:
                common[i, names[p] - low] = True
                size += 1
        if size == 0:
            break
        first, wanted = i, size
    keep = np.empty(count, np.int64)
    found = 0
    for i in range(count):
        hits = 0
        for p in range(offsets[i], offsets[i + 1]):
            if common[first, names[p] - low]:
                hits += 1
        if hits == wanted:
            keep[found] = i
            found += 1
    return keep[:found]


@compiled
def by_area(area: Int64, candidates: Int64) -> Int64:
    """Candidates from the smallest to the largest, of equals in their order. They are few: by insertion."""
    order = candidates.copy()
    for i in range(1, len(order)):
        moved, j = order[i], i
        while j > 0 and area[order[j - 1]] > area[moved]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = moved
    return order


@compiled
def prune(area: Int64, offsets: Int64, names: Int64, technique: int, keep: int) -> Int64:
    """Which of n mutants are looked into, in order; ``keep`` < 0 keeps all.

    ``area`` (n,); the active boxes of mutant i are names[offsets[i]:offsets[i + 1]], read for INTERSECTION alone.
    """
    everything = np.arange(len(area))
    if technique == KEEP_ALL or (technique == INTERSECTION and len(area) < 2):
        return everything
    candidates = agreeing(offsets, names) if technique == INTERSECTION else everything
    order = by_area(area, candidates)
    return order if keep < 0 else order[:keep]


@compiled
def prune_each(owner: Int64, area: Int64, offsets: Int64, names: Int64, technique: int, keep: int) -> Int64:
    """Prune the mutants of each owner by themselves; the mutants of an owner follow each other."""
    kept = np.empty(len(owner), np.int64)
    begin, found = 0, 0
    for end in range(1, len(owner) + 1):
        if end == len(owner) or owner[end] != owner[begin]:
            for i in prune(area[begin:end], offsets[begin : end + 1], names, technique, keep):
                kept[found] = begin + i
                found += 1
            begin = end
    return kept[:found]


@compiled
def nodes_of(
    rows: Int64,
    whole: bool,
    job: Int64,
    place: Int64,
    job_offsets: Int64,
    job_nodes: Int64,
    first_child: Int32,
) -> tuple[Int64, Int64]:
    """Offsets and nodes of mutants: of what is active, or of all that is visible if ``whole``."""
    capacity = 0
    for row in rows:
        j = job[row // MUTANTS]
        capacity += 3 + (job_offsets[j + 1] - job_offsets[j] if whole else 0)
    offsets = np.zeros(len(rows) + 1, np.int64)
    nodes = np.empty(capacity, np.int64)
    end = 0
    for i in range(len(rows)):
        e, m = rows[i] // MUTANTS, rows[i] % MUTANTS
        for child in range(4):
            if SUBSETS[m] >> child & 1:
                nodes[end] = first_child[job_nodes[place[e]]] + child
                end += 1
        if whole:
            for p in range(job_offsets[job[e]], job_offsets[job[e] + 1]):
                if p != place[e]:
                    nodes[end] = job_nodes[p]
                    end += 1
        offsets[i + 1] = end
    return offsets, nodes[:end]


# -- responsibility ---------------------------------------------------------------------------------------------------


@compiled
def shares(
    label: int,
    first: Int32,
    labels: Int32,
    values: Float32,
    concentrate: bool,
    boxes: Int32,
    depth: Int32,
) -> tuple[Int64, Float32]:
    """What mutants of class ``label`` add to which nodes: nodes and values, in an order that adds as ReX does.

    Of each expansion: its ``first`` child, the classes and the share of each of the 14 mutants, (E, 14). Shares of one
    node follow each other; the children of an expansion are disjoint, so their order changes no sum.
    """
    nodes = np.empty(28 * len(first), np.int64)
    out = np.empty(28 * len(first), np.float32)
    end = 0
    for e in range(len(first)):
        for i in range(4):
            node = int(first[e]) + i
            if volume(boxes[node]) == 0:
                continue
            for m in range(MUTANTS):
                if labels[e, m] == label and SUBSETS[m] >> i & 1:
                    nodes[end] = node
                    out[end] = values[e, m] * (np.float32(depth[node]) if concentrate else np.float32(1))
                    end += 1
    return nodes[:end], out[:end]


@compiled
def add_to_boxes(map_: Float32, boxes: Int32, nodes: Int64, values: Float32) -> None:
    """Add values[k] to the positions of boxes[nodes[k]], in that order, to a map (Z, Y, X) of float32.

    A run of additions to the same box goes row by row, so that the row stays in the cache.
    """
    begin = 0
    while begin < len(nodes):
        end = begin + 1
        while end < len(nodes) and nodes[end] == nodes[begin]:
            end += 1
        box = boxes[nodes[begin]]
        for z in range(box[0], box[1]):
            for y in range(box[2], box[3]):
                row = map_[z, y, box[4] : box[5]]
                for k in range(begin, end):
                    value = values[k]
                    for x in range(len(row)):
                        row[x] += value
        begin = end
