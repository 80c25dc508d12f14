"""BasicMotions: one output for a whole series, explained at its last step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit import Attribution, RaMbIT
from rambit.cli.demo.demo_checks import probability_drop
from rambit.cli.demo.parts import Job, entry, evaluated, numbers, row, save_model
from rambit.cli.models import outputs_of
from rambit.datasets import Dataset, load
from rambit.models import Classifier, build_model
from rambit.predictors import Predictor
from rambit.training import evaluate, fit

FILES = ("basicmotions-model.safetensors", "basicmotions-model.json", "basicmotions.safetensors")
FIGURES = ("basicmotions.png", "basicmotions-drop.png")
#: Shares of the cells that are replaced: the first six are printed, all are drawn.
SHARES = (0, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1)
PRINTED = slice(0, 6)


def read() -> tuple[Dataset, Dataset] | None:
    """The train and the test part, or None without sktime."""
    try:
        return load("BasicMotions", "train"), load("BasicMotions", "test")
    except ImportError:
        return None


def explain(job: Job, train: Dataset, test: Dataset) -> str:
    """Train, explain, check, write the files; what was done, in words."""
    assert train.y is not None
    assert test.y is not None
    config = {"num_features": train.X.shape[1], "num_classes": len(train.class_names), "hidden_size": 64}
    model = build_model({"model": "GRUClassifier", **config, "dropout": 0.3, "standardize": True}, seed=0)
    # An output at every step is harder to learn than one at the last, and generalises better.
    recipe: dict[str, Any] = {"per_step": True, "standardize": True, "batch_size": 10, "lr": 5e-3, "weight_decay": 1e-2}
    history = fit(model, train.X, train.y, epochs=job.size.motion_epochs, show_progress=job.bars, **recipe)
    accuracy = evaluate(model, test.X, test.y)["accuracy"]
    save_model(job.file(*FILES[:2]), model, train)

    # Evenly spread, because the test part is sorted by class.
    places = np.arange(job.size.motion_series) * len(test) // job.size.motion_series
    X = torch.from_numpy(test.X[places])
    method = RaMbIT(
        model,
        anchor="end",
        window_size=1,
        L=job.size.masks,
        num_samples=job.size.draws,
        background=torch.from_numpy(train.X),
    )
    result = method.explain(X, ids=places, show_progress=job.bars)
    result.save(job.file(FILES[2]), force=True)

    cells = X[0].numel()
    ks = [round(cells * share) for share in SHARES]
    ranked, random = _drop(method, X, result, ks)
    if job.figures:
        _draw(job, result, X, model, test.class_names, ranked, random)
    first = "BasicMotions: badminton, running, standing or walking? 6 sensors of a smart watch, 100 time steps."
    return "\n".join(
        [
            first,
            entry(
                "trained",
                f"a GRU on {len(train)} series in {history.seconds:.0f} s; "
                f"of {len(test)} others it gets {accuracy:.1%} right",
            ),
            entry(
                "evaluated",
                f"on which of the {cells} cells (sensor, step) does an output depend? RaMbIT replaced each of them by "
                f"values from the training data, beside {job.size.masks} random blocks; its score is how far that "
                f"moved the output. {len(X)} series took {evaluated(result)}",
            ),
            entry("checked", "how sure is the model once the k cells with the highest scores are replaced, or any k?"),
            row("k", [str(k) for k in ks[PRINTED]]),
            row("highest scores", numbers(ranked.mean(dim=0)[PRINTED])),
            row("any cells", numbers(random.mean(dim=0)[PRINTED])),
            entry(
                "",
                "This is the probability of the class predicted at first, mean over the series. The faster the first "
                "row falls below the second, the better the scores found what the model looked at.",
            ),
        ]
    )


def _drop(method: RaMbIT, X: Tensor, result: Attribution, ks: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Probabilities (B, K) as more cells are replaced: by score, and at random."""
    curves = [
        probability_drop(method.predictor, method.strategy, x, scores, ks, series=i, draws=3)
        for i, (x, scores) in enumerate(zip(X, result.values, strict=True))
    ]
    ranked, random = (torch.stack(part) for part in zip(*curves, strict=True))
    return ranked, random


def _draw(
    job: Job,
    result: Attribution,
    X: Tensor,
    model: Classifier,
    names: Sequence[str],
    ranked: Tensor,
    random: Tensor,
) -> None:
    """Heat maps of one series of each predicted class, and the drop curves."""
    from rambit import plots

    outputs = outputs_of(Predictor.of(model), X)
    predicted = outputs.argmax(dim=1)
    # Of each class the series in which single cells matter most: one of which the model is very sure hangs on none.
    highest = result.values.flatten(1).amax(dim=1)
    chosen = [int(highest.where(predicted == c, -torch.inf).argmax()) for c in sorted(set(predicted.tolist()))]
    titles = [f"predicted {names[int(predicted[i])]} ({float(outputs[i].max()):.2f})" for i in chosen]
    result.plot(job.file(FIGURES[0]), X=X, series=chosen, titles=titles)
    plots.drop_curve(SHARES, {"highest scores first": ranked, "random": random}, job.file(FIGURES[1]))
