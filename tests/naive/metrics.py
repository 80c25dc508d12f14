"""The metrics as defined: plain loops over cells, thresholds and model calls. Slow and obvious."""

from __future__ import annotations

import itertools
import math

import torch

from tests.naive.rambit import fill

EPS = 1e-5


# -- with known salient cells: scores and truth are nested lists, one list of cells a series --------------------------


def pooled(rows):
    return [v for row in rows for v in row]


def scaled(rows):
    return [[(v - min(row)) / (max(row) - min(row) + EPS) for v in row] for row in rows]


def precision_recall(scores, truth, threshold):
    found = [y for s, y in zip(scores, truth, strict=True) if s >= threshold]
    return sum(found) / len(found), sum(found) / sum(truth)


def auprc(scores, truth):
    scores, truth = pooled(scores), pooled(truth)
    area, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        precision, recall = precision_recall(scores, truth, threshold)
        area += (recall - before) * precision
        before = recall
    return area


def auprc_trapezoid(scores, truth):
    scores, truth = pooled(scores), pooled(truth)
    points = [(1.0, 0.0)] + [precision_recall(scores, truth, t) for t in sorted(set(scores), reverse=True)]
    return sum((b[1] - a[1]) * (a[0] + b[0]) / 2 for a, b in itertools.pairwise(points))


def area_over_rank(scores, truth, which):
    """Of the first k cells, k = 1, 2, …: their precision (0) or recall (1); equal scores go by their places."""
    cells = sorted(enumerate(pooled(scores)), key=lambda cell: (-cell[1], cell[0]))
    hits = [pooled(truth)[place] for place, _ in cells]
    values = [sum(hits[:k]) / (k if which == 0 else sum(hits)) for k in range(1, len(hits) + 1)]
    return sum((a + b) / 2 / len(hits) for a, b in itertools.pairwise(values))


def aup_by_rank(scores, truth):
    return area_over_rank(scores, truth, 0)


def aur_by_rank(scores, truth):
    return area_over_rank(scores, truth, 1)


def auroc(scores, truth):
    pairs = list(zip(pooled(scores), pooled(truth), strict=True))
    wins = [(a > b) + (a == b) / 2 for a, y in pairs if y for b, z in pairs if not z]
    return sum(wins) / len(wins)


def area_over_threshold(scores, truth, which):
    scores, truth = pooled(scores), pooled(truth)
    points = [(t, precision_recall(scores, truth, t)[which]) for t in sorted(set(scores))]
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))


def aup(scores, truth):
    return area_over_threshold(scaled(scores), truth, 0)


def aur(scores, truth):
    return area_over_threshold(scaled(scores), truth, 1)


def rank(value, row, ties):
    above, equal = sum(v > value for v in row), sum(v == value for v in row)
    return above + (1 if ties == "min" else (equal + 1) / 2)


def salient_ranks(scores, truth, ties):
    return [
        [rank(s, row, ties) for s, y in zip(row, salient, strict=True) if y]
        for row, salient in zip(scores, truth, strict=True)
    ]


def mean_rank(scores, truth, ties="average"):
    ranks = pooled(salient_ranks(scores, truth, ties))
    return sum(ranks) / len(ranks)


def mean_rank_min(scores, truth, ties="average"):
    best = [min(ranks) for ranks in salient_ranks(scores, truth, ties) if ranks]
    return sum(best) / len(best)


def iou(scores, truth, quantile):
    both = either = 0
    for row, salient in zip(scores, truth, strict=True):
        place = quantile * (len(row) - 1)
        low, high = sorted(row)[math.floor(place)], sorted(row)[math.ceil(place)]
        threshold = low + (high - low) * (place - math.floor(place))
        for s, y in zip(row, salient, strict=True):
            both += y and s >= threshold
            either += y or s >= threshold
    return both / either


def information(scores, truth):
    cells = zip(pooled(scaled(scores)), pooled(truth), strict=True)
    return sum(abs(math.log2(1 - m + EPS)) for m, y in cells if y)


def entropy(scores, truth):
    cells = zip(pooled(scaled(scores)), pooled(truth), strict=True)
    return sum(m * abs(math.log2(EPS + m)) + (1 - m) * abs(math.log2(EPS + 1 - m)) for m, y in cells if y)


# -- by asking the model: one series, mask and draw at a time ----------------------------------------------------------


class Evaluated:
    """Answers f(x) to one masked series at a time. f maps (1, D, T) to (1, C); draws (S, B, D, T), or None."""

    def __init__(self, f, x, draws, kind="fixed", observed=None):
        self.f, self.x, self.draws, self.kind = f, x, draws, kind
        self.observed = torch.ones(x.shape, dtype=torch.bool) if observed is None else observed
        self.S = 1 if draws is None else len(draws)

    def __call__(self, b, s, removed):
        """The answer to series b, draw s, without the removed cells (d, t)."""
        mask = torch.ones(self.x.shape[1:], dtype=torch.bool)
        for d, t in removed:
            mask[d, t] = False
        draw = None if self.draws is None else self.draws[s, b]
        filled = fill(self.x[b], mask, draw, self.kind, self.observed[b])
        return self.f(filled[None])[0].double()

    def cells(self, b, first=0):
        D, T = self.x.shape[1:]
        return [(d, t) for d in range(D) for t in range(first, T) if self.observed[b, d, t]]

    def all(self):
        return [(b, s) for b in range(len(self.x)) for s in range(self.S)]

    def target(self, b):
        return int(self(b, 0, []).argmax())


