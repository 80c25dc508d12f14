"""What scripts for TSInfluenceScoring do, in its README and examples, runs with its package's name replaced by ours."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from rambit.selection import (
    CombinedLoss,
    CounterfactualExplainer,
    CounterfactualGenerator,
    ModelAgnosticWrapper,
    TimestampSelector,
    create_simple_framework,
)

B, T, D = 8, 12, 3


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(T * D, 1))


def test_a_whole_training():
    """Batches of a training set, a test set between epochs, then what is selected and its counterfactual."""
    X = torch.randn(40, T, D)
    y = X[:, 4:7].mean(dim=(1, 2))[:, None] + 0.1 * torch.randn(40, 1)
    framework = create_simple_framework(input_dim=D, k=4, hidden_dim=16, task="regression")
    model = nn.Sequential(nn.Flatten(), nn.Linear(T * D, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))
    wrapper = ModelAgnosticWrapper(base_model=model, framework=framework, use_selected_only=True)
    optimizer = torch.optim.Adam([*model.parameters(), *framework.parameters()], lr=0.01)
    losses = []
    for _ in range(5):
        steps = [wrapper.train_step(X[i : i + 8], y[i : i + 8], optimizer) for i in range(0, 32, 8)]
        losses.append(sum(step["total_loss"] for step in steps) / len(steps))
        with torch.no_grad():
            assert nn.MSELoss()(wrapper(X[32:]), y[32:]).item() < 10
    assert losses[-1] < losses[0]
    with torch.no_grad():
        outputs = framework(X[32:33], return_details=True)
        assert len(torch.where(outputs["mask"][0] > 0.5)[0].tolist()) == outputs["stats"]["num_selected"] == 4
        assert all(math.isfinite(value) for value in outputs["stats"].values())
        assert wrapper(outputs["counterfactual"]).shape == (1, 1)


@pytest.mark.parametrize(
    ("options", "fixed"),
    [
        ({"selection_method": "topk", "k": 4}, 4),
        ({"selection_method": "gumbel", "temperature": 1.0}, 1),
        ({"selection_method": "threshold", "threshold": 0.5}, None),
    ],
)
def test_each_way_to_select(options, fixed):
    selector = TimestampSelector(D, **options)
    x = torch.randn(B, T, D)
    with torch.no_grad():
        mask, scores = selector(x, return_scores=True)
        stats = selector.compute_selection_stats(mask)
    assert mask.shape == scores.shape == (B, T)
    assert fixed is None or stats["num_selected"] == fixed
    assert stats["selection_ratio"] == pytest.approx(stats["num_selected"] / T)
    torch.testing.assert_close(selector.get_selected_timestamps(x, mask), x * mask[..., None])


def test_a_mechanism_of_their_own():
    class Last(nn.Module):
        def forward(self, scores):
            return torch.zeros_like(scores).index_fill(1, torch.tensor([T - 1]), 1.0)

    selector = TimestampSelector(input_dim=D, selection_method="topk", k=4)
    selector.selector = Last()
    mask, _ = selector(torch.randn(B, T, D))
    assert mask.sum() == mask[:, -1].sum() == B


def test_a_recurrent_model_with_time_first():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.fc = nn.LSTM(input_size=D, hidden_size=8, num_layers=2), nn.Linear(8, 1)

        def forward(self, x):
            return self.fc(self.lstm(x.transpose(0, 1))[0][-1])

    wrapper = ModelAgnosticWrapper(Reader(), create_simple_framework(input_dim=D, k=4))
    parts = wrapper.train_step(torch.randn(B, T, D), torch.randn(B, 1), torch.optim.Adam(wrapper.parameters()))
    assert math.isfinite(parts["total_loss"])


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5])
def test_weights_of_the_losses(alpha):
    x, mask, y = torch.randn(B, T, D), torch.randint(2, (B, T)), torch.randn(B, 1)
    loss = CombinedLoss(task_loss_fn=nn.MSELoss(), alpha_task=1.0, alpha_diversity=alpha, use_mi=False, sigma=1.0)
    total, parts = loss(y + 1, y, features=x, mask=mask)
    assert parts["task_loss"] == pytest.approx(1 / mask.double().mean().item(), rel=1e-5)
    assert total.item() == pytest.approx(parts["task_loss"] + alpha * parts["diversity_loss"], rel=1e-5)


@pytest.mark.parametrize("method", ["perturbation", "replacement", "removal"])
def test_counterfactuals_and_what_they_explain(method):
    """An integer mask, and a plain function as the model."""
    x, mask, model = torch.randn(B, T, D), torch.randint(2, (B, T)), linear()
    generator = CounterfactualGenerator(input_dim=D, hidden_dim=16, generation_method=method)
    changed = generator(x, mask, intervention_type="modify_selected")
    assert torch.equal(changed[mask == 0], x[mask == 0])
    assert (changed[mask == 1] != x[mask == 1]).any(dim=1).all()
    assert (generator.compute_counterfactual_distance(x, changed, mask, metric="l2") > 0).all()
    assert generator.generate_multiple_counterfactuals(x, mask, num_samples=5).shape == (5, B, T, D)
    explainer = CounterfactualExplainer(generator, lambda series: model(series.reshape(len(series), -1)))
    found = explainer.explain_prediction(x[:1], mask[:1], intervention_types=["modify_selected", "remove_selected"])
    assert found["original_prediction"].item() == pytest.approx(model(x[:1]).item(), rel=1e-5)
    for part in found["interventions"].values():
        moved = part["counterfactual_prediction"].item() - found["original_prediction"].item()
        assert part["prediction_change"] == pytest.approx(abs(moved), rel=1e-5)
    scores = explainer.compute_attribution_scores(x, mask)
    without = x[:, 1:] * mask[:, 1:, None]
    wanted = (model(torch.cat((torch.zeros(B, 1, D), without), dim=1)) - model(x)).abs().mean(dim=1)
    torch.testing.assert_close(scores[:, 0], wanted.detach())


def test_weights_are_drawn_in_the_order_of_tsinfluencescoring():
    torch.manual_seed(5)
    drawn = [nn.MultiheadAttention(16, 4), nn.Linear(D, 16), nn.Linear(16, 8), nn.Linear(8, 1)]
    drawn += [nn.Linear(D, 16), nn.Linear(16, 16), nn.Linear(16, D)]
    torch.manual_seed(5)
    framework = create_simple_framework(D, k=4, hidden_dim=16)
    scorer, network = framework.selector.scorer, framework.counterfactual_generator.perturbation_net
    ours = [scorer.attention, scorer.input_projection, scorer.score_layer[0], scorer.score_layer[3]]
    for module, wanted in zip([*ours, network[0], network[2], network[4]], drawn, strict=True):
        assert all(map(torch.equal, module.parameters(), wanted.parameters()))
    state = torch.get_rng_state()
    CounterfactualGenerator(D, generation_method="removal")
    assert torch.equal(torch.get_rng_state(), state), "nothing is drawn for what is not learnt"
