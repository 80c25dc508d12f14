"""ReX: the search, what is taken from its maps, boxes and mutants, and the measures, object by object.

The models add up each row by itself, so that a confidence is the same in any batch and comparisons have no edge.
"""

from __future__ import annotations

import math
from dataclasses import fields
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy.stats import entropy
from torch import Tensor

from rambit.compat import rex as drop_ins
from rambit.rex import (
    Box,
    Decision,
    Distribution,
    Evaluation,
    ExtractionOptions,
    Mutant,
    NoExplanationError,
    Queue,
    ResponsibilityMaps,
    ResponsibilityStyle,
    ReX,
    RexExplanation,
    SearchResult,
    SearchSettings,
    Strategy,
    causal_explanation,
    get_combinations,
    initialise_tree,
    prune,
    search,
    subbox,
)
from rambit.rex.extraction import Found, Objective, extract, rank
from tests.compat.test_rex import Corner, image
from tests.naive import rambit as naive_fill
from tests.naive import rex as naive
from tests.naive import rex_extraction as naive_parts
from tests.soak.engine import Draw, case


class Weighing:
    """Three classes by two weighted sums of each row; ``writes``: into its input, once it has read it."""

    def __init__(self, weights: Tensor, biases: list[float], writes: bool = False) -> None:
        self.weights, self.biases, self.writes = weights.flatten(1), biases, writes

    def __call__(self, x: Tensor) -> Tensor:
        outputs = [torch.stack([torch.zeros(()).double(), *self.sums(row)]) for row in x.flatten(1).double()]
        if self.writes:
            x.fill_(7.0)
        return torch.stack(outputs)

    def sums(self, row: Tensor) -> list[Tensor]:
        return [6 * ((row * w).sum() - b) for w, b in zip(self.weights, self.biases, strict=True)]


class Decided:
    """An input that a model gives class 1 or 2, and answers to masks of it one by one."""

    def __init__(self, draw: Draw) -> None:
        self.kind = draw.of("image", "volume", "spectrum", "series")
        grid = {
            "image": (draw.whole(2, 9), draw.whole(2, 9)),
            "volume": (draw.whole(1, 4), draw.whole(2, 5), draw.whole(2, 5)),
            "spectrum": (draw.whole(4, 40),),
            "series": (draw.whole(2, 4), draw.whole(3, 15)),
        }[self.kind]
        channels = draw.of(1, 3) if self.kind in ("image", "volume") else 1
        dtype = draw.of(torch.float32, torch.float64)
        self.x = (0.2 + draw.uniform(1, *([] if self.kind == "series" else [channels]), *grid)).to(dtype)
        self.shape = grid
        self.grid = tuple([1] * (3 - len(grid))) + grid
        self.dimensions = {"image": 2, "volume": 3, "spectrum": 1, "series": 2}[self.kind]
        weights = draw.uniform(2, *self.x.shape[1:]) * draw.bools(2, *self.x.shape[1:], p=draw.of(0.1, 0.4))
        weights[0].view(-1)[0] += 0.5
        share = draw.number(0.1, 0.6)
        totals = [float((self.x[0].double() * w).sum()) for w in weights]
        self.model = Weighing(weights, [share * totals[0], draw.number(0.5, 1.2) * totals[1] + 0.1], draw.chance(0.2))
        named = ("min", "mean", "context", *(("linear",) if self.kind in ("spectrum", "series") else ()))
        self.fill: Any = draw.of(0, 0, draw.number(-0.5, 0.5), *named)
        self.context = draw.uniform(*self.x.shape, dtype=dtype)
        draw.note(kind=self.kind, grid=grid, channels=channels, dtype=dtype, mask_value=self.fill)

    @property
    def mask_value(self) -> Any:
        return self.context if self.fill == "context" else self.fill

    def masked(self, kept: Tensor) -> Tensor:
        """x (1, ...) where the mask (*grid) keeps."""
        if self.fill == "linear":
            return naive_fill.fill(self.x[0], kept.view(self.x[0].shape), None, "interpolate")[None]
        value = {
            "min": lambda: torch.full_like(self.x, float(self.x.min())),
            "mean": lambda: torch.full_like(self.x, float(self.x.double().mean())),
            "context": lambda: self.context,
        }.get(self.fill, lambda: torch.full_like(self.x, self.fill))()
        return torch.where(kept.view(self.shape), self.x, value)

    def probabilities(self, kept: Tensor) -> Tensor:
        return self.model(self.masked(kept).clone())[0].softmax(0)

    def evaluate(self, masks: Any) -> tuple[Any, Any]:
        """Classes and confidences of masks (N, Z, H, W)."""
        p = torch.stack([self.probabilities(torch.from_numpy(mask)) for mask in masks])
        confidence, label = p.max(dim=1)
        return label.numpy().astype(np.int32), confidence.double().numpy().astype(np.float32)

    def of_kept(self, kept: set[int]) -> tuple[int, float]:
        mask = torch.zeros(math.prod(self.shape), dtype=torch.bool)
        mask[sorted(kept)] = True
        classes, confidences = self.evaluate(mask.view(1, *self.grid).numpy())
        return int(classes[0]), float(confidences[0])

    @property
    def everything(self) -> set[int]:
        return set(range(math.prod(self.shape)))


