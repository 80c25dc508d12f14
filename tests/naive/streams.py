"""Pieces of a stream, by holding all of it."""

from __future__ import annotations

import torch


def cut(batches, size):
    """The arguments of ``explain`` for every ``size`` series of all batches: dicts with X, ids and what was given."""
    names = [name for name in batches[0] if name != "observed"]
    whole = {name: torch.cat([torch.as_tensor(batch[name]) for batch in batches]) for name in names}
    if any("observed" in batch for batch in batches):
        ones = [torch.ones(batch["X"].shape, dtype=torch.bool) for batch in batches]
        whole["observed"] = torch.cat([batch.get("observed", one) for batch, one in zip(batches, ones, strict=True)])
    whole.setdefault("ids", torch.arange(len(whole["X"])))
    found = []
    for start in range(0, len(whole["X"]), size):
        part = {name: value[start : start + size] for name, value in whole.items()}
        if "observed" in part and part["observed"].all():
            del part["observed"]
        found.append(part)
    return found
