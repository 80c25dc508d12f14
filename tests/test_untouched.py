"""Nothing that a user hands in is changed, even where the model changes what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rambit import RaMbIT, metrics, plots
from rambit.attribution import AFO, FO, Banzhaf, BiWinIT, ExactShapley, Occlusion, ShapleySampling, WinIT
from rambit.compat import JIMEx, WinITExplainer
from rambit.counterfactuals import FeatureGenerator, JointGenerator, Zero
from rambit.distributed import attribute_many
from rambit.game import Game, TensorSample
from rambit.models import GRUClassifier
from rambit.predictors import Predictor
from rambit.rex import ReX
from rambit.store import resume_key
from rambit.sufficiency import explain
from rambit.training import evaluate, fit

B, D, T = 3, 2, 6


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def greedy(x: Tensor) -> Tensor:
    """A model that works in place, as a careless one does."""
    x.nan_to_num_(0.5).mul_(2.0).sub_(x.mean(dim=-1, keepdim=True))
    return torch.stack((x[:, 0].sum(-1), x[:, 1, -1] + x[:, 0, 0]), dim=1)


def turned(x: Tensor) -> Tensor:
    return greedy(x.transpose(1, 2))


class Steps(nn.Module):
    """The same for models that advance from a state and answer at every step."""

    def forward(self, x: Tensor, return_all: bool = False) -> Tensor:
        outputs = self.advance(x, None)[0]
        return outputs if return_all else outputs[:, :, -1]

    def advance(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        x.nan_to_num_(0.5).mul_(2.0)
        total = x.cumsum(dim=2) + (0 if state is None else state[:, :, None])
        x.zero_()
        return total.clone(), total[:, :, -1].clone()


class Protocol:
    """What the drop-in explainers ask."""

    def predict(self, x: Tensor, return_all: bool = False) -> Tensor:
        outputs = Steps()(x, return_all)
        return outputs.softmax(1)


def snapshot(value: Any) -> Any:
    """What a user would see of a value: its bits, how often it was written to, and what is attached to it."""
    if isinstance(value, Tensor):
        return value.detach().numpy().tobytes(), value._version, value.requires_grad, dict(vars(value))
    if isinstance(value, np.ma.MaskedArray):
        return value.data.tobytes(), np.ma.getmaskarray(value).tobytes()
    if isinstance(value, np.ndarray):
        return value.tobytes(), value.flags.writeable, value.strides
    if isinstance(value, Mapping):
        return {name: snapshot(part) for name, part in value.items()}
    return [snapshot(part) for part in value] if isinstance(value, (list, tuple)) else value


def untouched(call: Callable[..., Any], **given: Any) -> None:
    before = snapshot(given)
    call(**given)
    assert snapshot(given) == before


METHODS = {
    "RaMbIT": lambda f, **o: RaMbIT(f, L=3, window_size=2, num_samples=1, **o),
    "RaMbIT mask": lambda f, **o: RaMbIT(f, L=3, window_size=2, num_samples=1, anchor="mask", **o),
    "RaMbIT end": lambda f, **o: RaMbIT(f, L=3, window_size=2, num_samples=1, anchor="end", **o),
    "RaMbIT fresh": lambda f, **o: RaMbIT(f, L=2, share_masks=False, share_draws=False, num_samples=2, **o),
    "FO": lambda f, background, **o: FO(f, num_samples=1, **o),  # it draws from a uniform
    "AFO": lambda f, **o: AFO(f, num_samples=1, **o),
    "Occlusion": lambda f, **o: Occlusion(f, width=2, **o),
    "ExactShapley": lambda f, **o: ExactShapley(f, **o),
    "ShapleySampling": lambda f, **o: ShapleySampling(f, num_permutations=2, **o),
    "Banzhaf": lambda f, **o: Banzhaf(f, num_masks=9, **o),
    "WinIT": lambda f, **o: WinIT(f, window_size=2, num_samples=1, **o),
    "BiWinIT": lambda f, **o: BiWinIT(f, window_size=2, num_samples=1, **o),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layout", ["BDT", "BTD"])
@pytest.mark.parametrize("kind", ["tensor", "array", "one series"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # what the engine says of such models is not the point here
def test_attributors(method: str, layout: str, kind: str) -> None:
    x, background = numbers(B, D, T).double(), numbers(5, D, T, seed=1)
    seen = numbers(B, D, T, seed=2) > -1
    x = x.masked_fill(~seen, float("nan"))
    if kind == "one series":
        x, seen = x[:1], seen[:1]
    if layout == "BTD":
        x, seen, background = x.mT.contiguous(), seen.mT.contiguous(), background.mT.contiguous()
    given: dict[str, Any] = {"X": x, "observed": seen, "lengths": torch.tensor([6, 4, 5][: len(x)])}
    given["ids"] = torch.arange(len(x))
    if kind == "array":
        given = {name: value.numpy() for name, value in given.items()}
    for f in (greedy if layout == "BDT" else turned, *([Steps()] if layout == "BDT" else [])):
        attributor = METHODS[method](f, background=background, layout=layout)
        before = snapshot(background), attributor.settings(), resume_key(**attributor.counterfactuals.tensors())
        untouched(attributor.explain, **given)
        untouched(attributor.cost, **given)
        after = snapshot(background), attributor.settings(), resume_key(**attributor.counterfactuals.tensors())
        assert after == before


@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
@pytest.mark.parametrize("f", [greedy, Steps()])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_masks_and_values_that_are_given(anchor: str, f: Any) -> None:
    given = {
        "X": numbers(B, D, T),
        "masks": numbers(4, D, T, seed=3) > 0,
        "counterfactuals": numbers(2, B, D, T, seed=4),
    }
    untouched(RaMbIT(f, anchor=anchor).explain, **given)
    kept = {"masks": given["masks"], "counterfactuals": given["counterfactuals"]}
    untouched(
        lambda masks, counterfactuals: RaMbIT(f, masks=masks, counterfactuals=counterfactuals).explain(given["X"]),
        **kept,
    )
    players = torch.arange(D * T).view(D, T) // 4
    untouched(lambda X, players: ExactShapley(f, players=players).explain(X), X=given["X"], players=players)
    runs = numbers(2, B, D, T, 3, seed=5)
    untouched(WinIT(Steps(), window_size=3, num_samples=2).explain, X=given["X"], counterfactuals=runs)


def test_a_masked_array() -> None:
    x = np.ma.array(numbers(B, D, T).numpy(), mask=(numbers(B, D, T, seed=1) > 1).numpy())
    untouched(FO(greedy, num_samples=1).explain, X=x)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_many_series(tmp_path: Any) -> None:
    batches = [{"X": numbers(B, D, T, seed=i), "lengths": [6, 2, 4], "target": [0, 1, 0]} for i in range(3)]
    attributor = FO(greedy, num_samples=1, distance="diff", model_id="greedy")
    untouched(lambda data: attribute_many(attributor, data, tmp_path, shard_size=4), data=batches)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_drop_in_explainers(tmp_path: Any) -> None:
    train = numbers(8, D, T, seed=1)
    for make in (
        lambda: JIMEx(D, train_loader=train),
        lambda: WinITExplainer("cpu", D, "toy", tmp_path, train_loader=train),
    ):
        before = snapshot(train)
        explainer = make()
        explainer.set_model(Protocol())
        untouched(explainer.attribute, x=numbers(B, D, T))
        untouched(explainer.attribute, x=numbers(B, D, T).numpy())
        assert snapshot(train) == before


@pytest.mark.parametrize("kind", [FeatureGenerator, JointGenerator])
def test_generators(kind: Any) -> None:
    generator = kind(D, prediction_size=2)
    untouched(
        lambda train, valid: generator.fit(train, valid, epochs=1), train=numbers(8, D, T), valid=numbers(4, D, T)
    )
    untouched(lambda train: generator.fit(train, epochs=1), train=numbers(8, D, T).numpy())
    untouched(generator.nll, X=numbers(4, D, T))
    untouched(generator.parameters_for, X=numbers(4, D, T))
    untouched(lambda X, ids: generator.draw(X, ids, 2, 0), X=numbers(4, D, T), ids=torch.arange(4))
    if kind is JointGenerator:
        untouched(lambda X, ids: generator.draw_given(X, [0], ids, 2, 0), X=numbers(4, D, T), ids=torch.arange(4))


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 1, 20), (1, 4, 9)])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_rex(shape: tuple[int, ...]) -> None:
    def model(x: Tensor) -> Tensor:
        x.mul_(2.0)
        flat = x.flatten(1)
        return torch.stack((flat[:, : flat.shape[1] // 2].sum(1), flat[:, -3:].sum(1)), dim=1)

    for value in (0, "min", "mean", "random", "linear", "spectral"):
        if value not in ("linear", "spectral") or len(shape) == 3:  # these are of time
            untouched(ReX(model, iters=2, mask_value=value).explain, x=numbers(*shape))
    untouched(ReX(model, iters=2).explain, x=numbers(*shape).numpy())


@pytest.mark.parametrize("heuristic", ["banzhaf", "daf", "shapley", "const", "grad"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_sufficiency(heuristic: str) -> None:
    def model(x: Tensor) -> Tensor:
        x = x if heuristic == "grad" else x.mul_(2.0)
        return torch.stack((x.sum(-1), -x[:, 0]), dim=1)

    sample = numbers(B, 5)
    target = model(sample.clone()).argmax(1)
    options = {"heuristic": heuristic, "num_samples": 20}
    untouched(lambda sample, target: explain(model, sample, target=target, **options), sample=sample, target=target)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_metrics() -> None:
    scores, truth = numbers(B, D, T), numbers(B, D, T, seed=1) > 0
    for name in (
        "auprc",
        "auroc",
        "aup",
        "aur",
        "iou",
        "information",
        "entropy",
        "mean_rank",
        "mean_rank_min",
        "summary",
    ):
        untouched(getattr(metrics, name), scores=scores, truth=truth)
        untouched(getattr(metrics, name), scores=scores.numpy(), truth=truth.numpy())
    x = numbers(B, D, T, seed=2)
    for name in ("comprehensiveness", "sufficiency", "log_odds"):
        untouched(lambda x, scores, name=name: getattr(metrics, name)(_game(x), scores, 2), x=x, scores=scores)
    for name in ("cpd", "cpp", "deletion_auc", "insertion_auc"):
        untouched(lambda x, scores, name=name: getattr(metrics, name)(_game(x), scores), x=x, scores=scores)
    labels = torch.tensor([0, 1, 1])
    untouched(
        lambda x, scores, labels: metrics.accuracy_at(_game(x), scores, labels, 2), x=x, scores=scores, labels=labels
    )


def _game(x: Tensor) -> Game:
    return Game(Predictor.of(greedy), TensorSample(x, torch.arange(len(x))), Zero())


def test_training() -> None:
    model = GRUClassifier(D, 4, 2)
    given = {"X": numbers(8, D, T), "y": torch.arange(8) % 2, "lengths": torch.tensor([6, 3, 2, 6, 1, 5, 6, 4])}
    for kind in (given, {name: value.numpy() for name, value in given.items()}):
        untouched(lambda **parts: fit(model, **parts, epochs=1), **kind)
        untouched(lambda **parts: evaluate(model, **parts), **kind)


def test_plots() -> None:
    pytest.importorskip("matplotlib")
    values = numbers(B, D, T)
    untouched(plots.heatmap, values=values, X=numbers(B, D, T, seed=1), lengths=torch.tensor([6, 2, 0]))
    untouched(plots.heatmap, values=values.double().numpy(), X=values.double().numpy())
    image = numbers(3, 8, 8).abs().double()
    untouched(plots.explanation, responsibility=image[0], x=image, masks={"a": image[1] > 0.5})
    untouched(
        plots.drop_curve, fractions=np.linspace(0, 1, 4), curves={"a": np.ones((3, 4)), "random": [1.0, 0.5, 0.2, 0.0]}
    )
