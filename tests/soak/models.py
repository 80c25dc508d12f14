"""Models of series as people have them, each with a plain function that gives its answer to one prefix."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rambit.models import build_model
from rambit.predictors import Recurrent
from tests.models_for_tests import GRU, Exact, Transformer
from tests.soak.engine import Draw

#: The evaluations that a model can serve, beside "full" for anchor "end".
ALL, CAUSAL, PREFIX = ("prefix", "causal", "stateful"), ("prefix", "causal"), ("prefix",)


@dataclass
class Evaluated:
    """``model`` is what a user hands over; ``f`` maps (1, D, w) to its probabilities, or regression values, (1, C).

    ``modes``: what it can be asked in by name. ``false``: what it claims wrongly, which must be found out.
    """

    kind: str
    model: Any
    f: Callable[[Tensor], Tensor]
    modes: tuple[str, ...]
    output: str = "auto"
    classes: int = 3
    false: tuple[str, ...] = ()

    @property
    def regression(self) -> bool:
        return self.output == "regression"


def series_model(draw: Draw, D: int, T: int, dtype: torch.dtype, kinds: tuple[str, ...] | None = None) -> Evaluated:
    """A random model for (B, D, T); its kind is noted."""
    kind = draw.of(*(kinds or tuple(KINDS)))
    draw.note(model=kind)
    torch.manual_seed(draw.seed)
    evaluated = KINDS[kind](draw, D, T, dtype)
    evaluated.kind, evaluated.f = kind, remembered(evaluated.f)
    return evaluated


def remembered(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same, asked once for each input: the twins ask the same prefix again and again."""
    known: dict[tuple[Any, ...], Tensor] = {}

    def output(x: Tensor) -> Tensor:
        key = (tuple(x.shape), x.contiguous().numpy().tobytes())
        if key not in known:
            with torch.no_grad():
                known[key] = f(x.clone())
        return known[key]

    return output


