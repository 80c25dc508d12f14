"""Scorer, mechanisms and selector: shapes, gradients, padding, state dictionaries, compilation and bad input."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from rambit.selection import (
    AttentionScorer,
    GumbelSoftmaxSelector,
    ThresholdSelector,
    TimestampSelector,
    TopKSelector,
    load_selector,
    save_selector,
)
from rambit.selection.scorer import sinusoids

MECHANISMS = {
    "topk": TopKSelector(3),
    "soft topk": TopKSelector(3, hard=False),
    "gumbel": GumbelSoftmaxSelector(hard=True),
    "gumbel k": GumbelSoftmaxSelector(hard=True, k=3),
    "soft gumbel": GumbelSoftmaxSelector(),
    "soft gumbel k": GumbelSoftmaxSelector(0.7, k=3),
    "threshold": ThresholdSelector(0.4),
}
HARD = ("topk", "gumbel", "gumbel k", "threshold")


@pytest.fixture(params=["cpu", "cuda"])
def place(request):
    """Each device of plain torch; one that is absent is skipped."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return torch.device(request.param)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("method", ["topk", "gumbel", "threshold"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("positions", [False, True])
def test_shapes_types_and_gradients(place, dtype, method, positions):
    selector = TimestampSelector(5, 16, 2, method, k=4, positions=positions).to(place, dtype)
    x = torch.randn(3, 9, 5, device=place, dtype=dtype)
    mask, scores = selector(x, return_scores=True)
    assert mask.shape == scores.shape == (3, 9)
    assert mask.dtype == scores.dtype == dtype
    assert mask.device == x.device
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    if method != "threshold":
        assert (mask.sum(dim=1) == 4).all()
    assert selector(x)[1] is None
    (mask * torch.randn_like(mask)).sum().backward()
    gradients = {name: weight.grad for name, weight in selector.named_parameters()}
    assert all(grad is not None and grad.isfinite().all() for grad in gradients.values())
    assert gradients["scorer.input_projection.weight"].abs().max() > 0


@pytest.mark.parametrize("name", MECHANISMS)
def test_masks_and_their_gradients(name):
    scores = torch.randn(4, 8, dtype=torch.float64, requires_grad=True)
    mask = MECHANISMS[name](scores)
    assert mask.shape == scores.shape
    assert (mask >= 0).all()
    if name in HARD:
        assert set(mask.unique().tolist()) <= {0.0, 1.0}, "exactly"
    (mask * torch.randn_like(mask)).sum().backward()
    assert scores.grad.isfinite().all()
    assert scores.grad.abs().max() > 1e-3


@pytest.mark.parametrize("name", ["soft topk", "soft gumbel", "soft gumbel k"])
def test_soft_masks_by_differences(name):
    def mask(scores):
        torch.manual_seed(1)  # the same noise in every call
        return MECHANISMS[name](scores)

    assert gradcheck(mask, torch.randn(2, 6, dtype=torch.float64, requires_grad=True))


def test_top_k_is_the_k_highest():
    scores = torch.randn(20, 9)
    for k in (1, 4, 9, 30):
        mask = TopKSelector(k)(scores)
        for row, values in zip(mask, scores.tolist(), strict=True):
            assert set(row.nonzero()[:, 0].tolist()) == set(sorted(range(9), key=lambda t: -values[t])[:k])
    soft = TopKSelector(4, hard=False)(scores)
    torch.testing.assert_close(soft, torch.where(TopKSelector(4)(scores) > 0, scores.softmax(1), 0.0))


def test_top_k_does_not_drive_the_size_of_scores():
    """The mask does not change when scores are shifted or stretched, and no gradient says that it does."""
    scores = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    (TopKSelector(2)(scores) * torch.randn(3, 7)).sum().backward()
    zero = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(scores.grad.sum(dim=1), zero)
    torch.testing.assert_close((scores.grad * (scores - scores.mean(1, keepdim=True))).sum(dim=1).detach(), zero)


def test_gumbel_draws_with_the_softmax_chances():
    """k = 2 of three steps, drawn without replacement: the chance of each pair is known."""
    chance = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    count = 40_000
    mask = GumbelSoftmaxSelector(hard=True, k=2)(chance.log().expand(count, 3))
    found = Counter(tuple(row) for row in mask.tolist())
    for left in range(3):
        a, b = (chance[i].item() for i in range(3) if i != left)
        wanted = a * b / (1 - a) + a * b / (1 - b)
        pair = tuple(float(i != left) for i in range(3))
        assert found[pair] / count == pytest.approx(wanted, abs=5 * math.sqrt(wanted / count))
    single = GumbelSoftmaxSelector(hard=True)(chance.log().expand(count, 3)).mean(dim=0)
    torch.testing.assert_close(single, chance, rtol=0, atol=5 * math.sqrt(0.25 / count))


