"""What explaining every output, and inputs beside the series, cost over explaining one output of the series alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.timing import best, measure
from rambit import RaMbIT

B, D, T, H, F = 8, 6, 48, 24, 4


class Forecaster(nn.Module):
    """An LSTM that forecasts H steps, from a state that static features shift, if any are given."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head, self.static = nn.LSTM(D, 64, batch_first=True), nn.Linear(64, H), nn.Linear(F, 64)

    def forward(self, x, static=None):
        hidden = self.rnn(x.transpose(1, 2))[0][:, -1]
        return self.head(hidden + self.static(x[:, :F, 0] if static is None else static))


@pytest.fixture
def X():
    return torch.randn(B, D, T, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def attributor():
    how = {"L": 3, "anchor": "end", "window_size": 1, "num_samples": 1, "counterfactuals": "zero"}
    return RaMbIT(Forecaster().eval(), output="regression", **how)


def test_all_outputs_from_the_rows_of_one(benchmark, report, threads, attributor, X):
    every = attributor.explain(X, targets="all")
    each = [attributor.explain(X, target=h) for h in range(H)]
    for h, one in enumerate(each):
        torch.testing.assert_close(every.values[:, h], one.values, rtol=0, atol=1e-6)
    assert every.rows == each[0].rows == attributor.cost(X, targets="all").rows
    seconds, result = measure(benchmark, lambda: attributor.explain(X, targets="all"), rounds=3)
    one_by_one = best(lambda: [attributor.explain(X, target=h) for h in range(H)], rounds=1)
    report(
        f"{H} outputs of a forecaster, {threads}",
        f"{one_by_one / seconds:.1f} x one by one ({one_by_one:.2f} s; together {seconds:.2f} s)",
        ratio=one_by_one / seconds,
        rows=result.rows,
        row_steps=result.row_steps,
    )


def test_extra_inputs(benchmark, report, threads, attributor, X):
    static = torch.randn(B, F, generator=torch.Generator().manual_seed(2))
    found = attributor.attribute(X, extra={"static": static})
    for b in range(B):
        alone = attributor.attribute(X[b : b + 1], ids=[b], extra={"static": static[b : b + 1]})
        torch.testing.assert_close(found[b : b + 1], alone, rtol=0, atol=1e-6 * H)  # of H outputs, added up
    seconds, result = measure(benchmark, lambda: attributor.explain(X, extra={"static": static}), rounds=5)
    without = best(lambda: attributor.explain(X), rounds=5)
    report(
        f"inputs beside the series, {threads}",
        f"{seconds / without:.3f} of the time without",
        ratio=seconds / without,
        rows=result.rows,
        row_steps=result.row_steps,
    )
