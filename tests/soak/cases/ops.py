"""The native ops against their twins, any values anywhere in memory. Most operands are those of the ops' own tests."""

from __future__ import annotations

import torch
from torch import Tensor

from rambit import ops
from tests.naive import ops as naive
from tests.ops import (
    test_accumulate,
    test_boxed_batch,
    test_distance,
    test_gather_windows,
    test_gru_step,
    test_lstm_step,
    test_masked_batch,
    test_put_windows,
    test_rnn_step,
    test_score,
)
from tests.soak.engine import Draw, case


def seeded(draw: Draw) -> int:
    return draw.seed % (1 << 20)


def floats(draw: Draw) -> torch.dtype:
    return draw.of(torch.float32, torch.float64)


@case(weight=3)
def sample_masks(draw: Draw) -> None:
    D, T = draw.whole(1, 5), draw.whole(1, 8)
    family = draw.of(*ops.Family)
    past = 3 if family is ops.Family.UPPER_TRIANGLE else 0
    wt, wd = (tuple(sorted((draw.whole(1, n + past), draw.whole(1, n + past)))) for n in (T, D))
    p, seed = draw.of(0.0, 0.3, 1.0, draw.number(0, 1)), int(draw.rng.integers(-(2**63), 2**63))
    index = draw.integers(0, 2**32 - 1, draw.whole(1, 4))
    target_cells = draw.integers(0, D * T - 1, len(index)).int() if past or draw.chance(0.3) else None
    draw.note(family=family, shape=(D, T), wt=wt, wd=wd, p=p, seed=seed, index=index, target_cells=target_cells)
    found = draw.call(ops.sample_masks, index, D, T, family, wt=wt, wd=wd, p=p, seed=seed, target_cells=target_cells)
    whose = [0] * len(index) if target_cells is None else target_cells.tolist()
    pairs = zip(index.tolist(), whose, strict=True)
    draw.equal(found, torch.stack([naive.mask(family.name, D, T, wt, wd, p, seed, i, cell) for i, cell in pairs]))


@case()
def shift_windows(draw: Draw) -> None:
    L, D, T, window = draw.whole(1, 4), draw.whole(1, 4), draw.whole(1, 8), draw.whole(1, 12)
    masks, room = draw.bools(L, D, T), draw.integers(0, T, L).int()
    found = draw.call(ops.shift_windows, masks, room, window)
    draw.equal(found, naive.shift_windows(masks, room, window))


@case(weight=2)
def draws(draw: Draw) -> None:
    S, B, D, T = (draw.whole(1, 3) for _ in range(4))
    kind, dtype, seed = draw.of(*ops.Draw), floats(draw), int(draw.rng.integers(-(2**63), 2**63))
    ids, first = draw.integers(0, 2**32 - 1, B), draw.of(0, 1, 2**31 - 8)
    background = draw.normal(draw.whole(1, 3), D, T + draw.whole(0, 2), dtype=dtype)
    given = {"background": background, "low": draw.number(-3, 0), "high": draw.number(0.1, 3), "seed": seed}
    draw.note(kind=kind, shape=(S, B, D, T), dtype=dtype, ids=ids, first=first, seed=seed)
    out = torch.full((S, B, D, T), -7.0, dtype=dtype)
    draw.call(ops.draw, out, ids, kind, first_draw=first, pure=False, **given)
    draw.equal(out, naive.draw(kind.name, S, ids.tolist(), D, T, dtype, first=first, **given))


@case()
def streams(draw: Draw) -> None:
    """A seed for each use, the same again, that no other use or seed has."""
    seeds = [draw.whole(0, 2**63 - 1) for _ in range(4)]
    found = [draw.call(ops.stream, seed, use) for seed in seeds for use in ("orders", "coalitions", "noise")]
    draw.equal(len(set(found) | set(seeds)), len(set(seeds)) * 4, what="the number of different seeds")
    draw.equal(ops.stream(seeds[0], "orders"), found[0], what="the seed of the same use")
    draw.true(all(0 <= seed < 2**63 for seed in found), "seeds are seeds")


