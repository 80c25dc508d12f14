"""Selection: scores, mechanisms, losses, counterfactuals and attributions, against the plain formulas."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from rambit.selection import (
    AttentionScorer,
    CombinedLoss,
    CounterfactualExplainer,
    CounterfactualGenerator,
    DiversityLoss,
    GumbelSoftmaxSelector,
    InfluenceFramework,
    ModelAgnosticWrapper,
    MutualInformationLoss,
    SelectionAttributor,
    TaskConsistencyLoss,
    ThresholdSelector,
    TimestampSelector,
    TopKSelector,
    create_simple_framework,
    load_selector,
    save_selector,
)
from tests.naive import selection as naive
from tests.soak.engine import TOLERANCE, Draw, case


def data(draw: Draw, dtype: torch.dtype = torch.float64, *, batch: int = 1) -> tuple[Tensor, Tensor]:
    """Series (B, T, D) and a mask (B, T): soft, hard, or soft with zeros; some step of each series is kept."""
    B, T, D = draw.whole(batch, 4), draw.whole(1, 9), draw.whole(1, 4)
    x, mask = draw.normal(B, T, D, dtype=dtype), draw.uniform(B, T, dtype=dtype)
    kind = draw.of("soft", "hard", "uneven")
    if kind == "hard":
        mask = (mask > draw.number(0, 1)).to(dtype)
    elif kind == "uneven":
        mask = mask * draw.bools(B, T)
    mask[torch.arange(B), draw.integers(0, T - 1, B)] = 1
    draw.note(shape=(B, T, D), mask=kind)
    return x, mask


def gradients(loss: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
    """The value and its gradients."""
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    value = loss(*leaves)
    return value.detach(), *torch.autograd.grad(value, leaves)


@case(weight=2)
def diversity(draw: Draw) -> None:
    x, mask = data(draw)
    sigma, epsilon = draw.number(0.3, 2), draw.of(1e-3, 0.1, 1.0)
    if bool(((mask == 0) | (mask == 1)).all()) and draw.chance():
        found = draw.call(DiversityLoss(sigma, normalise=True), draw.placed(x), draw.placed(mask), epsilon)
        draw.close(found, -naive.ensemble_likelihood(x, mask, sigma, epsilon), 1e-7, 1e-7)
        return
    loss = DiversityLoss(sigma)
    hard = bool(((mask == 0) | (mask == 1)).all())
    kernel = draw.call(loss.compute_kernel_matrix, x, mask.to(draw.of(torch.int64, torch.bool)) if hard else mask)
    draw.close(kernel, naive.kernel(x, sigma) * mask[:, :, None] * mask[:, None], 1e-7, 1e-9)
    found = draw.call(gradients, lambda x, mask: loss(x, mask, epsilon), x, mask)
    wanted = gradients(lambda x, mask: naive.diversity(x, mask, sigma, epsilon), x, mask)
    for name, a, b in zip(("the loss", "its gradient by features", "by the mask"), found, wanted, strict=True):
        draw.close(a, b, 1e-6, 1e-6, what=name)


@case(weight=2)
def losses(draw: Draw) -> None:
    """The task's loss, the mutual information and the sum of all."""
    x, mask = data(draw, batch=2)
    B, _, D = x.shape
    predictions, targets, features = draw.normal(B, 2), draw.normal(B, 2), draw.normal(B, D)
    own = draw.chance(0.3)
    task = (lambda a, b: (a - b).abs().mean()) if own else None
    plain = (predictions - targets).abs().mean() if own else ((predictions - targets) ** 2).sum() / (2 * B)
    found = draw.call(TaskConsistencyLoss(task), predictions, targets, mask)
    draw.close(found, plain / mask.mean(), what="the task's loss")
    draw.close(draw.call(TaskConsistencyLoss(task), predictions, targets), plain, what="the loss without a mask")

    torch.manual_seed(draw.seed)
    mutual = MutualInformationLoss(D, critic_dim=draw.of(None, 5)).double()
    torch.manual_seed(draw.seed + 1)
    order = torch.randperm(B).tolist()
    pooled = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    with torch.no_grad():
        bound = naive.mutual_information(mutual.mi_estimator, pooled, features, order)
    torch.manual_seed(draw.seed + 1)
    draw.close(draw.call(mutual, x, features, mask, pure=False), -bound, what="the mutual information")

    weights = [draw.number(0, 2) for _ in range(3)]
    combined = CombinedLoss(task, *weights, use_mi=True, sigma=1.3, mi_hidden_dim=D, diversity_epsilon=1e-2).double()
    torch.manual_seed(draw.seed + 1)
    total, parts = draw.call(
        combined, predictions=predictions, targets=targets, features=x, mask=mask, target_features=features, pure=False
    )
    with torch.no_grad():
        bound = naive.mutual_information(combined.mi_loss.mi_estimator, pooled, features, order)
    expected = [plain / mask.mean(), naive.diversity(x, mask, 1.3, 1e-2), -bound]
    for name, value in zip(("task_loss", "diversity_loss", "mi_loss"), expected, strict=True):
        draw.close(parts[name], value, 1e-6, 1e-6, what=name)
    draw.close(total, sum(w * v for w, v in zip(weights, expected, strict=True)), 1e-6, 1e-6, what="the sum")


