"""RaMbIT as defined: one cell, mask, horizon and draw at a time, two model calls each. Slow and obvious."""

from __future__ import annotations

import math

import numpy as np
import torch

TINY = 1e-12


def distance(metric, p, q, target=0):
    p, q = [float(v) for v in p], [float(v) for v in q]
    if metric in ("pd", "abs"):
        return sum(abs(a - b) for a, b in zip(p, q, strict=True))
    if metric == "l2":
        return math.sqrt(sum((a - b) ** 2 for a, b in zip(p, q, strict=True)))
    if metric == "diff":
        return p[target] - q[target]
    if metric == "change":
        return abs(p[target] - q[target])
    p, q = [max(a, TINY) for a in p], [max(b, TINY) for b in q]
    if metric == "kl":
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return 0.5 * sum(a * math.log(a / c) for a, c in zip(p, m, strict=True)) + 0.5 * sum(
        b * math.log(b / c) for b, c in zip(q, m, strict=True)
    )


def fill(x, mask, draw, kind, observed=None):
    """X where the mask keeps, counterfactuals elsewhere. x, mask (D, T); draw (D, T) or None."""
    out = x.clone()
    D, T = x.shape
    seen = torch.ones_like(mask) if observed is None else observed
    for d in range(D):
        kept = [t for t in range(T) if bool(mask[d, t]) and bool(seen[d, t])]
        for t in range(T):
            if bool(mask[d, t]) or not bool(seen[d, t]):
                continue
            before, after = [s for s in kept if s < t], [s for s in kept if s > t]
            if kind == "fixed":
                out[d, t] = draw[d, t]
                continue
            if kind == "windows":  # draw (D, T, P): by the start of the replaced window and the steps since
                start = t
                while start > 0 and not bool(mask[d, start - 1]) and bool(seen[d, start - 1]):
                    start -= 1
                out[d, t] = draw[d, start, min(t - start, draw.shape[2] - 1)]
                continue
            if before and (kind == "carry_forward" or not after):
                value = x[d, before[-1]]
            elif not before:
                value = x[d, after[0]] if after else torch.zeros((), dtype=x.dtype)
            else:
                a, b = before[-1], after[0]
                value = x[d, a] + (x[d, b] - x[d, a]) * ((t - a) / (b - a))
            out[d, t] = value + (0 if draw is None else draw[d, t])
    return out


def shifted(mask, steps):
    """The mask moved by some steps to the right, as far as it fits."""
    T = mask.shape[1]
    replaced = [t for t in range(T) if not bool(mask[:, t].all())]
    room = T - 1 - replaced[-1] if replaced else 0
    steps = min(steps, room)
    out = torch.ones_like(mask)
    out[:, steps:] = mask[:, : T - steps]
    return out


def contribution(f, x, mask, cell, draw, *, anchor, window, reduce, metric, target, kind, observed, cache):
    """One mask's i1 - i2 for one cell and one draw: mean or largest over the valid horizons."""
    T = x.shape[1]
    d, t = cell
    replaced = [s for s in range(T) if not bool(mask[:, s].all())]
    if anchor == "cell":
        horizons = range(t, t + window)
    elif anchor == "mask":
        t_end = replaced[-1] + 1 if replaced else 0
        horizons = range(t_end, t_end + window)
    else:
        horizons = [T - 1]
    without, within = mask.clone(), mask.clone()
    without[d, t], within[d, t] = False, True
    x1, x2 = fill(x, without, draw, kind, observed), fill(x, within, draw, kind, observed)
    differences = []
    for h in horizons:
        if h >= T:
            continue
        if h not in cache:
            cache[h] = f(x[None, :, : h + 1])[0]
        i1 = distance(metric, cache[h], f(x1[None, :, : h + 1])[0], target)
        i2 = distance(metric, cache[h], f(x2[None, :, : h + 1])[0], target)
        differences.append(i1 - i2)
    if not differences:
        return None
    return max(differences, key=abs) if reduce == "max" else sum(differences) / len(differences)


def rambit(
    f,
    X,
    masks,
    draws,
    *,
    anchor,
    window=1,
    reduce="mean",
    normalize="all",
    metric="pd",
    target=None,
    kind="fixed",
    observed=None,
    weights=None,
    own_masks=None,
):
    """Scores (B, D, T) and the contribution of each mask (L, B, D, T). ``f`` answers (1, C) for a prefix (1, D, h + 1).

    ``own_masks`` (D * T, L, D, T) gives each cell masks of its own; ``draws`` (S, B, D, T), or [None] for none.
    """
    B, D, T = X.shape
    L = len(masks) if own_masks is None else own_masks.shape[1]
    out = np.zeros((B, D, T))
    each = np.zeros((L, B, D, T))
    for b in range(B):
        cache = {}
        if target is not None:
            aim = int(target[b])
        else:
            aim = int(f(X[b : b + 1])[0].argmax()) if metric == "diff" else 0
        for d in range(D):
            for t in range(T):
                if observed is not None and not bool(observed[b, d, t]):
                    continue
                visible = 0.0
                for l in range(L):
                    mask = masks[l] if own_masks is None else own_masks[d * T + t, l]
                    total, valid = 0.0, True
                    for draw in draws:
                        variants = [shifted(mask, j) for j in range(window)] if anchor == "end" else [mask]
                        for variant in variants:
                            value = contribution(
                                f,
                                X[b],
                                variant,
                                (d, t),
                                None if draw is None else draw[b],
                                anchor=anchor,
                                window=window,
                                reduce=reduce,
                                metric=metric,
                                target=aim,
                                kind=kind,
                                observed=None if observed is None else observed[b],
                                cache=cache,
                            )
                            valid = valid and value is not None
                            total += (value or 0.0) / len(variants) / len(draws)
                    each[l, b, d, t] = total
                    weight = 1.0 if weights is None else float(weights[l])
                    if normalize == "visible":
                        replaced = [s for s in range(T) if not bool(mask[:, s].all())]
                        t_end = replaced[-1] + 1 if replaced else 0
                        sees = valid and (anchor != "mask" or t < min(t_end + window, T))
                        weight *= float(sees)
                    visible += weight
                    out[b, d, t] += weight * total
                out[b, d, t] /= visible if visible else 1.0
    return out, each


