"""Results of many inputs in one store, which a killed run leaves readable and the same command goes on with."""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from rambit.checks import warn
from rambit.cli import common
from rambit.cli.rex.measures import analysed
from rambit.cli.rex.pictures import draw, named
from rambit.cli.rex.sources import Input, Source
from rambit.cli.rex.stored import PICTURE
from rambit.labels import Labels
from rambit.predictors import Predictor
from rambit.rex import NoExplanationError, ReX, RexExplanation
from rambit.rex.mask_values import is_context
from rambit.store import Store, resume_key


def explain_many(
    args: argparse.Namespace, explainer: ReX, sources: list[Source], labels: Labels, *, target: int | None
) -> None:
    """Explain what the store does not hold yet, draw what is not drawn yet, and print a summary.

    An input without an explanation is named and left out; where there is no other, NoExplanationError is raised.
    Folders in which nothing came to be go again.
    """
    for source in sources:
        Store.check_name(source.name)
    settings = {**explainer.settings(), "target": target}
    model = _fingerprint(explainer.predictor)
    rambit = version("rambit")
    started = time.perf_counter()
    parts = {"labels": labels.outputs, "analysed": True if args.analyse else None, "context": _context(explainer)}
    key = resume_key(
        settings=settings, model=model, version=rambit, **{k: v for k, v in parts.items() if v is not None}
    )
    pictures = {option: check_folder(f"--{option}", path, args.input) for option, path in named(args).items()}
    places = {folder / f"{source.name}.png" for folder in pictures.values() for source in sources}
    with (
        common.folders([Path(args.out), *pictures.values(), *(place.parent for place in places)]),
        Store(args.out, key=key, meta={**settings, "model": model, "version": rambit}) as store,
        tqdm(total=len(sources), desc="inputs", disable=not common.shows_progress(args)) as bar,
    ):
        _check_pictures(store, pictures, sources, force=args.force)
        run = _Run(args, explainer, labels, target, store, pictures, bar)
        try:
            run.explain(sources)
        finally:
            store.discard_if_empty()
    missing, kept = len(sources) - len(run.areas), run.areas
    if not kept:
        raise NoExplanationError(f"no input of {args.input} has an explanation")
    print(
        common.table(
            [
                ("inputs", f"{len(sources)} of {args.input}"),
                *args.read_from,
                ("explained", f"{run.made} now, {len(kept) - run.made} before"),
                *([("left out", missing)] if missing else []),
                ("kept", f"{sum(kept) / len(kept):.2%} on average"),
                ("rows", run.rows),
                ("seconds", f"{time.perf_counter() - started:.2f}"),
                ("wrote", ", ".join(path for path in (args.out, *named(args).values()))),
            ]
        )
    )


@dataclass
class _Run:
    """Inputs in their order: what the store holds is taken from there, all else explained, a few at a time.

    waiting: inputs that were read and have no result yet. areas: what is kept of each that has one. made: how many
    results were made now, with so many rows.
    """

    args: argparse.Namespace
    explainer: ReX
    labels: Labels
    target: int | None
    store: Store
    pictures: dict[str, Path]
    bar: Any
    waiting: deque[tuple[Source, Input]] = field(default_factory=deque)
    areas: list[float] = field(default_factory=list)
    made: int = 0
    rows: int = 0

    def explain(self, sources: list[Source]) -> None:
        """Explain all. Raises what reading raises, and of all else ValueError naming the input."""
        each = self.explainer.explain_each(self._missing(sources), keep_input=False)
        while (found := self._next(each)) is not None:
            source, one = self.waiting.popleft()
            if isinstance(found, NoExplanationError):
                warn(f"{source.name}: {found}")
                self.bar.update()
                continue
            tensors = {**found.tensors(), PICTURE: _small(one.picture)}
            self.store.put(source.name, tensors, {**found.record(), "input": resume_key(x=one.x)})
            self.made, self.rows = self.made + 1, self.rows + found.stats["rows"]
            self._keep(source, one, found)

    def _missing(self, sources: list[Source]) -> Iterator[dict[str, Any]]:
        """What `explain_each` takes of each input that is not in the store."""
        for source in sources:
            one = source.read()
            stored = None if self.args.force else _stored(self.store, source.name, one)
            if stored is not None:
                self._keep(source, one, stored)
                continue
            self.waiting.append((source, one))
            yield {"x": one.x, "target": self.target, "labels": source.labels.over(self.labels)}

    def _next(self, each: Iterator[RexExplanation | NoExplanationError]) -> RexExplanation | NoExplanationError | None:
        try:
            found = next(each, None)
            if self.args.analyse and isinstance(found, RexExplanation):
                return analysed(self.explainer, self.waiting[0][1].x, found)
            return found
        except Exception as error:  # a user's model may raise anything
            if not self.waiting:  # then it is of reading, and names the file
                raise
            what = str(error) if isinstance(error, (ValueError, RuntimeError)) else repr(error)
            raise ValueError(f"{self.waiting[0][0].name}: {what}") from error

    def _keep(self, source: Source, one: Input, found: RexExplanation) -> None:
        for option, folder in self.pictures.items():
            picture = folder / f"{source.name}.png"
            if self.args.force or not picture.exists():
                draw(option, picture, self.args, self.explainer, found, one)
        self.areas.append(found.area)
        self.bar.update()


def check_folder(option: str, path: str, read: str) -> Path:
    """A folder, or the name of one to be made, other than what is ``read``. Raises OSError or ValueError."""
    folder = Path(path)
    if folder.resolve() == Path(read).resolve():
        raise FileExistsError(f"{option} {path} is read by this command, so nothing is written there")
    if folder.suffix in (".safetensors", ".png", ".pdf", ".svg"):
        raise ValueError(f"{option} must be a folder, since there are many inputs, got {path}")
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{path} is not a folder")
    if not folder.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {folder.parent}")
    return folder


def _check_pictures(store: Store, folders: dict[str, Path], sources: list[Source], *, force: bool) -> None:
    """Raise OSError where a picture is there already that belongs to no result."""
    new = [source.name for source in sources if source.name not in store]
    common.check_outputs((folder / f"{name}.png" for folder in folders.values() for name in new), force=force)


def _small(picture: Tensor) -> Tensor:
    """A picture as bytes, where its values are of 0 … 1."""
    if picture.ndim < 4 or picture.min() < 0 or picture.max() > 1:
        return picture
    return (picture * 255).round().to(torch.uint8)


def _stored(store: Store, name: str, one: Input) -> RexExplanation | None:
    """The result that is there for this very input. Raises ValueError if it is another input's."""
    if name not in store:
        return None
    tensors, record = store.get(name)
    if record.get("input") != resume_key(x=one.x):
        raise ValueError(f"{name} has changed since its result in {store.folder} was made; --force makes it anew")
    try:
        return RexExplanation.of(tensors, record)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{store.folder}: {name!r} is no explanation: {error}; --force makes it anew") from error


def _fingerprint(predictor: Predictor) -> str:
    """What tells the model from others. Raises ValueError for a plain function without a name."""
    try:
        return resume_key(model=predictor.fingerprint())
    except ValueError:
        raise ValueError("--model is a plain function, whose results need a --model-id, any name of yours") from None


def _context(explainer: ReX) -> str | None:
    """What tells the file that replaces from others, if it is one."""
    return resume_key(context=explainer.mask_value) if is_context(explainer.mask_value) else None
