"""Networks of the forms that darts and TSInterpret have are explained as docs/models.md says."""

from __future__ import annotations

import torch
from torch import nn

from rambit import RaMbIT
from rambit.attribution import Occlusion

B, T, D, H, Q = 3, 8, 2, 4, 2


class Forecaster(nn.Module):
    """As darts' networks: of (series, static covariates); the forecasts are the last steps of its outputs."""

    output_chunk_length = H

    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Linear(D, Q)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x_in):
        x, _static = x_in
        return self.dropout(self.step(x.cumsum(dim=1)))[..., None]


def test_a_network_of_darts():
    net, X = Forecaster(), torch.randn(B, T, D)
    method = Occlusion(
        lambda x: net((x, None))[:, -net.output_chunk_length :, :, 0],
        output="regression",
        layout="BTD",
    )
    result = method.explain(X, target=(1, 0))
    net.eval()
    with torch.no_grad():
        whole = net((X, None))[:, -H:, :, 0]
        without = net((X.index_fill(1, torch.tensor([2]), 0.0), None))[:, -H:, :, 0]
    torch.testing.assert_close(result.outputs, whole)
    torch.testing.assert_close(result.values[:, 2].sum(dim=1), (whole - without)[:, 1, 0])


def test_a_network_with_time_first_or_last():
    class Classifier(nn.Module):
        def forward(self, x):
            return torch.stack((x[:, 0].sum(dim=1), x[:, 1, -1]), dim=1)

    model, X = Classifier(), torch.randn(B, D, T)
    by_feature = RaMbIT(model, anchor="end", L=5).attribute(X)
    by_time = RaMbIT(lambda x: model(x.transpose(1, 2)), anchor="end", L=5, layout="BTD").attribute(X.transpose(1, 2))
    torch.testing.assert_close(by_time, by_feature.transpose(1, 2))
