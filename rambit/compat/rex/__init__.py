"""rex-xai 0.4.1 over `rambit.rex`: its settings file, its object and its functions, with the import changed.

    from rambit.compat.rex import ReX, CausalArgs, load_config

With equal seeds and a model with equal outputs, maps and the masks of images are rex-xai's, bit for bit. What differs,
each with its reason, is in docs/rex-xai.md.
"""

from rambit.compat.rex.api import ReX
from rambit.compat.rex.causal_args import CausalArgs, load_config, process_config_dict, read_config_file
from rambit.compat.rex.data import (
    Data,
    Prediction,
    from_pytorch_tensor,
    get_device,
    load_and_preprocess_data,
    predict_target,
)
from rambit.compat.rex.data import DefaultPrediction as default_prediction_function
from rambit.compat.rex.explanation import (
    Explanation,
    MultiExplanation,
    ResponsibilityMaps,
    analyze,
    calculate_responsibility,
)
from rambit.rex import Distribution, Queue, ResponsibilityStyle, Strategy

__all__ = [
    "CausalArgs",
    "Data",
    "Distribution",
    "Explanation",
    "MultiExplanation",
    "Prediction",
    "Queue",
    "ReX",
    "ResponsibilityMaps",
    "ResponsibilityStyle",
    "Strategy",
    "analyze",
    "calculate_responsibility",
    "default_prediction_function",
    "from_pytorch_tensor",
    "get_device",
    "load_and_preprocess_data",
    "load_config",
    "predict_target",
    "process_config_dict",
    "read_config_file",
]