def _of(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    return module.to(dtype).eval()


def _last(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """The probabilities of a module that is asked for whole series, and that nobody else changes."""
    own = copy.deepcopy(module).eval()
    return lambda x: own(x).softmax(-1)


def _recurrent(**options: Any) -> Callable[[Draw, int, int, torch.dtype], Evaluated]:
    def make(draw: Draw, D: int, T: int, dtype: torch.dtype) -> Evaluated:
        module = _of(GRU(D=D, H=5, **options), dtype)
        return Evaluated("", module, _last(module), ALL)

    return make


def _bidirectional(draw: Draw, D: int, T: int, dtype: torch.dtype) -> Evaluated:
    module = _of(GRU(D=D, H=5, bidirectional=True), dtype)
    return Evaluated("", module, _last(module), PREFIX, false=("causal", "stateful"))


def _transformer(draw: Draw, D: int, T: int, dtype: torch.dtype) -> Evaluated:
    module = _of(Transformer(D=D), dtype)
    return Evaluated("", module, _last(module), CAUSAL)


def _ours(draw: Draw, D: int, T: int, dtype: torch.dtype) -> Evaluated:
    name = draw.of("GRUClassifier", "LSTMClassifier", "TCNClassifier", "TransformerClassifier")
    draw.note(ours=name)
    layers = {} if name == "TCNClassifier" else {"num_layers": draw.whole(1, 2)}
    config = {"model": name, "num_features": D, "hidden_size": 8, "num_classes": 3, **layers}
    module = _of(build_model(config, seed=draw.seed), dtype)
    return Evaluated("", module, _last(module), CAUSAL if name == "TransformerClassifier" else ALL)


def _user_rnn(draw: Draw, D: int, T: int, dtype: torch.dtype) -> Evaluated:
    cell, first = draw.of(nn.GRU, nn.LSTM), draw.chance()
    rnn, head = _of(cell(D, 5, draw.whole(1, 2), batch_first=first), dtype), _of(nn.Linear(5, 3), dtype)
    own_rnn, own_head = copy.deepcopy(rnn), copy.deepcopy(head)

    def f(x: Tensor) -> Tensor:
        hidden = own_rnn(x.transpose(1, 2) if first else x.permute(2, 0, 1))[0]
        return own_head(hidden[:, -1] if first else hidden[-1]).softmax(-1)

    return Evaluated("", Recurrent(rnn, head), f, ALL)


class Opaque:
    """A callable that weighs steps by their time, so that order and length matter; ``writes``: into its input."""

    def __init__(self, D: int, dtype: torch.dtype, writes: bool = False, classes: int = 3) -> None:
        self.a, self.b = torch.randn(D, classes, dtype=dtype), torch.randn(D, classes, dtype=dtype)
        self.writes = writes

    def __call__(self, x: Tensor) -> Tensor:
        if self.writes:
            x *= 1.5
            x -= 0.1
        else:
            x = x * 1.5 - 0.1
        time = torch.arange(1, x.shape[2] + 1, dtype=x.dtype)
        slow = (x * time).sum(2) / time.sum()
        return slow @ self.a + torch.tanh(x).sum(2) * 0.3 @ self.b * x[:, :1, -1]


def _opaque(draw: Draw, D: int, T: int, dtype: torch.dtype) -> Evaluated:
    model = Opaque(D, dtype)
    return Evaluated("", model, lambda x: model(x).softmax(-1), PREFIX)


def _writes(draw: Draw, D: int, T: int, dtype: torch.dtype) -> Evaluated:
    model = Opaque(D, dtype, writes=True)
    return Evaluated("", model, lambda x: model(x.clone()).softmax(-1), PREFIX)


class WritingGRU(GRU):
    """Standardises in place, step by step, before it reads."""

    def forward(self, x: Tensor, return_all: bool = False) -> Tensor:
        x.mul_(1.5).sub_(0.1)
        return super().forward(x, return_all)

    def advance(self, x: Tensor, state: Any) -> Any:
        x.mul_(1.5).sub_(0.1)
        return super().advance(x, state)


def _writes_steps(draw: Draw, D: int, T: int, dtype: torch.dtype) -> Evaluated:
    module = _of(WritingGRU(D=D, H=5), dtype)
    own = copy.deepcopy(module)
    return Evaluated("", module, lambda x: own(x.clone()).softmax(-1), ALL)


class Difference:
    """Answers by the last two steps; its state is a view of the input that it was given."""

    def __init__(self, D: int, dtype: torch.dtype) -> None:
        self.a, self.b = torch.randn(D, 3, dtype=dtype), torch.randn(D, 3, dtype=dtype)

    def advance(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        before = torch.zeros_like(x[:, :, :1]) if state is None else state
        earlier = torch.cat((before, x[:, :, :-1]), dim=2)
        outputs = torch.einsum("ndt,dc->nct", x, self.a) + torch.einsum("ndt,dc->nct", earlier * x, self.b)
        return outputs, x[:, :, -1:]

    def __call__(self, x: Tensor, return_all: bool = False) -> Tensor:
        outputs = self.advance(x, None)[0]
        return outputs if return_all else outputs[:, :, -1]


def _view_state(draw: Draw, D: int, T: int, dtype: torch.dtype) -> Evaluated:
    model = Difference(D, dtype)
    return Evaluated("", model, lambda x: model(x).softmax(-1), ALL)


def _exact(draw: Draw, D: int, T: int, dtype: torch.dtype) -> Evaluated:
    model = Exact(D=D, seed=draw.seed)
    return Evaluated("", model, lambda x: model(x).softmax(-1), ALL, classes=2)


class Protocol:
    """Only ``predict``."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def predict(self, x: Tensor, return_all: bool = False) -> Tensor:
        return self.net(x, return_all=return_all).softmax(1)


def _protocol(draw: Draw, D: int, T: int, dtype: torch.dtype) -> Evaluated:
    module = _of(GRU(D=D, H=5), dtype)
    return Evaluated("", Protocol(module), _last(module), CAUSAL)


class Estimator:
    """Only ``predict_proba``, on arrays (N, D, w)."""

    def __init__(self, D: int) -> None:
        self.weight = torch.randn(D, 3).numpy().astype(np.float64)

    def predict_proba(self, x: Any) -> Any:
        z = (x * np.arange(1, x.shape[2] + 1)).mean(axis=2) @ self.weight
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)


def _estimator(draw: Draw, D: int, T: int, dtype: torch.dtype) -> Evaluated:
    model = Estimator(D)
    return Evaluated("", model, lambda x: torch.from_numpy(model.predict_proba(x.numpy())), PREFIX)


class Dropping(nn.Module):
    """Gives its answer in a tuple; in training mode parts of it are dropped."""

    def __init__(self, D: int) -> None:
        super().__init__()
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(D, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        time = torch.arange(1, x.shape[2] + 1, dtype=x.dtype)
        hidden = self.drop(torch.tanh(x * time).sum(2))
        return self.head(hidden), hidden


def _closure(draw: Draw, D: int, T: int, dtype: torch.dtype) -> Evaluated:
    net = Dropping(D).to(dtype)  # in training mode, as after a training loop
    own = copy.deepcopy(net).eval()
    return Evaluated("", lambda x: net(x)[0], lambda x: own(x)[0].softmax(-1), PREFIX)


def _single(draw: Draw, D: int, T: int, dtype: torch.dtype) -> Evaluated:
    """One logit. Which of the two classes it is of matters to no metric that looks at both."""
    module = _of(GRU(D=D, H=5, C=1), dtype)
    own = copy.deepcopy(module)

    def f(x: Tensor) -> Tensor:
        p = own(x).sigmoid()
        return torch.cat((1 - p, p), dim=1)

    return Evaluated("", module, f, ALL, classes=2)


def _regression(draw: Draw, D: int, T: int, dtype: torch.dtype) -> Evaluated:
    outputs = draw.whole(1, 3)
    draw.note(outputs=outputs)
    if draw.chance():
        module = _of(GRU(D=D, H=5, C=outputs), dtype)
        own = copy.deepcopy(module)
        return Evaluated("", module, own, ALL, "regression", outputs)
    model = Opaque(D, dtype, classes=outputs)
    if outputs == 1:
        return Evaluated("", lambda x: model(x)[:, 0], model, PREFIX, "regression", 1)
    return Evaluated("", model, model, PREFIX, "regression", outputs)


class LooksAhead(nn.Module):
    """An answer at every step, which looks a step ahead, but only where that is positive."""

    def __init__(self, D: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.head = nn.Linear(D, 3).to(dtype)

    def forward(self, x: Tensor, return_all: bool = False) -> Tensor:
        ahead = torch.cat((x[:, :, 1:], torch.zeros_like(x[:, :, :1])), dim=2)
        outputs = self.head((x + ahead * (ahead > 0)).transpose(1, 2)).transpose(1, 2)
        return outputs if return_all else outputs[:, :, -1]


def _looks_ahead(draw: Draw, D: int, T: int, dtype: torch.dtype) -> Evaluated:
    module = LooksAhead(D, dtype)
    return Evaluated("", module, _last(module), PREFIX, false=("causal",))


def _gaps(draw: Draw, D: int, T: int, dtype: torch.dtype) -> Evaluated:
    """Reads NaN, as series with missing values may hold it, as a number."""
    model = Opaque(D, dtype)
    return Evaluated("", lambda x: model(x.nan_to_num(-0.5)), lambda x: model(x.nan_to_num(-0.5)).softmax(-1), PREFIX)


KINDS: dict[str, Callable[[Draw, int, int, torch.dtype], Evaluated]] = {
    "gru": _recurrent(),
    "gru2": _recurrent(layers=2),
    "lstm": _recurrent(cell=nn.LSTM),
    "bidirectional": _bidirectional,
    "transformer": _transformer,
    "ours": _ours,
    "user_rnn": _user_rnn,
    "opaque": _opaque,
    "writes": _writes,
    "writes_steps": _writes_steps,
    "view_state": _view_state,
    "exact": _exact,
    "protocol": _protocol,
    "estimator": _estimator,
    "closure": _closure,
    "single": _single,
    "regression": _regression,
    "looks_ahead": _looks_ahead,
    "gaps": _gaps,
}