def positions(mask: Tensor) -> set[int]:
    return set(mask.flatten().nonzero().flatten().tolist())


def search_options(draw: Draw) -> dict[str, Any]:
    options = draw.options(
        iters=(1, 2, 4), tree_depth=(1, 3, 6), min_box_size=(1, 2, 4), queue=tuple(Queue),
        queue_len=(1, 2, 3, None), distribution=tuple(Distribution), confidence_filter=(0.0, 0.0, 0.5, 0.95),
        weighted=(False, True), concentrate=(False, True), responsibility_style=tuple(ResponsibilityStyle),
        negative_responsibility=(False, False, True), search=("single", "single", "conjunctive"),
        search_limit=(None, 60, 200), seed=(0, draw.whole(0, 10**6)),
    )  # fmt: skip
    if options["distribution"] is Distribution.BetaBinomial:
        options |= draw.note(dist_args=(draw.number(0.5, 3), draw.number(0.5, 3)))
    if options["queue"] in (Queue.All, Queue.DC) or options["queue_len"] is None:
        options |= draw.note(search_limit=60, iters=min(options["iters"], 2), tree_depth=min(options["tree_depth"], 3))
    if draw.chance():  # by name
        options |= {k: options[k].value for k in ("queue", "distribution", "responsibility_style")}
    return options


def plain(settings: SearchSettings) -> dict[str, Any]:
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}


@case(weight=6)
def searching(draw: Draw) -> None:
    decided, options = Decided(draw), search_options(draw)
    explainer = ReX(decided.model, mask_value=decided.mask_value, **options)
    decision: Decision = draw.call(explainer.decision, draw.placed(decided.x))
    settings = SearchSettings(**options)
    found: SearchResult = draw.call(search, decision, settings)
    maps, counts = naive.search(decided.evaluate, decided.grid, decided.dimensions, plain(settings))
    draw.equal([found.stats[name] for name in ("mutants", "passing", "depth")], counts, what="the counts")
    draw.equal(list(found.maps), list(maps), what="the classes seen")
    for label, map_ in maps.items():
        draw.close(found.maps[label], map_, 0, 0, what=f"the map of class {label}")
    if decision.target in maps and draw.chance(0.5):
        attributed = draw.call(explainer.attribute, decided.x)
        draw.close(attributed[0].flatten(), maps[decision.target].ravel(), 0, 0, what="attribute")
    if options["iters"] == 1 and Distribution(options["distribution"]) is not Distribution.Adaptive:
        one, told = draw.call(causal_explanation, 1, explainer.decision(decided.x), settings)
        draw.equal([told[name] for name in ("mutants", "passing", "depth")], counts, what="the counts of an iteration")
        draw.equal([label for label, _ in one.items()], list(maps), what="its classes")


