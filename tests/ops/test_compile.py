"""``torch.compile(fullgraph=True)`` works through the ops: they have fakes, and say what they write."""

from __future__ import annotations

import pytest
import torch

from rambit import ops
from tests.ops.layouts import rng


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_rows_model_and_scores_in_one_graph(backend):
    g = rng(0)
    B, D, T, n = 2, 3, 5, 6
    x, draws = torch.randn(B, D, T, generator=g), torch.randn(2, B, D, T, generator=g)
    masks, weight = torch.rand(1, D, T, generator=g) < 0.5, torch.randn(4, D, generator=g)
    rows = torch.zeros(n, 9, dtype=torch.int32)
    cells = torch.arange(n, dtype=torch.int32)
    rows[:, 0], rows[:, 1], rows[:, 3], rows[:, 6] = cells % B, cells // 3, cells, T
    rows[:, 7] = (rows[:, 1] * B + rows[:, 0]) * D * T + cells
    reference = torch.rand(B, 4, T, generator=g).softmax(1)
    base, target = torch.rand(2 * B, T, generator=g, dtype=torch.float64), torch.zeros(B, dtype=torch.int64)

    def whole(x, draws):
        built = ops.masked_batch(x.new_empty(n, D, T), x, draws, masks, rows)
        outputs = torch.einsum("cd,ndt->nct", weight, built).softmax(1)
        contributions = torch.zeros(1, 2, B, D * T, dtype=torch.float64)
        ops.score(
            contributions,
            outputs,
            reference,
            base,
            masks,
            rows,
            target,
            width=T,
            metric=ops.Metric.PD,
            reduce=ops.Reduce.MEAN,
        )
        return built, contributions.sum(1)

    torch.compiler.reset()
    expected, found = whole(x, draws), torch.compile(whole, fullgraph=True, backend=backend)(x, draws)
    assert expected[1].count_nonzero() == n
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