@case(weight=2)
def mechanisms(draw: Draw) -> None:
    B, T, k = draw.whole(1, 4), draw.whole(1, 8), draw.whole(1, 10)
    scores = draw.normal(B, T)
    padding = torch.arange(T) >= draw.integers(1, T, B)[:, None]
    scores = scores.masked_fill(padding, -math.inf) if draw.chance(0.3) else scores
    kind, hard = draw.of("topk", "gumbel", "threshold"), draw.chance()
    draw.note(kind=kind, hard=hard, k=k, scores=scores)
    ranks = [sorted(range(T), key=lambda t, row=row: -float(row[t])) for row in scores]
    kept = [{t for t in order[:k] if scores[b, t] > -math.inf} for b, order in enumerate(ranks)]
    expected = torch.zeros(B, T).double()
    shares = scores.softmax(1)
    for b, t in ((b, t) for b in range(B) for t in range(T)):
        if kind == "threshold":
            expected[b, t] = float(1 / (1 + math.exp(-scores[b, t])) > 0.4) if scores[b, t] > -math.inf else 0
        elif t in kept[b]:
            expected[b, t] = 1 if hard else shares[b, t]
    if kind == "topk":
        found = draw.call(TopKSelector(k, hard=hard), scores)
    elif kind == "threshold":
        found = draw.call(ThresholdSelector(0.4), scores)
    else:
        selector = GumbelSoftmaxSelector(temperature=draw.number(0.1, 2), hard=hard, k=k)
        if hard and draw.chance():
            found = draw.call(selector.eval(), scores)
        else:  # in training: k steps by chance, all of them where there are fewer, never padding
            selector.train()
            found = draw.call(selector, scores, pure=False)
            there = (scores > -math.inf).sum(1)
            wanted = there.clamp(max=k) if hard else torch.full((B,), min(k, T))
            if hard or not bool((there < T).any()):
                draw.close(found.sum(1), wanted, 1e-5, 1e-5, what="the sums of the masks")
            draw.true((found[scores == -math.inf] < 1e-9).all(), "padding is not selected")
            return
    draw.close(found, expected)


