"""A folder of models, generators and results, each made once and named by everything that it depends on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from rambit.checks import count, number, one_of
from rambit.compare.methods import Method
from rambit.counterfactuals import FeatureGenerator, JointGenerator
from rambit.datasets import DATASETS, Dataset, load
from rambit.models import HEADS, Classifier, build_model
from rambit.models.sequence_classifier import dropout_rate
from rambit.predictors import Predictor
from rambit.store import atomic_write, make_folder, read_file, resume_key
from rambit.text import MOST, MOST_UNITS
from rambit.training import evaluate, fit, load_checkpoint, save_checkpoint

SETTINGS = "settings.json"
COUNTS = ("hidden", "epochs", "batch_size", "generator_epochs", "series")
G = TypeVar("G", FeatureGenerator, JointGenerator)
PREDICTED = 10  # steps that a generator looks ahead


@dataclass(frozen=True)
class Settings:
    """What all runs of one folder share: how the GRU and the generators are trained, and how many series explained.

    hidden: size of the GRU. head: its last layers, one of `rambit.models.HEADS`. epochs, batch_size, lr,
    weight_decay: of its training. dropout: before the output. generator_epochs: of the generators' training. series:
    test series that are explained. Raises TypeError or ValueError for what can't be.
    """

    hidden: int = 200
    head: str = "batchnorm"
    epochs: int = 30
    batch_size: int = 100
    lr: float = 1e-3
    weight_decay: float = 1e-3
    dropout: float = 0.5
    generator_epochs: int = 30
    series: int = 50

    def __post_init__(self) -> None:
        for name in COUNTS:
            count(name, getattr(self, name), 1, MOST_UNITS if name == "hidden" else MOST)
        one_of("head", self.head, HEADS)
        number("lr", self.lr, 0.0, above=True)
        number("weight_decay", self.weight_decay, 0.0)
        dropout_rate(self.dropout)

    @staticmethod
    def read(given: Mapping[str, Any], default: Settings | None = None) -> Settings:
        """The default with the values that are given. Raises TypeError for another name."""
        names = [field.name for field in fields(Settings)]
        for name in given:
            if name not in names:
                raise TypeError(f"there is no setting {name!r}; the settings: {', '.join(names)}")
        return replace(default or Settings(), **given)

    def training(self) -> dict[str, Any]:
        """What the classifier depends on."""
        return {name: value for name, value in asdict(self).items() if name not in ("generator_epochs", "series")}


def open_folder(out: str | Path, settings: Settings, *, force: bool) -> Path:
    """Make the folder, or go on in it. Raises OSError or ValueError for one that holds something else."""
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{out} is not a folder")
    path = folder / SETTINGS
    if path.exists() and not force:
        try:
            found = dict(json.loads(read_file(path)))
        except (ValueError, TypeError, RecursionError):
            raise ValueError(f"{path} holds no settings; name another out, or force=True writes there") from None
        wanted = asdict(settings)
        lines = [
            f"{n} {found.get(n)}, not {wanted.get(n)}" for n in {**wanted, **found} if found.get(n) != wanted.get(n)
        ]
        if lines:
            raise ValueError(f"{out} was made with {'; '.join(lines)}: name another out, or force=True starts anew")
    elif folder.is_dir() and not force and any(folder.iterdir()):
        raise FileExistsError(f"{out} holds something else; name another out, or force=True writes there")
    for part in ("models", "results"):
        make_folder(folder / part)
    text = json.dumps(asdict(settings), indent=2) + "\n"
    if not path.exists() or path.read_text() != text:
        atomic_write(path, text.encode())
    return folder


@dataclass(frozen=True)
class Data:
    """A data set's train part, its test part, and the series of that which every method explains."""

    name: str
    train: Dataset
    test: Dataset
    explained: Dataset
    fold: int = 0

    @property
    def whole(self) -> bool:
        """Whether a series has one label, not one for each step."""
        return self.train.y is not None and self.train.y.ndim == 1

    @property
    def anchor(self) -> str | None:
        """Where outputs have labels: at the end or at each cell's time; None without labels."""
        return None if self.train.y is None else "end" if self.whole else "cell"

    @staticmethod
    def read(name: str | Dataset, series: int, *, labelled: bool = True) -> Data:
        """The parts of a set by its name, or of the user's own.

        Of the user's own, a fifth of the series is the test part; where no model is trained, so that no labels are
        needed (``labelled``: False), all series are both parts. Raises ValueError for a set without classes, with
        padding, or whose salient cells are in other series.
        """
        if isinstance(name, Dataset):
            train, test = name.split(0.8) if labelled else (name, name)
            return Data._of(name.name, train, test, series, labelled=labelled)
        _check_name(name)
        return Data._of(name, load(name, "train"), load(name, "test"), series, labelled=labelled)

    @staticmethod
    def folds(name: str | Dataset, series: int, count: int) -> list[Data]:
        """Of all series of a set, each part of ``count`` once as the test part; ValueErrors as of `read`."""
        if isinstance(name, Dataset):
            text, whole = name.name, name
        else:
            _check_name(name)
            text, whole = name, load(name)
        if not 2 <= count <= len(whole):
            raise ValueError(f"folds must be between 1 and the {len(whole)} series of {text}, got {count}")
        fold = np.empty(len(whole), dtype=np.int64)
        fold[np.random.default_rng(0).permutation(len(whole))] = np.arange(len(whole)) % count
        parts = [(whole.take(np.flatnonzero(fold != i)), whole.take(np.flatnonzero(fold == i))) for i in range(count)]
        return [Data._of(text, train, test, series, fold=i) for i, (train, test) in enumerate(parts)]

    @staticmethod
    def _of(name: str, train: Dataset, test: Dataset, series: int, *, labelled: bool = True, fold: int = 0) -> Data:
        """Checked, and with the series that are explained chosen."""
        if train.y is None and labelled:
            raise ValueError(f"data: {name} has no labels, which a classifier is trained on")
        if labelled and train.y is not None and train.y.dtype != np.int64:
            raise ValueError(f"data: {name} has real numbers for labels, but the model is a classifier")
        if train.lengths is not None:
            raise ValueError(f"data: {name} has series of several lengths, and the table takes those of one length")
        count = min(series, len(test))
        # The archive's sets are sorted by class: the first series would all be of one.
        stride = len(test) // count if train.y is not None and train.y.ndim == 1 else 1
        data = Data(name, train, test, test.take(range(0, count * stride, stride)), fold)
        truth = data.explained.salient
        if truth is not None and not truth[:, :, 1:].any():
            raise ValueError(f"data: no salient cell in the {count} test series of {name} that would be explained")
        return data