@case(weight=5)
def explaining(draw: Draw) -> None:
    """Extraction from a random map, through each strategy."""
    decided = Decided(draw)
    strategy = draw.of(*(one for one in Strategy if one is not Strategy.MapOnly))  # which looks for no part
    chunk, share = draw.whole(1, 8), draw.of(0.0, 0.5, 0.9, 1.0)
    draw.note(strategy=strategy, chunk=chunk, share=share)
    map_ = draw.uniform(*decided.shape, dtype=torch.float32)
    map_ = (map_ * 8).round() / 8 if draw.chance() else map_
    options = ExtractionOptions(
        chunk_size=chunk, minimum_confidence_threshold=share, initial_radius=2, spotlights=4, expansions=3, budget=4,
        step=2, objective=draw.of(*Objective), permitted_overlap=draw.of(0.0, 0.3), necessary_from="ranking",
    )  # fmt: skip
    explainer = ReX(decided.model, mask_value=decided.mask_value)
    decision = explainer.decision(decided.x)
    evaluate, target, sure = decided.of_kept, decision.target, decision.confidence
    draw.equal((target, sure), evaluate(decided.everything), what="the decision")
    order = naive_parts.ranking(map_.flatten().tolist())
    draw.equal(draw.call(rank, map_).tolist(), order, what="the ranking")
    given = {"chunk": chunk, "share": share}
    nothing = naive_parts.suffices(evaluate, set(), target, sure, share)  # which is tried first
    try:
        first = set() if nothing else naive_parts.global_part(evaluate, order, target, sure, **given)
        necessary = complete = None
        if strategy in (Strategy.Contrastive, Strategy.Complete):
            necessary = naive_parts.necessary_part(evaluate, order, target, sure, **given)
        if strategy is Strategy.Complete:
            complete = naive_parts.complete_part(evaluate, order, necessary, target, sure, **given)
        if strategy is Strategy.Spatial and not nothing:
            flat = map_.flatten().numpy()
            first = naive_parts.spatial_part(evaluate, flat, decided.grid, order, target, sure, radius=2, **given)
    except naive_parts.Nothing:
        try:
            draw.call(extract, decision, map_, strategy, options)
        except NoExplanationError:
            return
        draw.true(False, "there is nothing to be found")
    found: Found = draw.call(extract, decision, map_, strategy, options, seed=draw.whole(0, 99))
    if strategy is Strategy.MultiSpotlight:
        parts = [positions(mask) for mask in found.spotlights]
        for i, part in enumerate(parts):
            draw.true(naive_parts.suffices(evaluate, part, target, sure, share), f"spotlight {i} suffices")
            for j, other in enumerate(parts[:i]):
                overlap = naive_parts.dice(part, other)
                draw.true(overlap <= options.permitted_overlap + 1e-12, f"spotlights {i} and {j} are apart")
        draw.equal([len(part) for part in parts], sorted(len(part) for part in parts), what="the sizes")
        draw.equal(positions(found.mask), parts[0], what="the mask")
    else:
        draw.equal(positions(found.mask), first, what="the sufficient part")
        draw.equal(None if found.necessary is None else positions(found.necessary), necessary, what="the necessary one")
        draw.equal(None if found.complete is None else positions(found.complete), complete, what="the complete one")
    draw.equal(found.confidence, evaluate(positions(found.mask))[1], what="its confidence")


