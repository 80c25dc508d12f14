"""The keys of rex-xai's settings, each under its name of 0.4.1 and older ones, and the option of ours that it is."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch

from rambit.checks import count, flag, member, number
from rambit.rex import Distribution, Queue, ResponsibilityStyle, Strategy
from rambit.rex.extraction import Objective


def _unchanged(name: str, value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Key:
    """One key of a section, with rex-xai's default.

    option: ours, None where there is none, so that the key changes no explanation. older: what it was called.
    parse: the value as `CausalArgs` holds it, from a file's or from itself. convert: the option's value, of that one.
    """

    section: str
    name: str
    default: Any
    option: str | None = None
    older: tuple[str, ...] = ()
    parse: Callable[[str, Any], Any] = _unchanged
    convert: Callable[[str, Any], Any] = _unchanged


def _member(kind: type[Enum], others: Mapping[str, Enum | None] | None = None) -> Callable[[str, Any], Any]:
    """A reader of one of a few names, in any case, some of which mean another member or (None) nothing of ours."""

    def parse(name: str, value: Any) -> Any:
        text = value.lower() if isinstance(value, str) else value
        if isinstance(text, str) and text in (others or {}):
            found = (others or {})[text]
            if found is None:
                raise ValueError(f"{name} {value!r} of rex-xai has no counterpart here")
            return found
        return member(name, text, kind)

    return parse


def _mask_value(name: str, value: Any) -> Any:
    """What means the same here. rex-xai's random and linear are one number an iteration, ours are another thing."""
    text = value.lower() if isinstance(value, str) else value
    if isinstance(text, str) and text not in ("min", "mean", "spectral", "context"):
        raise ValueError(f"{name} must be a number, min, mean, spectral or context, as in rex-xai, got {value!r}")
    return text


def _queue_len(name: str, value: Any) -> int | None:
    return None if isinstance(value, str) and value.lower() == "all" else count(name, value)


def _growth(name: str, value: Any) -> float:
    return 1 + number(name, value, 0.0)


def _device(name: str, value: Any) -> str:
    return "cuda" if flag(name, value) and torch.cuda.is_available() else "cpu"


def _no_box(name: str, value: Any) -> Any:
    if flag(name, value):
        raise ValueError(f"{name} of rex-xai has no counterpart here: the boxes of detectors are left out")
    return value


_STRATEGIES = {
    "multi": Strategy.MultiSpotlight,
    "spotlight": Strategy.MultiSpotlight,
    "linear": Strategy.Global,
}

KEYS = (
    Key("rex", "mask_value", 0, "mask_value", parse=_mask_value),
    Key("rex", "seed", None, "seed"),
    Key("rex", "gpu", True, "device", convert=_device),
    Key("rex", "batch_size", 1),
    Key("rex.onnx", "means", None, "mean"),
    Key("rex.onnx", "stds", None, "std"),
    Key("rex.onnx", "norm", 255.0, "norm"),
    Key("rex.onnx", "binary_threshold", None, "binary_threshold"),
    Key("rex.onnx", "intra_op_num_threads", 8),
    Key("rex.onnx", "inter_op_num_threads", 8),
    Key("rex.onnx", "ort_logger", 3),
    Key("rex.visual", "info", True),
    Key("rex.visual", "colour", 200),
    Key("rex.visual", "alpha", 0.2),
    Key("rex.visual", "raw", False),
    Key("rex.visual", "resize", False),
    Key("rex.visual", "progress_bar", True),
    Key("rex.visual", "grid", False),
    Key("rex.visual", "mark_segments", False),
    Key("rex.visual", "heatmap_colours", "magma", older=("heatmap",)),
    Key("rex.visual", "multi_style", "composite"),
    Key("causal", "tree_depth", 10, "tree_depth"),
    Key("causal", "search_limit", None, "search_limit"),
    Key("causal", "iters", 20, "iters"),
    Key("causal", "min_box_size", 10, "min_box_size"),
    Key("causal", "confidence_filter", 0.0, "confidence_filter"),
    Key("causal", "weighted", False, "weighted"),
    Key("causal", "negative_responsibility", False, "negative_responsibility"),
    Key("causal", "queue_style", Queue.Area, "queue", parse=_member(Queue)),
    Key("causal", "queue_len", 1, "queue_len", convert=_queue_len),
    Key("causal", "concentrate", False, "concentrate"),
    Key(
        "causal",
        "responsibility_style",
        ResponsibilityStyle.Multiplicative,
        "responsibility_style",
        parse=_member(ResponsibilityStyle),
    ),
    Key("causal", "use_bounding_box", False, parse=_no_box),
    Key("causal", "segmentation", False),
    Key(
        "causal.distribution",
        "distribution",
        Distribution.Uniform,
        "distribution",
        parse=_member(Distribution, {"binom": None}),
    ),
    Key("causal.distribution", "blend", 0.0),
    Key("causal.distribution", "distribution_args", None, "dist_args", older=("dist_args",)),
    Key("explanation", "chunk_size", 10, "chunk_size", older=("chunk",)),
    Key(
        "explanation",
        "minimum_confidence_threshold",
        0.0,
        "minimum_confidence_threshold",
        older=("min_confidence_scalar",),
    ),
    Key("explanation", "multi_class", False),
    Key(
        "explanation.spatial",
        "spatial_initial_radius",
        25,
        "initial_radius",
        older=("initial_radius", "spotlight_initial_radius"),
    ),
    Key(
        "explanation.spatial",
        "spatial_radius_eta",
        0.2,
        "radius_growth",
        older=("radius_eta", "spotlight_radius_eta"),
        convert=_growth,
    ),
    Key("explanation.spatial", "no_expansions", 4, "expansions"),
    Key(
        "explanation.multi",
        "strategy",
        Strategy.Global,
        "strategy",
        older=("method",),
        parse=_member(Strategy, _STRATEGIES),
    ),
    Key("explanation.multi", "spotlights", 10, "spotlights"),
    Key("explanation.multi", "spotlight_size", 20),
    Key("explanation.multi", "spotlight_eta", 0.2),
    Key("explanation.multi", "spotlight_step", 5, "step"),
    Key("explanation.multi", "max_spotlight_budget", 40, "budget"),
    Key(
        "explanation.multi",
        "spotlight_objective_function",
        Objective.Nothing.value,
        "objective",
        older=("objective_function", "obj_function"),
        parse=lambda name, value: _member(Objective)(name, value).value,
    ),
    Key("explanation.multi", "permitted_overlap", 0.0, "permitted_overlap"),
    Key("explanation.evaluation", "insertion_step", 100),
    Key("explanation.evaluation", "normalise_curves", True),
)
BY_NAME = {key.name: key for key in KEYS}
SECTIONS = tuple(dict.fromkeys(key.section for key in KEYS))
#: Options of how image files become inputs, which `ReX` itself does not take.
PREPARATION = ("mean", "std", "norm")


