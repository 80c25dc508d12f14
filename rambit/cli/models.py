"""Models that the command line takes, and how each is read; the one loader of all commands."""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from rambit.attribution.batch import Batch
from rambit.cli import common
from rambit.cli.file_kinds import STATE_DICT, file_kind, is_result
from rambit.counterfactuals import Zero
from rambit.game import Game
from rambit.models import Classifier
from rambit.predictors import Predictor
from rambit.predictors.onnx import FATAL, sentence
from rambit.predictors.predictor import LAYOUTS, OUTPUTS, Output
from rambit.store import open_file, read_file
from rambit.text import closest_first, listed
from rambit.training import load_checkpoint

MODEL_HELP = (
    "a checkpoint that `rambit train` wrote (.safetensors), an ONNX file (.onnx), a program of torch.export (.pt2), "
    "FILE.py:NAME or package.module:NAME, which is the model or, if it can be called without arguments, returns it; "
    "or, with --unsafe-load, a pickled one (.pt .pth .pkl .pickle .joblib). Code, programs and pickles run what they "
    "hold: name only those that you trust"
)
#: Suffixes of files that pickle reads, which may run any code.
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".joblib")
_SUFFIXES = (".safetensors", ".onnx", ".pt2", *PICKLES)
_FUNCTION = "write a function that makes the model and returns it, and name it as FILE.py:FUNCTION"


@dataclass(frozen=True)
class Model:
    """A model under its predictor, which knows what its classes are called; of a checkpoint, its number of features."""

    name: str
    predictor: Predictor
    features: int | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """What a checkpoint, or an estimator, calls its classes."""
        return self.predictor.class_names

    @property
    def bare(self) -> Any:
        """The module itself, where it is evaluated just as it is: what needs gradients takes it alone."""
        adds_nothing = self.predictor.layout == "BDT" and self.predictor.given_output in ("auto", "logits")
        module = self.predictor.module
        return module if adds_nothing and module is not None and not self.predictor.options() else self.predictor

    def check_features(self, features: int, data: str) -> Model:
        """Itself. Raises ValueError for a checkpoint that reads another number of features."""
        if self.features not in (None, features):
            raise ValueError(f"the model {self.name} reads {self.features} features, but {data} has {features}")
        return self


def add_model(parser: common.Parser, *, output: bool = True, required: bool = True) -> None:
    """--model and what says how it is read and evaluated; ``output``: --output too."""
    parser.add_argument("--model", metavar="MODEL", required=required, help=MODEL_HELP)
    group = parser.add_argument_group("the model (default)")
    group.add_argument("--unsafe-load", action="store_true", help="read a pickled model, which may run any code")
    if output:
        group.add_argument(
            "--output",
            choices=OUTPUTS,
            default="auto",
            help="what it returns (auto: logits, unless they are probabilities)",
        )
    group.add_argument(
        "--select",
        metavar="NAME",
        type=_select,
        help="which of several things it returns is its output: a name or a number",
    )
    group.add_argument(
        "--input-name", metavar="NAME", help="the keyword, or the ONNX input, by which it takes the series"
    )
    group.add_argument(
        "--model-layout",
        choices=LAYOUTS,
        default="BDT",
        help="the axes of what it reads: B series, D features, T steps (BDT)",
    )
    group.add_argument(
        "--model-id",
        metavar="TEXT",
        help="a name of yours by which a run that goes on knows a model that has no weights",
    )


def _select(text: str) -> str | int:
    return int(text) if text.lstrip("-").isdecimal() and len(text) < 10 else text


def read_model(
    args: argparse.Namespace,
    *,
    output: Output | None = None,
    device: torch.device | None = None,
    threshold: float = 0.5,
) -> Model:
    """The model that --model names. Raises ValueError, TypeError, OSError, ImportError, or whatever its code raises."""
    name = str(args.model)
    options: dict[str, Any] = {
        "output": output or args.output,
        "layout": args.model_layout,
        "select": args.select,
        "device": device,
        "model_id": args.model_id,
        "threshold": threshold,
        "input_name": args.input_name,
    }
    features, suffix = None, Path(name).suffix.lower()
    class_names: tuple[str, ...] = ()
    code = _code(name)
    if code is not None:
        found = _made(*code)
    elif suffix == ".safetensors":
        found, class_names = _checkpoint(name)
        features = found.num_features
    elif suffix == ".onnx":
        options["model_id"] = args.model_id or hashlib.sha256(read_file(name)).hexdigest()
        found = _onnx(name)
    elif suffix == ".pt2":
        found = _exported(name)
    elif suffix in PICKLES:
        found = _pickled(name, unsafe=args.unsafe_load)
    else:
        raise ValueError(_no_model(name))
    predictor = _predictor(name, found, options)
    predictor.class_names = class_names or predictor.class_names
    return Model(name, predictor, features)


