"""Torch modules and plain callables, and modules with the ``predict(x, return_all=False)`` protocol."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from rambit import arrays
from rambit.models.sequence_classifier import at_lengths
from rambit.predictors.choice import Choice, Select
from rambit.predictors.compiled import MODES, Compiled, Mode
from rambit.predictors.extra import Extra, split
from rambit.predictors.fused import Steps, StepsWalk, is_wrapped, pays
from rambit.predictors.holding import move
from rambit.predictors.predictor import Layout, Output, Predictor, State, Walk, face


def arguments(function: Any) -> dict[str, Any]:
    """The kinds (of inspect.Parameter) of a callable's arguments by name; none where they are not known."""
    if isinstance(function, (torch.ScriptMethod, torch.ScriptFunction)):
        schema: Any = function.schema
        return {one.name: inspect.Parameter.POSITIONAL_OR_KEYWORD for one in schema.arguments}
    try:
        return {name: one.kind for name, one in inspect.signature(function).parameters.items()}
    except (TypeError, ValueError):
        return {}


def takes(function: Any, argument: str) -> bool:
    """Whether a callable has an argument of that name (``**kwargs`` do not count: they may be passed on to nowhere)."""
    return function is not None and argument in arguments(function)


_NOT_BY_NAME = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.VAR_KEYWORD,
)