@case(weight=3)
def masked_batch(draw: Draw) -> None:
    n, B, D, T, K, M = draw.whole(1, 6), *(draw.whole(1, 4) for _ in range(2)), draw.whole(1, 7), *(2, 3)
    fill, dtype = draw.of(*ops.Fill), floats(draw)
    width, see = draw.whole(1, T), draw.of(None, None, 0.6)
    P = draw.whole(1, 4) if fill is ops.Fill.WINDOWS else 0
    K = 0 if fill in (ops.Fill.CARRY_FORWARD, ops.Fill.INTERPOLATE) and draw.chance() else K
    draw.note(fill=fill, n=n, shape=(B, D, T), draws=K, width=width, see=see, P=P, dtype=dtype)
    made = test_masked_batch.Case(n, B, D, T, K, M, width, dtype, seeded(draw), see, P)
    expected = made.expected(fill.name.lower())
    x, values, masks = (draw.placed(t) for t in (made.x, made.draws, made.masks))
    observed, windows = (None if t is None else draw.placed(t) for t in (made.observed, made.windows))
    out = draw.placed(torch.full(expected.shape, -7.0, dtype=dtype))
    draw.call(ops.masked_batch, out, x, values, masks, made.rows, observed, fill, windows, pure=False)
    draw.close(out, expected, 0, 0)


@case(weight=2)
def boxed_batch(draw: Draw) -> None:
    """Over what the rows held before, too."""
    n, before = draw.whole(0, 6), draw.whole(1, 6)
    C, grid = draw.whole(1, 3), tuple(draw.whole(1, 5) for _ in range(3))
    dtype = draw.of(torch.float32, torch.float64, torch.bool)
    inside, outside = (draw.normal(C, *grid).mul(50).to(dtype) for _ in range(2))
    old, new = (test_boxed_batch.random_boxes(k, grid, seeded(draw) + k) for k in (before, n))
    draw.note(n=n, before=before, shape=(C, *grid), dtype=dtype)
    out = torch.zeros(max(n, before), C, *grid, dtype=dtype)
    placed = draw.placed(inside), draw.placed(outside)
    draw.call(ops.boxed_batch, out[:before], *placed, *old, pure=False)
    draw.call(ops.boxed_batch, out[:n], *placed, *new, draw.of(None, old), pure=False)
    draw.equal(out[:n], naive.boxed_batch(inside, outside, *new))


@case(weight=2)
def gather_windows(draw: Draw) -> None:
    n, R, T, K, w, v = draw.whole(0, 6), *(draw.whole(1, 5) for _ in range(3)), draw.whole(1, 9), draw.whole(0, 4)
    dtype, outside = draw.of(torch.float32, torch.float64, torch.bfloat16), draw.of(0.0, -torch.inf, draw.number(-3, 3))
    places, which, start, *given = test_gather_windows.make(n, R, T, K, w, v, dtype, seeded(draw))
    draw.note(sizes=(n, R, T, K, w, v), dtype=dtype, outside=outside, start=start)
    window, window_start = given if draw.chance(0.7) else (None, None)
    expected: Tensor = naive.gather_windows(places, which, start, w, window, window_start, outside)
    out = draw.placed(torch.full(expected.shape, -7.0, dtype=dtype))
    placed = None if window is None else draw.placed(window)
    draw.call(ops.gather_windows, out, places, which, start, placed, window_start, outside, pure=False)
    draw.equal(out, expected)


@case()
def put_windows(draw: Draw) -> None:
    n, T, K, dtype = draw.whole(0, 6), draw.whole(1, 7), draw.whole(1, 5), floats(draw)
    v = draw.whole(0, T)
    values, window, start = test_put_windows.make(n, T, K, v, dtype, seeded(draw))
    draw.note(sizes=(n, T, K, v), dtype=dtype, start=start)
    expected, out = naive.put_windows(values, window, start), draw.placed(values)
    draw.call(ops.put_windows, out, draw.placed(window), start, pure=False)
    draw.equal(out, expected)