@case(weight=2)
def selector(draw: Draw) -> None:
    """The whole selector: padding changes nothing, stats, what is kept, and the file of it."""
    dtype = draw.of(torch.float32, torch.float64)
    x, _ = data(draw, dtype)
    B, T, D = x.shape
    torch.manual_seed(draw.seed)
    options = draw.options(selection_method=("topk", "gumbel", "threshold"), k=(1, 3, 20), positions=(False, True))
    made = TimestampSelector(D, 8, 2, **options).to(dtype).eval()
    rtol, atol = TOLERANCE[dtype]
    with torch.no_grad():
        mask, scores = draw.call(made, x, return_scores=True)
        draw.close(draw.call(made.scorer, draw.placed(x)), scores, rtol, atol)
        padded = torch.cat((x, draw.normal(B, 2, D, dtype=dtype)), dim=1)
        padding = (torch.arange(T + 2) >= T).expand(B, T + 2)
        longer, seen = draw.call(made, padded, return_scores=True, key_padding_mask=padding)
        draw.close(seen[:, :T], scores, rtol, atol, what="scores beside padding")
        draw.close(longer[:, T:], torch.zeros(B, 2), what="the mask of padding")
        scorer = AttentionScorer(D, 8, 2, positions=options["positions"]).to(dtype).eval()
        scorer.load_state_dict(made.scorer.state_dict())
        draw.close(draw.call(scorer, x), scores, rtol, atol, what="a scorer with the same weights")
    draw.close(draw.call(made.get_selected_timestamps, x, mask), x * mask[..., None])
    kept = [[float(v) for v in row] for row in mask]
    each = [v for row in kept for v in row]
    expected = {
        "num_selected": sum(v > 0.5 for v in each) / B, "selection_ratio": sum(v > 0.5 for v in each) / len(each),
        "mean_score": sum(each) / len(each), "max_score": max(each), "min_score": min(each),
    }  # fmt: skip
    found = draw.call(made.compute_selection_stats, mask)
    draw.equal(list(found), list(expected))
    draw.close(list(found.values()), list(expected.values()), 1e-6, 1e-7)
    path = draw.folder / "selector.safetensors"
    draw.call(save_selector, path, made, {"epoch": 3})
    again, extra = draw.call(load_selector, path)
    draw.equal(extra, {"epoch": 3})
    with torch.no_grad():
        draw.equal(again(x)[0], made(x)[0], what="the mask of the loaded selector")


@case(weight=2)
def counterfactuals(draw: Draw) -> None:
    x, mask = data(draw)
    B, T, D = x.shape
    torch.manual_seed(draw.seed)
    method, what = draw.of("perturbation", "replacement", "removal"), draw.of("modify", "remove")
    which, scale = draw.of("selected", "unselected"), draw.number(0.1, 1)
    made = CounterfactualGenerator(D, 6, method, perturbation_scale=scale).double()
    draw.note(method=method, what=what, which=which)
    where = (mask if which == "selected" else 1 - mask)[..., None]
    with torch.no_grad():
        found = draw.call(made, x, mask, f"{what}_{which}")
        if what == "remove" or method == "removal":
            expected = x * (1 - where)
        elif method == "perturbation":
            expected = x + where * scale * made.perturbation_net(x)
        else:
            expected = x * (1 - where) + where * made.replacement_net(x)
        draw.close(found, expected)
        many = draw.call(made.generate_multiple_counterfactuals, x, mask, 3, noise_scale=0.0, pure=False)
        draw.close(many, made(x, mask).expand(3, B, T, D))
    metric = draw.of("l2", "l1", "cosine")
    other = draw.normal(B, T, D)
    found = draw.call(made.compute_counterfactual_distance, x, other, mask, metric)
    draw.close(found, naive.distance(x, other, mask, metric), 1e-6, 1e-8, what=metric)


class Network(nn.Module):
    """Outputs of any shape; dropout shows whether it is asked in evaluation mode."""

    def __init__(self, T: int, D: int, *shape: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(T * D, 5), nn.Tanh(), nn.Linear(5, math.prod(shape)))
        self.dropout, self.shape = nn.Dropout(0.5), shape

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.layers(x)).reshape(len(x), *self.shape)


