"""captum's own scripts with one import changed: equal numbers first, then the time of each.

Against captum at its default, one perturbation a call, and at the best of several ``perturbations_per_eval``. Of ours
a call is timed that many others came before: by then a module whose rows took long was traced.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.series_models import FCN
from bench.timing import best, measure

attr = pytest.importorskip("captum.attr")

from rambit.compat import captum as ours  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch's, of even kernels

#: Perturbations a call that captum is tried with.
TRIED = (4, 16, 64, 256)
#: Calls before.
BEFORE = 25


class Recurrent(nn.Module):
    """A GRU over (B, T, D) and a layer on its last output."""

    def __init__(self, D, hidden):
        super().__init__()
        self.rnn, self.head = nn.GRU(D, hidden, batch_first=True), nn.Linear(hidden, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class Encoder(nn.Module):
    """Two layers of a Transformer over (B, T, D), and a layer on their mean."""

    def __init__(self, D, width):
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True, dropout=0.0)
        self.embed, self.layers = nn.Linear(D, width), nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.layers(self.embed(x)).mean(dim=1))


def mlp():
    return nn.Sequential(nn.Linear(100, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 3))


def cnn(channels, size):
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * (size // 4) ** 2, 10),
    )


def blocks(channels, size, width):
    """A feature mask of squares ``width`` wide, of all channels."""
    along = torch.arange(size) // width
    return (along[:, None] * (size // width) + along).expand(1, channels, size, size).contiguous()


#: A model, the shape of its input, and the arguments of FeatureAblation, Occlusion and Shapley values.
CASES = {
    "two features": (lambda: nn.Linear(2, 3), (1, 2), {}, {"sliding_window_shapes": (1,)}, {}),
    "MLP-100": (mlp, (1, 100), {}, {"sliding_window_shapes": (5,)}, {}),
    "CNN 1x28x28": (
        lambda: cnn(1, 28),
        (1, 1, 28, 28),
        {},
        {"sliding_window_shapes": (1, 4, 4), "strides": (1, 2, 2)},
        {"feature_mask": blocks(1, 28, 4), "n_samples": 3},
    ),
    "CNN 3x64x64": (
        lambda: cnn(3, 64),
        (1, 3, 64, 64),
        {"feature_mask": blocks(3, 64, 4)},
        {"sliding_window_shapes": (3, 8, 8), "strides": (3, 4, 4)},
        {"feature_mask": blocks(3, 64, 8), "n_samples": 3},
    ),
    "CNN 3x64x64, 8 images": (
        lambda: cnn(3, 64),
        (8, 3, 64, 64),
        {"feature_mask": blocks(3, 64, 8)},
        {"sliding_window_shapes": (3, 16, 16), "strides": (3, 8, 8)},
        {"feature_mask": blocks(3, 64, 16), "n_samples": 3},
    ),
    "FCN, T = 1000": (
        lambda: FCN(6, 1000),
        (1, 6, 1000),
        {"feature_mask": torch.arange(1000).expand(1, 6, 1000) // 5},
        {"sliding_window_shapes": (6, 10), "strides": (6, 5)},
        {"feature_mask": torch.arange(1000).expand(1, 6, 1000) // 100, "n_samples": 3},
    ),
    "GRU-64": (
        lambda: Recurrent(6, 64),
        (1, 40, 6),
        {},
        {"sliding_window_shapes": (4, 1)},
        {"feature_mask": torch.arange(240).view(1, 40, 6) // 6, "n_samples": 5},
    ),
    "Transformer": (
        lambda: Encoder(6, 32),
        (1, 40, 6),
        {},
        {"sliding_window_shapes": (4, 1)},
        {"feature_mask": torch.arange(240).view(1, 40, 6) // 6, "n_samples": 5},
    ),
}
METHODS = ("FeatureAblation", "Occlusion", "ShapleyValueSampling")


def compare(report, benchmark, what, name, model, x, given):
    """Check equal, then time: ours, captum's default, and captum at its best."""

    def call(module, **more):
        torch.manual_seed(0)
        return getattr(module, name)(model).attribute(x, target=1, **given, **more)

    expected = call(attr)
    for _ in range(BEFORE):
        torch.testing.assert_close(call(ours), expected, rtol=1e-3, atol=1e-5)
    rounds = max(3, min(100, int(0.2 / best(lambda: call(ours), rounds=2))))
    seconds, _ = measure(benchmark, lambda: call(ours), rounds=rounds, warmup_rounds=2)
    default = best(lambda: call(attr), rounds=2)
    most = max(4, 2 * 1024 // len(x))
    tuned = {k: best(lambda k=k: call(attr, perturbations_per_eval=k), rounds=2) for k in TRIED if k <= most}
    together = min(tuned, key=tuned.get)
    best_of_theirs = best(lambda: call(attr, perturbations_per_eval=together), rounds=max(3, rounds // 10))
    ratio = min(default, best_of_theirs) / seconds
    report(
        f"{name}, {what}",
        f"{ratio:.2f} x its best ({together} a call), {default / seconds:.1f} x the default, {seconds * 1e3:.2f} ms",
        ratio=ratio,
    )
    report(f"{name}, {what}, default", f"{default / seconds:.1f} x", ratio=default / seconds, part="default")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", METHODS)
def test_drop_in(benchmark, report, count_threads, name, case):
    count_threads(1)
    make, shape, ablation, occlusion, shapley = CASES[case]
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(shape)
    compare(
        report, benchmark, case, name, model, x, dict(zip(METHODS, (ablation, occlusion, shapley), strict=True))[name]
    )


def test_single_cells(benchmark, report, count_threads):
    """FeatureAblation of all 6000 cells of the FCN; captum's time a cell is that of 96 of them, each a feature."""
    count_threads(1)
    torch.manual_seed(0)
    model, x = FCN(6, 1000).eval(), torch.randn(1, 6, 1000)
    few = torch.zeros(6, 1000, dtype=torch.bool)
    few[:, torch.linspace(0, 999, 16).long()] = True
    mask = torch.where(few.flatten(), few.flatten().cumsum(0), 0).view(1, 6, 1000)  # 0: all the others

    def call():
        return ours.FeatureAblation(model).attribute(x, target=1)

    def theirs():
        return attr.FeatureAblation(model).attribute(x, target=1, feature_mask=mask)

    torch.testing.assert_close(call()[:, few], theirs()[:, few], rtol=1e-3, atol=1e-5)
    seconds, _ = measure(benchmark, call, rounds=2)
    each = best(theirs, rounds=1) / (int(few.sum()) + 2)
    ratio = each * x.numel() / seconds
    report("FeatureAblation of single cells, FCN, T = 1000", f"{ratio:.0f} x captum, {seconds:.2f} s", ratio=ratio)


def test_exact_shapley_values(benchmark, report, count_threads):
    count_threads(1)
    torch.manual_seed(0)
    model, x = mlp().eval(), torch.randn(1, 100)
    mask = torch.arange(100)[None] // 15  # 7 features: 35,280 rows, of which 128 differ
    compare(report, benchmark, "MLP-100, 7 features", "ShapleyValues", model, x, {"feature_mask": mask})
