"""time_interpret's learned masks behind our call."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from rambit.attribution import Dynamask, ExtremalMask
from rambit.predictors import PredictionError
from tests.models_for_tests import GRU
from tests.naive.dynamask import dynamask
from tests.random_state import numpy_state

ROOT = Path(__file__).resolve().parents[2]
KINDS = [Dynamask, ExtremalMask]
X = torch.randn(5, 3, 10, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def tint():
    """time_interpret, with what it needs to fit masks."""
    pytest.importorskip("pytorch_lightning")
    return pytest.importorskip("tint.attr")


@pytest.fixture
def model():
    torch.manual_seed(1)
    return GRU()


class Planted(nn.Module):
    """Output 0 is feature 1 at time 4, output 1 is feature 2 at time 7, from that time on."""

    def forward(self, x, return_all=False):
        steps = torch.zeros(len(x), 2, x.shape[2])
        if x.shape[2] > 4:
            steps[:, 0, 4:] = x[:, 1, 4, None]
        if x.shape[2] > 7:
            steps[:, 1, 7:] = x[:, 2, 7, None]
        return steps if return_all else steps[:, :, -1]


class Class(nn.Module):
    """Two classes, decided by feature 1 at time 4."""

    def forward(self, x):
        return torch.stack((2 * x[:, 1, 4], -2 * x[:, 1, 4]), dim=1)


class Evaluated(nn.Module):
    """Notes every series that the model inside is asked about."""

    def __init__(self, model):
        super().__init__()
        self.model, self.seen = model, []

    def forward(self, x, return_all=False):
        self.seen.append(x.detach().clone())
        return self.model(x.nan_to_num(), return_all)

    @property
    def rows(self):
        return sum(len(x) for x in self.seen)

    @property
    def row_steps(self):
        return sum(len(x) * x.shape[2] for x in self.seen)


# -- the values --------------------------------------------------------------------------------------------------------


def trainer(epochs):
    from pytorch_lightning import Trainer

    off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(max_epochs=epochs, accelerator="cpu", devices=1, **off)


def as_tint_reads(model, anchor):
    """The model's raw answers for (N, T, D): (N, C), or (N, T, C) at every step.

    Its weights have no gradients, as in ours: the kernels, and so the rounding, are the same. A mask's cells start as
    ties, which the penalty sorts: another rounding would give another mask.
    """
    model.eval().requires_grad_(False)
    if anchor == "end":
        return lambda x: model(x.transpose(1, 2).contiguous())
    return lambda x: model(x.transpose(1, 2).contiguous(), return_all=True).transpose(1, 2)


def settings(layout):
    """X in a layout, and a model that reads it in that layout."""
    torch.manual_seed(1)
    model = GRU()
    if layout == "BDT":
        return X, model
    inner = model.forward
    model.forward = lambda x, return_all=False: inner(x.transpose(1, 2), return_all)
    return X.transpose(1, 2).contiguous(), model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", ["BDT", "BTD"])
@pytest.mark.parametrize("anchor", ["end", "cell"])
@pytest.mark.parametrize("learned", [True, False])
def test_extremal_mask_is_that_of_a_direct_call(tint, learned, anchor, layout):
    from tint.attr.models import ExtremalMaskNet
    from tint.models import MLP, RNN

    given, model = settings(layout)
    background = torch.randn(4, *given.shape[1:], generator=torch.Generator().manual_seed(5))
    ours = ExtremalMask(
        model, learned=learned, epochs=15, anchor=anchor, layout=layout, output="regression", background=background,
        seed=3, lambda_1=0.4, lambda_2=0.7,
    ).attribute(given)  # fmt: skip

    torch.manual_seed(1)
    f = as_tint_reads(GRU(), anchor)
    torch.manual_seed(3)
    x = X.transpose(1, 2).contiguous()
    middle = (background.transpose(1, 2) if layout == "BDT" else background).mean(0, keepdim=True)
    filler = nn.Sequential(RNN(3, rnn="gru", hidden_size=3, bidirectional=True), MLP([6, 3])) if learned else None
    network = ExtremalMaskNet(f, model=filler, lambda_1=0.4, lambda_2=0.7, lr=0.01)
    theirs = tint.ExtremalMask(f).attribute(
        x, baselines=middle.expand_as(x), trainer=trainer(15), mask_net=network, batch_size=5
    )
    theirs = theirs if layout == "BTD" else theirs.transpose(1, 2)
    assert float((ours - 0.5).abs().min()) > 0  # each cell was fitted
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("perturbation", ["fade_moving_average", "fade_moving_average_window", "gaussian_blur"])
@pytest.mark.parametrize("anchor", ["end", "cell"])
def test_dynamask_is_that_of_a_direct_call(tint, model, anchor, perturbation):
    from tint.attr.models import MaskNet

    class Network(MaskNet):
        def training_step(self, batch, batch_idx):  # Lightning 2 does not call the hook that adds the penalty
            return self.net.regularisation(super().training_step(batch, batch_idx))

    options = {"perturbation": perturbation, "keep_ratio": [0.2, 0.4], "time_reg_factor": 0.3, "lr": 0.02}
    ours = Dynamask(model, epochs=15, anchor=anchor, output="regression", **options).attribute(X)
    f = as_tint_reads(model, anchor)
    network = Network(f, size_reg_factor_init=0.1, **options)
    x = X.transpose(1, 2).contiguous()
    theirs = tint.DynaMask(f).attribute(x, trainer=trainer(15), mask_net=network, batch_size=5)
    torch.testing.assert_close(ours, theirs.clamp(0, 1).transpose(1, 2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("output", ["logits", "regression"])
def test_dynamask_is_what_the_paper_defines(tint, model, output):
    def error(outputs, originals):
        if output == "regression":
            return ((outputs - originals) ** 2).mean()
        return -(originals.softmax(1) * outputs.softmax(1).log()).sum(1).mean()

    ours = Dynamask(
        model, keep_ratio=0.25, size_reg_factor_init=0.2, size_reg_factor_dilation=50.0, epochs=40, output=output
    ).attribute(X)
    model.eval().requires_grad_(False)
    torch.testing.assert_close(ours, dynamask(model, X, error, 0.25, 0.2, 50.0, 40, 0.01), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_planted_cell_is_found(tint, kind):
    x = X.clone()
    x[:, 1, 4] = torch.tensor([2.0, -2.0, 1.5, -1.5, 3.0])
    options = {"keep_ratio": 1 / 30} if kind is Dynamask else {}
    scores = kind(Class(), epochs=100, lr=0.03, **options).attribute(x).flatten(1)
    assert scores.argmax(1).tolist() == [14] * 5
    assert float(scores[:, 14].min()) > 0.4
    assert float(scores[:, torch.arange(30) != 14].max()) < 0.1  # the size of the mask is held down


@pytest.mark.parametrize("anchor", ["end", "cell"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_target_is_explained_alone(tint, kind, anchor):
    x = X.clone()
    x[:, 1, 4], x[:, 2, 7] = 2.0, -2.0
    options = {"keep_ratio": 1 / 30} if kind is Dynamask else {"learned": False, "lambda_1": 0.3}
    mask = kind(Planted(), output="regression", epochs=150, lr=0.02, anchor=anchor, **options)
    scores = mask.attribute(x, target=[0, 1, 0, 1, 1])
    best = scores.flatten(1).argmax(1)
    assert best.tolist() == [14, 27, 14, 27, 27]


@pytest.mark.parametrize("kind", KINDS)
def test_of_two_classes_each_is_the_whole_answer(tint, kind):
    mask = kind(Class(), epochs=10)  # which only one cell matters to: no rounding decides about the others
    both = mask.attribute(X)
    for target in (0, 1):
        torch.testing.assert_close(mask.attribute(X, target=target), both, rtol=0, atol=1e-4)


# -- the family's call -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("anchor", ["end", "cell"])
@pytest.mark.parametrize("target", [None, 1])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Dynamask, {"keep_ratio": [0.1, 0.3, 0.5]}),
        (Dynamask, {}),
        (ExtremalMask, {}),
        (ExtremalMask, {"learned": False}),
    ],
)
def test_rows_are_those_that_the_model_answered(tint, model, kind, options, target, anchor):
    evaluated = Evaluated(model)
    mask = kind(evaluated, epochs=3, anchor=anchor, batch_size=6, **options)
    lengths = [10, 10, 10, 7, 7]
    cost = mask.cost(X, lengths=lengths)
    assert evaluated.rows == 0
    # First its outputs are looked at and, with anchor cell, its claim to be causal is checked, whatever the method.
    kind(evaluated, epochs=1, anchor=anchor, batch_size=6, **options).explain(X, lengths=lengths)
    confirming = evaluated.rows - 5 * (mask_rows(kind, options, 1) + 1)
    evaluated.seen.clear()
    result = mask.explain(X, lengths=lengths, target=target)
    assert (
        result.rows == cost.rows == evaluated.rows - confirming == 5 * (mask_rows(kind, options, 3) + 1)
    )  # once as they are
    assert result.row_steps == cost.row_steps == 44 * (mask_rows(kind, options, 3) + 1)
    assert result.mode == cost.mode == ("causal" if anchor == "cell" else "full")


def mask_rows(kind, options, epochs):
    ratios = len(options.get("keep_ratio", [0.1]))
    return (epochs + 1) * (1 + ratios) if kind is Dynamask else 4 * epochs


@pytest.mark.parametrize("kind", KINDS)
def test_repeats_by_seed_and_leaves_no_trace(tint, model, kind):
    model.train()
    torch.manual_seed(8)
    before = torch.get_rng_state(), numpy_state(), random.getstate()
    first = kind(model, epochs=4, seed=2).explain(X)
    after = torch.get_rng_state(), numpy_state(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert all(module.training for module in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    torch.manual_seed(9)
    again = kind(model, epochs=4, seed=2).explain(X)
    assert torch.equal(first.values, again.values)
    assert first.settings == again.settings
    if kind is ExtremalMask:
        assert not torch.equal(first.values, kind(model, epochs=4, seed=3).attribute(X))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_prints_and_writes_nothing(tint, kind, tmp_path):
    script = f"""
        import torch
        from rambit.attribution import {kind.__name__}
        from tests.models_for_tests import GRU

        assert {kind.__name__}(GRU(), epochs=2).attribute(torch.randn(2, 3, 5)).shape == (2, 3, 5)
    """
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_batch_size_says_which_series_are_fitted_together(tint, model, kind):
    options = {"epochs": 5, "seed": 4}
    grouped = kind(model, batch_size=2, **options).attribute(X)
    alone = [kind(model, **options).attribute(part) for part in X.split(2)]
    if kind is Dynamask:
        torch.testing.assert_close(grouped, torch.cat(alone), rtol=0, atol=1e-5)
    else:  # a later group goes on with the seed's draws
        torch.testing.assert_close(grouped[:2], alone[0], rtol=0, atol=1e-5)
        assert not torch.allclose(grouped, kind(model, **options).attribute(X), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_counts_for_nothing(tint, model, kind):
    lengths = torch.tensor([10, 6, 10, 6, 6])
    x = X.clone()
    x[lengths == 6, :, 6:] = float("nan")
    scores = kind(model, epochs=5).attribute(x, lengths=lengths)
    assert not scores[lengths == 6, :, 6:].any()
    short = kind(model, epochs=5).attribute(X[lengths == 6, :, :6])
    torch.testing.assert_close(scores[lengths == 6, :, :6], short, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_values_stay_missing_and_score_0(tint, model, kind):
    observed = torch.rand(X.shape, generator=torch.Generator().manual_seed(6)) < 0.8
    x = X.where(observed, float("nan"))
    evaluated = Evaluated(model)
    mask = kind(evaluated, epochs=3)
    mask.attribute(x, observed=observed)
    evaluated.seen.clear()  # with the rows that are looked at once
    scores = mask.attribute(x, observed=observed)
    assert torch.isfinite(scores).all()
    assert torch.equal(scores == 0, ~observed)
    for rows in evaluated.seen:
        assert torch.equal(rows.isnan(), ~observed.repeat(len(rows) // 5, 1, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_float64_and_batches_of_arrays(tint, kind):
    model = GRU().double()
    scores = kind(model, epochs=3).attribute(X.double().numpy())
    assert scores.dtype == torch.float64
    assert scores.shape == X.shape


@pytest.mark.parametrize("kind", KINDS)
def test_an_unusable_answer_is_an_error(tint, kind):
    class Breaks(nn.Module):
        def forward(self, x):
            return torch.stack((x[:, 0, 0].log(), x[:, 1, 1]), dim=1)

    with pytest.raises(PredictionError, match="NaN"):
        kind(Breaks(), epochs=2).attribute(-X.abs())


# -- what does not fit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["tint.attr", "pytorch_lightning"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_absent_package_names_the_extra(monkeypatch, kind, module):
    if module == "pytorch_lightning":
        pytest.importorskip("tint.attr")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'pip install "rambit\[baselines\]"') as caught:
        kind(GRU())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be at least 1"),
        ({"epochs": 2.0}, TypeError, "epochs must be an integer"),
        ({"lr": 0.0}, ValueError, "lr must be finite, above 0"),
        ({"lr": "fast"}, TypeError, "lr must be a number"),
        ({"anchor": "mask"}, ValueError, "anchor must be one of cell, end"),
        ({"distance": "kl"}, ValueError, "distance does not apply to"),
        ({"counterfactuals": "zero"}, ValueError, "counterfactuals does not apply to"),
        ({"evaluation": "prefix"}, ValueError, "evaluation does not apply to"),
        ({"num_samples": 3}, ValueError, "num_samples does not apply to"),
    ],
)
def test_bad_settings(kind, options, error, message):
    with pytest.raises(error, match=message):
        kind(GRU(), **options)


@pytest.mark.parametrize(
    ("kind", "options", "error", "message"),
    [
        (Dynamask, {"perturbation": "noise"}, ValueError, "perturbation must be one of"),
        (Dynamask, {"keep_ratio": 1.5}, ValueError, "keep_ratio must be finite, above 0 and at most 1"),
        (Dynamask, {"keep_ratio": []}, ValueError, "keep_ratio must name at least one"),
        (Dynamask, {"keep_ratio": [0.1, "half"]}, TypeError, "keep_ratio must be a number"),
        (Dynamask, {"size_reg_factor_init": -1.0}, ValueError, "size_reg_factor_init"),
        (Dynamask, {"time_reg_factor": float("nan")}, ValueError, "time_reg_factor"),
        (ExtremalMask, {"lambda_1": -1}, ValueError, "lambda_1 must be finite, at least 0"),
        (ExtremalMask, {"lambda_2": True}, TypeError, "lambda_2 must be a number"),
    ],
)
def test_bad_options(kind, options, error, message):
    with pytest.raises(error, match=message):
        kind(GRU(), **options)


@pytest.mark.parametrize("kind", KINDS)
def test_bad_models_and_calls(tint, kind):
    with pytest.raises(TypeError, match=r"needs an nn\.Module"):
        kind(lambda x: x)
    with pytest.raises(ValueError, match="return_all"):
        kind(nn.Flatten(), anchor="cell")
    mask = kind(GRU(), epochs=1)
    with pytest.raises(ValueError, match="target must be below 3"):
        mask.attribute(X, target=3)
    with pytest.raises(ValueError, match="counterfactuals does not apply"):
        mask.attribute(X, counterfactuals=torch.zeros(1, *X.shape))
    with pytest.raises(ValueError, match="background has 4 steps, but X has 10"):
        kind(GRU(), epochs=1, background=torch.zeros(2, 3, 4)).attribute(X)
