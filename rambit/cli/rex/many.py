"""Results of many inputs in one store, which a killed run leaves readable and the same command goes on with."""

from __future__ import annotations

import argparse
import time
import warnings
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from rambit.cli import common
from rambit.cli.rex.measures import analysed
from rambit.cli.rex.pictures import draw, named
from rambit.cli.rex.sources import Input, Source
from rambit.labels import Labels
from rambit.predictors import Predictor
from rambit.rex import NoExplanationError, ReX, RexExplanation
from rambit.rex.mask_values import is_context
from rambit.store import Store, make_folder, resume_key


def explain_many(
    args: argparse.Namespace, explainer: ReX, sources: list[Source], labels: Labels, *, target: int | None
) -> None:
    """Explain what the store does not hold yet, draw what is not drawn yet, and print a summary.

    An input without an explanation is named and left out; where there is no other, NoExplanationError is raised.
    """
    for source in sources:
        Store.check_name(source.name)
    settings = {**explainer.settings(), "target": target}
    model = _fingerprint(explainer.predictor)
    rambit = version("rambit")
    started, made, areas, rows = time.perf_counter(), 0, [], 0
    parts = {"labels": labels.outputs, "analysed": True if args.analyse else None, "context": _context(explainer)}
    key = resume_key(
        settings=settings, model=model, version=rambit, **{k: v for k, v in parts.items() if v is not None}
    )
    with Store(args.out, key=key, meta={**settings, "model": model, "version": rambit}) as store:
        pictures = _pictures(args, store, sources)
        for source in tqdm(sources, desc="inputs", disable=not common.shows_progress(args)):
            one = source.read()
            found = None if args.force else _stored(store, source.name, one)
            if found is None:
                try:
                    found = _explain(args, explainer, source, labels, one, target)
                except NoExplanationError as error:
                    warnings.warn(f"{source.name}: {error}", stacklevel=2)
                    continue
                store.put(source.name, found.tensors(), {**found.record(), "input": resume_key(x=one.x)})
                made, rows = made + 1, rows + found.stats["rows"]
            for option, folder in pictures.items():
                picture = folder / f"{source.name}.png"
                if args.force or not picture.exists():
                    draw(option, picture, args, explainer, found, one)
            areas.append(found.area)
    missing = len(sources) - len(areas)
    if not areas:
        raise NoExplanationError(f"no input of {args.input} has an explanation")
    print(
        common.table(
            [
                ("inputs", f"{len(sources)} of {args.input}"),
                *args.read_from,
                ("explained", f"{made} now, {len(areas) - made} before"),
                *([("left out", missing)] if missing else []),
                ("kept", f"{sum(areas) / len(areas):.2%} on average"),
                ("rows", rows),
                ("seconds", f"{time.perf_counter() - started:.2f}"),
                ("wrote", ", ".join(path for path in (args.out, *named(args).values()))),
            ]
        )
    )


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


def _pictures(args: argparse.Namespace, store: Store, sources: list[Source]) -> dict[str, Path]:
    """The folder of each kind of picture. Raises OSError where one is there already that belongs to no result."""
    folders = {option: check_folder(f"--{option}", path, args.input) for option, path in named(args).items()}
    for folder in folders.values():
        make_folder(folder)
        paths = {source.name: folder / f"{source.name}.png" for source in sources}
        for path in paths.values():
            path.parent.mkdir(parents=True, exist_ok=True)  # of a sub-folder's images
        common.check_outputs((path for name, path in paths.items() if name not in store), force=args.force)
    return folders


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


def _explain(
    args: argparse.Namespace, explainer: ReX, source: Source, labels: Labels, one: Input, target: int | None
) -> RexExplanation:
    named_so = source.labels.over(labels)
    try:
        # Without the input, which is a file already.
        found = explainer.explain(one.x, target=target, keep_input=False, labels=named_so)
        return analysed(explainer, one.x, found) if args.analyse else found
    except NoExplanationError:
        raise
    except Exception as error:  # a user's model may raise anything
        what = str(error) if isinstance(error, (ValueError, RuntimeError)) else repr(error)
        raise ValueError(f"{source.name}: {what}") from error
