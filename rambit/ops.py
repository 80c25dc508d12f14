"""Typed wrappers of ``torch.ops.rambit`` and their fake kernels: the only file that touches the native library.

Every op writes into buffers that it is given, so that a caller can reuse them. Arguments that come from users are
checked above; here, shapes are trusted and the C++ guards against what would read out of bounds.
"""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from enum import IntEnum

import torch
from torch import Tensor

from rambit import fallback, memory


def _load(name: str) -> bool:
    spec = importlib.util.find_spec(f"rambit.{name}")
    if spec is None or spec.origin is None:
        return False
    torch.ops.load_library(spec.origin)  # type: ignore[no-untyped-call]
    return True


if not _load("_ops"):
    raise ImportError(
        "rambit's native library is missing: install the package (pip install .), do not run it from source"
    )
HAS_CUDA_OPS = torch.version.cuda is not None and _load("_ops_cuda")
_native = torch.ops.rambit


class Family(IntEnum):
    """Mask families that are sampled natively (csrc/common/sample_masks.h)."""

    BLOCK = 0
    BERNOULLI = 1
    SEGMENTS = 2
    UPPER_TRIANGLE = 3
    PERMUTATION = 4


class Draw(IntEnum):
    """Sources of fixed counterfactual values (csrc/common/draw.h)."""

    UNIFORM = 0
    GAUSSIAN = 1
    MARGINAL = 2
    JOINT = 3


class _Renamed:
    """The old name of a fill, as a class attribute: gives the fill of the new name, with a DeprecationWarning."""

    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new

    def __get__(self, _: object, owner: type[Fill]) -> Fill:
        warnings.warn(f"Fill.{self.old} is now called Fill.{self.new}", DeprecationWarning, stacklevel=2)
        return owner[self.new]


class Fill(IntEnum):
    """What stands where a cell is not kept: a given value, or one by what is kept (csrc/common/masked_batch.h)."""

    FIXED = 0
    CARRY_FORWARD = 1
    INTERPOLATE = 2
    WINDOWS = 3
    RUNS = _Renamed("RUNS", "WINDOWS")  # a descriptor is no member


class Metric(IntEnum):
    """Distances between outputs (csrc/common/distance.h)."""

    PD = 0
    KL = 1
    JS = 2
    DIFF = 3
    L2 = 4
    CHANGE = 5


class Reduce(IntEnum):
    """How a row's horizons become one number (csrc/common/score.h)."""

    MEAN = 0
    MAX = 1


class Activation(IntEnum):
    """What a plain recurrent network's sums go through (csrc/common/rnn_step.h)."""

    TANH = 0
    RELU = 1


def sample_masks(
    index: Tensor,
    D: int,
    T: int,
    family: Family,
    *,
    wt: tuple[int, int] = (1, 1),
    wd: tuple[int, int] = (1, 1),
    p: float = 0.5,
    seed: int = 0,
    target_cells: Tensor | None = None,
) -> Tensor:
    """Sample masks (L, D, T), True = kept; mask number ``index[l]`` depends on the seed and its target cell alone."""
    out = memory.empty((len(index), D, T), index, torch.bool)
    _native.sample_masks(out, index, target_cells, int(family), *wt, *wd, p, seed)
    return out


def shift_windows(masks: Tensor, room: Tensor, window: int) -> Tensor:
    """Move masks (L, D, T) by 0 … window-1 steps, at most ``room[l]``: (L, window, D, T). The rest is kept."""
    out = memory.empty((masks.shape[0], window, *masks.shape[1:]), masks, torch.bool)
    _native.shift_windows(out, masks, room)
    return out


def draw(
    out: Tensor,
    ids: Tensor,
    kind: Draw,
    *,
    background: Tensor | None = None,
    low: float = 0.0,
    high: float = 1.0,
    first_draw: int = 0,
    seed: int = 0,
) -> Tensor:
    """Fill ``out`` (S, B, D, T) with counterfactual values keyed by (seed, series id, draw, position)."""
    _native.draw(out, background, ids, int(kind), low, high, first_draw, seed)
    return out