def test_gumbel_without_training_takes_the_highest():
    scores = torch.randn(5, 9)
    assert (GumbelSoftmaxSelector(hard=True, k=3).eval()(scores) == TopKSelector(3)(scores)).all()


def test_soft_gumbel_sums_to_k_and_hardens_with_the_temperature():
    scores = torch.randn(5, 9, dtype=torch.float64)
    for temperature, k in ((1.0, 1), (0.5, 4)):
        soft = GumbelSoftmaxSelector(temperature, k=k)(scores)
        torch.testing.assert_close(soft.sum(dim=1), torch.full((5,), float(k), dtype=torch.float64))
    cold = GumbelSoftmaxSelector(1e-3, k=3).eval()(scores)
    torch.testing.assert_close(cold, TopKSelector(3)(scores), atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", ["topk", "gumbel", "threshold"])
def test_padding_is_never_selected_and_changes_nothing(method):
    selector = TimestampSelector(3, 8, 2, method, k=4, dropout=0.0, threshold=0.0, positions=True)
    x = torch.randn(3, 10, 3)
    lengths = torch.tensor([10, 6, 2])
    padding = torch.arange(10) >= lengths[:, None]
    mask, scores = selector(x, True, padding)
    assert not mask[padding].any()
    assert (mask.sum(dim=1) == (lengths if method == "threshold" else lengths.clamp(max=4))).all()
    (mask * torch.randn_like(mask)).sum().backward()
    assert all(weight.grad.isfinite().all() for weight in selector.parameters())
    for b, length in enumerate(lengths.tolist()):
        alone = selector.scorer(x[b : b + 1, :length])
        torch.testing.assert_close(scores[b, :length], alone[0], rtol=1e-4, atol=1e-5)


def test_positions_tell_equal_steps_apart():
    x = torch.ones(2, 6, 3)
    plain, placed = (AttentionScorer(3, 8, 2, positions=p).eval() for p in (False, True))
    assert plain(x).detach().std(dim=1).max() < 1e-6
    assert placed(x).detach().std(dim=1).min() > 1e-3
    order = torch.randperm(6)
    random = torch.randn(2, 6, 3)
    torch.testing.assert_close(plain(random)[:, order], plain(random[:, order]))
    wave = sinusoids(50, 7)
    assert wave.shape == (50, 7)
    torch.testing.assert_close(wave[:, 0], torch.arange(50.0).sin())


def test_scorer_is_what_the_specification_says():
    """The parts one after another, with one layer norm before and after the attention."""
    scorer = AttentionScorer(3, 8, 2).eval()
    x = torch.randn(2, 5, 3)
    h = scorer.layer_norm(scorer.input_projection(x))
    h = scorer.layer_norm(h + scorer.attention(h, h, h)[0])
    torch.testing.assert_close(scorer(x), scorer.score_layer(h)[..., 0])
    names = {name.rsplit(".", 1)[0] for name in scorer.state_dict()}
    assert names == {
        "input_projection", "attention", "attention.out_proj", "score_layer.0", "score_layer.3", "layer_norm"
    }  # fmt: skip


@pytest.mark.parametrize("method", ["topk", "gumbel", "threshold"])
def test_state_dictionaries_and_files(method, tmp_path):
    selector = TimestampSelector(3, 8, 2, method, k=2, positions=True, temperature=0.5).eval()
    other = TimestampSelector(**selector.config()).eval()
    other.load_state_dict(selector.state_dict())
    save_selector(tmp_path / "a.safetensors", selector, {"data": "mine"})
    loaded, extra = load_selector(tmp_path / "a.safetensors")
    x = torch.randn(4, 6, 3)
    for again in (other, loaded):
        assert again.config() == selector.config()
        for a, b in zip(again(x, True), selector(x, True), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert extra == {"data": "mine"}
    assert not loaded.training
    assert '"data": "mine"' in (tmp_path / "a.json").read_text()


def test_broken_files(tmp_path):
    path = tmp_path / "a.safetensors"
    save_selector(path, TimestampSelector(3, 8, 2, k=2))
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    with pytest.raises(ValueError, match=r"a\.safetensors"):
        load_selector(path)
    path.write_bytes(data.replace(b'\\"input_dim\\": 3', b'\\"input_dim\\": 4'))
    with pytest.raises(ValueError, match="is corrupt or not a saved selector"):
        load_selector(path)
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        save_selector(tmp_path / "a.pt", TimestampSelector(3, 8, 2, k=2))


def test_a_mechanism_of_ones_own():
    class Everything(nn.Module):
        def forward(self, scores):
            return torch.ones_like(scores) + 0 * scores

    selector = TimestampSelector(3, 8, 2, k=2)
    selector.selector = Everything()
    assert (selector(torch.randn(2, 5, 3))[0] == 1).all()


def test_selected_timestamps_and_stats():
    selector = TimestampSelector(3, 8, 2, k=2)
    x, mask = torch.randn(2, 4, 3), torch.tensor([[1.0, 0, 0.75, 0], [0, 0, 0.25, 1.0]])
    torch.testing.assert_close(selector.get_selected_timestamps(x, mask), x * mask[..., None])
    torch.testing.assert_close(selector.get_selected_timestamps(x, mask > 0.5), x * (mask > 0.5)[..., None])
    stats = selector.compute_selection_stats(mask)
    wanted = {"num_selected": 1.5, "selection_ratio": 3 / 8, "mean_score": 3 / 8, "max_score": 1.0, "min_score": 0.0}
    assert stats == pytest.approx(wanted)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["topk", "gumbel", "threshold"])
def test_compiled_forward(method):
    selector = TimestampSelector(3, 8, 2, method, k=2, positions=True).eval()
    compiled = torch.compile(selector, fullgraph=True, backend="aot_eager")
    x = torch.randn(4, 6, 3)
    for a, b in zip(compiled(x, True), selector(x, True), strict=True):
        torch.testing.assert_close(a, b)
    x.requires_grad_()
    selector.train()
    mask, _ = compiled(x, True)
    (mask * torch.randn_like(mask)).sum().backward()
    assert x.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": None}, "k must be given for selection_method='topk'"),
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"k": -2, "selection_method": "gumbel"}, "k must be at least 1, got -2"),
        ({"selection_method": "best"}, "selection_method must be one of topk, gumbel, threshold, got 'best'"),
        ({"selection_method": "gumbel", "temperature": 0}, "temperature must be above 0, got 0"),
        ({"selection_method": "threshold", "threshold": 1.5}, r"threshold must lie in \[0, 1\), got 1.5"),
        ({"hidden_dim": 10, "num_heads": 4}, "hidden_dim must be a multiple of num_heads=4, got 10"),
        ({"input_dim": 0}, "input_dim must be at least 1"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        TimestampSelector(**{"input_dim": 3, "hidden_dim": 8, "k": 2, **options})


def test_wrong_input():
    selector = TimestampSelector(3, 8, 2, k=2)
    x = torch.randn(2, 5, 3)
    with pytest.raises(ValueError, match=r"x must have shape \(B, T, 3\)"):
        selector(torch.randn(2, 5, 4))
    with pytest.raises(ValueError, match=r"x must have shape \(B, T, 3\)"):
        selector(x[:, :0])
    with pytest.raises(TypeError, match="x must be floating"):
        selector(x.long())
    broken = x.clone()
    broken[1, 2, 0] = math.nan
    with pytest.raises(ValueError, match=r"x holds NaN or infinite values, the first at \(1, 2, 0\)"):
        selector(broken)
    with pytest.raises(ValueError, match=r"key_padding_mask must be bool \(B, T\)"):
        selector(x, key_padding_mask=torch.zeros(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="pads every step"):
        selector(x, key_padding_mask=torch.ones(2, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="mask must have shape"):
        selector.get_selected_timestamps(x, torch.ones(2, 4))
    with pytest.raises(TypeError, match="k must be an integer"):
        TopKSelector(1.5)


@pytest.mark.parametrize("method", ["topk", "gumbel", "threshold"])
def test_values_too_large_for_the_scorer_are_told_of(method):
    selector = TimestampSelector(input_dim=2, hidden_dim=8, num_heads=2, selection_method=method, k=1)
    with pytest.raises(ValueError, match=r"scores holds NaN or infinite values, the first at \(1, 0\)"):
        selector(torch.stack((torch.ones(3, 2), torch.full((3, 2), 1e30))))


def test_a_series_that_is_padding_alone_is_named():
    selector = TimestampSelector(input_dim=2, hidden_dim=8, num_heads=2, k=1)
    padding = torch.tensor([[False, True], [True, True], [True, True]])
    with pytest.raises(ValueError, match="pads every step of a series, the first is 1"):
        selector(torch.ones(3, 2, 2), key_padding_mask=padding)
