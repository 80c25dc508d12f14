"""Random decisions to explain: models and batches of samples."""

from __future__ import annotations

import torch
from torch import nn

from rambit.game.shapley_values import all_coalitions
from rambit.structure import HierarchicalClassifier, from_json


def rng(seed):
    return torch.Generator().manual_seed(seed)


def randn(*shape, g):
    return torch.randn(*shape, generator=g, dtype=torch.float64)


class Linear(nn.Module):
    """Two classes by the sign of a weighted sum."""

    def __init__(self, weight, bias=0.0):
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x):
        z = x.flatten(1) @ self.weight + self.bias
        return torch.stack((z, -z), 1)


class Pairs(nn.Module):
    """Main effects and pairwise interactions of n terms."""

    def __init__(self, n, scale, g):
        super().__init__()
        self.main, self.pairs = scale * randn(n, g=g), 0.3 * scale * randn(n, n, g=g).triu(1)

    def forward(self, x):
        x = x.flatten(1)
        z = x @ self.main + ((x @ self.pairs) * x).sum(1)
        return torch.stack((z, -z), 1)


class Net(nn.Module):
    """One hidden layer, three classes."""

    def __init__(self, n, scale, g, hidden=12):
        super().__init__()
        self.a, self.b = scale * randn(n, hidden, g=g) / n**0.5, scale * randn(hidden, 3, g=g) / hidden**0.5

    def forward(self, x):
        return torch.tanh(x.flatten(1) @ self.a) @ self.b


class Gru(nn.Module):
    """A recurrent network on series (N, D, T), three classes."""

    def __init__(self, D, g):
        super().__init__()
        self.rnn, self.head = nn.GRU(D, 6, batch_first=True).double(), nn.Linear(6, 3).double()
        for parameter in self.parameters():
            parameter.data = randn(*parameter.shape, g=g)

    def forward(self, x):
        return self.head(self.rnn(x.transpose(1, 2))[0][:, -1])


def tensors(kind, seed, B=4):
    """A model and samples (B, 2, 5)."""
    g = rng(seed)
    model = {
        "linear": lambda: Linear(randn(10, g=g)),
        "pairs": lambda: Pairs(10, 1.0, g),
        "net": lambda: Net(10, 2.0, g),
        "gru": lambda: Gru(2, g),
    }[kind]()
    return model, randn(B, 2, 5, g=g)


def nested(seed, B=4):
    """A hierarchical model with random weights and B documents of a few terms."""
    g = rng(seed)

    def some(*among):
        return among[int(torch.randint(len(among), (), generator=g))]

    def number():
        return float(randn((), g=g))

    def document():
        items = [{"v": number(), "k": some("p", "q"), "w": [number()] * some(0, 1, 2)} for _ in range(some(1, 2))]
        return {"a": number(), "kind": some("x", "y"), "items": items}

    always = {"a": 0.0, "kind": "x", "items": [{"v": 0.0, "k": "p", "w": [0.0]}, {"v": 0.0, "k": "q", "w": [0.0]}]}
    sample = from_json([document() for _ in range(B)] + [always, {**always, "kind": "y"}] * 5)
    model = HierarchicalClassifier(sample.schema, 3, width=6).double()
    for parameter in model.parameters():
        parameter.data = 0.7 * randn(*parameter.shape, g=g)
        parameter.requires_grad_(False)
    return model, sample.take(torch.arange(B))


def optima(model, X, rel_tol=0.9):
    """The size of each sample's smallest feasible mask, from all masks at once, (B,)."""
    masks = all_coalitions(X[0].numel())
    found = []
    for x in X:
        p = model(masks.view(-1, *x.shape) * x).softmax(1)
        y = int(p[-1].argmax())
        gap = p[:, y] - p[:, [c for c in range(p.shape[1]) if c != y]].amax(1)
        found.append(int(masks[gap >= rel_tol * gap[-1]].sum(1).min()))
    return torch.tensor(found)


def hard(kind, count, seed=0):
    """Models with samples of 12 to 16 terms whose optima are at least 3: [(model, X, optima)], ``count`` samples."""
    g, found, missing = rng(seed), [], count
    while missing > 0:
        n = 12 + int(torch.randint(5, (), generator=g))
        make, scales = {"pairs": (Pairs, (0.1, 0.2, 0.4, 0.8)), "net": (Net, (0.5, 1.0, 2.0, 4.0))}[kind]
        model = make(n, scales[int(torch.randint(4, (), generator=g))], g)
        X = randn(20, 1, n, g=g)
        best = optima(model, X)
        keep = best >= 3
        if bool(keep.any()):
            chosen = keep.nonzero()[:missing, 0]
            found.append((model, X[chosen], best[chosen]))
            missing -= len(chosen)
    return found
