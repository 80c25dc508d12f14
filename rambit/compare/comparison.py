"""The one call that compares, and what it returns."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rambit.checks import flag
from rambit.compare import table
from rambit.compare.faithful import Size
from rambit.compare.methods import parse, split
from rambit.compare.runs import Settings, Study, open_folder
from rambit.datasets import Dataset
from rambit.predictors import Predictor
from rambit.text import shortened

if TYPE_CHECKING:
    import pandas

#: What is compared, and on what, if nothing is said.
DATA = "spike,spike:delay=2,state:truth=change,state:truth=active"
METHODS = "rambit-cell,rambit-mask,leave-one-out,winit,fo,afo,random"


@dataclass(frozen=True)
class Comparison:
    """The table of methods and data sets.

    lines: every number by seed, for each data set and method. notes: which methods do not fit which data set, and why.
    text: the table as it is printed. folder: where models and results are kept.
    """

    lines: tuple[table.Line, ...]
    notes: tuple[str, ...]
    text: str
    folder: Path

    @property
    def rows(self) -> list[dict[str, Any]]:
        """For each data set and method, in the order in which they were named: data, method, seeds (how many), and each
        number's mean over the seeds and, as name_stderr, its standard error; NaN where there is none.
        """
        return table.to_rows(self.lines)

    def to_frame(self) -> pandas.DataFrame:
        """The rows as a frame. Raises ImportError without pandas."""
        from pandas import DataFrame

        return DataFrame(self.rows)

    def save(self, folder: str | Path | None = None, name: str = "compare") -> list[Path]:
        """Write name.csv, name.txt and, where matplotlib is there, name.png, over older ones; their paths.

        They go beside the models and results unless another folder is named. Raises OSError.
        """
        where = self.folder if folder is None else Path(folder)
        return table.write(where, name, self.lines, self.text, table.figure(self.lines))

    def __str__(self) -> str:
        return self.text


def compare(
    data: str | Dataset | Iterable[str] = DATA,
    methods: str | Iterable[str] = METHODS,
    *,
    out: str | Path,
    model: Any = None,
    seeds: str | Iterable[int] = (0,),
    keep: int | None = None,
    cells: float = Size.cells,
    force: bool = False,
    show_progress: bool = False,
    **settings: Any,
) -> Comparison:
    """Train a GRU on each data set for each seed, explain the same test series by each method, and compare.

    model: a classifier of yours (anything that `Predictor.of` takes), which every method then explains; nothing but
    generators and selectors is trained. data: then one set, or in any case a `Dataset` of your own, such as
    `rambit.datasets.load_file` reads: a fifth of it is the test part, or with a model of yours all of it, which needs
    no labels. Else data and methods: names with options, such as "spike:delay=2" and "rambit:L=5,W=10", in a sequence
    or in one text with commas between; `rambit compare --help` lists the methods. seeds: of weights, training, masks
    and draws. keep: how many of the best timestamps stay for the accuracy on them alone; None: a tenth. cells: the
    share of cells that sufficiency and comprehensiveness keep or remove. settings: hidden, head, epochs, batch_size,
    lr, weight_decay, dropout, generator_epochs, series, as `rambit compare --help` explains them.

    Models, generators and results are kept in the folder `out`: the same call goes on after an interruption, and with
    more methods, data or seeds it does only what is new. force: use a folder that holds something else.
    show_progress: draw progress bars.

    Raises ValueError or TypeError before any work for what can't be, OSError for the folder.
    """
    chosen = Settings.read(settings)
    numbers, names = read_seeds(seeds), [data] if isinstance(data, Dataset) else read_names("data", data)
    items = [parse(text) for text in read_names("methods", methods)]
    if not items or not names:
        raise ValueError("data and methods must name at least one each")
    if model is not None:
        _check_model(model, names, settings)
    show, overwrite = flag("show_progress", show_progress), flag("force", force)
    # Data and methods are checked before the folder is made.
    study = Study.plan(names, items, numbers, chosen, Path(out), show_progress=show, given=model)
    size = Size(keep, cells)
    size.check(case.data for case in study.cases)
    open_folder(out, chosen, force=overwrite)
    notes = study.run(show_progress=show)
    lines = table.read(study, size=size)
    text = table.to_text(study, lines, [*notes, size.note()])
    return Comparison(tuple(lines), tuple(notes), text, Path(out))


def _check_model(model: Any, names: Sequence[Any], settings: Iterable[str]) -> None:
    """Raise ValueError or TypeError for a model that is no classifier, several sets, or settings of its training."""
    if Predictor.of(model).output == "regression":
        raise ValueError("model must be a classifier: the table is of classes")
    if len(names) != 1:
        raise ValueError(f"model: one model reads one data set, got {len(names)}")
    for name in settings:
        if name not in ("generator_epochs", "series"):
            raise ValueError(f"{name} must not be given with model, which is not trained")


def read_names(argument: str, given: str | Iterable[str]) -> list[str]:
    """Names with options, from a sequence or one text. Raises TypeError for something else, ValueError for doubles."""
    items = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if not all(isinstance(item, str) for item in items):
        raise TypeError(f"{argument} must be names, in a sequence or in one text, got {reprlib.repr(given)}")
    return split(",".join(items))


def read_seeds(seeds: str | Iterable[int]) -> list[int]:
    """Different whole numbers from 0 on, or text such as 0,1,2. Raises ValueError, or TypeError for something else."""
    if not isinstance(seeds, Iterable):
        raise TypeError(f"seeds must be whole numbers such as (0, 1, 2), got {type(seeds).__name__}")
    items = seeds.split(",") if isinstance(seeds, str) else [str(seed) for seed in seeds]
    sound = items and all(item.isdecimal() and len(item) < 19 for item in items)
    if not sound or len({int(item) for item in items}) < len(items):
        given = seeds if isinstance(seeds, str) else ",".join(items)
        raise ValueError(f"seeds must be different whole numbers such as 0,1,2, got {shortened(given, 80)!r}")
    return [int(item) for item in items]
