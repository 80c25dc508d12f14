"""No buffer of the engine is larger than a quarter of ``max_memory``, however many window shifts a mask has."""

from __future__ import annotations

import pytest
import torch

from rambit import RaMbIT, memory

X = torch.randn(16, 2, 30, generator=torch.Generator().manual_seed(0))
LIMIT = 1 << 20


def model(x):
    return x[:, :, -1] * torch.tensor([1.0, 2.0]) + x.mean(-1)


@pytest.mark.parametrize("window", [1, 5, 25])
@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
def test_buffers_are_bounded(window, anchor, monkeypatch):
    sizes = []
    empty = memory.empty

    def noted(shape, like, dtype=None):
        found = empty(shape, like, dtype)
        sizes.append(found.numel() * found.element_size())
        return found

    monkeypatch.setattr(memory, "empty", noted)
    options = {"anchor": anchor, "window_size": window, "num_samples": 4, "L": 2, "background": X}
    method = RaMbIT(model, output="regression", max_memory=LIMIT, **options)
    cost = method.cost(X)
    assert max(sizes) <= LIMIT // 4
    result = method.explain(X)
    assert max(sizes) <= LIMIT // 4
    assert (result.rows, result.row_steps) == (cost.rows, cost.row_steps)
    plenty = RaMbIT(model, output="regression", **options).attribute(X)
    torch.testing.assert_close(result.values, plenty, rtol=0, atol=1e-6)
    assert max(sizes) > LIMIT // 4 or window == 1  # with plenty of memory they are larger
