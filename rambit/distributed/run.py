"""Many series on this machine."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from rambit.attribution.attributor import Attributor
from rambit.checks import flag
from rambit.counterfactuals import Replay
from rambit.distributed.attributions import Attributions
from rambit.distributed.ledger import Finished, Ledger, Pending, explain
from rambit.distributed.pieces import Piece, check_size, pieces, read_targets
from rambit.distributed.processes import explain_in_processes
from rambit.distributed.sources import batches_of
from rambit.game import progress


def attribute_many(
    attributor: Attributor,
    data: str | Path | Iterable[Any],
    folder: str | Path,
    *,
    target: Any = None,
    devices: Sequence[str | torch.device] | None = None,
    shard_size: int | str = "auto",
    show_progress: bool = False,
) -> Attributions:
    """Explain a stream of series a piece at a time; a run that was killed goes on where it was.

    * ``attributor``: any of ours (RaMbIT, WinIT, FO, ...). A plain callable as its model needs ``model_id``.
    * ``data``: a DataLoader or any iterable of batches, or a file (see ``DataFile``; .npy, .npz, .safetensors,
      .parquet), larger than memory or not. A batch is X like the attributor's layout says, (B, D, T) or (B, T, D), a
      tuple or list that starts with X (what follows is not read), or a dict with ``X`` and, of all batches or none,
      ``ids`` (0 … 2**32 - 1), ``lengths`` and ``target`` (B,), ``extra`` (a dictionary of (B, …)); ``observed`` like X
      where values are missing. All X have the same D, T and dtype.
    * ``target``: the output that is explained, by its number, by its name where the model names its outputs, or as a
      pair (h, q) of forecasts; or a list or array of one for each series of the whole input. Else batches say it.
    * ``folder``: where the results are kept, as shards of ``shard_size`` series (auto: 256, fewer where those take more
      than 16 MiB). In memory are a shard for each device, a batch, and the manifest: less than 1 KB
      for each shard and at most 256 MiB; a longer run needs larger shards.
    * ``devices``: one process for each, such as ["cuda:0", "cuda:1"]; None: in this process. A script that passes it
      needs ``if __name__ == "__main__":``, and the model's class must be importable.

    What comes out does not depend on batches, devices or kills: series i has the id i (or the one given), which keys
    its draws, and each shard is what ``attributor.explain`` returns for series k * shard_size ... of the input, bit for
    bit where device and number of threads are the same. If the model's arithmetic does not depend on its batch, so are
    the scores to those of one ``attributor.explain`` of all series; else they differ by the model's rounding alone.

    Called again, the input is read from its beginning and compared with what was explained; finished shards (those
    whose entry in the manifest and whose SHA-256 hold) are not evaluated again. Ctrl-C and kill -9 lose at most the
    that were being worked on.

    Raises ValueError or TypeError for what does not fit, StoreError (a ValueError) when another process writes the
    folder or when it belongs to other settings, another model or other series, RuntimeError when a worker was killed.

    >>> import tempfile, torch
    >>> from rambit import RaMbIT
    >>> from rambit.distributed import attribute_many
    >>> model = lambda x: torch.stack([x[:, 0].mean(-1), x[:, 1, -1]], dim=1)
    >>> attributor = RaMbIT(model, num_samples=1, anchor="end", window_size=1, model_id="mean")
    >>> batches = (torch.ones(7, 3, 8) for _ in range(3))
    >>> results = attribute_many(attributor, batches, tempfile.mkdtemp(), shard_size=10)
    >>> results[5:12].values.shape, results.to_numpy().shape
    (torch.Size([7, 3, 8]), (21, 3, 8))
    """
    check(attributor)
    check_size(shard_size)
    check_folder(folder)
    flag("show_progress", show_progress)
    if devices is not None:
        check_devices(devices)
    outputs = read_targets(target, attributor.predictor.class_names)
    rest = pieces(batches_of(data, attributor.layout), shard_size, attributor.layout, outputs)
    # Read before the folder is touched, so that input that can't be read leaves nothing behind.
    parts = chain([next(rest)], rest)
    with Ledger(folder, attributor, shard_size) as ledger, progress(show_progress, lambda: 0) as bar:
        todo = Pending(parts, ledger.inputs, ledger.series)
        work = _here(attributor, todo) if devices is None else explain_in_processes(attributor, todo, devices)
        with closing(work) as finished:
            for done in finished:
                ledger.add(done)
                if bar is not None:
                    bar.update(done.meta["row_steps"])
        ledger.finish(todo.seen)
    return Attributions(folder)


def _here(attributor: Attributor, todo: Iterable[Piece]) -> Generator[Finished, None, None]:
    for piece in todo:
        yield explain(attributor, piece)


def check_devices(devices: Sequence[str | torch.device]) -> None:
    """ValueError or TypeError unless these are devices of this machine, and at least one."""
    if isinstance(devices, (str, torch.device)):
        raise TypeError(f"devices must be a list, got {devices!r}: write [{str(devices)!r}]")
    if not isinstance(devices, Sequence) or not all(isinstance(name, (str, torch.device)) for name in devices):
        raise TypeError(f"devices must be a list of names such as 'cuda:0', got {reprlib.repr(devices)}")
    if not devices:
        raise ValueError("devices must name at least one device, or be None")
    for name in devices:
        try:
            device, there = torch.device(name), torch.cuda.device_count()
        except RuntimeError as error:
            raise ValueError(f"devices: {name!r} is none: {(str(error).splitlines() or [''])[0]}") from None
        if device.type == "cuda" and (device.index or 0) >= there:
            raise ValueError(f"devices: {str(name)!r} is not on this machine, where torch finds {there} CUDA devices")


def check_folder(folder: str | Path) -> None:
    """TypeError unless it is a path."""
    if not isinstance(folder, (str, os.PathLike)):
        raise TypeError(f"folder must be a path, got {reprlib.repr(folder)}")


def check(attributor: Attributor) -> None:
    """Whether an attributor can explain a stream of series and be told from another. TypeError or ValueError."""
    if not isinstance(attributor, Attributor):
        raise TypeError(f"attributor must be one of rambit's, such as RaMbIT, got {type(attributor).__name__}")
    if isinstance(attributor.strategy, Replay):
        raise ValueError("counterfactuals are given values of one batch, so they can't serve many: give a strategy")
    predictor = attributor.predictor
    if predictor.model_id is None and predictor.module is None:
        raise ValueError("model_id is needed, since a plain callable can't be told from another when a run goes on")