@case(weight=2)
def distance(draw: Draw) -> None:
    sizes = [draw.whole(1, 5) for _ in range(4)]
    metric, dtype = draw.of(*ops.Metric), floats(draw)
    draw.note(metric=metric, sizes=sizes, dtype=dtype)
    outputs, reference, series, target = test_distance.make(*sizes, dtype, seeded(draw))
    out = torch.empty(sizes[0], sizes[3], dtype=torch.float64)
    call = draw.placed(outputs), draw.placed(reference), series, target
    draw.call(ops.distance, out, *call, metric, pure=False)
    draw.close(out, naive.distance(outputs, reference, series, target, metric.name.lower()), 1e-12, 1e-14)


@case(weight=2)
def score(draw: Draw) -> None:
    M, S, B, D, T, C = draw.whole(1, 3), draw.whole(1, 2), *(draw.whole(1, 3) for _ in range(2)), draw.whole(1, 6), 3
    width = draw.whole(1, T)
    metric, reduce, dtype, own = draw.of(*ops.Metric), draw.of(*ops.Reduce), floats(draw), draw.chance()
    K = draw.whole(1, width)
    draw.note(metric=metric, reduce=reduce, dtype=dtype, sizes=(M, S, B, D, T, C), width=width, K=K, own=own)
    made = test_score.Case(M, S, B, D, T, C, width, K, dtype, seeded(draw), own)
    expected = naive.score(*made.tensors(), width, metric.name.lower(), reduce.name.lower())
    found = made.contributions.clone()
    rest = made.tensors()[1:]
    draw.call(ops.score, found, *rest, width=width, metric=metric, reduce=reduce, pure=False)
    draw.close(found, expected, 1e-12, 1e-13)


@case()
def accumulate(draw: Draw) -> None:
    sizes = [draw.whole(1, 4) for _ in range(3)]
    made = test_accumulate.make(*sizes, draw.whole(1, 6), draw.chance(), seeded(draw))
    expected = naive.accumulate(*made)
    total, squares, *rest = (None if t is None else t.clone() for t in made)
    draw.call(ops.accumulate, total, squares, *rest, pure=False)
    draw.close(total, expected[0], 1e-12, 1e-13)
    draw.close(squares, expected[1], 1e-12, 1e-13)


@case()
def gru_step(draw: Draw) -> None:
    N, H, dtype = draw.whole(1, 4), draw.whole(1, 20), floats(draw)
    made = test_gru_step.make(N, H, dtype, seeded(draw), draw.of(0.01, 1.0, 3.0))
    expected: Tensor = naive.gru_step(*made)
    out = torch.empty(N, H, dtype=dtype)
    a, b, *biases, state = made
    draw.call(ops.gru_step, out, draw.placed(a), draw.placed(b), *biases, draw.placed(state), pure=False)
    draw.close(out, expected, 0, test_gru_step.TOLERANCE[dtype])


@case()
def lstm_step(draw: Draw) -> None:
    N, H, dtype = draw.whole(1, 4), draw.whole(1, 20), floats(draw)
    made = test_lstm_step.make(N, H, dtype, seeded(draw), draw.of(0.01, 1.0, 3.0))
    expected = naive.lstm_step(*made)
    out, cell_out = torch.empty(N, H, dtype=dtype), torch.empty(N, H, dtype=dtype)
    a, b, *biases, cell = made
    draw.call(ops.lstm_step, out, cell_out, draw.placed(a), draw.placed(b), *biases, draw.placed(cell), pure=False)
    for found, wanted in zip((out, cell_out), expected, strict=True):
        draw.close(found, wanted, 0, test_lstm_step.TOLERANCE[dtype])


@case()
def rnn_step(draw: Draw) -> None:
    N, H, dtype = draw.whole(1, 4), draw.whole(1, 20), floats(draw)
    a, b, *biases = test_rnn_step.make(N, H, dtype, seeded(draw), draw.of(0.01, 1.0, 3.0))
    activation, out = draw.of(*ops.Activation), torch.empty(N, H, dtype=dtype)
    expected: Tensor = naive.rnn_step(a, b, *biases, activation.name.lower())
    draw.call(ops.rnn_step, out, draw.placed(a), draw.placed(b), *biases, activation, pure=False)
    draw.close(out, expected, 0, test_rnn_step.TOLERANCE[dtype])