def run(evaluated, b, cell, extent):
    """The cells that a removal of this one reaches."""
    d, t = cell
    T = evaluated.x.shape[2]
    if extent == "cell":
        return [cell]
    reached = [cell]
    seen = [float(evaluated.x[b, d, s]) for s in range(T) if evaluated.observed[b, d, s]]
    mean = sum(seen) / len(seen)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in seen) / len(seen))
    for s in range(t + 1, T):
        if (
            extent == "std"
            and evaluated.observed[b, d, s]
            and abs(float(evaluated.x[b, d, s] - evaluated.x[b, d, t])) > deviation
        ):
            break
        reached.append((d, s))
    return reached


def removals(evaluated, scores, k, per="series", extent="cell", keep=False):
    """For each series, the list of what each of its removals takes away, in order."""
    B = len(evaluated.x)
    first = 0 if extent == "cell" else 1
    ranked = sorted(
        ((b, cell) for b in range(B) for cell in evaluated.cells(b, first)),
        key=lambda item: (-float(scores[item[0]][item[1]]), item),
    )
    groups = [ranked] if per == "all" else [[item for item in ranked if item[0] == b] for b in range(B)]
    out = [[] for _ in range(B)]
    for group in groups:
        size = len(group)
        if isinstance(k, int):
            wanted = k
        else:  # rounded as decimal fractions are meant
            wanted = size - int(round((1 - k) * size, 6)) if keep else int(round(k * size, 6))
        done = 0
        for b, cell in group:
            if done == wanted:
                break
            gone = {c for cells in out[b] for c in cells}
            if cell in gone:
                if not isinstance(k, int):
                    done += 1
                continue
            out[b].append([c for c in run(evaluated, b, cell, extent) if c not in gone])
            done += 1
    return out


def top(evaluated, scores, k, per="series", extent="cell", keep=False):
    return [[c for cells in series for c in cells] for series in removals(evaluated, scores, k, per, extent, keep)]


def mean_of(evaluated, value):
    values = [value(b, s) for b, s in evaluated.all()]
    return sum(values) / len(values)


def comprehensiveness(evaluated, scores, k, per="series", extent="cell"):
    gone = top(evaluated, scores, k, per, extent)
    return mean_of(evaluated, lambda b, s: float((evaluated(b, s, []) - evaluated(b, s, gone[b]))[evaluated.target(b)]))


def sufficiency(evaluated, scores, k, per="series"):
    kept = top(evaluated, scores, k, per, keep=True)
    gone = [[c for c in evaluated.cells(b) if c not in kept[b]] for b in range(len(evaluated.x))]
    return mean_of(evaluated, lambda b, s: float((evaluated(b, s, []) - evaluated(b, s, gone[b]))[evaluated.target(b)]))


def log_odds(evaluated, scores, k, per="series", extent="cell"):
    gone = top(evaluated, scores, k, per, extent)

    def value(b, s):
        c = evaluated.target(b)
        return math.log(max(evaluated(b, s, gone[b])[c], 1e-12)) - math.log(max(evaluated(b, s, [])[c], 1e-12))

    return mean_of(evaluated, value)


def average_prediction_difference(evaluated, scores, k, per="series", extent="cell", regression=False):
    gone = top(evaluated, scores, k, per, extent)

    def value(b, s):
        change = (evaluated(b, s, []) - evaluated(b, s, gone[b])).abs()
        return float(change.sum() if regression else change[evaluated.target(b)])

    return mean_of(evaluated, value)


def auc_drop(evaluated, scores, labels, k, per="series", extent="cell"):
    gone = top(evaluated, scores, k, per, extent)
    classes = sorted(set(labels))

    def task(removed):
        outputs = [
            sum(evaluated(b, s, removed[b]) for s in range(evaluated.S)) / evaluated.S for b in range(len(evaluated.x))
        ]
        areas = [auroc([[float(p[c])] for p in outputs], [[y == c] for y in labels]) for c in classes]
        return sum(areas) / len(areas)

    return task([[] for _ in gone]) - task(gone)


def cpd(evaluated, scores, k, per="series", extent="cell"):
    groups = removals(evaluated, scores, k, per, extent)

    def value(b, s):
        total, before, gone = 0.0, evaluated(b, s, []), []
        for cells in groups[b]:
            gone = gone + cells
            after = evaluated(b, s, gone)
            total += float((after - before).abs().sum())
            before = after
        return total

    return mean_of(evaluated, value)


def cpp(evaluated, scores, k, per="series", extent="cell"):
    return cpd(evaluated, -scores, k, per, extent)


def masked_count(evaluated, scores, k, per="series", extent="cell"):
    gone = top(evaluated, scores, k, per, extent)
    return mean_of(evaluated, lambda b, s: sum(bool(evaluated.observed[b, d, t]) for d, t in gone[b]))


def curve(evaluated, scores, steps, insertion):
    order = top(evaluated, scores, 1.0)
    count = max(len(cells) for cells in order) if steps is None else steps

    def point(j, b, s):
        first = j * len(order[b]) // count
        gone = order[b][first:] if insertion else order[b][:first]
        return float(evaluated(b, s, gone)[evaluated.target(b)])

    return [mean_of(evaluated, lambda b, s, j=j: point(j, b, s)) for j in range(count + 1)]


def deletion_curve(evaluated, scores, steps=None):
    return curve(evaluated, scores, steps, insertion=False)


def insertion_curve(evaluated, scores, steps=None):
    return curve(evaluated, scores, steps, insertion=True)


def area(points):
    return sum((a + c) / 2 for a, c in itertools.pairwise(points)) / (len(points) - 1)


def deletion_auc(evaluated, scores, steps=None):
    return area(deletion_curve(evaluated, scores, steps))


def insertion_auc(evaluated, scores, steps=None):
    return area(insertion_curve(evaluated, scores, steps))
