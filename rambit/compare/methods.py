"""Methods by the text that a user types, such as `winit` or `rambit:anchor=cell,masks=bernoulli,p=0.1,W=5`."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from rambit.attribution import METHODS
from rambit.compare.responsibility import Responsibility
from rambit.compare.selection import Selection
from rambit.compare.sufficient import Sufficient
from rambit.counterfactuals import FeatureGenerator, JointGenerator, reads_background
from rambit.options import Options
from rambit.results import Attribution
from rambit.text import MOST, MOST_UNITS, closest_first, shortened


class Random:
    """Uniform scores that look at nothing: what any method must beat."""

    def __init__(self, model: Any, *, seed: int = 0) -> None:
        self.seed = seed

    def explain(self, X: Tensor) -> Attribution:
        """Scores like X."""
        values = torch.rand(X.shape, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float64)
        return Attribution(values, None, 0, 0, 0.0, {"method": "Random"}, self.seed)


#: What is compared beside the attribution methods.
OTHERS: dict[str, type[Any]] = {
    "sufficient": Sufficient,
    "rex": Responsibility,
    "selection": Selection,
    "random": Random,
}
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "rambit-cell": ("rambit", {"anchor": "cell"}),
    "rambit-mask": ("rambit", {"anchor": "mask"}),
    "rambit-end": ("rambit", {"anchor": "end", "window_size": 1}),
    "leave-one-out": ("rambit", {"masks": "none"}),
    "ig": ("gradients", {"method": "integrated_gradients", "absolute": True}),
    "gradient-shap": ("gradients", {"method": "gradient_shap", "absolute": True}),
    "deep-lift": ("gradients", {"method": "deep_lift", "absolute": True}),
}
SHORT = {"W": "window_size", "S": "num_samples", "cf": "counterfactuals", "metric": "distance"}
#: Options that `compare` sets itself, or that have no short text.
FIXED = {
    "model", "seed", "background", "device", "output", "layout", "model_id", "generator", "stride", "batch_size",
    "max_memory", "all_zero_cf", "search_limit", "dist_args", "groups",
}  # fmt: skip
#: Methods that read reference data although they take no counterfactuals.
BACKGROUND = ("selection", "tint-fit")
#: Methods whose scores may be drawn from a trained generator, and what they draw from if nothing is said.
DEFAULT_VALUES = {"winit": "generator", "biwinit": "generator", "fo": "uniform"}


class Labels(Protocol):
    """What a method must know of its data: where outputs have labels, at the end or at each cell's time."""

    @property
    def anchor(self) -> str | None: ...


class Source(Protocol):
    """Where a method gets its model, its data and its generators from."""

    @property
    def seed(self) -> int: ...
    @property
    def data(self) -> Labels: ...
    def model(self) -> Any: ...
    def background(self) -> Tensor: ...
    def generator(self) -> FeatureGenerator: ...
    def joint_generator(self) -> JointGenerator: ...


def names() -> tuple[str, ...]:
    """All that may be compared."""
    return (*PRESETS, *METHODS, *OTHERS)


def _class(kind: str) -> Any:
    return OTHERS[kind] if kind in OTHERS else METHODS[kind]


@dataclass(frozen=True)
class Method:
    """A method and its options; `text` is its name in the table."""

    text: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)

    def options_for(self, anchor: str | None) -> dict[str, Any]:
        """What is explained is what has labels, the output at the end or those at all steps, unless it was named."""
        takes = inspect.signature(_class(self.kind)).parameters
        if anchor is None or "anchor" not in takes or takes["anchor"].default == anchor == "cell":
            return self.options
        return {"anchor": anchor, **self.options}

    def build(self, source: Source) -> Any:
        """The attributor. Raises ValueError or TypeError for options that do not fit together."""
        options = {**self.options_for(source.data.anchor), "seed": source.seed}
        made, takes = _class(self.kind), _options(self.kind)
        options = masks_with_p(options)
        if self.kind in BACKGROUND:
            options["background"] = source.background()
        if "generator" in inspect.signature(made).parameters:
            options["generator"] = source.joint_generator()
        elif self.kind in METHODS and "counterfactuals" in takes:
            values = options.setdefault("counterfactuals", DEFAULT_VALUES.get(self.kind))
            if values == "generator":
                options["counterfactuals"] = source.generator()
            elif reads_background(values):
                options["background"] = source.background()
        return made(source.model(), **options)

    def check(self, source: Source) -> None:
        """Raise ValueError, naming the method, if it can't be built."""
        try:
            self.build(source)
        except (ValueError, TypeError) as error:
            raise ValueError(f"methods {self.text}: {error}") from error


