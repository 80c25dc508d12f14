"""Counterfactual series, distances, and attributions against the loop over timestamps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from rambit.game import batch_size
from rambit.game.runner import Runner
from rambit.selection import CounterfactualExplainer, CounterfactualGenerator
from rambit.selection import counterfactuals as ours
from tests.naive import selection as naive

METHODS = ("perturbation", "replacement", "removal")


def case(kind="soft", B=3, T=7, D=4, dtype=torch.float64):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(B, T, D, generator=random, dtype=dtype)
    mask = torch.rand(B, T, generator=random, dtype=dtype)
    if kind == "hard":
        mask = (mask > 0.5).to(dtype)
        mask[1] = 1
        mask[-1] = 0
    return x, mask


def generator(method, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CounterfactualGenerator(4, 8, method, **options).double()


class Network(nn.Module):
    """Outputs of any shape; dropout shows whether it is asked in evaluation mode."""

    def __init__(self, *shape, T=7, D=4):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(T * D, 5), nn.Tanh(), nn.Linear(5, math.prod(shape)))
        self.dropout = nn.Dropout(0.5)
        self.shape = shape

    def forward(self, x):
        return self.dropout(self.layers(x)).reshape(len(x), *self.shape)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_interventions(method, kind):
    x, mask = case(kind)
    made, m = generator(method), mask[..., None]
    for name, where in (("selected", m), ("unselected", 1 - m)):
        changed = made(x, mask, f"modify_{name}")
        if method == "perturbation":
            wanted = x + 0.1 * made.perturbation_net(x) * where
        elif method == "replacement":
            wanted = x * (1 - where) + made.replacement_net(x) * where
        else:
            wanted = x * (1 - where)
        torch.testing.assert_close(changed, wanted)
        torch.testing.assert_close(made(x, mask, f"remove_{name}"), x * (1 - where))
    torch.testing.assert_close(made(x, mask), made(x, mask, "modify_selected"))
    if kind == "hard":
        assert (made(x, mask > 0.5)[-1] == x[-1]).all(), "nothing is selected there"


def test_gradients_reach_the_generator_and_the_mask():
    x, mask = case()
    made = generator("perturbation", perturbation_scale=0.5)
    made(x, mask.requires_grad_()).square().sum().backward()
    assert mask.grad.abs().min() > 0
    assert all(weight.grad.abs().max() > 0 for weight in made.parameters())


def test_noise_falls_on_selected_steps_alone():
    x, mask = case("hard")
    made = generator("removal")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        many = made.generate_multiple_counterfactuals(x, mask, num_samples=400, noise_scale=0.3)
    assert many.shape == (400, *x.shape)
    base = made(x, mask)
    kept = mask.bool()
    assert (many[:, ~kept] == base[~kept]).all()
    noise = many[:, kept] - base[kept]
    assert noise.std() == pytest.approx(0.3, rel=0.05)
    quiet = made.generate_multiple_counterfactuals(x, mask, num_samples=2, noise_scale=0)
    assert (quiet == base).all()


@pytest.mark.parametrize("metric", ["l2", "l1", "cosine"])
def test_distances(metric):
    x, mask = case()
    other = x + torch.randn_like(x)
    found = generator("removal").compute_counterfactual_distance(x, other, mask, metric)
    torch.testing.assert_close(found, naive.distance(x, other, mask, metric))


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3), ()])
@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attribution_is_the_loop(shape, kind, dtype, monkeypatch):
    x, mask = case(kind, dtype=dtype)
    model = Network(*shape).to(dtype)
    explainer = CounterfactualExplainer(CounterfactualGenerator(4), model)
    found = explainer.compute_attribution_scores(x, mask)
    assert model.training, "the model's mode comes back"
    wanted = naive.attribution(model.eval(), x, mask)
    assert found.dtype == dtype
    assert found.shape == wanted.shape
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    monkeypatch.setattr(ours, "_PIECE", 50)
    torch.testing.assert_close(explainer.compute_attribution_scores(x, mask), wanted, rtol=0, atol=1e-6)


def test_a_step_that_is_gone_costs_no_row(monkeypatch):
    x, mask = case("hard", B=2)
    mask[:] = 0
    mask[0, 2] = mask[1, 4] = mask[1, 5] = 1
    evaluated = []
    whole = Runner.whole
    monkeypatch.setattr(Runner, "whole", lambda self, z, *rest: evaluated.append(len(z)) or whole(self, z, *rest))
    explainer = CounterfactualExplainer(CounterfactualGenerator(4), Network(2).double())
    explainer._predictor.looked = True  # that look is not counted, nor is the one at what a row costs
    monkeypatch.setattr(batch_size, "read_activations", lambda *_: None)
    found = explainer.compute_attribution_scores(x, mask)
    assert sum(evaluated) == 2 + 2 + 3, "x, x · mask, and the three steps that are still there"
    wanted = naive.attribution(Network(2).double().eval(), x, mask)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_explain_prediction():
    x, mask = case()
    made, model = generator("replacement"), Network(3).double()
    found = CounterfactualExplainer(made, model).explain_prediction(x, mask)
    model.eval()
    torch.testing.assert_close(found["original_prediction"], model(x))
    assert list(found["interventions"]) == ["modify_selected", "remove_selected"]
    for name, part in found["interventions"].items():
        changed = model(made(x, mask, name))
        torch.testing.assert_close(part["counterfactual_prediction"], changed)
        assert part["prediction_change"] == pytest.approx(float((changed - model(x)).abs().mean().detach()))
    one = CounterfactualExplainer(made, lambda z: z.sum(2)).explain_prediction(x, mask, ["remove_unselected"])
    assert list(one["interventions"]) == ["remove_unselected"]
    assert one["original_prediction"].shape == (3, 7)


def test_state_dictionaries():
    x, mask = case()
    for method in METHODS:
        other = CounterfactualGenerator(4, 8, method).double()
        other.load_state_dict(generator(method).state_dict())
        torch.testing.assert_close(other(x, mask), generator(method)(x, mask))


def test_wrong_arguments():
    x, mask = case()
    made = generator("removal")
    explainer = CounterfactualExplainer(made, Network(2).double())
    with pytest.raises(ValueError, match="generation_method must be one of perturbation, replacement, removal"):
        CounterfactualGenerator(4, generation_method="magic")
    with pytest.raises(ValueError, match="perturbation_scale must be"):
        CounterfactualGenerator(4, perturbation_scale=0)
    with pytest.raises(ValueError, match="intervention_type must be one of"):
        made(x, mask, "modify")
    with pytest.raises(ValueError, match="metric must be one of l2, l1, cosine, got 'max'"):
        made.compute_counterfactual_distance(x, x, mask, "max")
    with pytest.raises(ValueError, match="counterfactual must have the shape of x"):
        made.compute_counterfactual_distance(x, x[:1], mask)
    with pytest.raises(ValueError, match="num_samples must be at least 1"):
        made.generate_multiple_counterfactuals(x, mask, 0)
    with pytest.raises(ValueError, match="noise_scale must be at least 0"):
        made.generate_multiple_counterfactuals(x, mask, noise_scale=-1)
    with pytest.raises(ValueError, match="intervention_types must be one of"):
        explainer.explain_prediction(x, mask, ["modify"])
    for call in (made, explainer.compute_attribution_scores, explainer.explain_prediction):
        with pytest.raises(ValueError, match="mask must have shape"):
            call(x, mask[:, :2])
        with pytest.raises(ValueError, match="x holds NaN"):
            call(x * math.nan, mask)


@pytest.mark.parametrize("size", [1e-40, 1e-20, 1.0, 1e20, 1e38])
def test_the_cosine_distance_does_not_depend_on_the_size(size):
    g = torch.Generator().manual_seed(0)
    x, other = (torch.randn(3, 4, 2, generator=g) for _ in range(2))
    generator = CounterfactualGenerator(2, 8)
    mask = torch.ones(3, 4)
    plain = generator.compute_counterfactual_distance(x, other, mask, metric="cosine")
    a, b = (part.flatten(1).double() for part in (x, other))
    expected = 1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    assert torch.allclose(plain.double(), expected, atol=1e-6)
    found = generator.compute_counterfactual_distance(x * size, other * size, mask, metric="cosine")
    assert torch.allclose(found, plain, atol=1e-4)
    assert generator.compute_counterfactual_distance(x * size, x * size, mask, metric="cosine").abs().max() < 1e-5


def test_the_cosine_distance_of_nothing():
    x = torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]])
    generator = CounterfactualGenerator(2, 8)
    kept, removed = torch.ones(2, 1), torch.zeros(2, 1)
    assert generator.compute_counterfactual_distance(x, x, removed, metric="cosine").tolist() == [0, 0]
    assert generator.compute_counterfactual_distance(x, x.flip(0), kept, metric="cosine").tolist() == [1, 1]
