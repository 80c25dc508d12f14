"""Labelled time series to train on and explain: synthetic, from the UCR/UEA archive, and the user's own files."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rambit.datasets.archive import basic_motions, japanese_vowels, ucr_uea
from rambit.datasets.botocore import Documents, KeyField, botocore_operations
from rambit.datasets.dataset import Dataset
from rambit.datasets.dataset_files import load_file, save_file
from rambit.datasets.diffgroups import rare_feature_diffgroups, rare_time_diffgroups
from rambit.datasets.forecast import forecast_linear, forecast_threshold
from rambit.datasets.freq_shapes import freq_shapes
from rambit.datasets.hmm import hmm
from rambit.datasets.l2x import l2x
from rambit.datasets.low_var import low_var
from rambit.datasets.rare import RareModel, rare_feature, rare_model, rare_scores, rare_time
from rambit.datasets.redundant import redundant_spike
from rambit.datasets.seqcomb import seqcomb_mv, seqcomb_uv
from rambit.datasets.sine_sum import sine_sum
from rambit.datasets.spike import spike
from rambit.datasets.state import state
from rambit.datasets.static_covariate import static_covariate
from rambit.datasets.switch import switch_feature
from rambit.datasets.table_columns import Columns

__all__ = [
    "DATASETS",
    "Columns",
    "Dataset",
    "Documents",
    "KeyField",
    "RareModel",
    "basic_motions",
    "botocore_operations",
    "forecast_linear",
    "forecast_threshold",
    "freq_shapes",
    "hmm",
    "japanese_vowels",
    "l2x",
    "load",
    "load_file",
    "low_var",
    "rare_feature",
    "rare_feature_diffgroups",
    "rare_model",
    "rare_scores",
    "rare_time",
    "rare_time_diffgroups",
    "redundant_spike",
    "save_file",
    "seqcomb_mv",
    "seqcomb_uv",
    "sine_sum",
    "spike",
    "state",
    "static_covariate",
    "switch_feature",
    "ucr_uea",
]

SYNTHETIC: dict[str, Callable[..., Dataset]] = {
    "spike": spike,
    "redundant_spike": redundant_spike,
    "state": state,
    "hmm": hmm,
    "switch_feature": switch_feature,
    "l2x": l2x,
    "rare_time": rare_time,
    "rare_feature": rare_feature,
    "rare_time_diffgroups": rare_time_diffgroups,
    "rare_feature_diffgroups": rare_feature_diffgroups,
    "seqcomb_mv": seqcomb_mv,
    "seqcomb_uv": seqcomb_uv,
    "freq_shapes": freq_shapes,
    "low_var": low_var,
    "sine_sum": sine_sum,
    "static_covariate": static_covariate,
    "forecast_linear": forecast_linear,
    "forecast_threshold": forecast_threshold,
}

DATASETS: dict[str, str] = {
    "spike": "3000 series, 3 features, 80 steps; label 1 from feature 0's first spike on; salient cells known",
    "redundant_spike": "3000 series, 3 features, 80 steps; as spike, but feature 0, feature 1 or both show the spike",
    "state": "1000 series, 3 features, 200 steps; 2 hidden states say which feature makes the label; two ground truths",
    "hmm": "1000 series, 3 features, 200 steps; as state, with hidden states that last; two ground truths",
    "switch_feature": "1000 series, 3 features, 100 steps; 3 hidden states, as in state; two ground truths",
    "l2x": "1000 series, 10 features, 100 steps; 2 hidden states with 4 features and a rule each; salient cells known",
    "rare_time": "10 series, 50 features, 50 steps; regression, a known sum over 5 successive steps of 25 features",
    "rare_feature": "10 series, 50 features, 50 steps; regression, a known sum over 5 features at 25 steps",
    "rare_time_diffgroups": "100 series, 50 features, 50 steps; as rare_time, two groups with a known sum each",
    "rare_feature_diffgroups": "100 series, 50 features, 50 steps; as rare_feature, two groups with a known sum each",
    "seqcomb_mv": "5000 series, 4 features, 200 steps, 4 classes: which trends two features hold; salient cells known",
    "seqcomb_uv": "5000 series, 1 feature, 200 steps, 4 classes: which two trends it holds; salient cells known",
    "freq_shapes": "5000 series, 1 feature, 50 steps, 4 classes: sign and period of spikes; salient cells known",
    "low_var": "5000 series, 2 features, 200 steps, 4 classes: where, at what level noise fades; salient cells known",
    "sine_sum": "5000 series, 6 features, 500 steps, 2 classes: the frequencies of two sine waves; salient cells known",
    "static_covariate": "2000 series, 3 features, 50 steps, 2 classes; one says which counts; salient cells known",
    "forecast_linear": "2000 series, 3 features, 30 steps, 2 classes: the sign of a later value; the lags are known",
    "forecast_threshold": "2000 series, 3 features, 30 steps; as forecast_linear, in two regimes with other lags",
    "BasicMotions": "40 + 40 series, 6 features, 100 steps, 4 classes (needs rambit[data], no download)",
    "JapaneseVowels": "270 + 370 series, 12 features, 7-29 steps, 9 classes (needs rambit[data], no download)",
}


def load(name_or_path: str | Path, split: str | None = None) -> Dataset:
    """A data set by what a user types: a name of DATASETS, a file, or any other name in the UCR/UEA archive.

    The synthetic ones take the options of their functions: "spike:delay=2,n=500", "state:truth=active". split:
    "train", "test" or None for both; of a synthetic set, the first four fifths are the train part; a file has no
    parts. Errors are those of these functions, `load_file` and `ucr_uea`.
    """
    if split not in (None, "train", "test"):
        raise ValueError(f"split must be None, 'train' or 'test', got {split!r}")
    name, path = str(name_or_path), Path(name_or_path)
    kind, _, options = name.partition(":")
    if kind in SYNTHETIC:
        data = SYNTHETIC[kind](**_options(kind, options))
        cut = len(data) * 4 // 5
        return data if split is None else data.take(range(cut) if split == "train" else range(cut, len(data)))
    if path.suffix or len(path.parts) > 1:
        if split is not None:
            raise ValueError(f"{name}: a file has no parts, so split must be None; Dataset.split makes two of it")
        return load_file(path)
    return ucr_uea(name, split)


def _options(kind: str, text: str) -> dict[str, Any]:
    """{"delay": 2} from "delay=2", with the types that the function's defaults have."""
    known = {name: parameter.default for name, parameter in inspect.signature(SYNTHETIC[kind]).parameters.items()}
    options: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        options[key] = _option(value, known[key]) if key in known else None
        if options[key] is None:
            example = ",".join(f"{name}={default}" for name, default in known.items())
            raise ValueError(f"{kind}: the options and their defaults are {kind}:{example}; got {part!r}")
    return options


def _option(text: str, default: Any) -> Any:
    """The value in the text, of the default's type; None where it is no such number."""
    if isinstance(default, int):
        # Python reads no number of thousands of digits; the longest that mean anything are seeds, of 128 bits.
        return int(text) if text.isdecimal() and len(text) < 40 else None
    if isinstance(default, float):
        with suppress(ValueError):
            return float(text)
        return None
    return text
