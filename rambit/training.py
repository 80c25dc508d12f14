"""A plain training loop for classifiers of time series, and checkpoints that hold no code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from rambit import arrays
from rambit.checks import check_saved, count, flag, number
from rambit.epochs import History, Training, one_pass
from rambit.models import Classifier, build_model
from rambit.models.sequence_classifier import MOST, seeded
from rambit.store import fill, load_module, save_module

__all__ = ["History", "evaluate", "fit", "load_checkpoint", "save_checkpoint"]

ArrayLike = Tensor | NDArray[Any]

FORMAT = "rambit checkpoint 1"
IGNORED = -100  # the label of a padded step


def fit(
    model: nn.Module,
    X: ArrayLike,
    y: ArrayLike,
    *,
    valid: tuple[ArrayLike, ...] | float | None = None,
    epochs: int = 30,
    batch_size: int = 100,
    lr: float = 1e-3,
    weight_decay: float = 1e-3,
    patience: int | None = None,
    seed: int = 0,
    lengths: ArrayLike | None = None,
    per_step: bool = False,
    standardize: bool = False,
    show_progress: bool = False,
    device: torch.device | str | None = None,
) -> History:
    """Trains `model` in place on X (N, D, T) and classes y (N,), and leaves it in eval mode with its best weights.

    The best epoch has the lowest loss on `valid`: (X, y), (X, y, lengths), or the fraction of the series that is held
    out for it; without `valid`, the lowest training loss. Training stops after `patience` epochs without a better one.

    per_step: every step has an output, the loss is the mean over all of them, and y is (N, T), or (N,) for the same
    class at all steps. lengths: (N,), the output is taken at `lengths - 1`; with per_step later steps don't count.
    standardize: stores mean and deviation of each feature, over the series trained on, in the model (a model of
    `rambit.models`). device: the model moves there; None: it stays where it is.

    The order of the series and the dropout are drawn from `seed`; the global generators are left as they were. The
    optimiser is Adam (Kingma and Ba, 2015). The model is called as `model(x)`, with `lengths=` and `return_all=True`
    only where they are needed. An interrupted call, too, leaves the best weights so far.

    What stands in the padding, beyond `lengths`, may be anything, NaN too.

    Raises TypeError or ValueError before any work for wrong arguments, and RuntimeError if the loss becomes NaN.
    """
    options = Training(epochs, batch_size, lr, weight_decay, patience, seed, show_progress)
    per_step = flag("per_step", per_step)
    if flag("standardize", standardize) and not isinstance(model, Classifier):
        raise TypeError(f"standardize=True needs a model of rambit.models, got {type(model).__name__}")
    _check_model(model)
    place = None if device is None else arrays.usable_device(device)
    train, held = _held_out(_data(model, X, y, lengths, per_step), valid, model, options.seed)
    for data in (train, held):
        if data is not None:
            _check_fits(model, data)
    model.to(place)
    if standardize:
        _standardize(cast(Classifier, model), train)

    optimiser = options.optimiser(model)
    validate = None if held is None else partial(_evaluate, model, held, options.batch_size)
    with seeded(options.seed, _device(model)):
        return options.run(model, lambda: _epoch(model, train, optimiser, options.batch_size), validate)


def evaluate(
    model: nn.Module,
    X: ArrayLike,
    y: ArrayLike,
    lengths: ArrayLike | None = None,
    per_step: bool = False,
    *,
    batch_size: int = 256,
) -> dict[str, float]:
    """Accuracy, mean cross entropy ("loss") and, for two classes that both occur, "auroc", in eval mode.

    With per_step every valid step counts as one output. Arguments and errors are those of `fit`.
    """
    batch_size = count("batch_size", batch_size, 1, MOST)
    _check_model(model)
    data = _data(model, X, y, lengths, flag("per_step", per_step))
    _check_fits(model, data)
    return _evaluate(model, data, batch_size)


def save_checkpoint(path: str | Path, model: Classifier, extra: dict[str, Any] | None = None) -> None:
    """Writes a built-in model: weights and, as JSON in their metadata, its configuration and `extra`.

    For people, the same JSON goes into a file beside it whose name ends in .json instead of .safetensors.
    Raises ValueError for another ending of `path`, TypeError for another model, TypeError or ValueError if `extra` is
    not JSON.
    """
    check_saved(path, model, "model", Classifier)
    save_module(path, FORMAT, model, {"model": model.config(), "extra": extra or {}})


def load_checkpoint(path: str | Path) -> tuple[Classifier, dict[str, Any]]:
    """The model of a checkpoint, on the CPU and in eval mode, and its configuration {"model": ..., "extra": ...}.

    Runs no code from the file and draws no random number. Raises ValueError, naming the file, if it is truncated,
    damaged, not a checkpoint, or its weights do not fit its configuration; OSError if there is none.
    """

    def build(weights: dict[str, Tensor], document: dict[str, Any]) -> tuple[Classifier, dict[str, Any]]:
        config = dict(document["model"])
        if config.get("num_layers", 1) > len(weights):  # before so many are made
            raise ValueError(f"it says that the model has {config['num_layers']} layers, for {len(weights)} weights")
        return fill(lambda: build_model(config), weights), {"model": document["model"], "extra": document["extra"]}

    return load_module(path, FORMAT, "a checkpoint of a rambit model", build)


class _Data(NamedTuple):
    """Checked tensors on the host. Labels are (N,), or (N, T) where every step counts; IGNORED in the padding."""

    X: Tensor
    y: Tensor
    lengths: Tensor | None

    @property
    def per_step(self) -> bool:
        return self.y.dim() == 2

    def take(self, indices: Tensor) -> _Data:
        return _Data(*(None if part is None else part[indices] for part in self))  # type: ignore[arg-type]

    def valid_steps(self) -> Tensor:
        """(N, T) bool, or (1, T) where all series are whole."""
        steps = torch.arange(self.X.shape[2])[None]
        return steps >= 0 if self.lengths is None else steps < self.lengths[:, None]


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module) or next(model.parameters(), None) is None:
        raise TypeError(f"model must be a torch.nn.Module with parameters, got {type(model).__name__}")


def _data(model: nn.Module, X: ArrayLike, y: ArrayLike, lengths: ArrayLike | None, per_step: bool) -> _Data:
    """What can be checked without calling the model; `_check_fits` calls it."""
    series = arrays.whole("X", X).cpu()
    if series.dim() != 3 or 0 in series.shape:
        raise ValueError(f"X must have shape (N, D, T) without an empty axis, got {tuple(series.shape)}")
    if not series.dtype.is_floating_point:
        raise TypeError(f"X must be floating, got {series.dtype}")
    n, _, steps = series.shape
    if per_step:
        labels = _integers("y", y, [(n,), (n, steps)])
        labels = labels if labels.dim() == 2 else labels[:, None].expand(n, steps)
    else:
        labels = _integers("y", y, [(n,)], "; labels (N, T) need per_step=True")
    sizes = None if lengths is None else _integers("lengths", lengths, [(n,)])
    if sizes is not None and (sizes.min() < 1 or sizes.max() > steps):
        raise ValueError(f"lengths must lie in 1..{steps}, got {int(sizes.min())}..{int(sizes.max())}")

    data = _Data(series.to(next(model.parameters()).dtype), labels, sizes)
    valid = data.valid_steps().expand(n, steps)
    data = data._replace(X=_numbers(data.X, series, valid[:, None]))
    counted = labels[valid] if per_step else labels
    if counted.min() < 0:
        raise ValueError(f"y must lie in 0..C - 1 for C classes, got {int(counted.min())}..{int(counted.max())}")
    return data._replace(y=labels.where(valid, IGNORED)) if per_step else data


def _numbers(X: Tensor, given: Tensor, valid: Tensor) -> Tensor:
    """X (N, D, T), which was `given` in another type, with numbers everywhere: padding may hold anything."""
    wrong = ~X.isfinite()
    if bool((wrong & valid).any()):
        first = tuple((wrong & valid).nonzero()[0].tolist())
        beyond = bool(given[first].isfinite())
        what = f"values beyond {X.dtype}, the type of the model" if beyond else "NaN or infinite values"
        raise ValueError(f"X holds {what}, the first at (series, feature, step) {first}")
    return X.masked_fill(wrong, 0.0) if bool(wrong.any()) else X


def _integers(name: str, value: ArrayLike, shapes: list[tuple[int, ...]], hint: str = "") -> Tensor:
    tensor = arrays.whole(name, value, holds="integers").cpu()
    if tensor.dtype.is_floating_point or tensor.dtype.is_complex or tensor.dtype == torch.bool:
        raise TypeError(f"{name} must hold integers, got {tensor.dtype}")
    if tuple(tensor.shape) not in shapes:
        wanted = " or ".join(map(str, shapes))
        raise ValueError(f"{name} must have shape {wanted}, got {tuple(tensor.shape)}{hint}")
    return tensor.long()


def _check_fits(model: nn.Module, data: _Data) -> None:
    """Whether the model takes such series, and knows their classes: one call for one series tells."""
    with _eval_mode(model):
        shape = tuple(_logits(model, data.take(torch.arange(1))).shape)
    wanted, steps = ("(1, C, T)", (data.X.shape[2],)) if data.per_step else ("(1, C)", ())
    if len(shape) < 2 or shape != (1, shape[1], *steps):
        raise ValueError(f"for one series the model must give {wanted}, it gave {shape}")
    counted = data.y[data.y != IGNORED]
    if counted.max() >= shape[1]:
        found = f"{int(counted.min())}..{int(counted.max())}"
        raise ValueError(f"y must lie in 0..{shape[1] - 1}, the model's classes, got {found}")


def _held_out(
    data: _Data, valid: tuple[ArrayLike, ...] | float | None, model: nn.Module, seed: int
) -> tuple[_Data, _Data | None]:
    """What to train on, and what to validate on."""
    if valid is None:
        return data, None
    if isinstance(valid, tuple | list):
        if len(valid) not in (2, 3):
            raise ValueError(f"valid must be (X, y), (X, y, lengths) or a fraction, got {len(valid)} parts")
        try:
            return data, _data(model, valid[0], valid[1], valid[2] if len(valid) == 3 else None, data.per_step)
        except (TypeError, ValueError) as error:
            raise type(error)(f"valid: {error}") from None
    n, share = len(data.X), number("valid", valid)
    if not 0 < share < 1 or n < 2:
        raise ValueError(f"as a fraction valid must lie in (0, 1), of at least 2 series; got {valid} of {n}")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    cut = min(max(round(share * n), 1), n - 1)
    return data.take(order[cut:]), data.take(order[:cut])


def _standardize(model: Classifier, data: _Data) -> None:
    n, _, steps = data.X.shape
    values = data.X.double().transpose(1, 2)[data.valid_steps().expand(n, steps)]  # (valid steps, D)
    scale = values.std(dim=0, correction=0)
    # What is the same everywhere has no scale, though its rounded mean may differ from it; nor has what varies by less
    # than the model's numbers tell apart.
    varies = (values.amax(dim=0) > values.amin(dim=0)) & (scale >= torch.finfo(data.X.dtype).tiny)
    model.set_standardization(values.mean(dim=0), scale.where(varies, 1.0))


def _epoch(model: nn.Module, data: _Data, optimiser: torch.optim.Optimizer, batch_size: int) -> float:
    """One pass over the data; the mean loss."""
    model.train()
    batches = torch.split(torch.randperm(len(data.X)), batch_size)
    return one_pass(optimiser, (_loss(model, data.take(indices)) for indices in batches))


def _loss(model: nn.Module, batch: _Data) -> tuple[Tensor, int]:
    """The mean cross entropy of a batch, and over how many labels."""
    logits = _logits(model, batch)
    loss = functional.cross_entropy(logits, batch.y.to(logits.device), ignore_index=IGNORED)
    return loss, int((batch.y != IGNORED).sum())


def _evaluate(model: nn.Module, data: _Data, batch_size: int) -> dict[str, float]:
    with _eval_mode(model):
        parts = torch.split(torch.arange(len(data.X)), batch_size)
        logits = torch.cat([_logits(model, data.take(part)).cpu() for part in parts]).double()
    counted = data.y != IGNORED
    logits, labels = logits.movedim(1, -1)[counted], data.y[counted]
    scores = {
        "accuracy": float((logits.argmax(dim=1) == labels).double().mean()),
        "loss": float(functional.cross_entropy(logits, labels)),
    }
    if logits.shape[1] == 2 and 0 < int(labels.sum()) < len(labels):
        scores["auroc"] = _auroc((logits[:, 1] - logits[:, 0]).numpy(), labels.numpy() == 1)
    return scores


def _auroc(scores: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    """The share of (positive, negative) pairs in the right order, ties counting half: Mann and Whitney, 1947."""
    n, m = int(positive.sum()), int((~positive).sum())
    return float((stats.rankdata(scores)[positive].sum() - n * (n + 1) / 2) / (n * m))


def _logits(model: nn.Module, batch: _Data) -> Tensor:
    arguments: dict[str, Any] = {}
    if batch.per_step:
        arguments["return_all"] = True
    elif batch.lengths is not None:
        arguments["lengths"] = batch.lengths
    return cast(Tensor, model(batch.X.to(_device(model)), **arguments))


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