def grouped(
    f,
    X,
    masks,
    draws,
    groups,
    *,
    anchor,
    window=1,
    reduce="mean",
    normalize="all",
    metric="pd",
    target=None,
    kind="fixed",
    observed=None,
):
    """RaMbIT of groups (D, T) of cells: scores (B, D, T), contributions (L, B, D, T) and the rows of a (series, draw).

    Rows are those that a model which answers at all times has to be called with: a set of names.
    """
    B, D, T = X.shape
    out, each, rows = np.zeros((B, D, T)), np.zeros((len(masks), B, D, T)), set()
    for b in range(B):
        if target is not None:
            aim = int(target[b])
        else:
            aim = int(f(X[b : b + 1])[0].argmax()) if metric == "diff" else 0
        seen = torch.ones(D, T, dtype=torch.bool) if observed is None else observed[b]
        for name in groups.unique().tolist():
            group = groups == name
            times = [t for t in range(T) if bool(group[:, t].any())]
            if not bool((group & seen).any()):
                continue
            weight = 0
            for l, mask in enumerate(masks):
                variants = [shifted(mask, j) for j in range(window)] if anchor == "end" else [mask]
                replaced = [t for t in range(T) if not bool(mask[:, t].all())]
                after = replaced[-1] + 1 if replaced else 0
                first = {"cell": times[-1], "mask": after, "end": T - 1}[anchor]
                horizons = [h for h in range(first, first + (1 if anchor == "end" else window)) if h < T]
                sees = normalize == "all" or (bool(horizons) and times[0] <= horizons[-1])
                if not sees:
                    continue
                weight += 1
                for draw in draws:
                    for variant in variants:
                        values = None if draw is None else draw[b]
                        without, within = variant & ~group, variant | group
                        x1, x2 = (fill(X[b], m, values, kind, seen) for m in (without, within))
                        differences = [
                            distance(metric, f(X[b : b + 1, :, : h + 1])[0], f(x1[None, :, : h + 1])[0], aim)
                            - distance(metric, f(X[b : b + 1, :, : h + 1])[0], f(x2[None, :, : h + 1])[0], aim)
                            for h in horizons
                        ]
                        if not differences:
                            continue
                        rows |= _rows(mask, variant, without, within, name, horizons[-1] + 1)
                        mean = sum(differences) / len(differences)
                        value = max(differences, key=abs) if reduce == "max" else mean
                        each[l, b][group.numpy()] += value / len(variants) / len(draws)
            out[b][group.numpy()] = each[:, b][:, group.numpy()][:, 0].sum() / max(1, weight)
        out[b][~seen.numpy()] = 0
    return out, each, rows


def _rows(mask, variant, without, within, name, stop):
    """What is evaluated up to ``stop`` for one mask and group: not the original, and nothing twice."""
    sides = {key: row[:, :stop] for key, row in (("without", without), ("within", within))}
    base, found = variant[:, :stop], set()
    if torch.equal(*sides.values()):
        return found
    for side, row in sides.items():
        if bool(row.all()):
            continue
        of = None if bool(base.all()) else (mask.numpy().tobytes(), variant.numpy().tobytes())
        found.add((of, "base") if torch.equal(row, base) else (of, name, side))
    return found


def interactions(
    f, X, masks, draws, pairs, *, anchor, window=1, metric="diff", target=None, kind="fixed", observed=None
):
    """Of pairs of lists of cells (d, t): contributions (L, S, B, P, 4) of the second difference and its three parts.

    And the rows of each (series, draw) that a model which answers at all times has to be called with: a set of names.
    """
    B, _, T = X.shape
    each, rows = np.zeros((len(masks), len(draws), B, len(pairs), 4)), [[set() for _ in draws] for _ in range(B)]
    for b in range(B):
        aim = int(target[b]) if target is not None else int(f(X[b : b + 1])[0].argmax()) if metric == "diff" else 0
        seen = None if observed is None else observed[b]
        for k, (p, q) in enumerate(pairs):
            latest = max(t for _, t in (*p, *q))
            horizons = [T - 1] if anchor == "end" else range(latest, min(latest + window, T))
            for l, mask in enumerate(masks):
                variants = [shifted(mask, j) for j in range(window)] if anchor == "end" else [mask]
                for s, draw in enumerate(draws):
                    for variant in variants:
                        sides = []
                        for p_kept, q_kept in ((False, False), (False, True), (True, False), (True, True)):
                            side = variant.clone()
                            for cells, kept in ((p, p_kept), (q, q_kept)):
                                for d, t in cells:
                                    side[d, t] = kept
                            row = fill(X[b], side, None if draw is None else draw[b], kind, seen)
                            found = [
                                distance(metric, f(X[b : b + 1, :, : h + 1])[0], f(row[None, :, : h + 1])[0], aim)
                                for h in horizons
                            ]
                            sides.append(sum(found) / len(found))
                            stop = horizons[-1] + 1
                            if not torch.equal(row[:, :stop], X[b, :, :stop]):
                                rows[b][s].add((l, side.numpy().tobytes()))
                        both, first, second, neither = sides
                        parts = (both - first - second + neither, both - neither, first - neither, second - neither)
                        each[l, s, b, k] += np.array(parts) / len(variants)
    return each, rows