def _check_name(name: str) -> None:
    if name.partition(":")[0] not in DATASETS:
        raise ValueError(f"data: unknown data set {name!r}; known: {', '.join(DATASETS)}")


def _fingerprint(model: Any) -> dict[str, Any]:
    """What tells a given model from another. Raises ValueError for one without weights or a model_id."""
    try:
        return Predictor.of(model).fingerprint()
    except ValueError:
        raise ValueError(
            "model: a plain function can't be told from another when a run goes on: give Predictor.of(model, "
            "model_id=...), on the command line --model-id"
        ) from None


def _labels(data: Dataset) -> NDArray[np.int64]:
    assert data.y is not None  # or it would not have been read
    return data.y


@dataclass(frozen=True)
class Case:
    """One data set and one seed: a model, its generators, and the results of methods that explain it.

    given: the user's own model, which is explained instead of a trained one.
    """

    data: Data
    seed: int
    settings: Settings
    folder: Path
    show_progress: bool = False
    given: Any = None

    # -- names: data sets that differ in their ground truth alone share their models and results --------------------

    @cached_property
    def key(self) -> str:
        """Of everything that the classifier depends on; of a given one, the model itself and the seed of methods."""
        if self.given is not None:
            return resume_key(given=_fingerprint(self.given), seed=self.seed)
        X = self.data.train.X
        return resume_key(X=X, y=self._targets, training=self.settings.training(), seed=self.seed)

    def model_path(self) -> Path:
        """Where the classifier is kept."""
        return self.folder / "models" / f"gru-{self.key[:20]}.safetensors"

    def result_path(self, method: Method) -> Path:
        """Where the method's result is kept."""
        key = resume_key(
            model=self.key,
            X=self.data.explained.X,
            generator_epochs=self.settings.generator_epochs,
            kind=method.kind,
            options=method.options_for(self.data.anchor),
        )
        stem = re.sub(r"[^A-Za-z0-9]+", "-", method.text)[:60]
        return self.folder / "results" / f"{stem}-{key[:20]}.safetensors"

    # -- what methods are built from --------------------------------------------------------------------------------

    @property
    def _targets(self) -> NDArray[np.int64]:
        """(N, T): what each step learns. A series' one label is that of all its steps, for outputs at each."""
        y = _labels(self.data.train)
        return np.repeat(y[:, None], self.data.train.X.shape[2], axis=1) if self.data.whole else y

    @cached_property
    def _model(self) -> Classifier:
        path = self.model_path()
        if path.exists():
            return load_checkpoint(path)[0]
        train, test, settings = self.data.train, self.data.test, self.settings
        labels = _labels(test)
        config = {
            "model": "GRUClassifier",
            "num_features": train.X.shape[1],
            "num_classes": len(train.class_names),
            "hidden_size": settings.hidden,
            "head": settings.head,
            "dropout": settings.dropout,
        }
        model = build_model(config, seed=self.seed)
        history = fit(
            model,
            train.X,
            self._targets,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            seed=self.seed,
            per_step=True,
            show_progress=self.show_progress,
        )
        notes = {
            "training": settings.training(),
            "seed": self.seed,
            "loss": history.train_loss[history.best_epoch],
            "seconds": history.seconds,
            "accuracy": evaluate(model, test.X, labels, per_step=not self.data.whole)["accuracy"],
            "majority": float(np.bincount(labels.ravel()).max() / labels.size),
        }
        save_checkpoint(path, model, notes)
        return model

    def model(self) -> Any:
        """The classifier that was given, or trained."""
        return self._model if self.given is None else self.given

    def background(self) -> Tensor:
        """The train part, which values are drawn from."""
        return torch.from_numpy(self.data.train.X)

    def generator(self) -> FeatureGenerator:
        """Feature by feature, as in WinIT."""
        return self._generator

    def joint_generator(self) -> JointGenerator:
        """All features at once, as in FIT."""
        return self._joint_generator

    @cached_property
    def _generator(self) -> FeatureGenerator:
        return self._trained(FeatureGenerator)

    @cached_property
    def _joint_generator(self) -> JointGenerator:
        return self._trained(JointGenerator)

    def _trained(self, kind: type[G]) -> G:
        X, epochs = self.data.train.X, self.settings.generator_epochs
        key = resume_key(X=X, epochs=epochs, seed=self.seed, kind=kind.__name__)
        path = self.folder / "models" / f"{kind.__name__}-{key[:20]}.safetensors"
        if path.exists():
            return kind.load(path)
        generator = kind(X.shape[1], prediction_size=PREDICTED, seed=self.seed)
        generator.fit(X, epochs=epochs, seed=self.seed, show_progress=self.show_progress)
        generator.save(path)
        return generator

    # -- work ---------------------------------------------------------------------------------------------------------

    def explain(self, method: Method) -> str:
        """Make the method's result unless it is there; why it can't be made, or nothing."""
        path = self.result_path(method)
        if path.exists():
            return ""
        X = torch.from_numpy(self.data.explained.X)
        attributor = method.build(self)
        try:
            result = attributor.explain(X)
        except ValueError as error:  # raised before any work: the method does not serve these series
            return " ".join(str(error).split())
        # Another process may have made the same in the meantime.
        replace(result, settings={**result.settings, "text": method.text}).save(path, force=True)
        return ""

    @property
    def run(self) -> tuple[int, int]:
        """Which of the set's runs it is: seed and fold."""
        return self.seed, self.data.fold

    def forget(self) -> None:
        """Free the model's memory; it is read again when it is needed."""
        vars(self).pop("_model", None)


