"""The losses against their plain formulas, in value and gradient."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck

from rambit.selection import CombinedLoss, DiversityLoss, MutualInformationLoss, TaskConsistencyLoss
from rambit.selection import logdet as ours
from tests.naive import selection as naive


def case(seed, B, T, D, kind):
    """Features and a mask in float64: soft, hard with k steps each, or uneven (soft with zeros)."""
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(B, T, D, generator=random, dtype=torch.float64)
    mask = torch.rand(B, T, generator=random, dtype=torch.float64)
    if kind == "hard":
        mask = torch.zeros_like(mask).scatter(1, mask.topk(max(1, T // 3)).indices, 1.0)
    elif kind == "uneven":
        mask = mask * (torch.rand(B, T, generator=random) < 0.4)
    return features, mask


def value_and_gradients(loss, features, mask):
    features, mask = features.clone().requires_grad_(), mask.clone().requires_grad_()
    value = loss(features, mask)
    value.backward()
    return value.detach(), features.grad, mask.grad


@given(
    seed=st.integers(0, 99),
    B=st.integers(1, 3),
    T=st.integers(1, 12),
    D=st.integers(1, 4),
    kind=st.sampled_from(["soft", "hard", "uneven"]),
    sigma=st.sampled_from([0.3, 1.0]),
    epsilon=st.sampled_from([1e-3, 1.0]),
)
@settings(max_examples=40)
def test_diversity_is_the_plain_formula(seed, B, T, D, kind, sigma, epsilon):
    features, mask = case(seed, B, T, D, kind)
    found = value_and_gradients(lambda f, m: DiversityLoss(sigma)(f, m, epsilon), features, mask)
    wanted = value_and_gradients(lambda f, m: naive.diversity(f, m, sigma, epsilon), features, mask)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_diversity_with_the_default_epsilon_and_more_steps(kind):
    features, mask = case(0, 2, 90, 5, kind)
    found = value_and_gradients(DiversityLoss(), features, mask)
    wanted = value_and_gradients(naive.diversity, features, mask)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_the_block_of_a_hard_mask_is_the_full_matrix():
    """The same through the k × k block and through all T steps, at once and in pieces of the batch."""
    features, mask = case(1, 3, 24, 4, "hard")

    def full(f, m):
        diagonal = torch.full_like(m, 0.01)
        return -ours.log_det(f, m, diagonal, 1.0).mean()

    block = value_and_gradients(lambda f, m: DiversityLoss()(f, m, 0.01), features, mask)
    for a, b in zip(block, value_and_gradients(full, features, mask), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_pieces_of_the_batch_change_nothing(monkeypatch):
    features, mask = case(2, 5, 10, 3, "soft")
    at_once = value_and_gradients(DiversityLoss(), features, mask)
    monkeypatch.setattr(ours, "_PIECE", 200)
    for a, b in zip(at_once, value_and_gradients(DiversityLoss(), features, mask), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_diversity_gradients_by_differences():
    features, mask = case(3, 2, 6, 2, "soft")
    for loss in (lambda f, m: DiversityLoss()(f, m, 0.1), lambda f, m: DiversityLoss(normalise=True)(f, m, 0.1)):
        assert gradcheck(loss, (features.requires_grad_(), mask.requires_grad_()))


def test_kernel_matrix():
    features, mask = case(4, 2, 7, 3, "soft")
    found = DiversityLoss(0.7).compute_kernel_matrix(features + 1e4, mask)
    wanted = naive.kernel(features, 0.7) * mask[:, :, None] * mask[:, None, :]
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-10)


def test_likelihoods_of_all_subsets_add_up_to_one():
    features, _ = case(5, 1, 6, 2, "soft")
    loss = DiversityLoss(sigma=1.5, normalise=True)
    total = sum(float(torch.exp(-loss(features, mask[None], 1e-3))) for mask in naive.all_masks(6))
    assert total == pytest.approx(1, abs=1e-10)


def test_normalised_diversity():
    features, mask = case(6, 3, 9, 3, "hard")
    mask[0, mask[0].nonzero()[0]] = 0  # series need not keep equally many
    found = DiversityLoss(normalise=True)(features, mask)
    torch.testing.assert_close(found, -naive.ensemble_likelihood(features, mask), rtol=1e-9, atol=1e-9)


def test_eigenvalues_where_the_factorisation_fails(monkeypatch):
    features, mask = case(7, 2, 8, 3, "soft")
    wanted = value_and_gradients(DiversityLoss(), features, mask)
    factorise = torch.linalg.cholesky_ex

    def fails(matrix):
        return factorise(matrix)[0], torch.ones(len(matrix), dtype=torch.int32)

    monkeypatch.setattr(torch.linalg, "cholesky_ex", fails)
    for a, b in zip(value_and_gradients(DiversityLoss(), features, mask), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_equal_steps_in_single_precision():
    """Singular but for rounding, so that Cholesky fails; the smallest true eigenvalue bounds what comes out."""
    features, mask = torch.ones(1, 16, 2, requires_grad=True), torch.ones(1, 16, requires_grad=True)
    assert torch.linalg.cholesky_ex(torch.ones(16, 16) + 1e-9 * torch.eye(16)).info > 0
    value = DiversityLoss()(features, mask, 1e-9)
    value.backward()
    assert float(value.detach()) <= -(math.log(16) + 15 * math.log(1e-9)) * (1 + 1e-6)
    assert mask.grad.isfinite().all()
    assert features.grad.isfinite().all()


def test_epsilon_one_sees_redundancy_under_a_hard_mask():
    features = torch.tensor([[[0.0], [0.5], [9.0], [-9.0]]], dtype=torch.float64)
    mask = torch.tensor([[1.0, 1.0, 1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    DiversityLoss()(features, mask, epsilon=1.0).backward()
    assert mask.grad[0, 0] == pytest.approx(float(mask.grad[0, 1]))
    assert mask.grad[0, 2] < mask.grad[0, 0] < 0, "a step that has a neighbour is worth less"
    mask.grad = None
    DiversityLoss()(features, mask, epsilon=1e-6).backward()
    torch.testing.assert_close(mask.grad[0, :3], torch.full((3,), -2.0).double(), rtol=1e-3, atol=0)


PEAK = """
import torch
from rambit.selection import DiversityLoss
features, mask = torch.randn(8, 2000, 16, requires_grad=True), torch.rand(8, 2000, requires_grad=True)
DiversityLoss()(features, mask).backward()
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="peak memory is read from /proc")
def test_memory_of_two_thousand_steps():
    out = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, check=True, text=True)
    assert int(out.stdout) / 2**20 < 1.5, "GiB, with the libraries"