@case(weight=3)
def whole_explanations(draw: Draw) -> None:
    """From the input to the explanation, its file and its measures."""
    decided, options = Decided(draw), search_options(draw)
    options |= draw.note(chunk_size=draw.whole(1, 5), strategy=draw.of("global", Strategy.Global))
    explainer = ReX(decided.model, mask_value=decided.mask_value, **options)
    settings = SearchSettings(**{k: v for k, v in options.items() if k not in ("chunk_size", "strategy")})
    maps, _ = naive.search(decided.evaluate, decided.grid, decided.dimensions, plain(settings))
    target, sure = decided.of_kept(decided.everything)
    try:
        found: RexExplanation = draw.call(explainer.explain, draw.placed(decided.x), target=draw.of(None, target))
    except NoExplanationError:
        nothing = not naive_parts.suffices(decided.of_kept, decided.everything, target, sure, 0.0)
        draw.true(target not in maps or nothing, "there is nothing to be found")
        return
    map_ = maps[target]
    draw.close(found.responsibility, map_.reshape(decided.shape), 0, 0, what="the map")
    if map_.all() or settings.responsibility_style is ResponsibilityStyle.Additive:  # else logarithms break ties
        order = naive_parts.ranking(map_.ravel().tolist())
        nothing = naive_parts.suffices(decided.of_kept, set(), target, sure, 0.0)
        part = (
            set()
            if nothing
            else naive_parts.global_part(decided.of_kept, order, target, sure, chunk=options["chunk_size"])
        )
        draw.equal(positions(found.mask), part, what="the mask")
    classes, confidence = decided.of_kept(positions(found.mask))
    draw.equal((classes, confidence), (found.target, found.confidence), what="the mask's output")
    path = draw.folder / "explanation"
    draw.call(found.save, path)
    again = draw.call(RexExplanation.load, path)
    draw.equal(again.mask, found.mask)
    draw.equal(again.record(), found.record())
    draw.equal(sorted(again.maps), sorted(found.maps))
    if (
        min(float(found.responsibility.min()), 0) < 0
        or float(found.responsibility.sum()) <= 0
        or decided.fill == "random"
    ):
        return
    step = draw.whole(1, 12)
    measured: Evaluation = draw.call(explainer.evaluate, decided.x, found, step=step, repeats=3)
    flat = map_.ravel().astype(np.float64)
    expected = entropy(np.ones(len(flat)), flat, base=2)
    draw.close(measured.entropy, expected, 1e-6, 1e-9, what="the entropy")
    draw.close(measured.area, len(positions(found.mask)) / len(flat), what="the area")
    order = positions_by_rank(found.responsibility)
    sizes = [*range(0, len(order), step), len(order)]
    for name, keep in (("insertion", True), ("deletion", False)):
        curve = []
        for size in sizes:
            kept = set(order[:size]) if keep else set(order[size:])
            mask = torch.zeros(len(order), dtype=torch.bool)
            mask[sorted(kept)] = True
            curve.append(float(decided.probabilities(mask)[target]))
        area = sum(
            (b - a) / len(order) * (y + z) / 2 for a, b, y, z in zip(sizes, sizes[1:], curve, curve[1:], strict=False)
        )
        draw.close(getattr(measured, name), area / sure, 1e-4, 1e-6, what=name)


def positions_by_rank(map_: Tensor) -> list[int]:
    return naive_parts.ranking(map_.flatten().tolist())


@case()
def boxes(draw: Draw) -> None:
    """Trees grown by hand: children tile their parent, at the cuts of the twin."""
    mode = draw.of("spectral", "RGB", "voxel")
    depth, height, width = draw.whole(1, 5), draw.whole(1, 8), draw.whole(1, 12)
    height = 1 if mode == "spectral" else height
    seed, kind = draw.whole(0, 1000), draw.of(*Distribution)
    arguments = (2.0, 1.5) if kind is Distribution.BetaBinomial else None
    draw.note(mode=mode, grid=(depth, height, width), seed=seed, distribution=kind)
    grid = (depth if mode == "voxel" else 1, height, width)
    root: Box = draw.call(
        initialise_tree, height, width, kind, arguments, d_lim=depth if mode == "voxel" else None, seed=seed
    )
    running = draw.uniform(*grid).numpy().astype(np.float32) if draw.chance() else None
    dimensions = {"spectral": 1, "RGB": 2, "voxel": 3}[mode]
    rng, options = np.random.RandomState(seed), {"distribution": kind.value, "dist_args": arguments}
    todo = [(root, naive.Node(tuple((0, n) for n in grid)))]
    for _ in range(4):
        box, twin = todo.pop(0)
        if twin.area() < 1 or (dimensions == 3 and twin.area() < 2):
            continue
        wanted = naive.SPLITS[dimensions](twin, rng, options, running if kind is Distribution.Adaptive else None)
        name = box.name
        children = draw.call(subbox, root, name, 10, 1, mode, running)
        draw.equal(
            [tuple(map(tuple, c.bounds().reshape(3, 2).tolist())) for c in children], wanted, what="the children"
        )
        for i, (child, spans) in enumerate(zip(children, wanted, strict=True)):
            draw.equal(child.name, f"{name}:{i}")
            todo.append((child, naive.Node(spans)))
        if not todo:
            break


