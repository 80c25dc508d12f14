"""Slow, obvious twins of the native ops and of the row plan: Python numbers, one element at a time."""

from __future__ import annotations

import itertools
import math

import torch

from tests.naive import rambit as naive

M32 = (1 << 32) - 1
BLOCK, CELL, SEGMENT, PERMUTATION, DRAW = 1, 2, 3, 4, 5  # the streams of csrc/common/philox.h
METRICS = ("pd", "kl", "js", "diff", "l2")


# -- random numbers ----------------------------------------------------------------------------------------------


def philox4x32(counter, key):
    """Philox4x32-10 as the paper states it: four counter words and two key words give four words."""
    (x0, x1, x2, x3), (k0, k1) = counter, key
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * x0, 1 << 32)
        high1, low1 = divmod(0xCD9E8D57 * x2, 1 << 32)
        x0, x1, x2, x3 = high1 ^ x1 ^ k0, low1, high0 ^ x3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) & M32, (k1 + 0xBB67AE85) & M32
    return x0, x1, x2, x3


def words(seed, stream, c0, c1, c2, c3):
    """Two words of 64 bits, and the four of 32, for a position in a stream."""
    key = seed & M32, (seed >> 32) & M32 ^ (stream * 0x85EBCA6B) & M32
    v = philox4x32([c & M32 for c in (c0, c1, c2, c3)], key)
    return v[0] | v[1] << 32, v[2] | v[3] << 32, v


def below(bits, n):
    return bits * n >> 64


def between(bits, low, high):
    return low + below(bits, high - low + 1)


def unit(bits):
    return ((bits >> 12) + 0.5) / 2.0**52


def portable_log(x):
    """log of a positive number by the series of 2 atanh((m - 1) / (m + 1))."""
    m, exponent = math.frexp(x)  # m in [0.5, 1)
    m, exponent = 2 * m, exponent - 1
    if m > math.sqrt(2):
        m, exponent = m / 2, exponent + 1
    f = (m - 1) / (m + 1)
    series = 0.0
    for k in range(23, 0, -2):
        series = series * (f * f) + 1.0 / k
    return exponent * math.log(2) + 2 * f * series


A = (
    3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
    4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3,
)  # fmt: skip
B = (
    1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
    2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3,
)  # fmt: skip
C = (
    1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
    1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4,
)  # fmt: skip
D_ = (
    1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
    1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9,
)  # fmt: skip
E = (
    6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
    2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7,
)  # fmt: skip
F = (
    1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
    7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15,
)  # fmt: skip


def ratio(above, under, x):
    def polynomial(c):
        value = 0.0
        for a in reversed(c):
            value = value * x + a
        return value

    return polynomial(above), polynomial(under)


def normal_quantile(p):
    """Wichura's AS 241 (PPND16), with the logarithm above."""
    q = p - 0.5
    if abs(q) <= 0.425:
        above, under = ratio(A, B, 0.180625 - q * q)
        return q * above / under
    r = math.sqrt(-portable_log(p if q < 0 else 1 - p))
    above, under = ratio(C, D_, r - 1.6) if r <= 5 else ratio(E, F, r - 5)
    return math.copysign(above / under, q)


# -- masks and draws -----------------------------------------------------------------------------------------------


def scramble(x):
    x = (x ^ x >> 16) * 0x7FEB352D & M32
    x = (x ^ x >> 15) * 0x846CA68B & M32
    return x ^ x >> 16


def order_of(n, seed, index, target_cell):
    """The rank of each of n cells in a random order: a Feistel network, walked until it falls below n."""
    keys = [k for i in range(0, 24, 4) for k in words(seed, PERMUTATION, i, 0, target_cell, index)[2]]
    half = 1
    while 4**half < n:
        half += 1

    def rank(x):
        left, right = divmod(x, 2**half)
        for key in keys:
            left, right = right, left ^ scramble(right ^ key) % 2**half
        x = left * 2**half + right
        return x if x < n else rank(x)

    return [rank(cell) for cell in range(n)]


def mask(family, D, T, wt, wd, p, seed, index, target_cell=0):
    """One mask (D, T), True = kept."""
    size_t, size_d, _ = words(seed, BLOCK, 0, 0, target_cell, index)
    corner_t, corner_d, _ = words(seed, BLOCK, 1, 0, target_cell, index)
    n_t, n_d = between(size_t, *wt), between(size_d, *wd)
    kept = torch.ones(D, T, dtype=torch.bool)
    if family == "BLOCK":
        t, d = below(corner_t, T - n_t + 1), below(corner_d, D - n_d + 1)
        kept[d : d + n_d, t : t + n_t] = False
    elif family == "UPPER_TRIANGLE":
        d, t = divmod(target_cell, T)
        for i in range(min(n_d, D - d)):
            kept[d + i, t + i : t + n_t] = False
    elif family == "SEGMENTS":
        for d in range(D):
            length, start, _ = words(seed, SEGMENT, 0, d, target_cell, index)
            n_t = between(length, *wt)
            t = below(start, T - n_t + 1)
            kept[d, t : t + n_t] = False
    elif family == "BERNOULLI":
        for d in range(D):
            for t in range(T):
                kept[d, t] = unit(words(seed, CELL, t, d, target_cell, index)[0]) >= p
    else:
        keep = below(size_t, D * T + 1)
        kept = (torch.tensor(order_of(D * T, seed, index, target_cell)) < keep).reshape(D, T)
    return kept


