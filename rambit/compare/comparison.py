"""The one call that compares, and what it returns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rambit import arrays
from rambit.checks import count, flag
from rambit.compare import table
from rambit.compare.figures import figures
from rambit.compare.judging import Judging
from rambit.compare.methods import parse, read_names
from rambit.compare.runs import Settings, Study, open_folder
from rambit.datasets import Dataset
from rambit.predictors import Predictor
from rambit.report import About, table_page
from rambit.store import save_text
from rambit.text import shortened

if TYPE_CHECKING:
    import pandas

#: What is compared, and on what, if nothing is said.
DATA = "spike,spike:delay=2,state:truth=change,state:truth=active"
METHODS = "rambit-cell,rambit-mask,leave-one-out,winit,fo,afo,random"
#: Settings of the training of models, which a given one has no use for.
TRAINING = tuple(one.name for one in fields(Settings) if one.name not in ("generator_epochs", "series"))


@dataclass(frozen=True)
class Comparison:
    """The table of methods and data sets.

    lines: every number by seed and fold, for each data set and method. notes: which methods and metrics do not fit
    which data set, and why. text: the table as it is printed. folder: where models and results are kept. tests: every
    two methods on each data set: data, metric, a, b, difference (a - b), how many series and runs (seeds and folds)
    both have, the p-values of Wilcoxon's test over series and of a paired t-test over runs, and both adjusted for all
    pairs of the set (Holm).
    """

    lines: tuple[table.Line, ...]
    notes: tuple[str, ...]
    text: str
    folder: Path
    tests: tuple[dict[str, Any], ...] = field(default=(), compare=False)
    tested: tuple[str, ...] = ()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """For each data set and method, in the order in which they were named: data, method, seeds (how many results),
        and each number's mean over them and, as name_stderr, its standard error; NaN where there is none.
        """
        return table.to_rows(self.lines)

    def to_frame(self) -> pandas.DataFrame:
        """The rows as a frame. Raises ImportError without pandas."""
        from pandas import DataFrame

        return DataFrame(self.rows)

    def save(self, folder: str | Path | None = None, name: str = "compare") -> list[Path]:
        """Write name.csv and name.txt, name-tests.csv, name-curves.csv where there are such, and, where matplotlib is
        there, name.png (bars), name-cost.png (quality against row-steps) and name-curves.png, over older ones.

        They go beside the models and results unless another folder is named. Returns their paths. Raises OSError.
        """
        where = self.folder if folder is None else Path(folder)
        tables = {".csv": table.to_csv(self.rows), ".txt": (self.text + "\n").encode()}
        for end, rows in (("-tests.csv", self.tests), ("-curves.csv", table.curve_rows(self.lines))):
            if rows:
                tables[end] = table.to_csv(rows)
        return table.write(where, name, {**tables, **figures(self.lines, self.tested)})

    def report(self, path: str | Path, *, title: str = "methods compared", force: bool = False) -> None:
        """Write one HTML file with the table, whose columns can be sorted, and the figures, to be sent.

        Errors: FileExistsError without ``force``, ValueError for a path that does not end in .html.
        """
        facts = {
            "data": sorted({one.data for one in self.lines}),
            "notes": list(self.notes),
            "rambit": version("rambit"),
        }
        titles = {".png": "quality", "-cost.png": "quality against row-steps", "-curves.png": "curves"}
        drawn = {titles[end]: image for end, image in figures(self.lines, self.tested).items()}
        save_text(path, table_page(self.rows, About(title, facts=facts), figures=drawn).encode(), ".html", force=force)

    def __str__(self) -> str:
        return self.text


def compare(
    data: str | Dataset | tuple[Any, ...] | Iterable[str] = DATA,
    methods: str | Iterable[str] = METHODS,
    *,
    out: str | Path,
    model: Any = None,
    seeds: str | Iterable[int] = (0,),
    folds: int = 1,
    force: bool = False,
    show_progress: bool = False,
    **settings: Any,
) -> Comparison:
    """Train a GRU on each data set for each seed, explain the same test series by each method, and compare.

    model: one of yours (anything that `Predictor.of` takes), which every method then explains; nothing but generators
    and selectors is trained. data: then one set, or in any case your own: a `Dataset`, such as
    `rambit.datasets.load_file` reads, or (X, y) or (X, y, salient): X (N, D, T), y (N,) or (N, T) or None, salient
    (N, D, T) bool. A fifth of it is the test part, or with a model of yours all of it, which needs no labels. Else data
    and methods: names with options, such as "spike:delay=2" and "rambit:L=5,W=10", in a sequence or in one text with
    commas between; `rambit compare --help` lists the methods. seeds: of weights, training, masks and draws. folds:
    above 1, each of so many parts of a set is once the test part, and models are trained on the others.

    settings, of the judgement (docs/compare.md): metrics, names with options of `rambit.metrics.MEASURES` and
    `FAITHFULNESS`; cells, the share of cells that is removed or alone kept, or several; counterfactuals, what stands
    where they are removed ("zero,mean"); order, "most" or "least" important first, or both; keep, the best timestamps
    that accuracy_kept keeps; curves, points of the curves over the share of cells; test, metrics whose differences
    between methods are tested. Of training: hidden, head, epochs, batch_size, lr, weight_decay, dropout,
    generator_epochs, series, as `rambit compare --help` explains them.

    Models, generators and results are kept in the folder `out`: the same call goes on after an interruption, and with
    more methods, data or seeds it does only what is new. force: use a folder that holds something else.
    show_progress: draw progress bars.

    Raises ValueError or TypeError before any work for what can't be, OSError for the folder.
    """
    judged = {one.name: settings.pop(one.name) for one in Judging.options() if one.name in settings}
    chosen, judging = Settings.read(settings), Judging(**judged)
    numbers, names = read_seeds(seeds), read_data(data)
    items = [parse(text) for text in read_names("methods", methods)]
    if not items or not names:
        raise ValueError("data and methods must name at least one each")
    count("folds", folds)
    if model is not None:
        _check_model(model, names, [*settings, *(["folds"] if folds > 1 else [])], curves=judging.curves > 0)
    show, overwrite = flag("show_progress", show_progress), flag("force", force)
    # Data and methods are checked before the folder is made.
    study = Study.plan(names, items, numbers, chosen, Path(out), show_progress=show, given=model, folds=folds)
    judging.check(case.data for case in study.cases)
    open_folder(out, chosen, force=overwrite)
    notes = study.run(show_progress=show)
    lines, more = table.read(study, judging=judging)
    notes += more
    tests = table.differences(lines, judging, folds)
    text = table.to_text(study, lines, [*notes, *judging.notes()], tests=tests)
    return Comparison(tuple(lines), tuple(notes), text, Path(out), tuple(tests), tuple(judging.tested))


def _check_model(model: Any, names: Sequence[Any], settings: Iterable[str], *, curves: bool) -> None:
    """Raise ValueError or TypeError for no model, several sets, settings of its training, or curves of a regression."""
    if Predictor.of(model).output == "regression" and curves:
        raise ValueError("curves must be 0 for a regression: they follow a class's probability")
    if len(names) != 1:
        raise ValueError(f"model: one model reads one data set, got {len(names)}")
    for name in settings:
        if name in (*TRAINING, "folds"):
            raise ValueError(f"{name} must not be given with model, which is not trained")


def read_data(given: Any) -> list[Any]:
    """Names of data sets, or the user's own. Raises TypeError for something else, ValueError for a wrong set."""
    if isinstance(given, Dataset):
        return [given]
    if not (isinstance(given, tuple) and given and arrays.is_array(given[0])):
        return list(read_names("data", given))
    if not 2 <= len(given) <= 3:
        raise ValueError(f"data must be (X, y) or (X, y, salient), got {len(given)} arrays")
    named = zip(("X", "y", "salient"), given, strict=False)
    parts = {name: arrays.whole(f"data: {name}", one).numpy(force=True) for name, one in named if one is not None}
    y, salient = parts.get("y"), parts.get("salient")
    if y is not None:
        y = y.astype(np.float32 if y.dtype.kind == "f" else np.int64)
    return [Dataset("data", parts["X"].astype(np.float32), y, None if salient is None else salient.astype(bool))]


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
