"""How good scores are: against known salient cells (``truth``), or by asking the model again (``faithfulness``)."""

from rambit.metrics.faithfulness import (
    accuracy_at,
    auc_drop,
    average_prediction_difference,
    comprehensiveness,
    cpd,
    cpp,
    deletion_auc,
    insertion_auc,
    log_odds,
    sufficiency,
)
from rambit.metrics.truth import (
    aup,
    auprc,
    aur,
    auroc,
    entropy,
    information,
    iou,
    mean_rank,
    mean_rank_min,
    summary,
)

__all__ = [
    "accuracy_at",
    "auc_drop",
    "aup",
    "auprc",
    "aur",
    "auroc",
    "average_prediction_difference",
    "comprehensiveness",
    "cpd",
    "cpp",
    "deletion_auc",
    "entropy",
    "information",
    "insertion_auc",
    "iou",
    "log_odds",
    "mean_rank",
    "mean_rank_min",
    "sufficiency",
    "summary",
]
