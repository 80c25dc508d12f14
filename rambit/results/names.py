"""What the series, targets and features of a result are called: by name, or else by id or number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rambit.labels import Labels
from rambit.results.cell import Cell
from rambit.results.selection import by_name
from rambit.text import shortened


@dataclass(frozen=True)
class Names:
    """The names of ``series`` B and ``features`` D, and of targets (None: scores of one).

    ``quantiles``: Q, where outputs are (H, Q) and targets pairs.
    """

    labels: Labels
    ids: Sequence[int]
    features: int
    targets: Sequence[Any] | None
    quantiles: int | None

    def of_series(self) -> list[Any]:
        """By name, or else by id."""
        return list(self.labels.series or self.ids)

    def of_features(self) -> list[Any]:
        """By name, or else by number."""
        return list(self.labels.features or range(self.features))

    def of_targets(self) -> list[str]:
        """By the names of outputs, or else as they were given; none without targets."""
        return [self.output(target) for target in self.targets or ()]

    def listed(self) -> str:
        """The targets in a line; of many the first and the last."""
        return shortened(", ".join(self.of_targets()), 120)

    def output(self, target: Any) -> str:
        """What an output is called, given by its number or as a pair [h, q]."""
        if not isinstance(target, list):
            return self.labels.output(target, str(target))
        pair = f"({target[0]}, {target[1]})"
        return pair if self.quantiles is None else self.labels.output(target[0] * self.quantiles + target[1], pair)

    def title(self, series: int) -> str:
        """A series by its name, or else as "series" and its id."""
        return f"series {self.ids[series]}" if self.labels.series is None else self.labels.series[series]

    def target_at(self, wanted: Any) -> int:
        """The index of one target; None names the only one. ValueError where it must be said which."""
        if wanted is None and len(self.of_targets()) > 1:
            raise ValueError(f"target must say which of {self.listed()}, given None")
        at = 0 if wanted is None else self.targets_at(wanted)
        if isinstance(at, list):
            raise ValueError(f"target must be one of {self.listed()}, given {wanted!r}")
        return at

    def targets_at(self, wanted: Any) -> int | list[int]:
        """The index of a target, given by its entry or its name; a list's are a list. Errors: ValueError."""
        if self.targets is None:
            raise ValueError("target applies to results with targets, and these are scores of one")
        if isinstance(wanted, list) and wanted not in self.targets:
            return [self._target_at(one) for one in wanted]
        return self._target_at(wanted)

    def _target_at(self, wanted: Any) -> int:
        entries = list(self.targets or ())
        entry = list(wanted) if isinstance(wanted, tuple) else wanted
        return entries.index(entry) if entry in entries else by_name("target", wanted, self.of_targets())[0]

    def named(self, cell: Cell) -> Cell:
        """A cell with its names."""
        labels, times = self.labels, self.labels.times_of(cell.series)
        return cell.named(
            series=None if labels.series is None else labels.series[cell.series],
            feature=None if labels.features is None else labels.features[cell.feature],
            time=None if times is None else times[cell.time],
        )
