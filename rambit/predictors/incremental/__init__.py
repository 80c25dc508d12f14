"""Evaluation of a traced module only where rows differ from a reference."""

from rambit.predictors.incremental import rules
from rambit.predictors.incremental.incremental import Incremental

__all__ = ["Incremental", "rules"]
