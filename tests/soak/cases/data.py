"""Data sets, the models that are trained on them, generators, and pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas
import torch
from torch.nn import functional

from rambit import datasets, pad, plots, training
from rambit.attribution import FO
from rambit.counterfactuals import FeatureGenerator, GeneratorModel, JointGenerator, declared, read_background
from rambit.datasets import (
    Columns,
    Dataset,
    RareModel,
    forecast_linear,
    forecast_threshold,
    freq_shapes,
    hmm,
    l2x,
    load,
    load_file,
    low_var,
    rare_feature,
    rare_feature_diffgroups,
    rare_model,
    rare_scores,
    rare_time,
    rare_time_diffgroups,
    redundant_spike,
    save_file,
    seqcomb_mv,
    seqcomb_uv,
    sine_sum,
    spike,
    state,
    static_covariate,
    switch_feature,
)
from rambit.models import (
    HEADS,
    MODELS,
    Classifier,
    GRUClassifier,
    LSTMClassifier,
    State,
    TCNClassifier,
    TransformerClassifier,
    build_model,
)
from rambit.selection import visualize_selection
from tests.soak.engine import Draw, case


def same(draw: Draw, a: Dataset, b: Dataset) -> None:
    for field in ("X", "y", "salient", "lengths"):
        ours, theirs = getattr(a, field), getattr(b, field)
        draw.true((ours is None) == (theirs is None), f"{field} is there or not")
        if ours is not None:
            draw.equal((ours.dtype, ours.shape), (theirs.dtype, theirs.shape), what=field)
            draw.close(ours, theirs, 0, 0, what=field)
    draw.equal((a.name, a.feature_names, a.class_names), (b.name, b.feature_names, b.class_names))


@case()
def padding(draw: Draw) -> None:
    """Series of different lengths in one tensor, from arrays, tensors and frames of pandas."""
    D, layout = draw.whole(1, 3), draw.of("BDT", "BTD")
    series = [draw.normal(D, draw.whole(1, 6)) for _ in range(draw.whole(1, 4))]
    kind = draw.of("tensors", "arrays", "frames")
    given: list[Any] = [one if layout == "BDT" else one.T for one in series]
    if kind == "arrays":
        given = [one.numpy() for one in given]
    elif kind == "frames":
        given = [pandas.DataFrame(one.T.numpy()) for one in series]
    found, lengths = draw.call(pad, given, layout=layout)
    expected = torch.zeros(len(series), D, max(one.shape[1] for one in series), dtype=torch.float64)
    for b, one in enumerate(series):
        expected[b, :, : one.shape[1]] = one
    draw.equal(lengths.tolist(), [one.shape[1] for one in series], what="the lengths")
    draw.equal(found if layout == "BDT" else found.transpose(1, 2), expected, what="the values")


@case(weight=2)
def synthetic(draw: Draw) -> None:
    """What each set promises: shapes, labels from the salient cells, and that a longer set only goes on."""
    make: Any = draw.of(
        *(spike, redundant_spike, state, hmm, switch_feature, l2x, seqcomb_mv, seqcomb_uv, freq_shapes, low_var),
        *(sine_sum, static_covariate, forecast_linear, forecast_threshold),
    )
    n, seed = draw.whole(2, 12), draw.whole(0, 10**6)
    least = {seqcomb_mv: 113, seqcomb_uv: 73, freq_shapes: 19, low_var: 61, sine_sum: 102, static_covariate: 9}
    shortest = least.get(make, 3 if make in (forecast_linear, forecast_threshold) else 2)
    T = draw.whole(shortest, shortest + 60)
    options: dict[str, Any] = {"n": n, "T": T, "seed": seed}
    if make is spike:
        options["delay"] = draw.whole(0, min(5, T - 1))
    if make in (forecast_linear, forecast_threshold):
        options |= {"horizon": draw.whole(1, 3), "target": draw.of("sign", "value")}
    if make in (state, hmm, switch_feature):
        options["truth"] = draw.of("change", "active")
    draw.note(make=make.__name__, **options)
    data: Dataset = draw.call(make, **options)
    N = len(data)
    draw.equal((N, data.X.shape[2], data.X.dtype), (n, T, np.dtype(np.float32)))
    draw.true(np.isfinite(data.X).all() and data.salient.shape == data.X.shape, "series are finite, cells marked")
    same(draw, draw.call(make, **options), data)
    longer = make(**{**options, "n": n + 3})
    if make not in (spike, redundant_spike):  # those are scaled by the range of the whole set
        same(draw, longer.take(range(n)), data)
    y, salient = data.y, data.salient
    for i in range(N):
        if make is spike:
            steps = np.flatnonzero(salient[i, 0])
            first = steps[0] + options["delay"] if len(steps) else T
            draw.equal(y[i].tolist(), [int(t >= first) for t in range(T)], what="the labels")
            draw.true(len(steps) <= 1 and not salient[i, 1:].any(), "the first spike of feature 0 is salient")
        elif make is redundant_spike:
            draw.true(not salient[i, 2].any() and (salient[i].sum(1) <= 1).all(), "one spike a feature is salient")
            steps = np.flatnonzero(salient[i].any(0))
            first = steps[0] if len(steps) else T
            draw.equal(y[i].tolist(), [int(t >= first) for t in range(T)], what="the labels")
        elif make in (state, hmm, switch_feature) and options["truth"] == "active":
            draw.true((salient[i].sum(0) == 1).all(), "one feature is active at each step")
    name = {"spike": "spike", "state": "state"}.get(make.__name__, make.__name__)
    told = ",".join(f"{k}={v}" for k, v in options.items())
    same(draw, draw.call(load, f"{name}:{told}"), data)
    part = draw.call(load, f"{name}:{told}", draw.of("train", "test"))
    draw.true(len(part) in (n * 4 // 5, n - n * 4 // 5), "four fifths are the train part")


@case()
def rare(draw: Draw) -> None:
    """The black box of each series is a sum of squares, and feature occlusion has a closed form."""
    size = draw.whole(1, 4)
    make = draw.of(rare_time, rare_feature)
    data = draw.call(
        make, n=2, T=draw.whole(size + 2, 9), D=draw.whole(size + 2, 8), size=size, seed=draw.whole(0, 999)
    )
    i, X = draw.whole(0, 1), data.X.astype(np.float64)
    model: RareModel = draw.call(rare_model, data, i)
    x = torch.from_numpy(X[i : i + 1])
    with torch.no_grad():
        found = draw.call(model, x, return_all=True)
    expected = [sum(X[i, d, t] ** 2 for d in range(X.shape[1]) if data.salient[i, d, t]) for t in range(X.shape[2])]
    draw.close(found[0], expected)
    draw.close(data.y[i], expected, 1e-5, 1e-6, what="the labels")
    scores = draw.call(rare_scores, data)
    mean = X.mean(axis=2, keepdims=True)
    draw.close(scores, np.abs(X**2 - mean**2) * data.salient)
    method = FO(model, output="regression", counterfactuals="mean", num_samples=1)
    draw.close(draw.call(method.attribute, x)[0], scores[i], 1e-6, 1e-8, what="feature occlusion")


@case()
def groups(draw: Draw) -> None:
    """The black box of each series answers its labels, whichever group the series is of."""
    size = draw.whole(1, 4)
    make = draw.of(rare_time_diffgroups, rare_feature_diffgroups)
    data = draw.call(make, n=draw.whole(2, 4), T=draw.whole(size + 2, 9), D=draw.whole(size + 2, 8), size=size)
    i = draw.whole(0, len(data) - 1)
    seen = np.where(data.salient[i], data.X[i].astype(np.float64), 0)
    expected = seen.sum(axis=0) ** 2 if i % 2 == 0 else (seen**2).sum(axis=0)
    draw.close(data.y[i], expected, 1e-5, 1e-6, what="the labels")
    with torch.no_grad():
        found = draw.call(rare_model, data, i)(torch.from_numpy(data.X[i : i + 1]).double(), return_all=True)
    draw.close(found[0], expected)


@case(weight=2)
def data_files(draw: Draw) -> None:
    """Arrays are saved and loaded as they were."""
    N, D, T = draw.whole(1, 4), draw.whole(1, 3), draw.whole(1, 5)
    X = draw.normal(N, D, T, dtype=torch.float32).numpy()
    X[draw.bools(N, D, T, p=0.1).numpy()] = np.nan
    shape = (N, T) if draw.chance() else (N,)
    y = draw.of(None, draw.integers(0, 2, *shape).numpy(), draw.normal(*shape, dtype=torch.float32).numpy())
    more: dict[str, Any] = {"feature_names": ("a", "b c", "ü")[:D]}
    if draw.chance():
        more |= {"salient": draw.bools(N, D, T).numpy(), "lengths": draw.integers(1, T, N).numpy()}
    if y is not None and y.dtype == np.int64 and draw.chance():
        more["class_names"] = ("x", "y", "z")
    data = Dataset("file", X, y, **more)
    path = draw.folder / draw.of("file.npz", "file.safetensors")
    draw.note(path=path.name, shape=(N, D, T), y=y, more=list(more))
    draw.call(save_file, path, data)
    same(draw, draw.call(load_file, path, y=None if y is None else "y"), data)
    if N > 1:
        parts = draw.call(data.split, draw.number(0.1, 0.9), seed=draw.whole(0, 9))
        draw.equal(sum(map(len, parts)), N, what="the series of both parts")


@case(weight=2)
def tables(draw: Draw) -> None:
    """Rows in any order become series in the order in which they first appear, padded to the longest."""
    D, lengths = draw.whole(1, 3), [draw.whole(1, 5) for _ in range(draw.whole(1, 4))]
    N, T = len(lengths), max(lengths)
    names = [f"s{i}" for i in draw.rng.permutation(N)]
    times = [np.sort(draw.rng.choice(100, n, replace=False)) for n in lengths]
    series = [draw.normal(D, n, dtype=torch.float32).numpy() for n in lengths]
    steps, labels = draw.chance(), [draw.integers(0, 2, n).tolist() for n in lengths]
    if not steps:
        labels = [[one[0]] * len(one) for one in labels]
    rows = [(i, k) for i, n in enumerate(lengths) for k in range(n)]
    order = [rows[j] for j in draw.rng.permutation(len(rows))]
    named = draw.of(None, draw.call(Columns, id="run", time="when", label="class"))
    called = named or Columns("series", "time", "label")
    moments: list[Any] = [int(times[i][k]) for i, k in order]
    if dates := draw.chance():
        moments = [pandas.Timestamp("2024-01-31") + pandas.Timedelta(hours=hours) for hours in moments]
    columns: dict[str, list[Any]] = {
        str(called.id): [names[i] for i, _ in order], str(called.time): moments,
        str(called.label): [labels[i][k] for i, k in order],
        **{f"f{d}": [float(series[i][d, k]) for i, k in order] for d in range(D)},
    }  # fmt: skip
    path = draw.folder / draw.of("rows.csv", "rows.tsv", "rows.parquet")
    draw.note(path=path.name, lengths=lengths, steps=steps, named=named, dates=dates)
    frame = pandas.DataFrame(columns)
    stand = draw.rng.permutation(list(columns)).tolist()  # the columns in any order, the features in theirs
    frame = frame[[*(name for name in stand if name[0] != "f"), *(name for name in columns if name[0] == "f")]]
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="," if path.suffix == ".csv" else "\t")
    found = draw.call(load_file, path, columns=named)
    first = list(dict.fromkeys(i for i, _ in order))
    X = np.zeros((N, D, T), np.float32)
    y = np.zeros((N, T), np.int64)
    for place, i in enumerate(first):
        X[place, :, : lengths[i]], y[place, : lengths[i]] = series[i], labels[i]
    if all(len(set(one)) == 1 for one in labels):
        y = y[:, 0]
    padded = np.array([lengths[i] for i in first]) if min(lengths) < T else None
    same(draw, found, Dataset("rows", X, y, lengths=padded, feature_names=tuple(f"f{d}" for d in range(D))))
    draw.equal(found.series_names, tuple(names[i] for i in first), what="the names of series")
    draw.equal(found.times.dtype.kind, "M" if dates else "f" if padded is not None else "i", what="the kind of times")


# -- models ------------------------------------------------------------------------------------------------------------


@case(weight=2)
def classifiers(draw: Draw) -> None:
    """One walk through time, in whatever pieces; files and configurations."""
    D, T, B, C = draw.whole(1, 3), draw.whole(1, 9), draw.whole(1, 3), draw.whole(2, 3)
    name = draw.of(*MODELS)
    config: dict[str, Any] = {"model": name, "num_features": D, "num_classes": C, "hidden_size": 8}
    if name in ("GRUClassifier", "LSTMClassifier"):
        config |= draw.options(num_layers=(1, 2), head=tuple(HEADS), standardize=(False, True))
    draw.note(model=name, shape=(B, D, T), classes=C)
    model: Classifier = draw.call(build_model, config, seed=draw.seed % 1000).eval()
    kinds = {"GRUClassifier": GRUClassifier, "LSTMClassifier": LSTMClassifier, "TCNClassifier": TCNClassifier,
             "TransformerClassifier": TransformerClassifier}  # fmt: skip
    draw.true(type(model) is kinds[name], "the class is the one named")
    if config.get("standardize"):
        model.set_standardization(draw.normal(D), draw.uniform(D) + 0.5)
    model, x = model.double(), draw.normal(B, D, T)
    with torch.no_grad():
        each = torch.stack([draw.call(model, x[:, :, : t + 1]) for t in range(T)], dim=2)
        whole = draw.call(model, x, return_all=True)
        draw.close(whole, each, 1e-8, 1e-10, what="the outputs to prefixes")
        lengths = draw.integers(1, T, B)
        draw.close(draw.call(model, x, lengths=lengths), each[torch.arange(B), :, lengths - 1], 1e-8, 1e-10)
        draw.close(draw.call(model.predict, x, return_all=True), each.softmax(1), 1e-8, 1e-10, what="predict")
        if hasattr(model, "advance"):
            held: State | None = None
            parts = []
            for piece in x.split(draw.whole(1, T), dim=2):
                part, held = draw.call(model.advance, piece, held)
                parts.append(part)
            draw.close(torch.cat(parts, dim=2), each, 1e-8, 1e-10, what="the outputs from states")
        path = draw.folder / "model.safetensors"
        draw.call(training.save_checkpoint, path, model, {"note": 1})
        again, extra = draw.call(training.load_checkpoint, path)
        draw.equal(extra, {"model": model.config(), "extra": {"note": 1}})
        draw.equal(again(x), model(x), what="the loaded model's outputs")


@case()
def training_loop(draw: Draw) -> None:
    D, T, N = draw.whole(1, 3), draw.whole(2, 6), draw.whole(4, 10)
    X, y = draw.normal(N, D, T, dtype=torch.float32), draw.integers(0, 1, N)
    y[:2] = torch.tensor([0, 1])
    config = {"model": draw.of(*MODELS), "num_features": D, "hidden_size": 8, "num_classes": 2}
    lengths = draw.of(None, draw.integers(1, T, N))
    losses = []
    for _ in range(2):
        model = build_model(config, seed=1)
        history = draw.call(training.fit, model, X, y, epochs=2, batch_size=3, seed=5, lengths=lengths)
        losses.append(history.train_loss)
    draw.equal(*losses, what="the losses of the same training")
    told = draw.call(training.evaluate, model, X, y, lengths)
    with torch.no_grad():
        logits = torch.cat([model(X[i : i + 1, :, : (T if lengths is None else int(lengths[i]))]) for i in range(N)])
    draw.close(told["loss"], functional.cross_entropy(logits, y), 1e-4, 1e-5, what="the loss")
    draw.close(told["accuracy"], (logits.argmax(1) == y).double().mean(), what="the accuracy")


@case()
def generators(draw: Draw) -> None:
    """Draws are mean and deviation of each prefix; a prefix decides its own; files."""
    D, T, B, P = draw.whole(1, 3), draw.whole(2, 6), draw.whole(1, 3), draw.whole(1, 3)
    kind = draw.of(FeatureGenerator, JointGenerator)
    model: GeneratorModel = kind(D, prediction_size=P, seed=draw.seed % 1000)
    X, ids, seed = draw.normal(B, D, T, dtype=torch.float32), draw.integers(0, 99, B), draw.whole(0, 99)
    S = 400
    found = draw.call(model.draw, X, ids, S, seed)
    mean, std = draw.call(model.parameters_for, X)
    draw.true(((found.mean(0) - mean).abs() < 6 * std / S**0.5).all(), "draws have the mean that is said")
    cut = draw.whole(1, T)
    shorter = draw.call(model.draw, X[:, :, :cut], ids, 2, seed)
    draw.close(shorter, found[:2, :, :, :cut], 1e-4, 1e-5, what="draws after a shorter series")
    draw.close(draw.call(model.draw, X[:1], ids[:1], 2, seed), found[:2, :1], 1e-4, 1e-5, what="draws of one series")
    draw.close(draw.call(model.draw, X, ids, 2, seed, first=2), found[2:4], 1e-4, 1e-5, what="later draws")
    path = draw.folder / "generator.safetensors"
    draw.call(model.save, path)
    again = draw.call(kind.load, path)
    draw.equal(again.draw(X, ids, 2, seed), model.draw(X, ids, 2, seed), what="the loaded generator's draws")
    read = draw.call(read_background, draw.of(X, X.numpy(), list(X.split(1))))
    draw.equal(read, X, what="the background")
    missing = draw.bools(B, D, T, p=0.3)
    missing[0, :, 0] = False  # of each feature there is something
    read = draw.call(read_background, {"X": X, "observed": ~missing})
    draw.equal(read.isnan(), missing, what="what is missing of the background")
    draw.equal(read_background(draw.call(declared, read)).isnan(), missing, what="what is missing, read again")


# -- pictures ----------------------------------------------------------------------------------------------------------


@case()
def pictures(draw: Draw) -> None:
    """The colours are the scores, the lines the series."""
    B, D, T = draw.whole(1, 4), draw.whole(1, 4), draw.whole(1, 30)
    values = draw.normal(B, D, T) * draw.of(1.0, 0.0, 1e-12)
    kind = draw.of("heatmap", "image", "curve", "selection", "pairs", "histogram", *("features", "times", "surface"))
    draw.note(kind=kind, shape=(B, D, T))
    path = draw.folder / "picture.png"
    if kind == "heatmap":
        series = draw.of(None, 0, list(range(B)))
        chosen = draw.call(plots.choose_series, series, B)
        draw.equal(chosen, list(range(min(B, plots.MAX_PANELS))) if series is None else [0] if series == 0 else series)
        scale = draw.of("series", "shared")
        figure = draw.call(plots.heatmap, values, series=series, path=path, scale=scale)
        shown = [axes.images[0].get_array() for axes in figure.axes if axes.get_title("left")]
        draw.close(np.stack(shown), values[chosen])
        width, height = figure.get_size_inches()
        draw.true(min(width, height) * plots.DPI > 10, "there is room")
    elif kind == "image":
        mask = draw.bools(D, T)
        figure = draw.call(plots.explanation, values[0].abs(), masks={"part": mask}, path=path)
        draw.true(len(figure.axes) >= 2, "there is a panel for the map and one for the mask")
    elif kind == "curve":
        x, y = np.linspace(0, 1, T), values[:, 0].numpy()
        figure = draw.call(plots.drop_curve, x, {"ours": y, "random": y[0]}, path)
        draw.close(figure.axes[0].lines[0].get_ydata(), y.mean(0), what="the line")
    elif kind == "pairs":
        figure = draw.call(plots.pair_map, values[0], rows=list("abcd"[:D]), path=path)
        draw.close(figure.axes[0].images[0].get_array(), values[0], what="the colours")
    elif kind == "histogram":
        figure = draw.call(plots.histogram, values, path=path)
        draw.equal(int(sum(bar.get_height() for bar in figure.axes[0].patches)), values.numel(), what="how many")
    elif kind == "features":
        figure = draw.call(plots.feature_bars, values.abs()[0, :, 0], top=D, path=path)
        drawn = [bar.get_width() for bar in figure.axes[0].patches]
        draw.close(drawn, values.abs()[0, :, 0].sort(descending=True).values, what="the bars")
    elif kind == "times":
        figure = draw.call(plots.time_bars, values.abs()[0, 0], values.abs()[0, 0] / 2, path=path)
        draw.close([bar.get_height() for bar in figure.axes[0].patches], values.abs()[0, 0], what="the bars")
    elif kind == "surface":
        figure = draw.call(plots.surface, draw.normal(D + 1, T + 1), path=path)
        draw.close(len(figure.axes[0].collections[0].get_facecolor()), D * T, what="the faces")
    else:
        mask = draw.bools(B, T).double()
        figure = draw.call(visualize_selection, values.transpose(1, 2), mask, B - 1, path)
        draw.close(figure.axes[0].images[0].get_array()[0], mask[B - 1], what="what is selected")
    draw.true(path.read_bytes().startswith(b"\x89PNG"), "a picture is written")


@case()
def known_sets(draw: Draw) -> None:
    """Every set that is named can be described, and the synthetic ones be made."""
    name = draw.of(*datasets.SYNTHETIC)
    draw.true(name in datasets.DATASETS and datasets.DATASETS[name], f"{name} is described")
