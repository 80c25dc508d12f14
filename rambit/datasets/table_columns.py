"""Which columns of a long table say what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rambit.text import shortened

#: What a column is called that says it without being named.
USUAL = {"id": "series", "time": "time", "label": "label"}


@dataclass(frozen=True)
class Columns:
    """The columns of a table with one row for each series and time; they may stand in any order.

    * ``id``: which series a row belongs to, numbers or text. None: the column ``series``; where there is none either,
      the whole table is one series.
    * ``time``: when it was, numbers or ISO dates. None: the column ``time``; where there is none either, the rows of a
      series are in order as they stand.
    * ``label``: its class or value, the same in all rows of a series or one for each step. None: the column ``label``.
    * ``features``: their names, in the order in which a model reads them. None: all other columns, as they stand.

    >>> Columns(id="run", time="stamp").within(["b", "stamp", "run", "a"])
    Columns(id='run', time='stamp', label=None, features=('b', 'a'))
    """

    id: str | None = None
    time: str | None = None
    label: str | None = None
    features: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.features, str):
            raise TypeError(f"features must be a list of names, got {self.features!r}")
        if self.features is not None:
            object.__setattr__(self, "features", tuple(self.features))

    def within(self, names: Sequence[str]) -> Columns:
        """The same with what is not named filled in, for a table of these columns.

        Raises ValueError for a column that is not there or named twice, and for a table without features.
        """
        listed = shortened(", ".join(map(repr, names))) or "none"
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"two columns have the same name, {twice[0]!r}; the columns: {listed}")
        given = {role: getattr(self, role) for role in USUAL if getattr(self, role) is not None}
        named = Counter([*given.values(), *(self.features or ())])
        for name, count in named.items():
            if name not in names:
                raise ValueError(f"there is no column {name!r}; the columns: {listed}")
            if count > 1:
                raise ValueError(f"column {name!r} is named twice, among id, time, label and features")
        given |= {role: name for role, name in USUAL.items() if role not in given and name in names and not named[name]}
        features = self.features
        if features is None:
            features = tuple(name for name in names if name not in given.values())
            if "" in features:
                raise ValueError(
                    f"column {names.index('') + 1} has no name (the index of a data frame? to_csv(index=False) leaves "
                    f"it out): name the features; the columns: {listed}"
                )
            mark = next((mark for mark in ";\t" if len(names) == 1 and mark in names[0]), None)
            if mark is not None:
                raise ValueError(
                    f"there is one column, {listed}: the values are separated by {mark!r}, not by commas (.csv) or "
                    "tabs (.tsv)"
                )
        if not features:
            raise ValueError(f"no column is left for the features; the columns: {listed}")
        return Columns(**given, features=features)


def described(kinds: Mapping[str, str]) -> str:
    """The columns and what they hold, in one line: what an error says where one is not as it was taken."""
    return shortened(", ".join(f"{name!r} ({kind})" for name, kind in kinds.items()))
