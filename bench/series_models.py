"""Models of time series as their users write them, for series (N, D, T)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn


class ConvBlock(nn.Sequential):
    """A convolution that keeps the length, batch norm, and the activation."""

    def __init__(self, inputs, outputs, kernel, activation=True):
        super().__init__(nn.Conv1d(inputs, outputs, kernel, padding="same"), nn.BatchNorm1d(outputs))
        if activation:
            self.append(nn.ReLU())


class FCN(nn.Module):
    """Wang, Yan and Oates 2017: three convolutions, mean over time."""

    def __init__(self, features, T):
        super().__init__()
        self.body = nn.Sequential(ConvBlock(features, 128, 8), ConvBlock(128, 256, 5), ConvBlock(256, 128, 3))
        self.head = nn.Linear(128, 2)

    def forward(self, x):
        return self.head(self.body(x).mean(dim=-1))


class ResNet(nn.Module):
    """Wang, Yan and Oates 2017: three blocks of three convolutions beside a shortcut."""

    def __init__(self, features, T, width=64):
        super().__init__()
        sizes = [features, width, width, width]
        pairs = list(pairwise(sizes))
        self.blocks = nn.ModuleList(
            nn.Sequential(ConvBlock(i, o, 8), ConvBlock(o, o, 5), ConvBlock(o, o, 3, activation=False))
            for i, o in pairs
        )
        self.shortcuts = nn.ModuleList(ConvBlock(i, o, 1, activation=False) for i, o in pairs)
        self.head = nn.Linear(width, 2)

    def forward(self, x):
        for block, shortcut in zip(self.blocks, self.shortcuts, strict=True):
            x = torch.relu(block(x) + shortcut(x))
        return self.head(x.mean(dim=-1))


class Inception(nn.Module):
    """Convolutions of three lengths and a pool side by side."""

    def __init__(self, features, width=32):
        super().__init__()
        self.bottleneck = nn.Conv1d(features, width, 1, bias=False)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, width, k, padding="same", bias=False) for k in (10, 20, 40))
        self.pool = nn.Sequential(nn.MaxPool1d(3, stride=1, padding=1), nn.Conv1d(features, width, 1, bias=False))
        self.norm = nn.BatchNorm1d(4 * width)

    def forward(self, x):
        short = self.bottleneck(x)
        parts = [convolution(short) for convolution in self.convolutions]
        return torch.relu(self.norm(torch.cat([*parts, self.pool(x)], dim=1)))


class InceptionTime(nn.Module):
    """Ismail Fawaz et al. 2020: six modules, a shortcut over every third."""

    def __init__(self, features, T):
        super().__init__()
        self.modules_ = nn.ModuleList(Inception(features if k == 0 else 128) for k in range(6))
        self.shortcuts = nn.ModuleList(ConvBlock(size, 128, 1, activation=False) for size in (features, 128))
        self.head = nn.Linear(128, 2)

    def forward(self, x):
        shortcut = x
        for k, module in enumerate(self.modules_):
            x = module(x)
            if k % 3 == 2:
                x = torch.relu(x + self.shortcuts[k // 3](shortcut))
                shortcut = x
        return self.head(x.mean(dim=-1))


class TemporalBlock(nn.Module):
    """Bai, Kolter and Koltun 2018: two causal convolutions, what is padded beyond the end cut off."""

    def __init__(self, inputs, outputs, dilation):
        super().__init__()
        self.beyond = 2 * dilation
        self.first = nn.Conv1d(inputs, outputs, 3, padding=self.beyond, dilation=dilation)
        self.second = nn.Conv1d(outputs, outputs, 3, padding=self.beyond, dilation=dilation)
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        y = x
        for convolution in (self.first, self.second):
            y = self.dropout(torch.relu(convolution(y)[:, :, : -self.beyond].contiguous()))
        return torch.relu(y + self.shortcut(x))


class TCN(nn.Module):
    """Six blocks, dilations 1 to 32, the last step."""

    def __init__(self, features, T):
        super().__init__()
        self.body = nn.Sequential(*(TemporalBlock(features if k == 0 else 64, 64, 2**k) for k in range(6)))
        self.head = nn.Linear(64, 2)

    def forward(self, x):
        return self.head(self.body(x)[:, :, -1])


class MLP(nn.Sequential):
    """The series as one vector."""

    def __init__(self, features, T):
        super().__init__(nn.Flatten(), nn.Linear(features * T, 512), nn.ReLU(), nn.Linear(512, 2))


class BidirectionalGRU(nn.Module):
    """Mean of the hidden values of both directions."""

    def __init__(self, features, T):
        super().__init__()
        self.rnn = nn.GRU(features, 64, batch_first=True, bidirectional=True)
        self.head = nn.Linear(128, 2)

    def forward(self, x):
        return self.head(self.rnn(x.transpose(1, 2))[0].mean(dim=1))


class LSTM(nn.Module):
    """The last step."""

    def __init__(self, features, T):
        super().__init__()
        self.rnn, self.head = nn.LSTM(features, 64, batch_first=True), nn.Linear(64, 2)

    def forward(self, x):
        return self.head(self.rnn(x.transpose(1, 2))[0][:, -1])


class GRU(nn.Module):
    """The last state."""

    def __init__(self, features, T):
        super().__init__()
        self.rnn, self.head = nn.GRU(features, 64, batch_first=True), nn.Linear(64, 2)

    def forward(self, x):
        return self.head(self.rnn(x.transpose(1, 2))[1][-1])


class Transformer(nn.Module):
    """Two encoder layers in which every step attends to every other."""

    def __init__(self, features, T):
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        self.embed, self.encoder = nn.Linear(features, 64), nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(64, 2)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x.transpose(1, 2))).mean(dim=1))


def trained(kind, features, T, seed=0):
    """A model in evaluation mode whose batch norms have statistics, as training leaves them."""
    torch.manual_seed(seed)
    model = kind(features, T)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    return model.eval()