def draw(kind, S, ids, D, T, dtype, *, background=None, low=0.0, high=1.0, first=0, seed=0):
    """Counterfactual values (S, B, D, T)."""
    out = torch.empty(S, len(ids), D, T, dtype=torch.float64)
    for s in range(S):
        for b, name in enumerate(ids):
            chosen = words(seed, DRAW, M32, M32, name, first + s)[0]
            for d in range(D):
                for t in range(T):
                    bits = words(seed, DRAW, t, d, name, first + s)[0]
                    if kind == "UNIFORM":
                        value = low + (high - low) * unit(bits)
                    elif kind == "GAUSSIAN":
                        value = low + high * normal_quantile(unit(bits))
                    elif kind == "MARGINAL":
                        n, time = divmod(below(bits, background.shape[0] * background.shape[2]), background.shape[2])
                        value = background[n, d, time]
                    else:
                        value = background[below(chosen, background.shape[0]), d, t]
                    out[s, b, d, t] = value
    return out.to(dtype)


def shift_windows(masks, room, window):
    out = torch.ones(len(masks), window, *masks.shape[1:], dtype=torch.bool)
    for l in range(len(masks)):
        for w in range(window):
            steps = min(w, int(room[l]))
            for t in range(steps, masks.shape[2]):
                out[l, w, :, t] = masks[l, :, t - steps]
    return out


# -- rows: masked inputs and their scores ----------------------------------------------------------------------------


def masked_batch(x, draws, masks, rows, width, observed=None, kind="fixed", windows=None):
    """Rows (N, D, width), each filled over all of time and then cut."""
    out = torch.empty(len(rows), x.shape[1], width, dtype=x.dtype)
    for i, row in enumerate(rows.tolist()):
        series, draw, mask, cell, start = row[:5]
        kept = masks[mask].clone()
        if cell >= 0:
            d, t = divmod(cell, x.shape[2])
            kept[d, t] = not kept[d, t]
        given = draws if windows is None else windows
        values = given[draw, series] if len(given) else None
        seen = None if observed is None else observed[series]
        out[i] = naive.fill(x[series], kept, values, kind, seen)[:, start : start + width]
    return out


def boxed_batch(inside, outside, boxes, offsets):
    """Rows (N, C, Z, Y, X), box by box."""
    out = outside.repeat(len(offsets) - 1, 1, 1, 1, 1)
    for i, row in enumerate(out):
        for z0, z1, y0, y1, x0, x1 in boxes[offsets[i] : offsets[i + 1]].tolist():
            row[:, z0:z1, y0:y1, x0:x1] = inside[:, z0:z1, y0:y1, x0:x1]
    return out


def gather_windows(places, which, start, width, window=None, window_start=None, outside=0.0):
    """Windows (N, width, K), step by step."""
    out = places.new_empty(len(which), width, places.shape[2])
    for i, p in itertools.product(range(len(which)), range(width)):
        t = int(start[i]) + p
        since = -1 if window is None else t - int(window_start[i])
        if window is not None and 0 <= since < window.shape[1]:
            out[i, p] = window[i, since]
        elif 0 <= t < places.shape[1]:
            out[i, p] = places[which[i], t]
        else:
            out[i, p] = outside
    return out


def put_windows(values, window, start):
    """Values (N, T, K) that hold windows (N, v, K), step by step."""
    out = values.clone()
    for i, p in itertools.product(range(len(window)), range(window.shape[1])):
        out[i, int(start[i]) + p] = window[i, p]
    return out


def distance(outputs, reference, series, target, metric):
    """Distances (N, K) of answers (N, C, K) from those of their series."""
    out = torch.empty(outputs.shape[0], outputs.shape[2], dtype=torch.float64)
    for i, b in enumerate(series.tolist()):
        for k in range(outputs.shape[2]):
            out[i, k] = naive.distance(metric, reference[b, :, k], outputs[i, :, k], int(target[b]))
    return out