@face(3)
class ModulePredictor(Predictor):
    """A module or callable on (N, D, w). ``return_all`` makes it causal, ``advance(x, state)`` stateful.

    * ``autocast`` (torch.bfloat16 or torch.float16): it is called under ``torch.autocast`` for its device; its outputs
      come back in float32 before they become probabilities. Scores are differences of outputs: what is below the
      rounding of its type (bfloat16: 0.4 %, float16: 0.05 %) is lost.
    * ``compile``: calls on whole inputs, with and without ``return_all``, go through ``torch.compile``; True or a mode
      of it: default, reduce-overhead, max-autotune, max-autotune-no-cudagraphs. Steps from a state and calls for
      gradients do not. What the model is made of, hooks included, is read at the first call; weights at each. CUDA
      graphs are recorded for each shape of input, and belong to the thread that recorded them: they suit series of
      one length (``anchor="end"``), in one thread.

    * ``select``: which of several things that it returns is its output, see ``choice.Choice``.
    * ``input_name``: the keyword by which it takes the series; without it they are the first argument.

    ``return_all`` is always passed, False for the output at the last step alone, whatever its default.

    * ``categorical_name``: the features that are ``categorical`` are passed by this name, as an int64 tensor (N, K, w),
      in the order given; x holds the others. (N, w, K) with layout BTD.

    Training flags, weights, and what the model claims are those of the model as it was given, and its claims are
    confirmed without either option. A run with other options is another run for ``checkpoint=``. Raises ValueError
    for an option that is unknown, that the device does not offer, or that the model's float64 parameters would ignore.
    """

    own_options = ("autocast", "compile", "select", "input_name", "categorical_name")

    @classmethod
    def serves(cls, model: Any) -> bool:
        return callable(model)

    def __init__(
        self,
        model: Any,
        *,
        output: Output = "auto",
        layout: Layout = "BDT",
        device: torch.device | str | None = None,
        model_id: str | None = None,
        threshold: float = 0.5,
        autocast: torch.dtype | None = None,
        compile: bool | Mode = False,
        select: Select = None,
        input_name: str | None = None,
        categorical: Sequence[int] | None = None,
        categorical_name: str | None = None,
    ) -> None:
        module = model if isinstance(model, nn.Module) else None
        weights = () if module is None else chain(module.parameters(), module.buffers())
        home = next((t.device for t in weights), None)
        self.follows_series = device is None and home is None and autocast is None
        device = home if device is None else device
        super().__init__(
            output=output,
            layout=layout,
            device=device,
            model_id=model_id,
            threshold=threshold,
            categorical=categorical,
        )
        _check_autocast(autocast, self.device, module)
        if categorical_name is not None and not (isinstance(categorical_name, str) and self.categorical):
            raise ValueError(f"categorical_name must be a name, beside categorical=, got {categorical_name!r}")
        self.categorical_name = categorical_name
        if not isinstance(compile, bool) and compile not in MODES:
            raise ValueError(f"compile must be True, False or one of {', '.join(MODES)}, got {compile!r}")
        self.model, self.module, self.choice = model, module, Choice(select)
        self._narrow = arrays.narrow_type(module)
        self.autocast, self.compile = autocast, "default" if compile is True else compile
        if autocast is not None:
            self.sum_tolerance = max(self.sum_tolerance, torch.finfo(autocast).eps)
        if module is not None:
            move(module, self.device)
        called = self._called()
        self._call = Compiled(called, self.compile) if self.compile else called
        known = arguments(_forward_of(called))
        _check_input_name(input_name, known)
        self.input_name = input_name
        claimed = set()
        self._one_output = {"return_all": False} if "return_all" in known else {}
        self._by_place = known.get("return_all") is inspect.Parameter.POSITIONAL_ONLY
        if self._one_output:
            claimed.add("causal")
        if callable(getattr(model, "advance", None)):
            claimed.add("stateful")
        self.modes = frozenset(claimed)
        self.takes_lengths = "lengths" in known
        self.features_last = self.features_last or bool(getattr(model, "features_last", False))

    def _called(self) -> Any:
        """What is called on whole inputs."""
        return self.model

    def as_given(self) -> Predictor:
        if self.autocast is None and not self.compile:
            return self
        given = copy.copy(self)
        given.autocast, given.compile, given._call = None, False, self._called()
        given.sum_tolerance = type(self).sum_tolerance
        return given

    def options(self) -> dict[str, Any]:
        given = {
            "autocast": self.autocast and str(self.autocast),
            "compile": self.compile or None,
            "select": self.choice.describe(),
            "input_name": self.input_name,
            "categorical_name": self.categorical_name,
        }
        return {**super().options(), **{name: value for name, value in given.items() if value is not None}}

    def check_extra(self, names: Iterable[str]) -> None:
        names = list(names)
        if not names:
            return
        ours = {self.input_name, self.categorical_name, *self._one_output} | (
            {"lengths"} if self.takes_lengths else set()
        )
        if taken := [name for name in names if name in ours]:
            raise ValueError(f"extra holds {taken[0]!r}, which the model is given already: leave it out")
        places, named = self._passed(object(), dict.fromkeys(names, torch.empty(0)), **self._one_output)
        try:
            signature = inspect.signature(_forward_of(self._called()))
            signature.bind_partial(*places, **named)
        except ValueError:  # a function without a signature
            return
        except TypeError as error:
            raise ValueError(f"extra does not fit the model, which takes {signature}: {error}") from None

    def call_whole(self, x: Tensor, lengths: Tensor | None, **extra: Tensor) -> Tensor:
        to_be_called = self.compile or extra or (self.module is not None and is_wrapped(self.module))
        found = None if to_be_called else self._fused(x, None)
        if found is not None:
            last: Tensor = self.model.logits(found[0][:, -1] if lengths is None else at_lengths(found[0], lengths))
            return last
        more = self._one_output if lengths is None else {**self._one_output, "lengths": lengths}
        return self._evaluate(x, extra, **more)

    def call_steps(self, x: Tensor, **extra: Tensor) -> Tensor:
        return self._evaluate(x, extra, return_all=True)

    def _evaluate(self, x: Tensor, extra: Extra, **more: Any) -> Tensor:
        x, codes = self._apart(x)
        places, named = self._passed(x, extra, **codes, **more)
        with self._precision():
            output: Tensor = self.choice.of(self._call(*places, **named), x.shape[0])
        return output

    def _passed(self, x: Any, extra: Extra, **more: Any) -> tuple[list[Any], dict[str, Any]]:
        """What is passed by position, and what by name."""
        placed, named = split(extra)
        places: list[Any] = [x, *placed]
        if self.input_name is not None:
            places, more[self.input_name] = placed, x
        if self._by_place:
            places.insert(1, more.pop("return_all"))
        return places, {**named, **more}

    def _apart(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What the model takes as x, in the type of its weights, and its categories by their name."""
        if self.categorical_name is None:
            return x if self._narrow is None or self.tokens else x.to(self._narrow), {}
        axis = 2 if self.layout == "BTD" else 1
        which = torch.tensor(self.categorical, device=x.device)
        others = torch.tensor([d for d in range(x.shape[axis]) if d not in self.categorical], device=x.device)
        values = x.index_select(axis, others.long())
        codes = {self.categorical_name: x.index_select(axis, which).long()}
        return values if self._narrow is None else values.to(self._narrow), codes

    def call_advance(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        found = self._fused(x, state)
        if found is not None:
            return self.model.logits(found[0]).transpose(1, 2), found[1]
        x, codes = self._apart(x)
        with self._precision():
            output: Any = self.model.advance(x, state, **codes)
        if isinstance(output, (tuple, list)) and len(output) == 2:
            return self.choice.of(output[0], x.shape[0]), output[1]
        return output  # type: ignore[no-any-return]  # which is refused by its type

    def _fused(self, x: Tensor, state: State | None) -> tuple[Tensor, State] | None:
        """Hidden features (N, w, H) along x and the state after it, by our own steps where they pay."""
        if not self._is_ours():
            return None
        series = self.model.rnn_input(x)
        steps = Steps.of(self.model.rnn, series) if pays(series) else None
        return None if steps is None else steps.along(series, state)

    def _precision(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.autocast is None else torch.autocast(self.device.type, self.autocast)

    def walk(self, like: Tensor) -> Walk:
        steps = Steps.of(self.model.rnn, self._series(like)) if self._is_ours() else None
        return super().walk(like) if steps is None else StepsWalk(self, steps, self._series, self.model.logits)

    def _is_ours(self) -> bool:
        """Whether the model's class says that it is ``logits(rnn(rnn_input(x)))``, and the model overrides no part."""
        return (
            self.autocast is None
            and self.categorical_name is None
            and bool(vars(type(self.model)).get("walks_as_rnn", False))  # a subclass says so anew, or is called itself
            and getattr(self.model.rnn, "batch_first", False)
            and not {"advance", "rnn_input", "logits"} & vars(self.model).keys()
        )

    @property
    def proven(self) -> bool:  # type: ignore[override]
        """Whether the model is our own GRU or LSTM of plain parts, that nothing hooks into."""
        if not self._is_ours() or self.model.rnn.bidirectional:
            return False
        network, *rest = (type(part) for part in self.model.children())
        return (
            network in (nn.GRU, nn.LSTM)
            and rest == [nn.Dropout, nn.Linear]
            and not any(map(is_wrapped, self.model.modules()))
        )

    @property
    def keeps_nothing(self) -> bool:
        return self.proven and not self.compile

    def _series(self, x: Tensor) -> Tensor:
        series: Tensor = self.model.rnn_input(self._as_model_reads(x))
        return series


@face(1)
class ProtocolPredictor(ModulePredictor):
    """A model evaluated through ``predict(x, return_all=False)`` -> (N, C) and ``return_all=True`` -> (N, C, w)."""

    @classmethod
    def serves(cls, model: Any) -> bool:
        return takes(getattr(model, "predict", None), "return_all") and not hasattr(model, "advance")

    def __init__(self, model: Any, *, output: Output = "auto", **common: Any) -> None:
        super().__init__(model, output="probs" if output == "auto" else output, **common)

    def _called(self) -> Any:
        return self.model.predict

    def _is_ours(self) -> bool:
        return False  # what it predicts is more than its parts


def _forward_of(called: Any) -> Any:
    """What says which arguments a call takes; torch's own wrappers pass all of them on to the module inside."""
    while isinstance(called, nn.Module):
        if isinstance(called, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            called = called.module
        elif hasattr(called, "_orig_mod"):  # of torch.compile
            called = called._orig_mod
        else:
            break
    return called.forward if isinstance(called, nn.Module) else called


def _check_input_name(name: Any, known: Mapping[str, Any]) -> None:
    """TypeError or ValueError for an ``input_name`` by which a callable of these arguments takes nothing."""
    if name is None:
        return
    if not isinstance(name, str):
        raise TypeError(f"input_name must be the name of an argument, got {name!r}")
    passed_on = inspect.Parameter.VAR_KEYWORD in known.values()
    if known and known.get(name) in (None, *_NOT_BY_NAME) and not passed_on:
        listed = ", ".join(other for other, kind in known.items() if kind not in _NOT_BY_NAME)
        raise ValueError(f"input_name={name!r}, but the model takes {listed or 'nothing'} by name")


def _check_autocast(autocast: Any, device: torch.device, module: nn.Module | None) -> None:
    """Raises ValueError where a model would not be, or only in part, computed in this type."""
    if autocast is None:
        return
    if autocast not in (torch.bfloat16, torch.float16):
        raise ValueError(f"autocast must be torch.bfloat16, torch.float16 or None, got {autocast!r}")
    if not torch.amp.is_autocast_available(device.type):
        raise ValueError(f"autocast is not available on {device.type}")
    if device.type == "cuda" and autocast is torch.bfloat16 and not torch.cuda.is_bf16_supported():
        raise ValueError(f"autocast=torch.bfloat16 is not available on {device}; torch.float16 is")
    if module is not None and any(p.dtype == torch.float64 for p in module.parameters()):
        raise ValueError(f"autocast={autocast} leaves float64 as it is: convert the model to float32, or pass None")
