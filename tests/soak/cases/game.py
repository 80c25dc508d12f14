"""Questions to a game, each row built and asked by itself; a game as a function; the faces of models."""

from __future__ import annotations

import copy
import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rambit import PredictionError, Predictor, ops
from rambit.counterfactuals import (
    STRATEGIES,
    Conditional,
    Counterfactual,
    Replay,
    Zero,
    needs_background,
    reads_background,
)
from rambit.counterfactuals import resolve as counterfactual_of
from rambit.game import (
    EVALUATIONS,
    Boxes,
    CoalitionFunction,
    Coalitions,
    Cost,
    Flips,
    FlipScores,
    Game,
    Soft,
    TensorSample,
    Windows,
)
from rambit.masks import Explicit
from rambit.predictors import (
    EstimatorPredictor,
    ModulePredictor,
    OnnxPredictor,
    ProtocolPredictor,
    Recurrent,
    Walk,
)
from tests.naive import conditional as naive_conditional
from tests.naive import ops as naive_ops
from tests.naive import rambit as naive
from tests.naive import winit as naive_winit
from tests.soak.engine import TOLERANCE, Draw, case
from tests.soak.models import Evaluated, Opaque, remembered, series_model


class Evaluating:
    """A game about series or images, and one row at a time without it."""

    def __init__(self, draw: Draw, *, spatial: bool = True, series: int | None = None, most: int = 3) -> None:
        self.dtype = draw.of(torch.float32, torch.float64)
        B = draw.whole(1, 3) if series is None else series
        kind = draw.of("series", "image", "volume") if spatial else "series"
        shape = {
            "series": (draw.whole(1, 4), draw.whole(1, 7)),
            "image": (draw.of(1, 3), draw.whole(1, 4), draw.whole(1, 5)),
            "volume": (1, draw.whole(1, 3), draw.whole(1, 3), draw.whole(1, 3)),
        }[kind]  # fmt: skip
        self.x, self.S = draw.normal(B, *shape, dtype=self.dtype), draw.whole(1, most)
        self.values = draw.normal(self.S, B, *shape, dtype=self.dtype)
        size = self.x[0].numel()
        first, second = draw.normal(size, 5, dtype=self.dtype), draw.normal(5, 3, dtype=self.dtype)
        writes = draw.chance(0.2)

        def model(x: Tensor) -> Tensor:
            outputs = torch.tanh(x.flatten(1) @ first) @ second
            if writes and not x.requires_grad:
                x.zero_()
            return outputs

        self.model, self.grid = model, shape if kind == "series" else shape[1:]
        self.terms = int(np.prod(self.grid))
        sample = TensorSample(self.x, torch.arange(B)) if kind == "series" else TensorSample.spatial(self.x)
        flat = self.values if kind == "series" else self.values.flatten(3)
        self.batch = draw.of("auto", 1, 3, 100)
        self.game = Game(Predictor.of(model), sample, Replay(flat), draws=self.S, batch_size=self.batch)
        draw.note(kind=kind, shape=tuple(self.x.shape), draws=self.S, batch=self.batch, dtype=self.dtype, writes=writes)

    def output(self, b: int, s: int, kept: Tensor) -> Tensor:
        """Probabilities (C,) of series b where the mask (terms,) keeps, else draw s; soft masks mix the two."""
        mask = kept.view(self.grid).to(self.dtype) if kept.is_floating_point() else kept.view(self.grid)
        own, other = self.x[b], self.values[s, b]
        row = mask * own + (1 - mask) * other if kept.is_floating_point() else torch.where(mask, own, other)
        return self.model(row[None].clone())[0].softmax(0)


def together(game: Game, question: Any) -> Tensor:
    return torch.cat(list(game.evaluate(question)))


@case(weight=3)
def coalitions(draw: Draw) -> None:
    evaluated = Evaluating(draw)
    B, N, n = len(evaluated.x), draw.whole(1, 6), evaluated.terms
    form, players = draw.of("all", "each", "one"), None
    if draw.chance():
        players = draw.integers(0, 3, n).unique(return_inverse=True)[1]
        n = int(players.max()) + 1
    masks = draw.bools(*((N, B, n) if form == "each" else (N, n)))
    series = draw.integers(0, B - 1, N) if form == "one" else None
    draw.note(form=form, N=N, players=None if players is None else players.tolist())
    found = draw.call(together, evaluated.game, Coalitions(masks, players, series))
    expected = torch.empty(found.shape)
    for i, s, j in np.ndindex(*found.shape[:3]):
        b = j if series is None else int(series[i])
        mask = masks[i, b] if form == "each" else masks[i]
        expected[i, s, j] = evaluated.output(b, s, mask if players is None else mask[players])
    draw.close(found, expected, *TOLERANCE[torch.float32])
    cost: Cost = evaluated.game.cost()
    draw.equal(cost.rows, found[..., 0].numel(), what="the rows")