def outputs_of(predictor: Predictor, X: Tensor, **known: Any) -> Tensor:
    """The outputs (B, C) for whole series X (B, D, T), on the CPU; ``known``: ids, lengths and observed."""
    outputs: list[Tensor] = []
    places: list[Tensor] = []
    for indices, sample in Batch.read(X, predictor, "BDT", **known).by_length():
        outputs.append(Game(predictor, sample, Zero(), evaluation="full").predict().cpu())
        places.append(indices)
    return torch.cat(outputs)[torch.cat(places).argsort()]


def _predictor(name: str, found: Any, options: dict[str, Any]) -> Predictor:
    """Raises TypeError or ValueError naming the model."""
    if isinstance(found, dict):
        what = STATE_DICT if all(isinstance(one, Tensor) for one in found.values()) else "a dictionary"
        raise TypeError(f"--model: {name} is {what}, not a model: {_FUNCTION}")
    try:
        return Predictor.of(found, **options)
    except TypeError as error:
        kind = type(found).__name__
        if "must be callable" in str(error):
            raise TypeError(f"--model: {name} is a {kind}, not a model or function") from None
        raise TypeError(f"--model: {name}: {error}") from error


# -- files -----------------------------------------------------------------------------------------------------------


def _no_model(name: str) -> str:
    """Why this is no model."""
    if Path(name).suffix == ".py" and Path(name).is_file():
        names = listed(_defined(name))
        return f"--model {name}: say which function or object of the file it is: {name}:NAME; it has {names or 'none'}"
    kind = file_kind(name) if os.path.exists(name) else ""
    if kind:
        return f"--model {name} is {kind}, not a model that can be read: {_FUNCTION}"
    return (
        f"--model must be a checkpoint (.safetensors), a file in {' '.join(_SUFFIXES[1:])}, FILE.py:NAME or "
        f"package.module:NAME, got {name}"
    )


def _checkpoint(path: str) -> tuple[Classifier, tuple[str, ...]]:
    """A checkpoint's model, and what `rambit train` noted that its classes are called, if it did so soundly."""
    try:
        model, document = load_checkpoint(path)
    except ValueError as error:
        if is_result(path):
            raise ValueError(f"--model {path} is a saved result, not a model") from None
        if "not a checkpoint" in str(error):
            raise ValueError(f"{error}; weights alone say no architecture: {_FUNCTION}") from None
        raise
    notes = document["extra"]
    names = notes.get("class_names") if isinstance(notes, dict) else None
    if not isinstance(names, list) or len(names) != model.num_classes:
        names = []
    return model, tuple(map(str, names))


