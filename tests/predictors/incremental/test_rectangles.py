"""Rectangles of images, against the module called on whole images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rambit.predictors import Predictor
from rambit.predictors.incremental import Incremental
from rambit.predictors.incremental.gather import gather
from rambit.predictors.trace import trace


class Net(nn.Module):
    """Layers, the mean over the image, a head; ``added``: a shortcut around the last of them."""

    def __init__(self, *layers, channels, added=False):
        super().__init__()
        self.layers, self.added, self.head = nn.ModuleList(layers), added, nn.Linear(channels, 3)

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = layer(x)
        x = self.layers[-1](x) + (x if self.added else 0)
        return self.head(x.mean(dim=(2, 3)))


LAYERS = {
    "stride": lambda: (nn.Conv2d(2, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, (1, 3), (1, 2), (0, 1))),
    "dilation": lambda: (nn.Conv2d(2, 4, 3, padding="same", dilation=(2, 1)), nn.GELU()),
    "even": lambda: (nn.Conv2d(2, 4, (2, 4), padding="same"), nn.BatchNorm2d(4)),
    "groups": lambda: (nn.Conv2d(2, 4, 3, 1, 1, groups=2, bias=False), nn.ReLU6()),
    "valid": lambda: (nn.Conv2d(2, 4, (3, 1)), nn.Hardswish(inplace=True)),
    "max pool": lambda: (nn.Conv2d(2, 4, 1), nn.MaxPool2d(3, 2, 1)),
    "mean pool": lambda: (nn.Conv2d(2, 4, 1), nn.AvgPool2d((2, 3), (2, 1), (1, 0))),
    "prelu": lambda: (nn.Conv2d(2, 4, 3, padding=1), nn.PReLU(4)),
}


def rows_with(x, which, windows, starts):
    rows = x[which].clone()
    height, width = windows.shape[2:]
    for i in range(len(rows)):
        y, z = int(starts[0][i]), int(starts[1][i])
        rows[i, :, y : y + height, z : z + width] = windows[i]
    return rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(1, 1), (4, 2), (19, 3)])
@pytest.mark.parametrize("kind", LAYERS)
def test_rectangles_give_what_whole_images_give(kind, size, dtype, device):
    torch.manual_seed(0)
    model = Net(*LAYERS[kind](), channels=4, added=kind == "prelu").to(device, dtype)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 2, 19, 23, dtype=dtype).to(device)
    found = trace(Predictor.of(model.eval()), x)
    assert not isinstance(found, str), found
    n, generator = 12, np.random.default_rng(1)
    starts = tuple(generator.integers(0, side - width + 1, n) for side, width in zip((19, 23), size, strict=True))
    for start, side, width in zip(starts, (19, 23), size, strict=True):  # both edges
        start[0], start[1] = 0, side - width
    which = torch.from_numpy(generator.integers(0, 2, n)).to(device)
    windows = torch.randn(n, 2, *size, dtype=dtype).to(device)
    with torch.no_grad():
        incremental = Incremental(found, 2, 3)
        reference, _ = incremental.reference(x)
        outputs = incremental.outputs(reference, which, windows, starts)
        expected = model(rows_with(x, which, windows, starts))
    absolute, relative = (1e-5, 1e-4) if dtype == torch.float32 else (1e-12, 1e-12)
    torch.testing.assert_close(outputs, expected, atol=absolute, rtol=relative)


def test_small_rectangles_are_evaluated_as_such():
    """A rectangle of a network that keeps the size takes a part of its work."""
    model = Net(nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), channels=8).eval()
    x = torch.randn(1, 2, 64, 64)
    found = trace(Predictor.of(model), x)
    assert not isinstance(found, str), found
    assert Incremental(found, 2, 3).gain(x, 4, 4) > 20
    assert Incremental(found, 2, 3).gain(x, 60, 60) < 1.5


def test_places_are_those_of_an_obvious_loop():
    generator = torch.Generator().manual_seed(0)
    places = torch.randn(2, 5, 6, 3, generator=generator)
    window = torch.randn(4, 2, 3, 3, generator=generator)
    which = torch.tensor([0, 1, 1, 0])
    at = [torch.tensor([0, 3, 2, 1]), torch.tensor([3, 0, 1, 2])]
    start = [torch.tensor([-2, 1, 0, 3]), torch.tensor([1, -1, 0, 4])]
    expected = torch.full((4, 4, 5, 3), -7.0)
    for i in range(4):
        rows = places[which[i]].clone()
        rows[at[0][i] : at[0][i] + 2, at[1][i] : at[1][i] + 3] = window[i]
        for y in range(4):
            for z in range(5):
                line, column = int(start[0][i]) + y, int(start[1][i]) + z
                if 0 <= line < 5 and 0 <= column < 6:
                    expected[i, y, z] = rows[line, column]
    assert torch.equal(gather(places, which, start, (4, 5), window, at, -7.0), expected)
