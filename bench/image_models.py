"""Models of images (N, 3, H, W), as their users write them, with random weights."""

from __future__ import annotations

import torch
from torch import nn


def conv(inputs, outputs, kernel, stride=1, groups=1, activation=nn.ReLU):
    """A convolution that keeps the size, or halves it, batch norm, and the activation if there is one."""
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(conv(inputs, outputs, 3, stride), conv(outputs, outputs, 3, activation=None))
        keeps = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if keeps else conv(inputs, outputs, 1, stride, activation=None)

    def forward(self, x):
        return torch.relu(self.body(x) + self.shortcut(x))


class ResNet18(nn.Module):
    """He et al. 2016."""

    def __init__(self, classes=10):
        super().__init__()
        blocks, inputs = [], 64
        for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            blocks += [Residual(inputs, outputs, stride), Residual(outputs, outputs, 1)]
            inputs = outputs
        self.body = nn.Sequential(conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1), *blocks)
        self.head = nn.Linear(512, classes)

    def forward(self, x):
        return self.head(self.body(x).mean(dim=(2, 3)))


class InvertedResidual(nn.Module):
    """Widen, a convolution of each channel, narrow."""

    def __init__(self, inputs, outputs, kernel, stride, factor):
        super().__init__()
        wide = inputs * factor
        widen = [] if factor == 1 else [conv(inputs, wide, 1, activation=nn.ReLU6)]
        self.body = nn.Sequential(
            *widen,
            conv(wide, wide, kernel, stride, groups=wide, activation=nn.ReLU6),
            conv(wide, outputs, 1, activation=None),
        )
        self.adds = inputs == outputs and stride == 1

    def forward(self, x):
        return x + self.body(x) if self.adds else self.body(x)


class EfficientNetLite0(nn.Module):
    """EfficientNet-B0 (Tan and Le 2019) without squeeze-and-excitation, ReLU6 in place of swish."""

    def __init__(self, classes=10):
        super().__init__()
        stages = ((16, 3, 1, 1, 1), (24, 3, 2, 6, 2), (40, 5, 2, 6, 2), (80, 3, 2, 6, 3))
        stages = (*stages, (112, 5, 1, 6, 3), (192, 5, 2, 6, 4), (320, 3, 1, 6, 1))
        blocks, inputs = [], 32
        for outputs, kernel, stride, factor, count in stages:
            for k in range(count):
                blocks.append(InvertedResidual(inputs, outputs, kernel, stride if k == 0 else 1, factor))
                inputs = outputs
        first, last = conv(3, 32, 3, 2, activation=nn.ReLU6), conv(320, 1280, 1, activation=nn.ReLU6)
        self.body = nn.Sequential(first, *blocks, last)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x):
        return self.head(self.body(x))


def trained_images(kind, seed=0):
    """A model in evaluation mode whose batch norms have statistics, as training leaves them."""
    torch.manual_seed(seed)
    model = kind()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    return model.eval()
