"""Dynamask as defined (fading to the mean over time): a plain loop of gradient descent on the masks."""

from __future__ import annotations

import torch


def dynamask(f, X, error, ratio, weight, growth, epochs, lr):
    """Masks (B, D, T) that keep f(X) by ``error(f(masked), f(X))``, each near ``ratio`` of its cells in size."""
    B, D, T = X.shape
    mask = torch.full((B, T, D), 0.5, requires_grad=True)
    wanted = torch.zeros(B, T * D)
    wanted[:, int((1 - ratio) * T * D) :] = 1
    optimiser = torch.optim.Adam([mask], lr=lr)
    x = X.transpose(1, 2)
    faded = x.mean(dim=1, keepdim=True)
    for _ in range(epochs):
        mask.data.clamp_(0, 1)
        masked = mask * x + (1 - mask) * faded
        size = ((wanted - mask.flatten(1).sort().values) ** 2).mean()
        loss = error(f(masked.transpose(1, 2)), f(X)) + weight * size
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        weight *= growth ** (1 / epochs)
    return mask.detach().clamp(0, 1).transpose(1, 2)