@case(weight=2)
def soft(draw: Draw) -> None:
    """Soft masks, and their gradients by automatic differentiation of one row."""
    evaluated = Evaluating(draw)
    B, N = len(evaluated.x), draw.whole(1, 4)
    masks = draw.uniform(N, evaluated.terms, dtype=evaluated.dtype).requires_grad_()
    series = draw.of(None, draw.integers(0, B - 1, N))
    outputs = draw.call(together, evaluated.game, Soft(masks, series))
    weight = draw.normal(*outputs.shape, dtype=evaluated.dtype)
    [found] = torch.autograd.grad((outputs * weight).sum(), masks)
    wanted, total = torch.empty(outputs.shape), torch.zeros((), dtype=evaluated.dtype)
    for i, s, j in np.ndindex(*outputs.shape[:3]):
        p = evaluated.output(j if series is None else int(series[i]), s, masks[i])
        wanted[i, s, j] = p.detach()
        total = total + (p * weight[i, s, j]).sum()
    [expected] = torch.autograd.grad(total, masks)
    tolerance = TOLERANCE[torch.float32] if evaluated.dtype == torch.float32 else (1e-5, 1e-6)
    draw.close(outputs.detach(), wanted, *tolerance)
    draw.close(found, expected, *tolerance, what="the gradients")


@case(weight=2)
def boxes(draw: Draw) -> None:
    """Unions of boxes, question after question into the same buffer."""
    evaluated = Evaluating(draw, series=1)
    grid = evaluated.game.sample.grid
    for _ in range(draw.whole(1, 3)):
        counts = [draw.whole(0, 3) for _ in range(draw.whole(1, 5))]
        spans = [[sorted((draw.whole(0, size), draw.whole(0, size))) for size in grid] for _ in range(sum(counts))]
        table = np.array(spans, dtype=np.int32).reshape(-1, 6)
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        found = draw.call(together, evaluated.game, Boxes(offsets, table))
        expected = torch.empty(found.shape)
        for i in range(len(counts)):
            mask = torch.zeros(grid, dtype=torch.bool)
            for z0, z1, y0, y1, x0, x1 in table[offsets[i] : offsets[i + 1]]:
                mask[z0:z1, y0:y1, x0:x1] = True
            for s in range(evaluated.S):
                expected[i, s, 0] = evaluated.output(0, s, mask.flatten())
        draw.close(found, expected, *TOLERANCE[torch.float32])


@case()
def functions(draw: Draw) -> None:
    """A game as a function of coalitions of numpy's."""
    evaluated = Evaluating(draw, spatial=False, series=1)
    players = draw.of(None, draw.integers(0, 3, evaluated.terms).unique(return_inverse=True)[1])
    target = draw.of(None, 0, 2)
    worth = draw.call(CoalitionFunction, evaluated.game, players=players, target=target)
    n = evaluated.terms if players is None else int(players.max()) + 1
    draw.equal(worth.n_players, n)
    rows = draw.bools(draw.whole(1, 5), n)
    whole = evaluated.output(0, 0, torch.ones(evaluated.terms, dtype=torch.bool))
    aim = int(whole.argmax()) if target is None else target

    def value(row: Tensor) -> float:
        kept = row if players is None else row[players]
        return sum(float(evaluated.output(0, s, kept)[aim]) for s in range(evaluated.S)) / evaluated.S

    draw.close(draw.call(worth, rows.numpy()), [value(row) for row in rows], *TOLERANCE[torch.float32])
    draw.close(draw.call(lambda: worth.empty), value(torch.zeros(n, dtype=torch.bool)), *TOLERANCE[torch.float32])