def is_rex_xai(document: Mapping[str, Any]) -> bool:
    """Whether a TOML document has a section of rex-xai's; ours has none."""
    return any(isinstance(value, Mapping) and name.lower() in SECTIONS for name, value in document.items())


def read_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a document of rex-xai's says, by the names of 0.4.1, as `CausalArgs` holds it.

    Names of sections, keys and choices may be in upper case. Raises ValueError or TypeError naming the section and the
    key that is unknown, given twice or has a value without a counterpart here.
    """
    found: dict[str, Any] = {}
    for section, name, value in _flat("", document):
        key = _key(section, name)
        if key.name in found:
            raise ValueError(f"[{section}] gives {key.name} twice, once as {name}")
        found[key.name] = key.parse(f"[{section}] {name}", value)
    return found


def _flat(section: str, table: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """(section, key, value) of a table and those in it. Raises ValueError naming an unknown section."""
    found: list[tuple[str, str, Any]] = []
    for name, value in table.items():
        if not isinstance(value, Mapping):
            found.append((section, name, value))
            continue
        inner = f"{section}.{name}".lstrip(".").lower()
        if inner not in SECTIONS:
            raise ValueError(f"unknown section [{inner}]; {_nearest(inner, SECTIONS)}")
        found += _flat(inner, value)
    return found


def _key(section: str, name: str) -> Key:
    """The key of this section. Raises ValueError naming both, and where it may belong."""
    plain = name.lower()
    named = {alias: key for key in KEYS for alias in (key.name, *key.older)}
    key = named.get(plain)
    if key is not None and key.section == section:
        return key
    place = f"[{section}]" if section else "outside of all sections"
    if key is not None:
        raise ValueError(f"{name} is given {'in ' * bool(section)}{place}, but belongs in [{key.section}]")
    raise ValueError(f"unknown key {name!r} {'in ' * bool(section)}{place}; {_nearest(plain, named)}")


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, known, 1)
    if not close:
        return f"there are {', '.join(known)}"
    nearest = close[0]
    section = {alias: key.section for key in KEYS for alias in (key.name, *key.older)}.get(nearest)
    return f"did you mean {nearest} in [{section}]?" if section else f"did you mean [{nearest}]?"


def as_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Our options for what rex-xai's names say: those of `rambit.rex.ReX`, and of images mean and std.

    `values`: name of 0.4.1 → value, as of `read_document` or of a `CausalArgs`. Raises ValueError or TypeError naming
    the key.
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        key = BY_NAME[name]
        value = key.parse(name, value)
        if key.option is not None and not (value is None and key.default is None):
            found[key.option] = key.convert(name, value)
    if found.get("distribution") is not Distribution.BetaBinomial:
        found.pop("dist_args", None)  # which rex-xai ignores then, too
    return found | _preparation(found.pop("mean", None), found.pop("std", None), found.pop("norm", None))


def _preparation(means: Any, stds: Any, norm: Any) -> dict[str, Any]:
    """(pixel / norm - mean) / std with pixels up to 255, as our (pixel - mean) / std with pixels up to 1."""
    scale = 1.0 if norm is None else number("norm", norm, 0.0, above=True) / 255
    found = {}
    if means is not None:
        found["mean"] = tuple(number("means", mean) * scale for mean in means)
    if stds is not None or scale != 1:
        found["std"] = tuple(number("stds", std, 0.0, above=True) * scale for std in stds or (1.0,))
    return found


def without_counterpart(values: Mapping[str, Any]) -> list[str]:
    """Which of these names change no explanation here, as "[section] name"."""
    return [f"[{BY_NAME[name].section}] {name}" for name in values if BY_NAME[name].option is None]