@case(weight=2)
def attribution_scores(draw: Draw) -> None:
    dtype = draw.of(torch.float32, torch.float64)
    x, mask = data(draw, dtype)
    T, D = x.shape[1:]
    torch.manual_seed(draw.seed)
    model = Network(T, D, *draw.of((), (1,), (3,), (2, 2))).to(dtype)
    explainer = CounterfactualExplainer(CounterfactualGenerator(D, 4, "removal"), model)
    found = draw.call(explainer.compute_attribution_scores, draw.placed(x), draw.placed(mask))
    draw.true(model.training, "the training flag comes back")
    model.eval()
    rtol, atol = TOLERANCE[dtype]
    draw.close(found, naive.attribution(model, x, mask), rtol, atol)
    model.train()
    told = draw.call(explainer.explain_prediction, x, mask, ["remove_selected"])
    model.eval()
    with torch.no_grad():
        before, after = model(x), model(x * (1 - mask[..., None]))
    one = told["interventions"]["remove_selected"]
    draw.close(told["original_prediction"], before, rtol, atol)
    draw.close(one["counterfactual_prediction"], after, rtol, atol)
    draw.close(one["prediction_change"], (after - before).abs().mean(), rtol, atol)


@case()
def framework(draw: Draw) -> None:
    """The framework, the wrapper, a step of training, and the attributions of what was trained."""
    dtype = torch.float64
    x, _ = data(draw, dtype, batch=2)
    B, T, D = x.shape
    torch.manual_seed(draw.seed)
    k, task = draw.whole(1, T), draw.of("regression", "classification")
    if draw.chance():
        made = create_simple_framework(D, k=k, hidden_dim=8, task=task)
    else:
        fn = nn.CrossEntropyLoss() if task == "classification" else None
        made = InfluenceFramework(D, 8, 2, draw.of("topk", "gumbel"), k=k, task_loss_fn=fn)
    base = nn.Sequential(nn.Flatten(), nn.Linear(T * D, 2))
    wrapper = ModelAgnosticWrapper(base, made, draw.chance()).to(dtype)
    y = draw.integers(0, 1, B) if task == "classification" else draw.normal(B, 2)
    masks: list[Tensor] = []
    made.selector.register_forward_hook(lambda module, inputs, outputs: masks.append(outputs[0].detach().clone()))
    outputs: list[Tensor] = []
    base.register_forward_hook(lambda module, inputs, output: outputs.append(output.detach().clone()))
    parts = draw.call(wrapper.train_step, x, y, torch.optim.SGD(wrapper.parameters(), lr=1e-3), pure=False)
    plain = nn.functional.cross_entropy if task == "classification" else nn.functional.mse_loss
    [mask], [predictions] = masks, outputs
    draw.close(parts["task_loss"], plain(predictions, y) / mask.mean().clamp(min=1e-8), 1e-6, 1e-7)
    draw.close(parts["diversity_loss"], naive.diversity(x, mask), 1e-5, 1e-5)
    draw.close(parts["total_loss"], parts["task_loss"] + 0.1 * parts["diversity_loss"])
    wrapper.eval()
    with torch.no_grad():
        predictions, mask, selected = draw.call(wrapper, x, return_selection=True)
        draw.close(selected, x * mask[..., None])
        draw.close(predictions, base(selected if wrapper.use_selected_only else x))
    X, lengths = x.transpose(1, 2), draw.of(None, draw.integers(1, T, B))
    found = draw.call(SelectionAttributor(draw.of(wrapper, made, made.selector)).attribute, X, lengths=lengths)
    for b in range(B):
        length = T if lengths is None else int(lengths[b])
        with torch.no_grad():
            score = made.selector.scorer(x[b : b + 1, :length])[0].sigmoid()
        draw.close(found[b, :, :length], score.expand(D, length), 1e-6, 1e-9)
        draw.true((found[b, :, length:] == 0).all(), "padding scores 0")
