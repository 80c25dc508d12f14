"""Many series on a cluster, through Ray Data (extra ``ray``)."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rambit.attribution.attributor import Attributor
from rambit.checks import count, flag
from rambit.distributed.attributions import Attributions
from rambit.distributed.ledger import Finished, Ledger, Pending, explain
from rambit.distributed.pieces import Piece, check_size, pieces, read_targets
from rambit.distributed.processes import Failure, pack_attributor, unpack_attributor
from rambit.distributed.run import check, check_folder
from rambit.distributed.sources import batches_of
from rambit.game import progress

Row = dict[str, NDArray[Any]]  # what travels between Ray's tasks: a column of kinds and one of bytes, one entry each
PIECE, DONE, END, ERROR = "piece", "done", "end", "error"


def attribute_on_ray(
    attributor: Attributor,
    data: str | Path | Iterable[Any],
    folder: str | Path,
    *,
    workers: int,
    target: Any = None,
    device: str | torch.device | None = None,
    shard_size: int | str = "auto",
    show_progress: bool = False,
) -> Attributions:
    """``attribute_many`` with ``workers`` actors on the Ray cluster that this process is connected to.

    One task of Ray Data reads ``data`` on this machine and streams it, so that the whole is never in memory: a file, a
    DataLoader or another iterable that can be pickled (a generator can't), or a ``ray.data.Dataset`` whose columns are
    named like the entries of a batch and whose order is fixed. The actors explain one shard at a time on ``device``
    (None: the attributor's), each with one GPU where that is a CUDA device, else with one CPU; Ray says how many
    threads that is. This process alone writes ``folder``: the manifest and the key are those of ``attribute_many``, by
    which a run may be begun or gone on with, and so are the bits, where device and number of threads are the same. When
    a worker is killed, Ray gives its shard to another one, which makes the same bits of it.

    Raises what ``attribute_many`` raises; ImportError without Ray, RuntimeError where ``ray.init`` was not called.
    """
    check(attributor)
    check_size(shard_size)
    check_folder(folder)
    flag("show_progress", show_progress)
    workers = count("workers", workers)
    device = torch.device(device or attributor.predictor.device)
    ray = _connected()
    _check_room(ray, data, workers, device)
    packed = pack_attributor(attributor, pickle_module=ray.cloudpickle)
    outputs = read_targets(target, attributor.predictor.class_names)
    reader = _Reader(_sendable(ray, batches_of(data, attributor.layout)), shard_size, attributor.layout, outputs)
    with Ledger(folder, attributor, shard_size) as ledger, progress(show_progress, lambda: 0) as bar:
        reader.inputs, reader.series = dict(ledger.inputs), ledger.series
        series = 0
        for row in _pipeline(ray, reader, ray.put(packed), workers, device).iter_rows():
            if row["kind"] == ERROR:  # pickled by a task of this call, never by a file
                pickle.loads(row["data"]).reraise()
            if row["kind"] == END:  # not always the last one to come
                series = int(row["data"])
                continue
            done = Finished.unpack(row["data"])
            ledger.add(done)
            if bar is not None:
                bar.update(done.meta["row_steps"])
        ledger.finish(series)
    return Attributions(folder)


def _connected() -> Any:
    try:
        ray = importlib.import_module("ray")
        importlib.import_module("ray.data")
    except ImportError as error:
        raise ImportError(f"a cluster needs Ray: pip install 'rambit[ray]' ({error})") from error
    if not ray.is_initialized():
        raise RuntimeError("this process is connected to no Ray cluster: call ray.init() first")
    return ray


def _check_room(ray: Any, data: Any, workers: int, device: torch.device) -> None:
    """Actors keep what they got, so what they leave must be enough for a Dataset's own tasks."""
    kind = "GPU" if device.type == "cuda" else "CPU"
    there = int(ray.cluster_resources().get(kind, 0))
    reading = kind == "CPU" and isinstance(data, ray.data.Dataset)
    if workers > there - reading:
        but = " and reading a Dataset takes one" if reading else ""
        raise ValueError(f"workers={workers} need a {kind} each, but the cluster has {there}{but}")


def _sendable(ray: Any, batches: Iterable[Any]) -> Iterable[Any]:
    try:
        ray.cloudpickle.dumps(batches)
    except Exception as error:
        raise TypeError(f"data must be sent to the task that reads it, but can't be pickled: {error}") from error
    return batches


def _pipeline(ray: Any, reader: _Reader, attributor: Any, workers: int, device: torch.device) -> Any:
    """A Ray Dataset of finished shards; nothing runs before it is iterated."""
    here = {f"node:{ray.util.get_node_ip_address()}": 0.001}  # where the files and the DataLoader are
    source = ray.data.from_items([0], override_num_blocks=1)
    source.context.target_max_block_size = 1  # a block for each shard, so that each is handed out once it is read
    source.context.enable_progress_bars = False
    rows = source.map_batches(reader, batch_size=None, num_cpus=0, resources=here)
    return rows.map_batches(
        _Explain,
        fn_constructor_args=([attributor], str(device)),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        **({"num_gpus": 1} if device.type == "cuda" else {"num_cpus": 1}),
    )


class _Reader:
    """The task that reads: a row for each shard that is not finished, and one with the number of series."""

    def __init__(self, batches: Iterable[Any], size: int | str, layout: str, outputs: Tensor | None) -> None:
        self.batches, self.size, self.layout, self.outputs = batches, size, layout, outputs
        self.inputs: dict[str, str] = {}
        self.series: int | None = None

    def __call__(self, _: Row) -> Iterator[Row]:
        try:
            todo = Pending(pieces(self.batches, self.size, self.layout, self.outputs), self.inputs, self.series)
            for piece in todo:
                yield _row(PIECE, piece.pack())
            yield _row(END, str(todo.seen).encode())
        except Exception as error:
            yield _error(error)


class _Explain:
    """The actor that explains: a row with a piece becomes one with its scores."""

    def __init__(self, attributor: list[Any], device: str) -> None:
        ray = _connected()
        self.attributor = unpack_attributor(ray.get(attributor[0]), device)

    def __call__(self, row: Row) -> Row:
        if row["kind"][0] != PIECE:
            return row
        try:
            return _row(DONE, explain(self.attributor, Piece.unpack(row["data"][0])).pack())
        except Exception as error:
            return _error(error)


def _row(kind: str, data: bytes) -> Row:
    return {"kind": np.array([kind]), "data": np.array([data], dtype=object)}


def _error(error: Exception) -> Row:
    return _row(ERROR, pickle.dumps(Failure.of(error)))
