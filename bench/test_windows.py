"""gather_windows and put_windows against torch's own indexing, as windows of small convolutions are."""

from __future__ import annotations

import pytest
import torch

from bench.timing import best, measure
from rambit import ops

#: Series, and steps of each.
R, T = 4, 1000
#: What a round moves at least, in bytes: small cases are repeated, so that it can be timed.
ROUND = 20 << 20
SIZES = pytest.mark.parametrize(
    ("n", "w", "K"), [(128, 16, 64), (512, 8, 6), (64, 200, 128)], ids=["128-16-64", "512-8-6", "64-200-128"]
)


def by_torch(places, which, start, w, window, window_start, outside):
    """The same windows through an index_select of all steps and two masked writes."""
    at = start[:, None] + torch.arange(w, device=places.device)
    steps = (which[:, None] * T + at.clamp(0, T - 1)).flatten()
    out = places.flatten(0, 1).index_select(0, steps).view(len(which), w, -1)
    out[(at < 0) | (at >= T)] = outside
    since = at - window_start[:, None]
    row, position = torch.nonzero((since >= 0) & (since < window.shape[1]), as_tuple=True)
    out[row, position] = window[row, since[row, position]]
    return out


def put_by_torch(values, window, start):
    at = start[:, None] + torch.arange(window.shape[1], device=values.device)
    values[torch.arange(len(values), device=values.device)[:, None], at] = window
    return values


def against_torch(benchmark, report, what, work, baseline, moved):
    """How many times faster ``work`` is, which writes ``moved``; it reads as many bytes."""
    size = 2 * moved.numel() * moved.element_size()
    calls = -(-ROUND // size)

    def repeated(call):
        for _ in range(calls):
            call()

    seconds = measure(benchmark, lambda: repeated(work), rounds=7, warmup_rounds=1)[0] / calls
    by_indexing = best(lambda: repeated(baseline), rounds=7) / calls
    report(
        what,
        f"{by_indexing / seconds:.1f} × ({1e6 * seconds:.0f} µs; indexing {1e6 * by_indexing:.0f} µs)",
        ratio=by_indexing / seconds,
        bytes_per_second=size / seconds,
    )


@SIZES
@pytest.mark.parametrize("channels_first", [False, True], ids=["nwK", "nKw"])
def test_gather_windows(benchmark, report, place, channels_first, n, w, K):
    """Half of each row is its own; a few reach beyond the series. nKw: windows as a convolution leaves them."""
    g = torch.Generator().manual_seed(0)
    places, window = torch.randn(R, T, K, generator=g), torch.randn(n, w // 2, K, generator=g)
    which, start = torch.randint(0, R, (n,), generator=g), torch.randint(-w // 2, T - w // 2, (n,), generator=g)
    window_start = start + torch.randint(0, w // 2 + 1, (n,), generator=g)
    if channels_first:
        window = window.mT.contiguous().mT
    call = [t.to(place.device) for t in (places, which, start, window, window_start)]
    places, which, start, window, window_start = call

    def work():
        out = torch.empty(n, w, K, device=place.device)
        return ops.gather_windows(out, places, which, start, window, window_start, -torch.inf)

    def baseline():
        return by_torch(places, which, start, w, window, window_start, -torch.inf)

    assert torch.equal(work(), baseline())
    order = "nKw" if channels_first else "nwK"
    what = f"gather_windows, {order}, {n} × {w} × {K}, {place}"
    against_torch(benchmark, report, what, work, baseline, work())


@SIZES
def test_put_windows(benchmark, report, place, n, w, K):
    g = torch.Generator().manual_seed(0)
    values, window = torch.randn(n, T, K, generator=g), torch.randn(n, w, K, generator=g)
    start = torch.randint(0, T - w + 1, (n,), generator=g)
    values, window, start = (t.to(place.device) for t in (values, window, start))
    assert torch.equal(ops.put_windows(values.clone(), window, start), put_by_torch(values.clone(), window, start))
    what = f"put_windows, {n} × {w} × {K}, {place}"

    def work():
        return ops.put_windows(values, window, start)

    against_torch(benchmark, report, what, work, lambda: put_by_torch(values, window, start), window)
