"""How operators are evaluated where rows differ in windows: one file for each kind of operator."""

from rambit.predictors.incremental.rules import convolution, pointwise, products, recurrent, shapes, totals  # noqa: F401