def score(contributions, outputs, reference, base, masks, rows, target, width, metric, reduce):
    """The contributions after each row's i1 - i2 has gone to its slot."""
    out = contributions.clone()
    flat, slots = out.view(-1), contributions.shape[3]
    for i, (series, _, mask, cell, start, horizon, norm, slot, _) in enumerate(rows.tolist()):
        kept = bool(masks[mask].flatten()[cell])
        first = start + width - outputs.shape[2]
        for h in range(horizon, start + width):
            p, q = reference[series, :, h], outputs[i, :, h - first]
            flipped = naive.distance(metric, p, q, int(target[series]))
            unflipped = float(base[slot // slots, h])
            i1, i2 = (flipped, unflipped) if kept else (unflipped, flipped)  # i1: where the cell is replaced
            if reduce == "mean":
                flat[slot] += (i1 - i2) / norm
            elif math.isnan(i1 - i2) or abs(i1 - i2) > abs(flat[slot]):
                flat[slot] = i1 - i2
    return out


def accumulate(total, squares, contributions, unit, weight, unit_weight, count, target_cell=None):
    """The running sums after a call: mean over draws, weighted sum over a unit's masks, then one term a unit."""
    total, squares = total.clone(), squares.clone()
    M, _, B, slots = contributions.shape
    for b in range(B):
        for k in range(slots):
            for u in sorted(set(unit.tolist())):
                members = [m for m in range(M) if int(unit[m]) == u]
                value = sum(float(weight[m]) * float(contributions[m, :, b, k].mean()) for m in members)
                last = members[-1]
                cell = k if target_cell is None else int(target_cell[last])
                total[b, cell] += float(unit_weight[last]) * value
                squares[b, cell] += float(count[last]) * value**2
    return total, squares


# -- the row plan ------------------------------------------------------------------------------------------------------


def plan_rows(s):
    """Every row of a plan in its order: (width, nine columns). ``s`` holds FlipPlan's arguments."""
    D, T, S, B, M = s["D"], s["T"], s["S"], s["B"], len(s["first"])
    start_table = None if s.get("start") is None else s["start"].reshape(M, D, T)
    skip = None if s.get("skip") is None else s["skip"].reshape(S, B, D, T)
    own = s.get("target_cell")
    rows = []
    for m in range(M):
        for t in range(s["low"][m], s["high"][m]):
            for d in range(D):
                if own is not None and own[m] != d * T + t:
                    continue
                start = (0, t, s["at"], None if start_table is None else int(start_table[m, d, t]))[s["start_rule"]]
                if s["anchor_cell"]:
                    horizons = [h for h in range(t, t + s["window"]) if h < T]
                    norm = len(horizons)
                else:
                    shows = t if start_table is None else int(start_table[m, d, t])
                    horizons = [h for h in range(s["h0"][m], s["h1"][m]) if h >= shows]
                    norm = s["h1"][m] - s["h0"][m]
                if not horizons:
                    continue
                runs = (
                    [(0, h, h + 1) for h in horizons] if s["per_horizon"] else [(start, horizons[0], horizons[-1] + 1)]
                )
                for begin, horizon, stop in runs:
                    for draw in range(S):
                        for b in range(B):
                            if skip is not None and skip[draw, b, d, t]:
                                continue
                            base = (m * S + draw) * B + b
                            if s["state_rule"] == 1:  # rows of the original series, then those of the base rows
                                original = begin <= s["first"][m]
                                state = begin * B + b if original else T * B + begin * M * S * B + base
                            else:
                                state = ((t * D + d) * S + draw) * B + b if s["state_rule"] == 2 else 0
                            slot = base if own is not None else base * D * T + d * T + t
                            row = (b, s["draw_base"][m] + draw, m, d * T + t, begin, horizon, norm, slot, state)
                            rows.append((stop - begin, tuple(int(v) for v in row)))
    return sorted(rows, key=lambda r: (r[0], r[1][4] > 0))  # by width, without a start first; stable


# -- recurrent steps ----------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def lstm_step(input_gates, hidden_gates, input_bias, hidden_bias, cell):
    """(N, H) hidden and cell values: each unit by the formulas of nn.LSTM, in Python's floats."""
    out, after = torch.empty_like(cell), torch.empty_like(cell)
    N, H = cell.shape
    for i in range(N):
        for j in range(H):
            sums = [
                sum(float(part) for part in (input_gates[i, k], input_bias[k], hidden_gates[i, k], hidden_bias[k]))
                for k in range(j, 4 * H, H)
            ]
            value = sigmoid(sums[1]) * float(cell[i, j]) + sigmoid(sums[0]) * math.tanh(sums[2])
            after[i, j], out[i, j] = value, sigmoid(sums[3]) * math.tanh(value)
    return out, after


def rnn_step(input_sums, hidden_sums, input_bias, hidden_bias, activation):
    """(N, H): each hidden unit by the formula of nn.RNN, in Python's floats."""
    out = torch.empty_like(input_sums)
    for i, j in itertools.product(*map(range, out.shape)):
        value = sum(float(part) for part in (input_sums[i, j], hidden_sums[i, j], input_bias[j], hidden_bias[j]))
        out[i, j] = math.tanh(value) if activation == "tanh" else max(value, 0.0)
    return out


def gru_step(input_gates, hidden_gates, input_bias, hidden_bias, state):
    """(N, H): each hidden unit by the formulas of nn.GRU, in Python's floats."""
    out = torch.empty_like(state)
    N, H = state.shape
    for i in range(N):
        for j in range(H):
            x = [float(input_gates[i, k * H + j]) + float(input_bias[k * H + j]) for k in range(3)]
            h = [float(hidden_gates[i, k * H + j]) + float(hidden_bias[k * H + j]) for k in range(3)]
            reset, update = sigmoid(x[0] + h[0]), sigmoid(x[1] + h[1])
            new = math.tanh(x[2] + reset * h[2])
            out[i, j] = (1 - update) * new + update * float(state[i, j])
    return out