@case(weight=2)
def flips_and_runs(draw: Draw) -> None:
    """The game's own questions of series, as the attributors ask them."""
    D, T, B, S = draw.whole(1, 3), draw.whole(1, 6), draw.whole(1, 2), draw.whole(1, 2)
    dtype = torch.float64
    model = series_model(draw, D, T, dtype, ("gru", "lstm", "opaque", "transformer", "exact", "ours"))
    x, values = draw.normal(B, D, T), draw.normal(S, B, D, T)
    anchor, window, evaluation = draw.of("cell", "mask", "end"), draw.whole(1, 3), draw.of("auto", *model.modes)
    draw.true(evaluation in EVALUATIONS, "this is a known evaluation")
    metric = draw.of("pd", "kl", "l2")
    draw.note(shape=(B, D, T), draws=S, anchor=anchor, window=window, evaluation=evaluation, distance=metric)
    kind = {"pd": ops.Metric.PD, "kl": ops.Metric.KL, "l2": ops.Metric.L2}[metric]
    target = torch.zeros(1, B, dtype=torch.int64)

    def game(anchor: str, window: int) -> Game:
        sample = TensorSample(x, torch.arange(B))
        return Game(
            Predictor.of(model.model), sample, Replay(values), anchor=anchor, window_size=window, draws=S,
            evaluation=evaluation,
        )  # fmt: skip

    masks = draw.bools(draw.whole(1, 3), D, T, p=0.7)
    scores = FlipScores((B, D, T), kind, ops.Reduce.MEAN, "all", target, torch.device("cpu"))
    question = Flips(Explicit(masks).sample(1, D, T, seed=0))
    found = draw.call(lambda: game(anchor, window).reduce(question, scores).values()[0])
    expected, _ = naive.rambit(model.f, x, masks, list(values), anchor=anchor, window=window, metric=metric)
    draw.close(found, expected)
    features = draw.bools(2, D)
    features[0, 0] = True
    distances, reference = draw.call(lambda: game("cell", 1).distances(Windows(features, window), kind, target))
    distances = distances[0]
    for m, b, p, j in np.ndindex(*distances.shape):
        if p == 0 or p + j >= T:
            continue
        chosen = features[m].nonzero()[:, 0].tolist()
        wanted = naive_winit.effect(model.f, x, b, p + j, p, chosen, values, metric)
        draw.close(distances[m, b, p, j], wanted, what=f"the distance {m, b, p, j}")
    for t in range(T):
        draw.close(reference[:, :, t], torch.cat([model.f(x[b : b + 1, :, : t + 1]) for b in range(B)]))


@case(weight=2)
def counterfactuals(draw: Draw) -> None:
    """Fixed strategies by name, and what they draw."""
    B, D, T, S, seed = draw.whole(1, 3), draw.whole(1, 3), draw.whole(1, 6), draw.whole(1, 3), draw.whole(0, 2**62)
    dtype = draw.of(torch.float32, torch.float64)
    x, background = draw.normal(B, D, T, dtype=dtype), draw.normal(3, D, T + 1, dtype=dtype)
    names = "zero", "marginal", "joint", "uniform", "gaussian", "conditional"
    name, ids = draw.of(*names), draw.integers(0, 2**32 - 1, B)
    first = draw.whole(0, 5)
    strategy: Counterfactual = draw.call(counterfactual_of, name, background)
    draw.true(isinstance(strategy, STRATEGIES[name]), "the strategy is the one named")
    for evaluated in (reads_background, needs_background):
        draw.equal(
            draw.call(evaluated, name),
            name in ("marginal", "joint", "conditional"),
            what="whether it takes reference data",
        )
    if name == "conditional":
        history, neighbours, window = draw.whole(1, 4), draw.whole(1, 5), draw.whole(1, 3)
        near: Conditional = draw.call(Conditional, background, history, neighbours)
        twin = naive_conditional.Conditional(background, history, neighbours)
        found = draw.call(near.draws, x, None, ids, S, seed=seed, first=first, pure=False)  # it keeps what it found
        draw.equal(found, twin.draws(x, ids.tolist(), S, seed, first), what=name)
        found = draw.call(near.windows, x, None, ids, S, window, seed=seed, first=first, pure=False)
        draw.equal(found, twin.windows(x, ids.tolist(), S, window, seed, first), what="whole runs")
        return
    found = draw.call(strategy.draws, x, None, ids, S, seed=seed, first=first)
    if name == "zero":
        draw.true(isinstance(strategy, Zero) and not found.any() and found.shape == (S, B, D, T), "zeros are drawn")
        return
    bounds = {"uniform": (-3.0, 3.0), "gaussian": (0.0, 1.0)}.get(name, (0.0, 1.0))
    given = {"background": background, "low": bounds[0], "high": bounds[1], "first": first, "seed": seed}
    draw.equal(found, naive_ops.draw(name.upper(), S, ids.tolist(), D, T, dtype, **given), what=name)


# -- models ------------------------------------------------------------------------------------------------------------


FACES = {"protocol": ProtocolPredictor, "estimator": EstimatorPredictor, "user_rnn": Recurrent}