def stream(seed: int, use: str) -> int:
    """A seed for one use of ``draw`` beside the values that replace, so that the two never share random numbers."""
    digest = hashlib.sha256(f"{use}:{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def masked_batch(
    out: Tensor,
    x: Tensor,
    draws: Tensor,
    masks: Tensor,
    rows: Tensor,
    observed: Tensor | None = None,
    fill: Fill = Fill.FIXED,
    windows: Tensor | None = None,
) -> Tensor:
    """Write ``out`` (N, D, w): row i is its series where its mask (with its one flip) keeps, counterfactuals elsewhere.

    x (B, D, T) and draws (K, B, D, T), float32 or float64, masks (M, D, T) bool and observed (B, D, T) bool may have
    any strides; rows (N, 9) int32 are described in game/rows.py. With Fill.WINDOWS, ``windows`` (K, B, D, T, P) gives
    the values of a replaced window by its start and the steps since.
    """
    _native.masked_batch(out, x, draws, masks, rows, observed, int(fill), windows)
    return out


def boxed_batch(
    out: Tensor,
    inside: Tensor,
    outside: Tensor,
    boxes: Tensor,
    offsets: Tensor,
    stale: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Write ``out`` (N, C, Z, Y, X), any strides: ``inside`` (C, Z, Y, X) in the boxes of row i, ``outside`` elsewhere.

    boxes (K, 6) int32 are half-open [z0, z1, y0, y1, x0, x1); row i owns offsets[i] … offsets[i + 1] - 1, with offsets
    (N + 1,) int64. ``stale``: the boxes and offsets that the first rows of ``out`` were last written with, from the
    same ``outside``; less is then written. Values are float32, float64 or bool.
    """
    _native.boxed_batch(out, inside, outside, boxes, offsets, *(stale or (None, None)))
    return out


def gather_windows(
    out: Tensor,
    places: Tensor,
    which: Tensor,
    start: Tensor,
    window: Tensor | None = None,
    window_start: Tensor | None = None,
    outside: float = 0.0,
) -> Tensor:
    """Write ``out`` (N, w, K): row i holds w steps of ``places[which[i]]`` from ``start[i]`` on, and its own window.

    places (R, T, K) is contiguous; which, start and window_start are (N,) int64. ``window`` (N, v, K), given with
    ``window_start``, stands from there on in place of the series, and beyond its ends too; elsewhere beyond them stands
    ``outside``, 0 where values are not floating. Real numbers or bool; out and window have any strides and share no
    memory.
    """
    _native.gather_windows(out, places, which, start, window, window_start, outside)
    return out


def put_windows(out: Tensor, window: Tensor, start: Tensor) -> Tensor:
    """Write ``window`` (N, v, K) into ``out`` (N, T, K) from ``start`` (N,) int64 on; the rest of out stays as it is.

    0 <= start <= T - v. Any strides; real numbers or bool; no memory may be shared.
    """
    _native.put_windows(out, window, start)
    return out


def distance(out: Tensor, outputs: Tensor, reference: Tensor, series: Tensor, target: Tensor, metric: Metric) -> Tensor:
    """Write ``out`` (N, K) float64: metric(reference[series[i], :, k], outputs[i, :, k])."""
    _native.distance(out, outputs, reference, series, target, int(metric))
    return out


def score(
    contributions: Tensor,
    outputs: Tensor,
    reference: Tensor,
    base: Tensor,
    masks: Tensor,
    rows: Tensor,
    target: Tensor,
    *,
    width: int,
    metric: Metric,
    reduce: Reduce,
) -> None:
    """Add each row's i1 - i2 over its horizons to its slot of ``contributions`` (M, S, B, slots) float64.

    ``outputs`` (N, C, K) are the outputs at the last K of the row's ``width`` steps, ``base`` (M * S * B, T) the
    distances of the base rows.
    """
    _native.score(contributions, outputs, reference, base, masks, rows, target, width, int(metric), int(reduce))


def accumulate(
    total: Tensor,
    squares: Tensor,
    contributions: Tensor,
    unit: Tensor,
    weight: Tensor,
    unit_weight: Tensor,
    count: Tensor,
    target_cell: Tensor | None = None,
) -> None:
    """Average contributions over draws and over the masks of a unit; add each unit, in order, to the running sums."""
    _native.accumulate(total, squares, contributions, unit, weight, unit_weight, count, target_cell)


def gru_step(
    out: Tensor, input_gates: Tensor, hidden_gates: Tensor, input_bias: Tensor, hidden_bias: Tensor, state: Tensor
) -> Tensor:
    """Write ``out`` (N, H): the hidden values of a GRU after one step from ``state`` (N, H). No memory may be shared.

    For CPU tensors alone. Gates (N, 3 H), in torch's order reset, update, new, are the products with the weights; the
    biases (3 H,) are added here. Any strides; float32 is correct to 3 units in the last place of each gate.
    """
    _native.gru_step(out, input_gates, hidden_gates, input_bias, hidden_bias, state)
    return out


def lstm_step(
    out: Tensor,
    cell_out: Tensor,
    input_gates: Tensor,
    hidden_gates: Tensor,
    input_bias: Tensor,
    hidden_bias: Tensor,
    cell: Tensor,
) -> Tensor:
    """Write ``out`` and ``cell_out`` (N, H): an LSTM's hidden and cell values after one step from ``cell`` (N, H).

    Gates (N, 4 H), in torch's order input, forget, new, output, are the products with the weights; the biases (4 H,)
    are added here. No memory may be shared. Any strides; devices and precision are those of `gru_step`.
    """
    _native.lstm_step(out, cell_out, input_gates, hidden_gates, input_bias, hidden_bias, cell)
    return out


def rnn_step(
    out: Tensor,
    input_sums: Tensor,
    hidden_sums: Tensor,
    input_bias: Tensor,
    hidden_bias: Tensor,
    activation: Activation,
) -> Tensor:
    """Write ``out`` (N, H): the hidden values of a plain recurrent network after one step. No memory may be shared.

    Sums (N, H) are the products with the weights; the biases (H,) are added here. Any strides; devices and precision
    are those of `gru_step`.
    """
    _native.rnn_step(out, input_sums, hidden_sums, input_bias, hidden_bias, int(activation))
    return out


def _nothing_to_infer(*_: object) -> None:
    """A fake kernel: the ops write into their arguments and return nothing, so shapes are the caller's."""


#: What every device has: native, or in plain torch (`rambit.fallback`).
_OPS = (
    "sample_masks",
    "shift_windows",
    "draw",
    "masked_batch",
    "boxed_batch",
    "gather_windows",
    "put_windows",
    "distance",
    "score",
    "accumulate",
)
#: What the CPU alone has: elsewhere nothing calls them, and torch refuses their tensors.
_CPU_OPS = ("gru_step", "lstm_step", "rnn_step")
for _name in (*_OPS, *_CPU_OPS):
    torch.library.register_fake(f"rambit::{_name}", _nothing_to_infer)
#: Device types of this torch that have no native ops, where plain torch does their work. By what torch was built for:
#: to look for devices takes time at import, and forbids CUDA in processes that are forked later.
_BUILT = {
    "cuda": torch.version.cuda is not None or torch.version.hip is not None,
    "xpu": getattr(torch.version, "xpu", None) is not None,
}
FALLBACK = tuple(kind for kind, built in _BUILT.items() if built and not (kind == "cuda" and HAS_CUDA_OPS))
for _type in FALLBACK:
    fallback.register(_type, _OPS)