def masks_with_p(options: dict[str, Any]) -> dict[str, Any]:
    """Options in which a short `p`, which is one of the masks, stands behind their name."""
    if "p" not in options:
        return options
    others = {name: value for name, value in options.items() if name != "p"}
    return {**others, "masks": f"{options.get('masks', 'block')}:p={options['p']}"}


def split(text: str) -> list[str]:
    """A list whose items may have options: `spike,spike:delay=2,n=500,state` has three items."""
    items: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if "=" in part and ":" not in part and items:
            items[-1] += ("," if ":" in items[-1] else ":") + part
        else:
            items.append(part)
    if len(set(items)) < len(items):
        raise ValueError(f"{text!r} names something twice")
    return items


def read_names(argument: str, given: str | Iterable[str]) -> list[str]:
    """Names with options, from a sequence or one text. Raises TypeError for something else, ValueError for doubles."""
    items = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if not all(isinstance(item, str) for item in items):
        raise TypeError(f"{argument} must be names, in a sequence or in one text, got {reprlib.repr(given)}")
    return split(",".join(items))


def parse(text: str, known: Sequence[str] | None = None) -> Method:
    """The method of one item, whose name is one of ``known``, or any. Raises ValueError for another name or option."""
    name, _, given = text.partition(":")
    known = names() if known is None else known
    if name not in known:
        raise ValueError(f"methods: unknown method {name!r}; known: {', '.join(closest_first(name, known))}")
    kind, preset = PRESETS.get(name, (name, {}))
    allowed = _options(kind)
    options = dict(preset)
    for part in filter(None, given.split(",")):
        key, equals, value = part.partition("=")
        key = SHORT.get(key, key)
        if key not in allowed or not equals or key in preset:
            listed = ", ".join(sorted(set(allowed) - set(preset))) or "none"
            raise ValueError(f"methods: {name} has no option {part!r}; its options (as name=value): {listed}")
        options[key] = _value(part, value, allowed[key])
    return Method(text, kind, options)


def _options(kind: str) -> dict[str, Callable[[str], Any]]:
    """What may be given, and how it is read."""
    made = _class(kind)
    defaults = {name: one.default for name, one in inspect.signature(made).parameters.items() if name not in FIXED}
    readers = {name: _reader((type(default),)) for name, default in defaults.items()}
    if isinstance(made, type) and issubclass(made, Options):  # whose defaults, where it chooses them, tell no type
        chosen = [one for one in made.options() if one.default is None and type(None) not in one.kinds]
        readers |= {one.name: _reader(one.kinds) for one in chosen if one.name in defaults}
    return {**readers, "p": float} if kind == "rambit" else readers


def _reader(kinds: Sequence[Any]) -> Callable[[str], Any]:
    """How a value of one of these types is read."""
    if bool in kinds:
        return _boolean
    if int in kinds and len(kinds) > 1:
        return _whole_or_auto
    return next((kind for kind in (int, float) if kind in kinds), str)


def _whole_or_auto(text: str) -> int | str:
    return text if text == "auto" else int(text)


def _value(part: str, value: str, read: Callable[[str], Any]) -> Any:
    try:
        found = read(value)
    except ValueError:
        kind = "true or false" if read is _boolean else "a number" if read is float else "a whole number"
        raise ValueError(f"methods: {shortened(part, 80)!r} must be {kind}") from None
    most = MOST_UNITS if "hidden" in part else MOST
    if isinstance(found, int) and abs(found) > most:
        raise ValueError(f"methods: {shortened(part, 80)!r} must be at most {most:,}")
    return found


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"