def test_integer_masks_are_those_of_floats():
    x, whole = torch.randn(2, 5, 3), torch.randint(2, (2, 5), generator=torch.Generator().manual_seed(0))
    for mask in (whole, whole.to(torch.uint8), whole.bool()):
        torch.testing.assert_close(DiversityLoss()(x, mask), DiversityLoss()(x, whole.float()))
        loss = TaskConsistencyLoss()
        torch.testing.assert_close(loss(x, x + 1, mask), loss(x, x + 1, whole.float()))


# -- mutual information ------------------------------------------------------------------------------------------------


def test_the_bound_is_the_definition():
    torch.manual_seed(0)
    loss = MutualInformationLoss(3, critic_dim=5)
    features, target, mask = torch.randn(6, 4, 3), torch.randn(6, 3), torch.rand(6, 4)
    pooled = (features * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    torch.manual_seed(1)
    found = float(loss(features, target, mask).detach())
    torch.manual_seed(1)
    order = torch.randperm(6).tolist()
    with torch.no_grad():
        wanted = -naive.mutual_information(loss.mi_estimator, pooled, target, order)
    assert found == pytest.approx(wanted, rel=1e-5)


def test_a_series_alone_tells_nothing():
    loss = MutualInformationLoss(3)
    features = torch.randn(1, 4, 2, requires_grad=True)
    value = loss(features, torch.randn(1, 4), torch.ones(1, 4))  # 2 and 4 features: 2 * hidden_dim together
    value.backward()
    assert float(value.detach()) == 0
    assert not features.grad.any()
    assert not any(weight.grad.any() for weight in loss.parameters())


def test_without_target_features_there_is_a_warning():
    a, b, x, mask = torch.randn(4, 1), torch.randn(4, 1), torch.randn(4, 5, 3), torch.rand(4, 5)
    with pytest.warns(UserWarning, match="use_mi=True is without effect in this loss"):
        total, parts = CombinedLoss(use_mi=True, mi_hidden_dim=3)(a, b, x, mask)
    wanted, plain = CombinedLoss()(a, b, x, mask)
    assert torch.equal(total, wanted)
    assert parts == plain


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_large_scores_do_not_overflow(scale):
    loss = MutualInformationLoss(2)
    with torch.no_grad():
        loss.mi_estimator[2].weight.zero_()
        loss.mi_estimator[2].bias.fill_(scale)
    features = torch.randn(4, 3, 2, requires_grad=True)
    value = loss(features, torch.randn(4, 2), torch.ones(4, 3))
    value.backward()
    assert float(value.detach()) == pytest.approx(0, abs=1e-2)
    assert features.grad.isfinite().all()


def estimate(nats, seed=0):
    """Train the critic on pairs of correlated Gaussians; the estimate on new pairs."""
    random = torch.Generator().manual_seed(seed)
    rho = math.sqrt(1 - math.exp(-2 * nats))

    def pairs(count):
        a, noise = torch.randn(2, count, 1, generator=random)
        return a[:, None], rho * a + math.sqrt(1 - rho * rho) * noise, torch.ones(count, 1)

    torch.manual_seed(seed)
    loss = MutualInformationLoss(1, critic_dim=64)
    optimiser = torch.optim.Adam(loss.parameters(), lr=5e-3)
    for _ in range(500):
        optimiser.zero_grad()
        loss(*pairs(512)).backward()
        optimiser.step()
    with torch.no_grad():
        return -float(loss(*pairs(50_000)))


@pytest.mark.parametrize("nats", [0.5, 1.0])
def test_mutual_information_of_gaussians(nats):
    with torch.random.fork_rng():
        assert estimate(nats) == pytest.approx(nats, rel=0.2)


# -- the task and all together -----------------------------------------------------------------------------------------


def test_task_loss_is_divided_by_the_mask_mean():
    a, b, mask = torch.randn(5, 2), torch.randn(5, 2), torch.rand(5, 9)
    loss = TaskConsistencyLoss()
    assert loss(a, b) == pytest.approx(float(((a - b) ** 2).mean()))
    assert loss(a, b, mask) == pytest.approx(float(((a - b) ** 2).mean() / mask.mean()))
    classes = torch.randint(2, (5,))
    assert TaskConsistencyLoss(nn.CrossEntropyLoss())(a, classes) == nn.CrossEntropyLoss()(a, classes)


@pytest.mark.parametrize("use_mi", [False, True])
def test_combined_loss_is_the_weighted_sum(use_mi):
    torch.manual_seed(0)
    loss = CombinedLoss(nn.L1Loss(), 2.0, 0.3, 0.7, use_mi=use_mi, sigma=0.5, mi_hidden_dim=3)
    a, b, features = torch.randn(4, 2), torch.randn(4, 2), torch.randn(4, 6, 3, requires_grad=True)
    mask, target = torch.rand(4, 6, requires_grad=True), torch.randn(4, 3)
    torch.manual_seed(1)
    total, parts = loss(predictions=a, targets=b, features=features, mask=mask, target_features=target)
    torch.manual_seed(1)
    wanted = {
        "task_loss": float(((a - b).abs().mean() / mask.mean()).detach()),
        "diversity_loss": float(DiversityLoss(0.5)(features, mask).detach()),
    }
    weights = {"task_loss": 2.0, "diversity_loss": 0.3, "mi_loss": 0.7}
    if use_mi:
        wanted["mi_loss"] = float(loss.mi_loss(features, target, mask).detach())
    wanted["total_loss"] = sum(weights[name] * value for name, value in wanted.items())
    assert parts.keys() == wanted.keys()
    assert all(type(value) is float for value in parts.values())
    assert parts == pytest.approx(wanted, rel=1e-5)
    assert float(total.detach()) == pytest.approx(wanted["total_loss"], rel=1e-5)
    total.backward()
    assert features.grad.isfinite().all()


def test_wrong_arguments():
    features, mask = torch.randn(2, 5, 3), torch.rand(2, 5)
    with pytest.raises(ValueError, match=r"mask must have shape \(B, T\) = \(2, 5\), got \(2, 4\)"):
        DiversityLoss()(features, mask[:, :4])
    with pytest.raises(ValueError, match=r"mask holds NaN or infinite values, the first at \(1, 2\)"):
        DiversityLoss()(features, mask.index_put((torch.tensor(1), torch.tensor(2)), torch.tensor(math.nan)))
    with pytest.raises(ValueError, match="features holds NaN"):
        DiversityLoss()(features * math.nan, mask)
    with pytest.raises(TypeError, match=r"mask must hold real numbers, got torch\.complex64"):
        DiversityLoss()(features, mask.cfloat())
    with pytest.raises(ValueError, match="mask must hold 0 and 1 where it is of integers, got 2"):
        DiversityLoss()(features, torch.full((2, 5), 2))
    with pytest.raises(ValueError, match="epsilon must be above 0, got 0"):
        DiversityLoss()(features, mask, epsilon=0)
    with pytest.raises(ValueError, match="sigma must be"):
        DiversityLoss(sigma=-1.0)
    with pytest.raises(ValueError, match="targets must have the shape of predictions"):
        TaskConsistencyLoss()(torch.zeros(4, 1), torch.zeros(4))
    with pytest.raises(ValueError, match="predictions holds NaN"):
        TaskConsistencyLoss()(torch.full((4, 1), math.nan), torch.zeros(4, 1))
    with pytest.raises(ValueError, match="mi_hidden_dim must be at least 1"):
        CombinedLoss(mi_hidden_dim=0)
    with pytest.raises(ValueError, match=r"target_features must have shape \(2, 3\), 2 \* hidden_dim = 6 with"):
        MutualInformationLoss(3)(features, torch.zeros(2, 4), mask)
    with pytest.raises(ValueError, match=r"selected_features must have fewer features than 2 \* hidden_dim = 2, got 3"):
        MutualInformationLoss(1)(features, torch.zeros(2, 1), mask)
    with pytest.raises(ValueError, match="hidden_dim must be at least 1"):
        MutualInformationLoss(0)
