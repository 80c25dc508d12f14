"""Results of many inputs in one store, which a killed run leaves readable and the same command goes on with."""

from __future__ import annotations

import argparse
import time
import warnings
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from rambit.cli import common
from rambit.cli.rex.sources import Input, Source
from rambit.predictors import Predictor
from rambit.rex import NoExplanationError, ReX, RexExplanation
from rambit.store import Store, make_folder, resume_key


def explain_many(args: argparse.Namespace, explainer: ReX, sources: list[Source], *, target: int | None) -> None:
    """Explain what the store does not hold yet, draw what is not drawn yet, and print a summary.

    An input without an explanation is named and left out; where there is no other, NoExplanationError is raised.
    """
    for source in sources:
        Store.check_name(source.name)
    settings = {**explainer.settings(), "target": target}
    model = _fingerprint(explainer.predictor)
    rambit = version("rambit")
    started, made, areas, rows = time.perf_counter(), 0, [], 0
    key = resume_key(settings=settings, model=model, version=rambit)
    with Store(args.out, key=key, meta={**settings, "model": model, "version": rambit}) as store:
        pictures = _pictures(args, store, sources)
        for source in tqdm(sources, desc="inputs", disable=not common.shows_progress(args)):
            one = source.read()
            found = None if args.force else _stored(store, source.name, one)
            if found is None:
                try:
                    found = _explain(explainer, source, one, target)
                except NoExplanationError as error:
                    warnings.warn(f"{source.name}: {error}", stacklevel=2)
                    continue
                store.put(source.name, found.tensors(), {**found.record(), "input": resume_key(x=one.x)})
                made, rows = made + 1, rows + found.stats["rows"]
            picture = pictures.get(source.name)
            if picture is not None and (args.force or not picture.exists()):
                found.plot(picture, x=one.picture)
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
                ("wrote", ", ".join(path for path in (args.out, args.figure) if path is not None)),
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
    """Where each picture goes. Raises OSError where one is already there that belongs to no stored result."""
    if args.figure is None:
        return {}
    folder = check_folder("--figure", args.figure, args.input)
    paths = {source.name: folder / f"{source.name}.png" for source in sources}
    common.check_figure("any.png")
    make_folder(folder)
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)  # of a sub-folder's images
    common.check_outputs((path for name, path in paths.items() if name not in store), force=args.force)
    return paths


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


def _explain(explainer: ReX, source: Source, one: Input, target: int | None) -> RexExplanation:
    try:
        # Without the input, which is a file already.
        return explainer.explain(one.x, target=target, keep_input=False, labels=source.labels)
    except NoExplanationError:
        raise
    except Exception as error:  # a user's model may raise anything
        what = str(error) if isinstance(error, (ValueError, RuntimeError)) else repr(error)
        raise ValueError(f"{source.name}: {what}") from error
