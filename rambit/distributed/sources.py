"""Whatever a user hands over as data, as an iterable of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from rambit import arrays
from rambit.datasets.dataset_files import TABLES
from rambit.distributed.data_file import DataFile


def batches_of(data: str | Path | Iterable[Any], layout: str) -> Iterable[Any]:
    """The batches of an iterable, a file (in the attributor's layout) or a Ray Dataset. TypeError for anything else."""
    if hasattr(data, "iter_batches"):  # known by what it offers, so that Ray need not be there
        return _InOrder(data)
    if isinstance(data, (str, Path)):
        try:
            data = DataFile(data, layout="BDT" if Path(data).suffix in TABLES else layout)
        except ValueError as error:
            raise ValueError(f"data: {error}") from None
    one = arrays.is_array(data) or isinstance(data, Mapping)
    if one or not isinstance(data, Iterable):
        hint = ": write [data], a list of one batch" if one else ""
        raise TypeError(f"data must be an iterable of batches or a file's path, got {type(data).__name__}{hint}")
    return _Transposed(data) if isinstance(data, DataFile) and layout == "BTD" else data


class _Transposed:
    """The batches of a file as (B, T, D)."""

    def __init__(self, file: DataFile) -> None:
        self.file = file

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for batch in self.file:
            yield {name: value.transpose(1, 2) if value.ndim == 3 else value for name, value in batch.items()}


class _InOrder:
    """The rows of a Ray Dataset in their own order, whichever of its tasks ends first."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[dict[str, Any]]:
        options = self.dataset.context.execution_options
        before, options.preserve_order = options.preserve_order, True
        try:
            yield from self.dataset.iter_batches(batch_size=64, batch_format="numpy")
        finally:
            options.preserve_order = before