def _onnx(path: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("ONNX models need onnxruntime: pip install 'rambit[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL  # whatever it would print, its errors say
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own kinds, none of them documented
        raise ValueError(f"{path} {_instead(path)}can't be read as an ONNX model: {sentence(error)}") from error


def _exported(path: str) -> Any:
    open_file(path).close()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return torch.export.load(path)
    except Exception as error:  # whatever a foreign or broken archive makes it raise
        raise ValueError(f"{path} {_instead(path)}can't be read as a program of torch.export: {error}") from error


def _instead(path: str) -> str:
    kind = file_kind(path)
    return f"is {kind} and " if kind and kind != "a program of torch.export" else ""


def _pickled(path: str, *, unsafe: bool) -> Any:
    """An object that pickle makes, if the user takes the risk."""
    kind = file_kind(path)
    if kind.startswith(("a state_dict", "a dictionary", "Keras", "a Keras", "an empty", "a broken", "a folder")):
        raise ValueError(f"--model {path} is {kind}, not a model: {_FUNCTION}")
    if not unsafe:
        raise ValueError(
            f"--model {path} is {kind or 'a pickle'}: reading it can run any code that its author put there, so it "
            f"takes --unsafe-load; or {_FUNCTION}"
        )
    try:
        if kind == "TorchScript":
            return torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
        if Path(path).suffix.lower() in (".pt", ".pth"):
            return torch.load(path, weights_only=False, map_location="cpu")
        return _joblib().load(path)
    except Exception as error:  # what the code within raises
        raise ValueError(f"{path} can't be loaded: {type(error).__name__}: {error}") from error


def _joblib() -> Any:
    """joblib, which reads plain pickles too."""
    try:
        import joblib
    except ImportError as error:
        raise ImportError("pickled models need joblib, which comes with scikit-learn: pip install joblib") from error
    return joblib


# -- code ------------------------------------------------------------------------------------------------------------


def _code(name: str) -> tuple[str, str] | None:
    """FILE.py or a module, and what is meant in it; None where a file itself is named."""
    where, colon, function = name.rpartition(":")
    if not colon or os.path.exists(name) or not all(part.isidentifier() for part in function.split(".")):
        return None
    if where.lower().endswith(".py") or all(part.isidentifier() for part in where.split(".")):
        return where, function
    return None


def _made(where: str, function: str) -> Any:
    """What the code's function returns, or the object itself that is named."""
    with _importable(where):
        found: Any = _file(where) if where.lower().endswith(".py") else importlib.import_module(where)
        for part in function.split("."):
            if not hasattr(found, part):
                there = listed(closest_first(part, _models(found)))
                raise ValueError(f"--model: {where} has no {function}" + (f"; it has {there}" if there else ""))
            found = getattr(found, part)
        if isinstance(found, (nn.Module, Predictor)) or not callable(found) or not _is_callable_alone(found):
            return found
        made = found()
    if made is None:
        raise TypeError(f"--model: {where}:{function} returned None: it must return the model")
    return made


def _is_callable_alone(function: Any) -> bool:
    """Whether it can be called without arguments, so that it makes the model and is not the model itself."""
    try:
        arguments = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # native code does not say
        return False
    # A function of any arguments may be the model; a class never is.
    optional = {inspect.Parameter.VAR_KEYWORD} | (
        {inspect.Parameter.VAR_POSITIONAL} if isinstance(function, type) else set()
    )
    return all(one.default is not one.empty or one.kind in optional for one in arguments)


@contextmanager
def _importable(where: str) -> Iterator[None]:
    """The file's folder, or of a module the current one, is where imports are looked for first, as in `python FILE`."""
    here = os.path.dirname(os.path.abspath(where)) if where.lower().endswith(".py") else os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def _file(path: str) -> ModuleType:
    """A file of code as a module, which runs it."""
    open_file(path).close()  # no such file, or no right to read it: the system's own words
    name = f"rambit_model_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} can't be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickle look for it
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _models(where: Any) -> list[str]:
    """What in a file or module may be a model or make one: nn.Modules, estimators, its own functions and classes."""
    own = getattr(where, "__name__", None)

    def is_one(name: str, found: Any) -> bool:
        if name.startswith("_") or isinstance(found, ModuleType):
            return False
        if isinstance(found, (nn.Module, Predictor)) or hasattr(found, "predict"):
            return not isinstance(found, type) or found.__module__ == own
        return callable(found) and getattr(found, "__module__", own) == own

    return [name for name, found in vars(where).items() if is_one(name, found)] if hasattr(where, "__dict__") else []


def _defined(path: str) -> list[str]:
    """The functions and classes that a file of code defines, and what it calls something for; it is not run."""
    try:
        tree = ast.parse(read_file(path))
    except (SyntaxError, ValueError, RecursionError):
        return []
    found = []
    for one in tree.body:
        if isinstance(one, (ast.FunctionDef, ast.ClassDef)):
            found.append(one.name)
        elif isinstance(one, ast.Assign) and isinstance(one.value, ast.Call):
            found += [target.id for target in one.targets if isinstance(target, ast.Name)]
    return [name for name in found if not name.startswith("_")]
