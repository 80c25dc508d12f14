"""Which candidates leave an observation in the same state, so that it is encoded once for all of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class States(NamedTuple):
    """The R states in which N candidates leave n observations.

    ``row`` (N, n) is the state of each; state r is how ``candidate[r]`` leaves ``observation[r]``.
    """

    row: Tensor
    candidate: Tensor
    observation: Tensor


def every(candidates: int, observations: int, device: torch.device) -> States:
    """Each candidate leaves each observation in a state of its own."""
    row = torch.arange(candidates * observations, device=device)
    return States(row.view(candidates, observations), row // max(observations, 1), row % max(observations, 1))


def distinct(codes: Tensor, owner: Tensor, observations: int) -> States:
    """Equal states, once: ``codes`` (N, K) int64 say what each candidate leaves of K items, ``owner`` (K,) whose.

    A hash finds the candidates for equality, and what it found is compared.
    """
    plain = every(len(codes), observations, codes.device)
    if len(codes) == 1 or observations == 0:
        return plain
    _, row = torch.unique(_hashes(codes, owner, observations), return_inverse=True)
    some = torch.empty(int(row.max()) + 1, dtype=torch.int64, device=codes.device)
    some[row] = plain.row
    states = States(row, plain.candidate[some], plain.observation[some])
    items = torch.arange(codes.shape[1], device=codes.device)
    same_codes = (codes[states.candidate[row][:, owner], items] == codes).all()
    same_owner = (states.observation[row] == plain.row[0]).all()
    return states if same_codes and same_owner else plain


def _hashes(codes: Tensor, owner: Tensor, observations: int) -> Tensor:
    """(N, observations) int64: sums of items times random odd numbers, modulo 2^64."""
    generator = torch.Generator().manual_seed(0)
    bound = torch.iinfo(torch.int64)
    factors = torch.randint(bound.min, bound.max, (codes.shape[1] + observations,), generator=generator) | 1
    of_items, of_observations = factors.to(codes.device).tensor_split([codes.shape[1]])
    start = of_observations.expand(len(codes), -1).contiguous()
    return start.index_add(1, owner, (codes + 1) * of_items)
