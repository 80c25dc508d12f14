"""What the engine needs of a model, and the checks on what comes back."""

from __future__ import annotations

import copy
import functools
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from rambit import memory
from rambit.arrays import usable_device
from rambit.checks import count, number, warn
from rambit.predictors.activations import Activations
from rambit.predictors.extra import SERIES, Extra
from rambit.predictors.holding import evaluating
from rambit.predictors.identity import identity
from rambit.store import resume_key

Output = Literal["auto", "logits", "probs", "regression"]
OUTPUTS: tuple[Output, ...] = get_args(Output)
Layout = Literal["BDT", "BTD"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

#: What explains the first of several labels.
ONE_LABEL = "Predictor.of(model, output='probs', select=lambda outputs: outputs[:, :1])"
#: By how much the sum of probabilities misses 1 for rounding alone.
ROUNDING = 1e-5

State = Any  # a tensor, or a tuple, list or dict of tensors, each with the row as its first dimension


Kind = TypeVar("Kind", bound="Predictor")


class PredictionError(RuntimeError):
    """The model returned NaN, another shape, or values that are not what ``output`` says."""


class Predictor(ABC):
    """A model that gives outputs for batches (N, D, w) of equal length.

    ``modes`` says which calls it claims to serve: ``whole`` (every model), ``causal`` (an output at each step
    from one call) and ``stateful`` (it advances from a state). ``auto`` confirms a claim before it is used.
    """

    #: Which of "causal" and "stateful" the model claims.
    modes: frozenset[str] = frozenset()
    #: The claims hold by construction: they are not confirmed at each run.
    proven = False
    #: The mode that it is evaluated in was confirmed, by a caller that knows that it is the same model still.
    confirmed = False
    #: The claims were read from its graph: nobody made them who should hear that one does not hold.
    recognised = False
    #: Several steps cost it less in one call than one by one, even of a few rows: its state is long.
    long_state = False
    #: Rows are built with features last in memory, so that the model reads them without a copy.
    features_last = False
    #: The model takes lengths: where each series ends.
    takes_lengths = False
    #: Its outputs were looked at, see ``rambit.game.guards``.
    looked = False
    #: The raw outputs (n, C) that were seen then.
    seen: Tensor | None = None
    #: What it calls its classes, if it does.
    class_names: tuple[str, ...] = ()
    #: Taken as logits without being told so, they were too large for that in every row.
    too_large = False
    #: It returned a single column, p of class 1.
    one_column = False
    #: It has no weights, and no device was given: it is called wherever the series are.
    follows_series = False
    #: Rows (N, 1, w) hold the ids of tokens, of which the model reads (N, w) int64; set by the game that it plays.
    tokens = False
    #: The features that hold categories.
    categorical: tuple[int, ...] = ()
    #: The argument by which the model takes them apart.
    categorical_name: str | None = None
    #: Options of the constructor beside the common ones.
    own_options: tuple[str, ...] = ()
    #: The shape of a row's outputs at one step, once they were seen: (C,), or (H, Q) of forecasts.
    axes: tuple[int, ...] | None = None
    #: A function of the raw outputs (N, …) that is explained in their place, (N,) or (N, K).
    explained: Callable[[Tensor], Tensor] | None = None
    #: By how much probabilities may miss a sum of one.
    sum_tolerance = 1e-3

    def __init__(
        self,
        *,
        output: Output = "logits",
        layout: Layout = "BDT",
        device: torch.device | str | None = None,
        model_id: str | None = None,
        threshold: float = 0.5,
        categorical: Sequence[int] | None = None,
    ) -> None:
        if output not in OUTPUTS:
            raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, got {output!r}")
        if layout not in LAYOUTS:
            raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
        #: What calls of it make of a row, by what they are called with, see ``rambit.game.batch_size``.
        self.activations: dict[Any, Activations | None] = {}
        self.threshold = number("threshold", threshold, 0.0, 1.0, above=True)
        if self.threshold != 0.5 and output == "regression":
            raise ValueError(f"threshold={threshold} is for the decisions of classifiers, got output='regression'")
        self.output = "logits" if output == "auto" else output
        self.given_output, self.undecided = output, output == "auto"
        self.layout = layout
        self.device = usable_device(device)
        self.model_id = model_id
        self.categorical = _distinct("categorical", categorical)
        if layout == "BTD":
            self.features_last = True

    def device_for(self, series: Tensor) -> torch.device:
        """The device on which these series' rows are made and outputs compared: the model's, if that has float64."""
        device = series.device if self.follows_series else self.device
        return torch.device("cpu") if device.type in memory.WITHOUT_FLOAT64 else device

    @property
    def keeps_nothing(self) -> bool:
        """Whether no call of the model leaves anything in it: then it may be evaluated in inference mode."""
        return False

    @classmethod
    def serves(cls, model: Any) -> bool:
        """Whether a model is evaluated in this way."""
        return False

    # -- what a model must say -----------------------------------------------------------------------------------

    @abstractmethod
    def call_whole(self, x: Tensor, lengths: Tensor | None, **extra: Tensor) -> Tensor:
        """The raw output (N, C), or (N,) for regression, at the last step of x (N, D, w).

        ``extra``: the inputs given as ``extra=``, and ``series`` where this method has an argument of that name: which
        series each row is of, (N,) int64, by its id.
        """

    def call_steps(self, x: Tensor, **extra: Tensor) -> Tensor:
        """The raw outputs (N, C, w) at every step of x (N, D, w)."""
        raise TypeError(f"{type(self).__name__} has no output at every step")

    def call_advance(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The raw outputs (N, C, w) along x (N, D, w) from ``state``, and the state after it."""
        raise TypeError(f"{type(self).__name__} has no state")

    #: The module whose training flags and weights matter, if there is one.
    module: nn.Module | None = None

    @property
    def takes_series(self) -> bool:
        """Whether its calls are told which series each row is of."""
        return SERIES in _parameters(type(self).call_whole)

    def check_extra(self, names: Iterable[str]) -> None:
        """Raise ValueError for an extra input that the model has no argument for."""
        has = _parameters(type(self).call_whole)
        for name in names:
            if name not in has:
                kind = type(self).__name__
                raise ValueError(f"extra: {kind} has no argument {name.removeprefix('*')!r} in call_whole")

    def session(self, *, gradients: bool = False) -> AbstractContextManager[None]:
        """Whatever must hold while the model is evaluated: evaluation mode, no gradients unless asked for."""
        return evaluating(self, gradients=gradients, inference=self.keeps_nothing)

    def as_given(self) -> Predictor:
        """The same model, called as its author wrote it: without options that only make it faster."""
        return self

    def raw(self) -> Predictor:
        """The same model before its outputs become probabilities: in those, saturated outputs look alike."""
        given = copy.copy(self)
        given.output, given.undecided = "regression", False
        return given

    def explaining(self, function: Callable[[Tensor], Tensor] | None) -> Predictor:
        """The same model, with what a function makes of its raw outputs (N, …) as its outputs; it is not changed."""
        if function is None:
            return self
        given = copy.copy(self)
        given.explained, given.output, given.undecided, given.looked = function, "regression", False, False
        return given

    def decide(self, raw: Tensor, bounded: bool = False) -> None:
        """Under ``output="auto"``, take a model whose raw outputs (N, C) are probabilities as one that returns them.

        ``bounded``: they are known to come from a sigmoid or softmax.
        """
        if not self.undecided:
            return
        self.undecided = False
        votes = are_votes(raw)  # of which the end of a run tells
        if raw.shape[1] == 1:
            seen = "a single column that a sigmoid or softmax made" if bounded else None
        elif sum_to_one(raw):
            seen = "none is negative, each row sums to 1"
        else:
            seen = None
            if bounded:
                warn(
                    f"the model's {raw.shape[1]} outputs are probabilities that do not sum to 1, of several labels at "
                    f"once, and are taken as logits of one: {ONE_LABEL} explains one of them"
                )
        if votes or seen is not None:
            self.output = "probs"
        if seen is not None and not votes:
            warn(
                f"the model's outputs are probabilities ({seen}) and are taken as such; output='probs' says so, "
                "output='logits' contradicts"
            )

    def options(self) -> dict[str, Any]:
        """What else than the model itself its outputs depend on, as JSON-able values; what is not set is left out."""
        given: dict[str, Any] = {} if self.threshold == 0.5 else {"threshold": self.threshold}
        return {**given, "categorical": list(self.categorical)} if self.categorical else given

    def fingerprint(self) -> dict[str, Any]:
        """What a resumed run must find unchanged."""
        if self.model_id is not None:
            return {"model_id": self.model_id, **self.options()}
        if self.module is None:
            raise ValueError("checkpoint= needs model_id=, since a plain callable cannot be told apart from another")
        found = identity(self.module)
        if not found["state_dict"]:
            raise ValueError("checkpoint= needs model_id=, since a model without weights cannot be told from another")
        return {"face": type(self).__qualname__, **found, **self.options()}

    def digest(self) -> str | None:
        """A hash (hex) that tells the model from others; None for one that cannot be told, see ``fingerprint``."""
        try:
            return resume_key(model=self.fingerprint())
        except ValueError:
            return None

    # -- what the engine calls ------------------------------------------------------------------------------------

    def whole(self, x: Tensor, lengths: Tensor | None = None, extra: Extra | None = None) -> Tensor:
        """Outputs (N, C, 1): probabilities, or regression values. ``extra``: what goes with each row, (N, …)."""
        lengths = lengths if self.takes_lengths else None
        raw = self._on_device(self.call_whole, self._as_model_reads(x), lengths, **(extra or {}))
        return self.finish_whole(raw, x.shape[0])

    def finish_whole(self, raw: Any, rows: int) -> Tensor:
        """Outputs (N, C, 1) from what ``call_whole`` gave for so many rows; PredictionError where it is no output."""
        if not isinstance(raw, Tensor):
            raise PredictionError(
                f"the model returned {type(raw).__name__}, expected a tensor ({rows}, classes): pass select=, a "
                "function of what it returns, to Predictor.of"
            )
        if raw.ndim == 1 and (self.given_output != "auto" or self.explained):
            raw = raw.unsqueeze(1)
        forecasts = self.given_output == "regression" and raw.ndim == 3  # (N, H, Q): Q quantiles of each of H steps
        if (forecasts or self.explained) and raw.ndim > 1 and raw.shape[0] == rows:
            self.axes = tuple(raw.shape[1:])
            raw = raw.flatten(1)
        if raw.ndim != 2 or raw.shape[0] != rows or raw.shape[1] == 0:
            expected = f"({rows}, classes)"
            if raw.ndim == 1:
                expected += (
                    f"; ({rows},) needs output='logits' or 'probs', of the second of two classes, "
                    "or output='regression'"
                )
            elif raw.ndim == 3:
                expected += (
                    " at the last step (at every step with return_all=True); forecasts (N, H, Q) need "
                    "output='regression'"
                )
            raise PredictionError(f"the model returned shape {tuple(raw.shape)} for {rows} rows, expected {expected}")
        if self.axes is None or math.prod(self.axes) != raw.shape[1]:
            self.axes = (raw.shape[1],)
        return self.finish(raw.unsqueeze(2))

    def steps(self, x: Tensor, extra: Extra | None = None) -> Tensor:
        """Outputs (N, C, w) at every step."""
        given = dict(extra or {})
        if SERIES not in _parameters(type(self).call_steps):
            given.pop(SERIES, None)
        return self.finish(self._check_steps(self._on_device(self.call_steps, self._as_model_reads(x), **given), x))

    def advance(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Outputs (N, C, w) along x, and the state after it."""
        output = self._on_device(self.call_advance, self._as_model_reads(x), state)
        if not isinstance(output, (tuple, list)) or len(output) != 2:
            raise PredictionError(f"the model's advance returned {type(output).__name__}, expected (outputs, state)")
        raw, after = output
        return self.finish(self._check_steps(raw, x)), after

    def walk(self, like: Tensor) -> Walk:
        """For many steps on end of rows like these (…, D, …), while nobody changes the model."""
        return Walk(self)

    def _on_device(self, call: Callable[..., Any], *given: Any, **extra: Any) -> Any:
        """What a call of the model returns: rows that were made elsewhere go to its device, and outputs come back."""
        if self.device.type not in memory.WITHOUT_FLOAT64:
            return call(*given, **extra)
        given, extra = tree_map_only(Tensor, lambda tensor: tensor.to(self.device), (given, extra))
        return tree_map_only(Tensor, Tensor.cpu, call(*given, **extra))

    def _as_model_reads(self, x: Tensor) -> Tensor:
        if self.tokens:
            return x[:, 0].long()
        return x.transpose(1, 2) if self.layout == "BTD" else x

    def _check_steps(self, raw: Tensor, x: Tensor) -> Tensor:
        if isinstance(raw, Tensor) and self.given_output != "auto" and raw.ndim == 2:
            raw = raw.unsqueeze(1)
        wanted = (x.shape[0], x.shape[2])
        if not isinstance(raw, Tensor) or raw.ndim != 3 or (raw.shape[0], raw.shape[2]) != wanted or not raw.shape[1]:
            got = tuple(raw.shape) if isinstance(raw, Tensor) else type(raw).__name__
            raise PredictionError(
                f"the model returned {got} at every step, expected ({x.shape[0]}, classes, {x.shape[2]})"
            )
        return raw

    def finish(self, raw: Tensor) -> Tensor:
        """Raw (N, C, K) outputs as probabilities or regression values, in a floating type that the scores can read."""
        if self.explained is not None:
            raw = self._explain(raw, self.explained)
        if not raw.is_floating_point():
            raise PredictionError(
                f"{self.source} returned {raw.dtype}, expected floating scores: labels, votes and complex numbers are "
                "none"
            )
        if raw.dtype not in (torch.float32, torch.float64):
            raw = raw.float()
        if self.output == "regression":
            return raw
        self.one_column = raw.shape[1] == 1
        if self.threshold != 0.5 and not self.one_column:
            raise ValueError(
                f"threshold={self.threshold} is for models that return one column, the probability of class 1; this "
                f"one returned {raw.shape[1]} columns, and decides for the likeliest class"
            )
        if self.output == "logits":
            return raw.softmax(dim=1) if raw.shape[1] > 1 else torch.cat(((-raw).sigmoid(), raw.sigmoid()), dim=1)
        return torch.cat((1 - raw, raw), dim=1) if raw.shape[1] == 1 else raw

    def axes_of(self, count: int) -> tuple[int, ...]:
        """The shape of a row's outputs, which are so many."""
        known = None if self.explained else self.axes
        return known if known is not None and math.prod(known) == count else (count,)

    @property
    def source(self) -> str:
        """What outputs come from, as messages call it."""
        return "the model" if self.explained is None else "the function given as target"

    def _explain(self, raw: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """What a function makes of raw outputs (N, C, K) at each of K steps."""
        N, C, K = raw.shape
        axes = self.axes if self.axes is not None and math.prod(self.axes) == C else (C,)
        found = function(raw.transpose(1, 2).reshape(N * K, *axes))
        if not isinstance(found, Tensor) or found.ndim not in (1, 2) or len(found) != N * K or found.numel() == 0:
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise PredictionError(f"target returned {got} for outputs {(N * K, *axes)}, expected one a row")
        return found.reshape(N, K, -1).transpose(1, 2)

    def check(self, outputs: Tensor) -> Tensor:
        """For each row of (N, C, K) outputs, whether it is unusable: NaN, infinite, or no probabilities. (N,) bool."""
        bad = ~torch.isfinite(outputs).all(dim=2).all(dim=1)
        if self.output == "probs":
            off = (outputs.sum(dim=1) - 1).abs().amax(dim=1) > self.sum_tolerance
            bad = bad | off | (outputs < -1e-6).any(dim=2).any(dim=1)
        return bad

    def predicted(self, outputs: Tensor, dim: int = 1) -> Tensor:
        """The classes of probabilities (N, C, …) with the classes along ``dim``: (N, …) int64.

        Of a model of one column: 1 where p >= ``threshold``; of another: the likeliest class, the first of equals.
        """
        if self.one_column:
            return (outputs.select(dim, 1).double() >= self.threshold).long()
        return outputs.argmax(dim=dim)

    def margin(self, outputs: Tensor, target: Tensor) -> Tensor:
        """How far probabilities (…, C) are from another decision than the target (…,); negative if it is another one.

        The target's probability minus that of the best other class; of a model of one column, twice what p lies above
        the ``threshold``, or for class 0 below it.
        """
        if self.one_column and self.threshold != 0.5:
            above = 2 * (outputs[..., 1] - self.threshold)
            return torch.where(target == 1, above, -above)
        chosen = target[..., None]
        others = outputs.scatter(-1, chosen, -1.0)
        return outputs.gather(-1, chosen)[..., 0] - others.amax(dim=-1)

    def complaint(self, low: float, high: float, total: float) -> tuple[str, str]:
        """What an unusable row of outputs is, given its least and greatest value and its sum, and what may help."""
        if not math.isfinite(low + high) or self.output != "probs":
            return "NaN or infinite values", ""
        found = f"no probabilities ({low:.3g} to {high:.3g}, sum {total:.3g})"
        if low < 0 or high > 1 + self.sum_tolerance:
            return found, ": are these logits? output='logits' says so"
        return found, f": are these logits (output='logits'), or several labels at once ({ONE_LABEL} explains one)?"

    @staticmethod
    def of(
        model: Any,
        *,
        output: Output = "auto",
        layout: Layout = "BDT",
        device: torch.device | str | None = None,
        model_id: str | None = None,
        threshold: float = 0.5,
        autocast: torch.dtype | None = None,
        compile: bool | str = False,
        select: Any = None,
        input_name: str | None = None,
        categorical: Sequence[int] | None = None,
        categorical_name: str | None = None,
    ) -> Predictor:
        """Put the right face on a model.

        ``model`` is a Predictor (taken as it is), a module or callable, a module with ``predict(x, return_all=False)``,
        an estimator (EstimatorPredictor), or an ONNX Runtime session. ``output`` says what it returns: ``auto`` means
        probabilities for the two predict protocols, values for regressors, and otherwise logits, unless the outputs
        are seen to be probabilities. A single column is the probability p (or its logit) of the second of two classes,
        number 1, and completed to (1 - p, p); so is (B,) where ``output`` is given. Such a model decides for class 1
        where p >= ``threshold``. ``layout`` is the layout in which the model reads series. ``autocast`` and
        ``compile``: see ModulePredictor. ``select``: which of several things that a model returns is its output, by
        name, number or (of a module or callable) a function. ``input_name``: the keyword by which a module or callable
        takes the series, or the input of an ONNX model that holds them. ``categorical``: which features hold
        categories, whole numbers; ``categorical_name``: see ModulePredictor. Raises TypeError for anything that cannot
        be evaluated, ValueError for an option that is unknown or does not apply to the model.
        """
        common: dict[str, Any] = {
            "output": output,
            "layout": layout,
            "device": device,
            "model_id": model_id,
            "threshold": threshold,
        }
        own: dict[str, tuple[Any, Any]] = {
            "autocast": (autocast, None),
            "compile": (compile, False),
            "select": (select, None),
            "input_name": (input_name, None),
            "categorical_name": (categorical_name, None),
        }
        if categorical is not None:
            common["categorical"] = categorical
        if isinstance(model, type):
            raise TypeError(f"model must be an instance, got the class {model.__name__}: make one, {model.__name__}(…)")
        kind = None
        if isinstance(model, Predictor):
            _check_agrees(model, **common)
        else:
            kind = next((face for _, face in sorted(_FACES, key=lambda one: one[0]) if face.serves(model)), None)
            if kind is None:
                raise TypeError(f"model must be callable or have predict_proba or predict, got {type(model).__name__}")
        for name, (value, default) in own.items():
            if kind is not None and name in kind.own_options:
                common[name] = value
            elif value is not default:
                models = "modules and callables"
                if name in ("select", "input_name"):
                    models = "modules, callables and ONNX sessions"
                raise ValueError(f"{name} is for {models}, got {type(model).__name__}")
        predictor: Predictor = model if kind is None else kind(model, **common)
        return predictor


def sum_to_one(raw: Tensor) -> bool:
    """Whether raw outputs (N, C) are probabilities of C classes; logits of rows that are alike come near by chance."""
    return bool(((raw.sum(dim=1) - 1).abs() <= ROUNDING).all() & (raw >= 0).all())


def are_votes(raw: Tensor) -> bool:
    """Whether raw outputs (N, C) are one 1 among zeros in each row; of one column, some of them 0 and the others 1."""
    if not bool(((raw == 0) | (raw == 1)).all()):
        return False
    return bool(raw.amax() > raw.amin()) if raw.shape[1] == 1 else bool((raw.sum(dim=1) == 1).all())


#: Kinds of predictor that ``Predictor.of`` chooses from, and in which order they are tried.
_FACES: list[tuple[int, Any]] = []


def face(order: int) -> Callable[[type[Kind]], type[Kind]]:
    """A decorator for a kind of predictor that ``Predictor.of`` may choose; a lower ``order`` is tried first."""

    def add(kind: type[Kind]) -> type[Kind]:
        _FACES.append((order, kind))
        return kind

    return add


@functools.lru_cache(maxsize=256)
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    """The names of a function's arguments, but for those of ``**``."""
    found = inspect.signature(function).parameters.values()
    return frozenset(p.name for p in found if p.kind is not p.VAR_KEYWORD)


def _distinct(name: str, features: Sequence[int] | None) -> tuple[int, ...]:
    """Numbers of features, none twice."""
    if features is None:
        return ()
    if isinstance(features, (str, int)) or not hasattr(features, "__iter__") or getattr(features, "ndim", 1) != 1:
        raise TypeError(f"{name} must be a list of features, got {features!r}")
    found = tuple(count(f"{name}[{k}]", feature, 0) for k, feature in enumerate(features))
    if len(set(found)) < len(found):
        raise ValueError(f"{name} must name each feature once, got {list(found)}")
    return found


def _check_agrees(
    predictor: Predictor,
    *,
    output: str,
    layout: str,
    device: Any,
    model_id: str | None,
    threshold: float,
    categorical: Sequence[int] | None = None,
) -> None:
    """ValueError for an option beside a Predictor that contradicts what it was made with."""
    place = predictor.device if device is None else torch.device(device)
    if str(place) == predictor.device.type:  # "cuda" may be any of them
        place = predictor.device
    features = _distinct("categorical", categorical)
    given = {"output": output, "layout": layout, "device": place, "model_id": model_id, "threshold": threshold}
    defaults = {"output": "auto", "layout": "BDT", "device": predictor.device, "model_id": None, "threshold": 0.5}
    given["categorical"], defaults["categorical"] = features, ()
    for name, value in given.items():
        own = getattr(predictor, name)
        if value not in (own, defaults[name]):
            raise ValueError(f"{name}={str(value)!r}, but the Predictor was made with {str(own)!r}: say it there")


class Walk:
    """Many steps of the same model. One whose outputs cost extra has a walk of its own, that keeps them for later."""

    #: A step only reads the state that it is given.
    spares_state = False

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def step(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """What ``outputs`` reads, rows first, along x (N, D, w) from ``state``, and the state after it.

        Neither shares memory with x, which may be written over, nor does the one with the other.
        """
        outputs, after = self.predictor.advance(x.clone(), state)
        return (outputs if self.predictor.output == "logits" else outputs.clone()), after

    def outputs(self, hidden: Tensor) -> Tensor:
        """Outputs (N, C, w) from what a step gave, or some of its rows, or those of several steps together."""
        return hidden

    def trace(self, x: Tensor) -> Iterator[tuple[Tensor, State]]:
        """What ``step`` gives at each step of x (N, D, w) from its start."""
        state = None
        for t in range(x.shape[2]):
            hidden, state = self.step(x[:, :, t : t + 1], state)
            yield hidden, state