@case()
def mutants(draw: Draw) -> None:
    """Mutants, what they add to the maps, and which are looked into."""
    H, W = draw.whole(2, 9), draw.whole(2, 9)
    root = initialise_tree(H, W, seed=draw.whole(0, 99))
    root.add_children_to_tree(1, "RGB")
    if not root.children:
        return
    draw.equal(draw.call(get_combinations), naive.subsets())
    data, value = draw.normal(1, 2, H, W), draw.number(-1, 1)
    made, twins = [], []
    for subset in get_combinations():
        one = Mutant(data, [], [root.children[i] for i in subset], value)
        mask = torch.zeros(H, W, dtype=torch.bool)
        for box in one.active:
            top, bottom, left, right = box.corners()
            mask[top:bottom, left:right] = True
        draw.equal(one.mask, mask, what="the mask")
        draw.equal(one.masked(), torch.where(mask, data, value), what="the masked input")
        draw.equal(one.area(), int(mask.sum()))
        one.prediction = (draw.whole(0, 1), draw.number(0, 1))
        made.append(one)
        names = [SimpleNamespace(name=name) for name in one.get_active_boxes()]
        twins.append(SimpleNamespace(area=one.area(), active=names))
    settings = SearchSettings(**draw.options(weighted=(False, True), concentrate=(False, True)))
    style = draw.of(*ResponsibilityStyle)
    maps = ResponsibilityMaps(style, H, W)
    draw.call(maps.update_maps, made, settings)
    expected = {}
    for one in made:
        label, sure = one.prediction
        fill = 0 if style is ResponsibilityStyle.Additive else 1
        own = expected.setdefault(label, np.full((H, W), fill, np.float32))
        for box in one.active:
            top, bottom, left, right = box.corners()
            share = np.float32(1 / len(one.active) * (sure if settings.weighted else 1))
            own[top:bottom, left:right] += share * np.float32(box.depth if settings.concentrate else 1)
    for label, map_ in maps.items():
        draw.close(map_, expected[label], 1e-6, 1e-6, what=f"the map of class {label}")
    chosen = [i for i in range(14) if draw.chance()]
    queue, keep = draw.of(*Queue), draw.of(None, 1, 3)
    kept = draw.call(prune, [made[i] for i in chosen], queue, keep)
    wanted = naive.prune([twins[i] for i in chosen], queue.value, keep)
    draw.equal([made.index(one) for one in kept], [twins.index(one) for one in wanted], what="what is kept")


@case()
def drop_in(draw: Draw) -> None:
    """rex-xai's object, with settings by its keys, gives what ours does by our names."""
    model, x = Corner(), image(draw.whole(0, 99))
    causal = {"iters": draw.whole(1, 3), "min_box_size": draw.whole(3, 6), "queue_style": draw.of("area", "dc")}
    args = drop_ins.CausalArgs()
    drop_ins.process_config_dict({"rex": {"seed": draw.whole(0, 99)}, "causal": causal}, args)
    one = drop_ins.ReX(model, ["N", 3, 16, 16], "cpu", "RGB")
    one.data = drop_ins.Data(np.zeros((2, 2)), ["N", 3, 16, 16], "cpu", mode="RGB")
    one.set_transformed_data(x)
    one.args = args
    one.set_target()
    draw.call(one.calculate_responsibility)
    draw.call(one.extract_sufficient_explanation)
    expected = ReX(model, **args.options()).explain(x)
    draw.equal(one.explanation.target_map, expected.responsibility)
    draw.equal(one.explanation.sufficiency_mask[0], expected.mask)
