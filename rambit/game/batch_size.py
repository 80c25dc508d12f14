"""How many rows go into one call of a model: a rule of shapes and settings, so that equal settings give equal bits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rambit.game.runner import Inputs, Runner
from rambit.game.tensor_sample import TensorSample
from rambit.ops import Fill
from rambit.predictors.activations import Activations, read_activations

#: Rows a call beyond which a larger batch no longer pays, by device type.
BATCH_CAP = {"cpu": 2048, "cuda": 1 << 16}
#: Bytes that a call on the CPU works on: more leave its caches, and far more cost page faults (bench/README.md).
WORKED_ON = 24 << 20
#: What starting an op costs on the CPU, in bytes that could be made in that time.
AN_OP = 64 << 10
#: Bytes of a step's gates, of all rows of a call, that a near cache still holds; and rows that are fewer never pay.
GATES, FEWEST = 192 << 10, 64
#: How many times as much a call makes, at least, as it costs whatever its rows are: ops to start, weights to read.
WORTH = 2


def auto_batch(
    D: int, T: int, element_size: int, max_memory: int, device: torch.device, activations: Activations | None = None
) -> int:
    """Rows a call. ``activations``: what the model makes of rows (D, T), where that is known."""
    row = D * T * element_size
    # The input, and as much again for what a model makes of it.
    most = min(BATCH_CAP.get(device.type, 2048), max_memory // 4 // (4 * row))
    if activations is not None and device.type == "cpu":
        most = min(most, _worth(activations, row), max_memory // 4 // max(1, activations.held))
    elif activations is not None:  # there larger batches are better, as long as they fit
        most = min(most, max_memory // max(1, activations.held))
    return max(1, most)


def _worth(activations: Activations, row: int) -> int:
    """As many rows as the caches hold; more where so few would not be worth a call."""
    fitting = WORKED_ON // (activations.held + 2 * row)  # a row as it is built, and as a model copies it
    fixed = activations.ops * AN_OP + activations.weights
    return max(fitting, -(-WORTH * fixed // max(1, activations.made)))


def activations_of(runner: Runner, sample: TensorSample, mode: str) -> Activations | None:
    """What the model makes of a whole row of the sample, from one call on two, uncounted; kept with the predictor.

    None where it cannot be seen, in mode ``stateful``, whose calls are of single steps, and for recurrent layers, since
    a look at each of their steps takes long (`recurrent_batch`).
    """
    if mode == "stateful" or _recurrent(runner.predictor.module):
        return None
    found = runner.predictor.activations
    key = (mode == "causal", sample.x.shape[1:], sample.shape, sample.x.dtype, sample.x.device)
    if key not in found:
        found[key] = _read(runner, sample, mode)
    return found[key]


def recurrent_batch(module: nn.Module | None, device: torch.device) -> int:
    """Rows a call, at most, of a module whose recurrent layers walk along whole series."""
    layers = _recurrent(module) if device.type == "cpu" else []
    if not layers:
        return BATCH_CAP.get(device.type, 2048)
    widest = max({"LSTM": 4, "GRU": 3}.get(layer.mode, 1) * layer.hidden_size for layer in layers)
    return max(FEWEST, GATES // (4 * widest))


def _recurrent(module: nn.Module | None) -> list[nn.RNNBase]:
    return [] if module is None else [part for part in module.modules() if isinstance(part, nn.RNNBase)]


def _read(runner: Runner, sample: TensorSample, mode: str) -> Activations | None:
    predictor = runner.predictor
    series = torch.zeros(2, dtype=torch.int64, device=sample.x.device)
    x = sample.take(series).in_memory_order(predictor.features_last).x
    inputs = Inputs(sample.x, sample.x, None, sample.ids, Fill.FIXED, sample.length, None, sample.shape, sample.extra)

    def call() -> Tensor:
        return runner.steps(x, inputs, series) if mode == "causal" else runner.whole(x, inputs, series)

    runner.predictor = predictor.as_given().raw()
    try:
        with predictor.session():
            return read_activations(call, x)
    finally:
        runner.predictor = predictor
