"""Spike: an output at every step, and cells that are known to decide it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from rambit import RaMbIT
from rambit.cli.demo.demo_checks import average_precision, probability_drop
from rambit.cli.demo.parts import Job, entry, evaluated, numbers, row, save_model
from rambit.datasets import load
from rambit.models import build_model
from rambit.training import evaluate, fit

FILES = ("spike-model.safetensors", "spike-model.json", "spike.safetensors")
FIGURES = ("spike.png",)
KS = (0, 1, 2, 3, 5, 8)


def explain(job: Job) -> str:
    """Train, explain, check, write the files; what was done, in words."""
    train, test = (load(f"spike:n={job.size.spike_series}", part) for part in ("train", "test"))
    assert train.y is not None
    assert test.y is not None
    assert test.salient is not None
    model = build_model({"model": "GRUClassifier", "num_features": 3, "hidden_size": 50, "num_classes": 2}, seed=0)
    history = fit(
        model,
        train.X,
        train.y,
        per_step=True,
        epochs=job.size.spike_epochs,
        batch_size=50,
        lr=1e-2,
        weight_decay=0.0,
        show_progress=job.bars,
    )
    accuracy = evaluate(model, test.X, test.y, per_step=True)["accuracy"]
    save_model(job.file(*FILES[:2]), model, train)

    X = torch.from_numpy(test.X)
    method = RaMbIT(model, counterfactuals="interpolate", num_samples=1)
    result = method.explain(X, show_progress=job.bars)
    result.save(job.file(FILES[2]), force=True)
    found = average_precision(result.to_numpy(), test.salient)
    ordinary, draws = torch.from_numpy(train.X), job.size.draws
    drawn = RaMbIT(model, background=ordinary, counterfactuals="marginal", num_samples=draws)
    other = average_precision(drawn.explain(X, show_progress=job.bars).to_numpy(), test.salient)

    with torch.no_grad():
        alarmed = model.predict(X, return_all=True)[:, 1] > 0.5  # (B, T)
    ranked, random = _drop(method, X, result.values, alarmed)
    if job.figures:
        spiky = np.flatnonzero(test.salient.any(axis=(1, 2)))[:4].tolist()
        titles = [f"first spike of feature 0: step {int(test.salient[i, 0].argmax())}" for i in spiky]
        result.plot(job.file(FIGURES[0]), X=X, series=spiky, titles=titles)
    return "\n".join(
        [
            "Spike: the truth is known. 3 features, 80 steps; the label is 1 from the first spike of feature 0 on.",
            entry(
                "trained",
                f"a GRU on {len(train)} series in {history.seconds:.0f} s; "
                f"of {len(test)} others it gets {accuracy:.1%} of the steps right",
            ),
            entry(
                "evaluated",
                f"RaMbIT again, with a straight line between its neighbours in place of a cell: {evaluated(result)}",
            ),
            entry(
                "checked", "how sure is the model, at the step where it first sees a spike, once k cells are replaced?"
            ),
            row("k", [str(k) for k in KS]),
            row("highest scores", numbers(ranked.mean(dim=0))),
            row("any cells", numbers(random.mean(dim=0))),
            entry(
                "",
                f"And are the scores highest at the true cells? AUPRC {found:.3f} (1 is perfect, guessing gives "
                f"{float(test.salient.mean()):.3f}). What stands in for a cell matters: with values from the training "
                f"data it is {other:.3f}, because every series starts with a steep rise, where such a value is itself "
                "like a spike.",
            ),
        ]
    )


def _drop(method: RaMbIT, X: Tensor, scores: Tensor, alarmed: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities (series with an alarm, K) as more cells are replaced: by score, and at random."""
    curves = [
        probability_drop(
            method.predictor,
            method.strategy,
            X[i, :, : first + 1],  # so that the output in question is the last one
            scores[i, :, : first + 1],
            KS,
            series=i,
            draws=1,
        )
        for i, first in _first_alarms(alarmed)
    ]
    ranked, random = (torch.stack(part) for part in zip(*curves, strict=True))
    return ranked, random


def _first_alarms(alarmed: Tensor) -> Iterator[tuple[int, int]]:
    """(series, first step) of those that the model ever calls spiky."""
    for i, steps in enumerate(alarmed):
        if bool(steps.any()):
            yield i, int(steps.int().argmax())
