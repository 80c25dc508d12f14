"""The framework, the wrapper and its training, the attributor, and the plot."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from rambit.game import Game
from rambit.selection import (
    GumbelSoftmaxSelector,
    InfluenceFramework,
    ModelAgnosticWrapper,
    SelectionAttributor,
    create_simple_framework,
    visualize_selection,
)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def flat(T=6, D=3, outputs=1):
    return nn.Sequential(nn.Flatten(), nn.Linear(T * D, outputs))


@pytest.mark.parametrize("use_counterfactual", [False, True])
def test_forward(use_counterfactual):
    framework = InfluenceFramework(3, 8, 2, k=2, use_counterfactual=use_counterfactual).eval()
    x = torch.randn(4, 6, 3)
    plain, detailed = framework(x), framework(x, return_details=True)
    assert plain.keys() == {"mask", "selected"}
    assert (plain["mask"].sum(dim=1) == 2).all()
    torch.testing.assert_close(plain["selected"], x * plain["mask"][..., None])
    extra = {"scores", "stats"} | ({"counterfactual"} if use_counterfactual else set())
    assert detailed.keys() == {"mask", "selected"} | extra
    assert detailed["stats"] == framework.selector.compute_selection_stats(detailed["mask"])
    if use_counterfactual:
        wanted = framework.counterfactual_generator(x, detailed["mask"])
        torch.testing.assert_close(detailed["counterfactual"], wanted)
    else:
        assert framework.counterfactual_generator is None


def test_loss_with_the_mask_given_and_anew():
    framework = create_simple_framework(3, k=2, hidden_dim=8).eval()
    x, a, b = torch.randn(4, 6, 3), torch.randn(4, 1), torch.randn(4, 1)
    anew, _ = framework.compute_loss(x, a, b)
    wanted, parts = framework.loss_module(a, b, x, framework.selector(x)[0])
    torch.testing.assert_close(anew, wanted)
    assert parts.keys() == {"task_loss", "diversity_loss", "total_loss"}
    every, _ = framework.compute_loss(x, a, b, mask=torch.ones(4, 6))
    torch.testing.assert_close(every, framework.loss_module(a, b, x, torch.ones(4, 6))[0])
    with pytest.raises(ValueError, match="mask must have shape"):
        framework.compute_loss(x, a, b, mask=torch.ones(4, 5))


def test_options_reach_their_parts():
    framework = InfluenceFramework(
        3, 8, 2, k=2, use_mi=True, sigma=0.4, mi_hidden_dim=2, perturbation_scale=0.7, temperature=0.3, dropout=0.2
    )
    assert framework.loss_module.diversity_loss.sigma == 0.4
    assert framework.loss_module.mi_loss.hidden_dim == 2
    assert framework.counterfactual_generator.perturbation_scale == 0.7
    assert (framework.selector.temperature, framework.selector.dropout) == (0.3, 0.2)
    _, parts = framework.compute_loss(torch.randn(4, 6, 3), torch.randn(4, 1), torch.randn(4, 1), torch.randn(4, 1))
    assert "mi_loss" in parts
    assert InfluenceFramework(3, 8, 2, k=2, use_mi=True).loss_module.mi_loss.hidden_dim == 3
    for name, wrong in (("sigma", 0.0), ("mi_hidden_dim", 0), ("perturbation_scale", -1.0)):
        with pytest.raises(ValueError, match=f"{name} must be"):
            InfluenceFramework(3, 8, 2, k=2, **{name: wrong})


def test_counterfactuals_can_be_switched_off():
    framework = InfluenceFramework(3, 8, 2, k=2)
    assert framework.use_counterfactual is True
    framework.use_counterfactual = False
    assert "counterfactual" not in framework(torch.randn(4, 6, 3), return_details=True)


def test_simple_framework_by_task():
    x, wrong = torch.randn(4, 6, 3), torch.tensor([0, 1, 1, 0])
    for task, outputs, y in (("regression", 1, torch.randn(4, 1)), ("classification", 2, wrong)):
        wrapper = ModelAgnosticWrapper(flat(outputs=outputs), create_simple_framework(3, 2, 8, task))
        parts = wrapper.train_step(x, y, torch.optim.Adam(wrapper.parameters(), lr=1e-3))
        assert all(math.isfinite(value) for value in parts.values())
    with pytest.raises(ValueError, match="task must be one of regression, classification, got 'ranking'"):
        create_simple_framework(3, 2, task="ranking")


@pytest.mark.parametrize("method", ["topk", "gumbel", "threshold"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_mask_that_predicted_is_the_mask_that_is_scored(method, dtype):
    """One selection a step: with noise or dropout a second one would be another."""
    framework = InfluenceFramework(3, 8, 2, method, k=2)
    masks = []
    framework.selector.register_forward_hook(lambda module, inputs, outputs: masks.append(outputs[0]))
    scored = []
    framework.loss_module.register_forward_pre_hook(lambda module, inputs: scored.append(inputs[3]))
    wrapper = ModelAgnosticWrapper(flat(), framework).to(dtype)
    before = {name: value.clone() for name, value in wrapper.state_dict().items()}
    optimiser = torch.optim.Adam(wrapper.parameters(), lr=1e-2)
    wrapper.train_step(torch.randn(5, 6, 3, dtype=dtype), torch.randn(5, 1, dtype=dtype), optimiser)
    assert len(masks) == len(scored) == 1
    assert scored[0] is masks[0]
    moved = {name for name, value in wrapper.state_dict().items() if not torch.equal(value, before[name])}
    assert {"base_model.1.weight", "framework.selector.scorer.score_layer.0.weight"} <= moved


def test_wrapper():
    wrapper = ModelAgnosticWrapper(flat(), create_simple_framework(3, 2, 8)).eval()
    x = torch.randn(4, 6, 3)
    predictions, mask, selected = wrapper(x, return_selection=True)
    torch.testing.assert_close(predictions, wrapper.base_model(x * mask[..., None]))
    torch.testing.assert_close(selected, x * mask[..., None])
    torch.testing.assert_close(wrapper(x), predictions)
    both = {*wrapper.base_model.parameters(), *wrapper.framework.parameters()}
    assert set(wrapper.parameters()) == both
    seeing = ModelAgnosticWrapper(wrapper.base_model, wrapper.framework, use_selected_only=False)
    torch.testing.assert_close(seeing(x), wrapper.base_model(x))
    other = ModelAgnosticWrapper(flat(), create_simple_framework(3, 2, 8)).eval()
    other.load_state_dict(wrapper.state_dict())
    torch.testing.assert_close(other(x), predictions)


def test_what_users_of_the_interface_do():
    """A mechanism and a task loss of their own, and a recurrent model in the wrapper."""

    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(3, 8, batch_first=True), nn.Linear(8, 1)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    framework = InfluenceFramework(
        3, 8, 2, k=2, task_loss_fn=lambda a, b: (a - b).abs().mean(), use_mi=True, temperature=0.5, dropout=0.0
    )
    framework.selector.selector = GumbelSoftmaxSelector(temperature=0.5, hard=True, k=3)
    wrapper = ModelAgnosticWrapper(Reader(), framework)
    optimiser = torch.optim.Adam(list(wrapper.base_model.parameters()) + list(framework.parameters()), lr=1e-2)
    x, y = torch.randn(8, 6, 3), torch.randn(8, 1)
    parts = wrapper.train_step(x, y, optimiser, target_features=torch.randn(8, 3))
    assert "mi_loss" in parts
    with pytest.warns(UserWarning, match="it was given no target_features"):
        assert "mi_loss" not in wrapper.train_step(x, y, optimiser)


def test_fit_repeats_and_leaves_the_generator():
    def trained(**options):
        torch.manual_seed(3)
        wrapper = ModelAgnosticWrapper(flat(), InfluenceFramework(3, 8, 2, "gumbel", k=2))
        before = torch.get_rng_state()
        history = wrapper.fit(x, y, epochs=3, batch_size=4, lr=1e-2, **options)
        assert torch.equal(torch.get_rng_state(), before)
        assert not wrapper.training
        return wrapper, history

    x, y = torch.randn(10, 6, 3), torch.randn(10, 1)
    (a, first), (b, second) = trained(seed=1, warmup=2), trained(seed=1, warmup=2)
    assert first == second
    assert len(first) == 3
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert trained(seed=2, warmup=2)[1] != first
    assert trained(seed=1)[1] != first


def test_fit_keeps_away_from_padding():
    framework = InfluenceFramework(3, 8, 2, k=3)
    masks = []
    framework.selector.register_forward_hook(lambda module, inputs, outputs: masks.append(outputs[0].detach()))
    x, lengths = torch.randn(4, 6, 3), torch.full((4,), 4)
    ModelAgnosticWrapper(flat(), framework).fit(x, torch.randn(4, 1), epochs=2, lengths=lengths)
    assert all((mask[:, :4].sum(dim=1) == 3).all() and not mask[:, 4:].any() for mask in masks)


def test_an_interrupted_fit_leaves_the_best_weights(monkeypatch):
    wrapper = ModelAgnosticWrapper(flat(), create_simple_framework(3, 2, 8))
    losses = iter([2.0, 1.0, 3.0])

    def step(x, targets, optimizer, **options):
        loss = next(losses, None)
        if loss is None:
            raise KeyboardInterrupt
        with torch.no_grad():
            wrapper.base_model[1].bias.fill_(loss)
        return {"total_loss": loss}

    monkeypatch.setattr(wrapper, "train_step", step)
    with pytest.raises(KeyboardInterrupt):
        wrapper.fit(torch.randn(4, 6, 3), torch.randn(4, 1), epochs=9)
    assert wrapper.base_model[1].bias.tolist() == [1.0]
    assert not wrapper.training


def test_wrong_training():
    wrapper = ModelAgnosticWrapper(flat(), create_simple_framework(3, 2, 8))
    x, y = torch.randn(4, 6, 3), torch.randn(4, 1)
    for options, message in (
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"warmup": -1}, "warmup must be at least 0"),
        ({"lr": 0.0}, "lr must be above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            wrapper.fit(x, y, **options)
    for options, message in (
        ({"seed": "x"}, "seed must be an integer, got 'x'"),
        ({"lr": "fast"}, "lr must be a number, got 'fast'"),
        ({"lengths": 7}, "lengths must hold integers, got 7"),
        ({"lengths": torch.rand(4)}, "lengths must hold integers, got torch.float32"),
        ({"x": [1.0]}, "x must be a tensor, got list"),
        ({"targets": None}, "targets must be a tensor, got NoneType"),
    ):
        with pytest.raises(TypeError, match=message):
            wrapper.fit(**{"x": x, "targets": y, **options})
    with pytest.raises(ValueError, match=r"lengths must be \(4,\), between 1 and 6, got \[0, 6, 6, 6\]"):
        wrapper.fit(x, y, lengths=torch.tensor([0, 6, 6, 6]))
    with pytest.raises(TypeError, match="base_model must be"):
        ModelAgnosticWrapper(7, wrapper.framework)
    with pytest.raises(TypeError, match="framework must be an InfluenceFramework, got Linear"):
        ModelAgnosticWrapper(flat(), nn.Linear(2, 2))
    with pytest.raises(ValueError, match="targets must hold one entry for each of 4 series, got"):
        wrapper.fit(x, y[:3])
    with pytest.raises(ValueError, match="x holds NaN"):
        wrapper.fit(x * math.nan, y)
    with pytest.raises(ValueError, match="targets holds NaN"):
        wrapper.fit(x, y * math.nan)
    with pytest.raises(ValueError, match="targets must have the shape of predictions"):
        wrapper.fit(x, y[:, 0])
    with pytest.raises(TypeError, match="sharpness"):
        InfluenceFramework(3, 8, 2, k=2, sharpness=1)


# -- as an attribution method ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wrapper", "framework", "selector"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attributor(kind, dtype):
    framework = InfluenceFramework(3, 8, 2, k=2, positions=True).to(dtype)
    source = {"wrapper": ModelAgnosticWrapper(flat(), framework), "framework": framework}.get(kind, framework.selector)
    X = torch.randn(5, 3, 6, dtype=dtype)
    attributor = SelectionAttributor(source)
    result = attributor.explain(X)
    assert framework.training, "the mode comes back"
    scores = framework.eval().selector(X.transpose(1, 2), return_scores=True)[1]
    wanted = scores.detach().sigmoid()[:, None].expand(5, 3, 6)
    torch.testing.assert_close(result.values, wanted)
    torch.testing.assert_close(attributor.attribute(X), result.values)
    cost = attributor.cost(X)
    assert (result.rows, result.row_steps) == (cost.rows, cost.row_steps) == (5, 30)
    assert result.settings["k"] == 2


def test_attributor_with_lengths(tmp_path):
    framework = InfluenceFramework(3, 8, 2, k=2).eval()
    X = torch.randn(4, 3, 6)
    lengths = torch.tensor([6, 3, 6, 4])
    result = SelectionAttributor(framework).explain(X, lengths=lengths)
    for b, length in enumerate(lengths.tolist()):
        alone = SelectionAttributor(framework).attribute(X[b : b + 1, :, :length])
        torch.testing.assert_close(result.values[b : b + 1, :, :length], alone)
        assert not result.values[b, :, length:].any()
    result.save(tmp_path / "a.safetensors")
    assert type(result).load(tmp_path / "a.safetensors").settings == result.settings


def test_attributor_asks_in_bounded_batches(monkeypatch):
    evaluated = []
    start = Game.__init__

    def watched(self, *arguments, **options):
        start(self, *arguments, **options)
        evaluated.append(self.runner)

    monkeypatch.setattr(Game, "__init__", watched)
    framework = InfluenceFramework(3, 8, 2, k=2).eval()
    SelectionAttributor(framework, max_memory=1 << 20).attribute(torch.randn(40, 3, 2000))
    assert evaluated[0].calls > 1


def test_wrong_attribution():
    framework = InfluenceFramework(3, 8, 2, k=2)
    attributor = SelectionAttributor(framework)
    with pytest.raises(TypeError, match="source must be"):
        SelectionAttributor(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"X must have shape \(B, T, 3\)"):
        attributor.attribute(torch.randn(2, 4, 6))
    with pytest.raises(ValueError, match="X holds NaN"):
        attributor.attribute(torch.full((2, 3, 6), math.nan))
    with pytest.raises(ValueError, match="lengths must be"):
        attributor.attribute(torch.randn(2, 3, 6), lengths=torch.tensor([6, 7]))
    with pytest.raises(TypeError, match="lengths must hold integers"):
        attributor.attribute(torch.randn(2, 3, 6), lengths="all")
    for bad in ([1.0], None):
        with pytest.raises(TypeError, match=r"X must be a tensor \(B, D, T\), got"):
            attributor.explain(bad)


def test_plot(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    x, mask = torch.randn(3, 20, 2), torch.zeros(3, 20)
    mask[1, [4, 9]] = 1
    figure = visualize_selection(x, mask, sample_idx=1, save_path=tmp_path / "a.png")
    shown = figure.axes[0].images[0].get_array()
    assert shown.shape == (2, 20)
    assert (shown == mask[1].numpy()).all()
    assert len(figure.axes[0].lines) == 2
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == f"saved to {tmp_path / 'a.png'}\n"
    with pytest.raises(ValueError, match="sample_idx must be 0 to 2"):
        visualize_selection(x, mask, 3)
    with pytest.raises(ValueError, match=r"mask must be \(B, T\)"):
        visualize_selection(x, mask[:, 1:])


def test_without_a_path_there_is_a_window(monkeypatch, capsys):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before, windows = pyplot.get_fignums(), []
    monkeypatch.setattr(pyplot, "show", lambda: windows.append(pyplot.gcf()))
    figure = visualize_selection(torch.randn(3, 20, 2), torch.ones(3, 20, dtype=torch.int64))
    assert windows == [figure]
    assert pyplot.get_fignums() == before
    assert capsys.readouterr().out == ""
