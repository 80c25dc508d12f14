"""Evaluation of a traced module only where rows differ from a reference."""

from rambit.predictors.incremental import rules  # noqa: F401  they register themselves
from rambit.predictors.incremental.incremental import Incremental as Incremental
