"""Log-determinants of weighted kernels, with their gradients in closed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Entries of the matrices that are worked on at a time.
_PIECE = 1 << 22


def rbf_kernel(features: Tensor, sigma: float) -> Tensor:
    """exp(-‖f_i - f_j‖² / 2σ²), (B, n, n), of features (B, n, D): distances by one batched matrix product."""
    # Distances stay what they are when all features move, and rounding is smallest about the mean.
    centred = features - features.mean(dim=1, keepdim=True)
    squares = (centred * centred).sum(dim=2)
    distances = squares[:, :, None] + squares[:, None, :] - 2 * (centred @ centred.transpose(1, 2))
    return (distances.clamp(min=0) / (-2 * sigma * sigma)).exp()


def log_det(features: Tensor, weights: Tensor, diagonal: Tensor, sigma: float) -> Tensor:
    """log det(diag(w) K diag(w) + diag(d)), (B,), of features (B, n, D), weights w (B, n) and d (B, n) > 0.

    K is `rbf_kernel`. Gradients reach features and weights, once. At most a few n × n matrices are held at a time,
    and none until the backward pass. Where rounding makes Cholesky's factorisation fail, eigenvalues are taken; those
    that come out below the smallest d of their matrix, as no true one is, count as that.
    """
    return _LogDet.apply(features, weights, diagonal, sigma)  # type: ignore[no-any-return, no-untyped-call]


class _LogDet(torch.autograd.Function):
    """The gradients are small (n × D and n a matrix): they are worked out with the value, while the factor is there."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weights: Tensor, diagonal: Tensor, sigma: float) -> Tensor:
        B, n, _ = features.shape
        step = max(1, _PIECE // (n * n))
        wanted = any(ctx.needs_input_grad)
        values = features.new_empty(B)
        to_features = torch.zeros_like(features)
        to_weights = torch.zeros_like(weights)
        for begin in range(0, B, step):
            part = slice(begin, begin + step)
            f, w = features[part], weights[part]
            kernel = rbf_kernel(f, sigma)
            matrix = w[:, :, None] * kernel * w[:, None, :]
            matrix.diagonal(dim1=1, dim2=2).add_(diagonal[part])
            values[part], inverse = _factorised(matrix, diagonal[part].amin(dim=1), wanted)
            if inverse is not None:
                # d log det A = tr(A⁻¹ dA); the diagonal of the kernel is 1 whatever the features are.
                pull = inverse.mul_(kernel)
                to_weights[part] = 2 * (pull @ w[..., None])[..., 0]
                pull.mul_(w[:, :, None]).mul_(w[:, None, :]).diagonal(dim1=1, dim2=2).zero_()
                moved = pull @ f - pull.sum(dim=2, keepdim=True) * f
                to_features[part] = 2 * moved / (sigma * sigma)
        ctx.save_for_backward(to_features, to_weights)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        to_features, to_weights = ctx.saved_tensors
        return grad[:, None, None] * to_features, grad[:, None] * to_weights, None, None


def _factorised(matrix: Tensor, floor: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
    """Log-determinants (b,) and inverses of positive definite matrices (b, n, n), no eigenvalue below floor (b,)."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not bool(failed.any()):
        values = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        return values, torch.cholesky_inverse(factor) if wanted else None
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    eigenvalues = eigenvalues.maximum(floor[:, None])
    inverse = (vectors / eigenvalues[:, None, :]) @ vectors.transpose(1, 2) if wanted else None
    return eigenvalues.log().sum(dim=1), inverse


def log_det_of_support(features: Tensor, weights: Tensor, epsilon: float, sigma: float) -> tuple[Tensor, Tensor]:
    """log det(L_S + εI), (B,), for L = diag(w) K diag(w) on the steps S of each series with w != 0; T - |S|, (B,).

    The others do not touch the rest of diag(w) K diag(w) + εI: each of them adds log ε to its log-determinant, and
    their gradients are 0 because K is multiplied by their weight twice.
    """
    chosen = weights != 0
    count = chosen.sum(dim=1)
    others = (weights.shape[1] - count).to(weights.dtype)
    n = max(1, int(count.max()))
    if n < weights.shape[1]:
        where = chosen.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :n]
        features = features.gather(1, where[..., None].expand(-1, -1, features.shape[2]))
        weights = weights.gather(1, where)
    # A series with fewer steps than n is filled up with steps of weight 0, which 1 on the diagonal makes count nothing.
    diagonal = torch.ones_like(weights).masked_fill(weights != 0, epsilon)
    return log_det(features, weights, diagonal, sigma), others
