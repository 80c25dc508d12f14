"""Random graphs of operators with a rule and of operators without one: always what whole rows give."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rambit.predictors.incremental import Incremental
from rambit.predictors.module import ModulePredictor
from rambit.predictors.trace import trace
from tests.predictors.incremental.twins import assert_close, random_case

D, T, GRAPHS = 3, 16, 10

#: A step of a graph on values (N, C, L), and how many channels and places its result has.
Step = tuple[Callable[[Tensor], Tensor], int, int]


class Call(nn.Module):
    """A function with the modules that it calls."""

    def __init__(self, function: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, *values: Tensor) -> Tensor:
        return self.function(*self.parts, *values)


def conv(r: random.Random, C: int, L: int) -> Step:
    taps, stride, dilation = r.randint(1, 4), r.choice([1, 1, 2]), r.randint(1, 2)
    layer = nn.Conv1d(C, 4, taps, stride, dilation * (taps - 1), dilation, groups=r.choice([1, math.gcd(C, 4)]))
    return layer, 4, (L + dilation * (taps - 1) - 1) // stride + 1


def named_padding(r: random.Random, C: int, L: int) -> Step:
    mode = r.choice(["zeros", "zeros", "replicate", "circular"]) if L > 4 else "zeros"
    return nn.Conv1d(C, 4, r.randint(1, 4), padding="same", padding_mode=mode), 4, L


def causal_conv(r: random.Random, C: int, L: int) -> Step:
    layer = nn.Conv1d(C, 4, 3, padding=2)
    return Call(lambda conv, x: conv(x)[..., : x.shape[2]], layer), 4, L


def pool(r: random.Random, C: int, L: int) -> Step:
    stride = r.choice([1, 2])
    return r.choice([nn.MaxPool1d, nn.AvgPool1d])(3, stride, padding=1), C, (L - 1) // stride + 1


def activation(r: random.Random, C: int, L: int) -> Step:
    kinds = [nn.ReLU(), nn.GELU(), nn.Tanh(), nn.Hardswish(), nn.PReLU(C), nn.Dropout(0.5), nn.ELU(), nn.SiLU()]
    return r.choice(kinds), C, L


def batch_norm(r: random.Random, C: int, L: int) -> Step:
    layer = nn.BatchNorm1d(C)
    with torch.no_grad():
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2.0)
    return layer, C, L


def linear(r: random.Random, C: int, L: int) -> Step:
    return Call(lambda norm, layer, x: layer(norm(x.transpose(1, 2))).mT, nn.LayerNorm(C), nn.Linear(C, 5)), 5, L


def gated(r: random.Random, C: int, L: int) -> Step:
    return Call(lambda conv, x: F.glu(conv(x), 1), nn.Conv1d(C, 8, 3, padding=1)), 4, L


def positions(r: random.Random, C: int, L: int) -> Step:
    places = nn.Embedding(L, C)
    return Call(lambda table, x: x + table.weight.t(), places), C, L


def residual(r: random.Random, C: int, L: int) -> Step:
    inner = nn.Conv1d(C, C, 3, padding=1)
    return Call(lambda inner, x: torch.relu(x + inner(x)), inner), C, L


def branches(r: random.Random, C: int, L: int) -> Step:
    parts = [nn.Conv1d(C, 2, taps, padding="same") for taps in (1, 2, 5)]
    return Call(lambda a, b, c, x: torch.cat([a(x), b(x), c(F.max_pool1d(x, 3, 1, 1))], 1), *parts), 6, L


def squeeze_and_excite(r: random.Random, C: int, L: int) -> Step:
    return Call(lambda layer, x: x * torch.sigmoid(layer(x.mean(2))).unsqueeze(2), nn.Linear(C, C)), C, L


def regrouped(r: random.Random, C: int, L: int) -> Step:
    def shuffle(x: Tensor) -> Tensor:
        return x.view(x.shape[0], C, 1, L).transpose(1, 2).reshape(x.shape[0], C, L).flip(1)

    return shuffle, C, L


def stacked(r: random.Random, C: int, L: int) -> Step:
    return lambda x: torch.stack([x, x.neg()], 2).amax(2), C, L


def cut(r: random.Random, C: int, L: int) -> Step:
    begin = r.randint(0, 2) if L > 6 else 0
    return lambda x: F.pad(x[:, :, begin:], (1, 2), value=0.5), C, L - begin + 3


RULED = [conv, conv, named_padding, causal_conv, pool, activation, activation, batch_norm, linear, gated]
RULED += [positions, residual, branches, squeeze_and_excite, regrouped, stacked, cut]


def simple(r: random.Random, C: int, L: int) -> Step:
    at = torch.randint(L, (L,), generator=torch.Generator().manual_seed(r.randint(0, 99)))
    functions: list[Callable[[Tensor], Tensor]] = [
        lambda x: x.cumsum(2) / L,
        lambda x: x.flip(2),
        lambda x: x.sort(2).values,
        lambda x: x / (1 + x.std(2, keepdim=True)),
        lambda x: F.instance_norm(x) if L > 1 else x,
        lambda x: F.interpolate(x, size=L, mode="linear"),
        lambda x: x.roll(1, 2),
        lambda x: torch.fft.rfft(x, dim=2).abs() / L if L > 1 else x,
        lambda x: x.gather(2, at.to(x.device).expand_as(x)),
        lambda x: x.cummax(2).values,
        lambda x: x[:, :, ::2],
        lambda x: torch.einsum("nct,nkt->nkt", x, x) / C,
        lambda x: x.unfold(2, 1, 1).squeeze(3),
        lambda x: torch.cat([x, x.mean(2, keepdim=True)], 2),
        lambda x: torch.cat([x, x], 2),
        lambda x: x.softmax(2) * x,
    ]
    k = r.randrange(len(functions))
    return functions[k], C, {7: L // 2 + 1 if L > 1 else L, 10: (L + 1) // 2, 13: L + 1, 14: 2 * L}.get(k, L)


def attention(r: random.Random, C: int, L: int) -> Step:
    def attend(layer: nn.Module, x: Tensor) -> Tensor:
        series = layer(x.transpose(1, 2))
        if r_causal:
            return F.scaled_dot_product_attention(series, series, series, is_causal=True).transpose(1, 2)
        scores = torch.matmul(series, series.transpose(1, 2)) / C
        return torch.matmul(scores.softmax(-1), series).transpose(1, 2)

    r_causal = r.random() < 0.5
    return Call(attend, nn.Linear(C, C)), C, L


def group_norm(r: random.Random, C: int, L: int) -> Step:
    return nn.GroupNorm(1, C), C, L


def upsample(r: random.Random, C: int, L: int) -> Step:
    return nn.ConvTranspose1d(C, 4, 2, stride=2), 4, 2 * L


def mixed_in_time(r: random.Random, C: int, L: int) -> Step:
    return nn.Linear(L, 6), C, 6


UNRULED = [simple, simple, simple, simple, attention, group_norm, upsample, mixed_in_time]


def reduction(r: random.Random, C: int, L: int) -> Callable[[Tensor], Tensor]:
    score = nn.Linear(C, 1)
    return r.choice(
        [
            Call(lambda head, x: head(x.mean(-1)), nn.Linear(C, 2)),
            Call(lambda head, x: head(x.flatten(1)), nn.Linear(C * L, 2)),
            Call(lambda head, x: head(x.mT.reshape(x.shape[0], -1)), nn.Linear(C * L, 2)),
            Call(lambda head, x: head(x[:, :, -1]), nn.Linear(C, 2)),
            Call(lambda head, x: head(torch.cat([x.amax(2), x.mean(2), x.amin(2)], 1)), nn.Linear(3 * C, 2)),
            Call(lambda head, x: head(F.adaptive_avg_pool1d(x, 1).squeeze()), nn.Linear(C, 2)),
            Call(lambda score, x: (score(x.mT).softmax(1) * x.mT).sum(1), score),
            lambda x: x.max(2).values,
            lambda x: x.sum((1, 2)).unsqueeze(1) / L,
            lambda x: x[:, 0],
        ]
    )


class RandomGraph(nn.Module):
    def __init__(self, r: random.Random) -> None:
        super().__init__()
        C, L = D, T
        steps: list[Any] = []
        for _ in range(r.randint(2, 4)):
            step, C, L = r.choice(RULED if r.random() < 0.75 else UNRULED)(r, C, L)
            steps.append(step)
        steps.append(reduction(r, C, L))
        self.steps = nn.ModuleList(step if isinstance(step, nn.Module) else Call(step) for step in steps)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x


class Forest(nn.Module):
    """Several graphs of one series side by side: one trace serves them all."""

    def __init__(self, seed: int, features_last: bool) -> None:
        super().__init__()
        torch.manual_seed(seed)
        r = random.Random(seed)
        self.features_last = features_last
        self.graphs = nn.ModuleList(RandomGraph(r) for _ in range(GRAPHS))

    def forward(self, x: Tensor) -> Tensor:
        if self.features_last:
            x = x.transpose(1, 2)
        return torch.cat([graph(x).reshape(x.shape[0], -1) for graph in self.graphs], 1)


@pytest.mark.parametrize("seed", range(20))
def test_a_graph_gives_what_whole_rows_give(seed, device):
    with torch.random.fork_rng():
        features_last = seed % 2 == 1
        dtype = torch.float32 if seed % 3 == 0 else torch.float64
        forest = Forest(seed, features_last).eval().to(device, dtype)
    predictor = ModulePredictor(forest, layout="BTD" if features_last else "BDT")
    found = trace(predictor, torch.zeros(1, D, T, dtype=dtype, device=device))
    assert not isinstance(found, str), found
    incremental = Incremental(found, 1 if features_last else 2)
    sizes = (None, D) if features_last else (D, None)
    with torch.no_grad():
        for widest in (1, 4, T):
            case = random_case(seed, sizes, T, widest, dtype=dtype).to(device)
            reference, outputs = incremental.reference(case.x)
            # A single row, too: of those some operators of a module would lose the dimension of the rows.
            twice = torch.cat([case.x, case.x])
            assert_close(outputs, forest(twice)[: len(case.x)])
            differing = incremental.outputs(reference, case.which, case.windows, case.start)
            assert_close(differing, forest(torch.cat([case.rows, case.rows]))[: len(case.rows)])