@case(weight=3)
def predictors(draw: Draw) -> None:
    """Whole rows, every step, and steps from a state, for any cut of time, by the model alone."""
    D, T, N = draw.whole(1, 3), draw.whole(1, 7), draw.whole(1, 4)
    dtype = draw.of(torch.float32, torch.float64)
    model: Evaluated = series_model(draw, D, T, dtype)
    x = draw.normal(N, D, T, dtype=dtype)
    face: Predictor = draw.call(Predictor.of, model.model, output=model.output)
    draw.true(isinstance(face, FACES.get(model.kind, ModulePredictor)), "this is the face of such a model")
    expected = torch.stack([torch.cat([model.f(x[i : i + 1, :, : t + 1]) for i in range(N)]) for t in range(T)], dim=2)
    rtol, atol = TOLERANCE[dtype]
    order = [1, 0] if model.kind == "single" else list(range(expected.shape[1]))

    def close(found: Tensor, wanted: Tensor, what: str) -> None:
        """The two classes of a single column come in either order."""
        if model.kind == "single" and not torch.allclose(found.double(), wanted.double(), rtol, atol):
            wanted = wanted[:, order]
        draw.close(found, wanted, rtol, atol, what=what)

    with face.session():
        whole = draw.call(face.whole, draw.placed(x).clone(), pure=False)
        close(whole, expected[:, :, -1:], "the outputs to whole rows")
        if "causal" in model.modes:
            close(draw.call(face.steps, x.clone(), pure=False), expected, "the outputs at each step")
        if "stateful" in model.modes:
            cuts = [0, *sorted({draw.whole(0, T), draw.whole(0, T)} - {0, T}), T]
            state, parts = None, []
            for begin, end in itertools.pairwise(cuts):
                part, state = draw.call(face.advance, x[:, :, begin:end].clone(), state, pure=False)
                parts.append(part)
            close(torch.cat(parts, dim=2), expected, "the outputs from states")
            walk: Walk = face.walk(x)
            hidden, _ = draw.call(walk.step, x[:, :, :1].clone(), None, pure=False)
            close(walk.outputs(hidden), expected[:, :, :1], "the first step of a walk")
        draw.true(not face.check(whole).any(), "no row is unusable")


@case()
def bad_answers(draw: Draw) -> None:
    """What no score can be made of raises PredictionError, in whichever row it is."""
    D, T, N = draw.whole(1, 3), draw.whole(1, 5), draw.whole(1, 4)
    good, bad = Opaque(D, torch.float64), draw.of(torch.nan, torch.inf)
    row = draw.whole(0, N - 1)
    kind = draw.of("value", "rows", "rank", "probabilities")

    def model(x: Tensor) -> Tensor:
        outputs = good(x)
        if kind == "value":
            outputs[row, 0] = bad
        return {"rows": outputs[1:], "rank": outputs[..., None]}.get(kind, outputs)

    output = "probs" if kind == "probabilities" else "logits"
    draw.note(kind=kind, bad=bad, row=row, N=N)
    game = Game(Predictor.of(model, output=output), TensorSample(draw.normal(N, D, T), torch.arange(N)), Zero())
    try:
        draw.call(game.predict)
    except PredictionError as error:
        draw.true(kind != "value" or bad != torch.nan or str(row) in str(error), f"{error} names row {row}")
        return
    draw.true(False, "such an output is refused")


@case()
def onnx_sessions(draw: Draw) -> None:
    """A session of any batch or of one size, which is fed by hand here; a real one is asked in tests/predictors."""
    D, T, N, C = draw.whole(1, 3), draw.whole(1, 5), draw.whole(1, 9), 3
    batch, kind = draw.of("N", None, 1, 4), draw.of("tensor(float)", "tensor(double)")
    weight = draw.normal(D * T, C).numpy()

    def run(names: Any, feed: dict[str, Any]) -> list[Any]:
        [x] = feed.values()
        assert not isinstance(batch, int) or len(x) == batch
        return [x.reshape(len(x), -1) @ weight.astype(x.dtype)]

    given = SimpleNamespace(name="x", type=kind, shape=[batch, D, T])
    output = SimpleNamespace(name="logits", type=kind, shape=[batch, C])
    session = SimpleNamespace(get_inputs=lambda: [given], get_outputs=lambda: [output], run=run)
    face = draw.call(Predictor.of, session)
    draw.true(isinstance(face, OnnxPredictor), "this is a session")
    x = draw.normal(N, D, T)
    with face.session():
        found = draw.call(face.whole, x)
    draw.close(found[:, :, 0], (x.flatten(1) @ torch.from_numpy(weight)).softmax(1), 1e-3, 1e-5)


@case()
def training_flags(draw: Draw) -> None:
    """Modules come back as they were, whatever was asked of them."""
    D, T = draw.whole(1, 3), draw.whole(1, 5)
    torch.manual_seed(draw.seed)
    module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Sequential(nn.Linear(D * T, 3), nn.Dropout(0.2))).double()
    for part in module.modules():
        part.training = draw.chance()
    flags = [part.training for part in module.modules()]
    own, x = copy.deepcopy(module).eval(), draw.normal(2, D, T)
    game = Game(Predictor.of(module), TensorSample(x, torch.arange(2)), Zero())
    draw.close(draw.call(game.predict), remembered(own)(x).softmax(1), what="the outputs")
    draw.equal([part.training for part in module.modules()], flags, what="the training flags")