@dataclass(frozen=True)
class Sketch:
    """Untrained parts, on which a method is built only to see whether its options fit together."""

    data: Data
    seed: int = 0
    given: Any = None

    def model(self) -> Any:
        """The model that was given, or an untrained one of one unit."""
        if self.given is not None:
            return self.given
        classes = max(2, len(self.data.train.class_names))
        config = {"model": "GRUClassifier", "num_features": self.data.train.X.shape[1], "num_classes": classes}
        return build_model({**config, "hidden_size": 1}, seed=self.seed)

    def background(self) -> Tensor:
        """A few series."""
        return torch.from_numpy(self.data.train.X[:50])

    def generator(self) -> FeatureGenerator:
        """An untrained one."""
        return FeatureGenerator(self.data.train.X.shape[1], 1, PREDICTED, seed=self.seed)

    def joint_generator(self) -> JointGenerator:
        """An untrained one."""
        return JointGenerator(self.data.train.X.shape[1], 1, 1, PREDICTED, seed=self.seed)


@dataclass(frozen=True)
class Study:
    """Data sets × methods × seeds in one folder."""

    cases: tuple[Case, ...]
    methods: tuple[Method, ...]

    @staticmethod
    def plan(
        names: Sequence[str | Dataset],
        methods: Iterable[Method],
        seeds: Iterable[int],
        settings: Settings,
        folder: Path,
        *,
        show_progress: bool,
        given: Any = None,
        folds: int = 1,
    ) -> Study:
        """Read the data and build each method once, so that what is wrong is said before any work."""
        methods = tuple(methods)
        sets: list[Data] = []
        for name in names:
            if folds == 1:
                sets.append(Data.read(name, settings.series, labelled=given is None))
            else:
                sets += Data.folds(name, settings.series, folds)
        for data in sets:
            for method in methods if data.fold == 0 else ():
                method.check(Sketch(data, given=given))
        seeds = tuple(seeds)
        cases = tuple(Case(data, seed, settings, folder, show_progress, given) for data in sets for seed in seeds)
        return Study(cases, methods)

    def run(self, *, show_progress: bool) -> list[str]:
        """Do what is not done yet. Returns a note for each data set and method that do not fit."""
        notes: dict[str, None] = {}
        with tqdm(total=len(self.cases) * len(self.methods), desc="methods", disable=not show_progress) as bar:
            for case in self.cases:
                for method in self.methods:
                    bar.set_postfix_str(f"{case.data.name} {method.text}")
                    reason = case.explain(method)
                    if reason:
                        notes[f"{method.text} on {case.data.name}: {reason}"] = None
                    bar.update()
                case.forget()
        return list(notes)
