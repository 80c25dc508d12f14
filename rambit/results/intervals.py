"""Intervals around scores, by their standard errors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rambit.results.grid import as_array
from rambit.results.record_checks import check_number


def interval(values: Tensor, stderr: Tensor | None, freedom: Tensor | None, confidence: float) -> tuple[Tensor, Tensor]:
    """Lowest and highest, like ``values``: these -+ Student's quantile for ``freedom`` times ``stderr``.

    Without a ``freedom``, the normal quantile. Errors: TypeError, ValueError naming the argument.
    """
    check_number("confidence", confidence, 0, 1)
    if confidence in (0, 1):
        raise ValueError(f"confidence must lie between 0 and 1, given {confidence}")
    if stderr is None:
        raise ValueError("these scores have no stderr, which intervals need")
    from scipy.special import stdtrit

    freedom = torch.full_like(stderr, math.inf) if freedom is None else freedom
    quantile = torch.from_numpy(stdtrit(as_array(freedom).astype(float), (1 + confidence) / 2)).to(stderr)
    half = torch.where(stderr > 0, quantile * stderr, 0.0)
    return values - half, values + half
