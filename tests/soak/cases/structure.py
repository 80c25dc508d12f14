"""Nested samples: documents in and out, answers to masks, masks as vectors, files, against one document at a time."""

from __future__ import annotations

import copy
import random

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rambit import structure
from rambit.structure import (
    MEMBER,
    Bag,
    BagSchema,
    Categorical,
    CategoricalSchema,
    ClusteredMask,
    Dense,
    DenseSchema,
    FlatView,
    FollowingMasks,
    HeuristicMask,
    HierarchicalClassifier,
    Layout,
    MapSchema,
    MaskTree,
    Node,
    ObservationMask,
    ParticipationTracker,
    Prepared,
    Product,
    ProductSchema,
    Sample,
    Schema,
    ScoreMask,
    SigmoidMask,
    SimpleMask,
    Skip,
    SkipSchema,
    Slots,
    SomeMask,
    Sparse,
    SparseSchema,
    StringTable,
    Text,
    TextSchema,
    UnionSchema,
    from_json,
    infer_schema,
    load_model,
    places,
    save_model,
    skip,
    to_json,
)
from tests.naive import structure as naive
from tests.soak.engine import Draw, case
from tests.structure import trees

#: The node that each schema becomes.
NODES: dict[type[Schema], type[Node]] = {
    DenseSchema: Dense, SparseSchema: Sparse, CategoricalSchema: Categorical, TextSchema: Text, BagSchema: Bag,
    ProductSchema: Product, SkipSchema: Skip, MapSchema: Bag, UnionSchema: Product,
}  # fmt: skip


def tree(draw: Draw) -> Sample:
    depth, count = draw.whole(0, 3), draw.whole(1, 3)
    draw.note(depth=depth, count=count, seed=draw.seed)
    return trees.random_tree(draw.seed, depth, count)


def close(draw: Draw, found: Tensor, expected: Tensor, what: str = "the outputs") -> None:
    draw.close(found, expected, 0, 1e-8, what=what)


@case(weight=3)
def outputs(draw: Draw) -> None:
    """Hard, soft and pruned, asked anew or prepared."""
    sample = tree(draw)
    model: HierarchicalClassifier = trees.random_model(sample.schema, draw.seed)
    masks = draw.bools(draw.whole(1, 6), sample.terms, p=draw.of(0.2, 0.6, 0.95))
    with torch.no_grad():
        expected = torch.stack([naive.output(model, sample, mask.tolist()) for mask in masks])
        close(draw, draw.call(model.evaluate, sample, masks), expected)
        close(draw, draw.call(model.evaluate, sample, masks.double()), expected, "soft outputs at 0 and 1")
        close(draw, torch.stack([draw.call(model, sample.pruned(mask)) for mask in masks]), expected, "pruned outputs")
        close(draw, draw.call(model, draw.call(sample.under, masks)), expected.flatten(0, 1), "outputs of all at once")
        prepared: Prepared = model.prepare(sample)
        for part in masks.split(draw.whole(1, 3)):  # what it remembers changes nothing
            close(draw, draw.call(prepared.evaluate, part), model.evaluate(sample, part), "prepared outputs")
    node, schema = sample.root, sample.schema
    draw.true(isinstance(node, NODES[type(schema)]), "the root's node is that of its schema")


@case(weight=3)
def documents(draw: Draw) -> None:
    """Out comes what went in, without empty parts and without what a mask removes."""
    rng = random.Random(draw.seed)
    schema = trees.random_schema(rng, draw.whole(0, 3))
    given = [trees.random_document(rng, schema, missing=0.1) for _ in range(draw.whole(1, 3))]
    draw.note(documents=given, schema=schema)
    before = copy.deepcopy(given)
    sample = draw.call(from_json, given, schema)
    written = draw.call(to_json, sample)
    draw.equal(given, before, what="the caller's documents")

    expected = [naive.emptied(naive.without_empty(document, schema), schema) for document in given]
    draw.equal(written, expected, what="the documents")
    where, mask = draw.call(places, sample), draw.bools(sample.terms)
    draw.equal(draw.call(to_json, sample, mask), naive.pruned(sample, written, where, mask), what="the pruned ones")
    try:
        inferred = draw.call(infer_schema, given)
    except ValueError as error:
        draw.true("there is nothing in the documents" in str(error), f"{error} says that there is nothing")
        draw.true(all(naive.without_empty(document) is None for document in given), "there is nothing in the documents")
        return
    again = draw.call(from_json, given, inferred)
    draw.equal(len(again), len(given), what="the number of samples")
    if isinstance(inferred, ProductSchema) and inferred.parts:
        name = inferred.parts[0][0]
        skipped = draw.call(skip, inferred, (name,))
        draw.true(
            all(place[:1] != (name,) for place in places(from_json(given, skipped))), "what is skipped has no terms"
        )
    if isinstance(inferred, BagSchema):
        draw.equal(draw.call(skip, inferred, (MEMBER,)), BagSchema(SkipSchema(inferred.child)))


@case(weight=2)
def layouts(draw: Draw) -> None:
    """Slots, levels, samples and participation, by walking the tree."""
    sample = tree(draw)
    slots = naive.slots_of(sample)
    own: Slots = sample.slots
    draw.equal(len(own), len(slots), what="the number of slots")
    view = draw.call(FlatView, MaskTree.of(own))
    for found in (view, sample):
        draw.equal(found.output_id.tolist(), [output for output, _, _ in slots], what="whose the terms are")
        draw.equal(found.levels.tolist(), [level for _, level, _ in slots], what="the levels")
    draw.equal(sample.parents.tolist(), [parent for _, _, parent in slots], what="the parents")
    masks = draw.bools(3, sample.terms, p=0.7)
    inside = [naive.participation(sample, mask.tolist()) for mask in masks]
    draw.equal(draw.call(sample.participation, masks).tolist(), inside, what="what takes part")
    trackers = MaskTree.of(own, lambda n: ParticipationTracker(SimpleMask.full(n)))
    watched = FlatView(trackers)
    for mask, expected in zip(masks, inside, strict=True):
        watched[:] = mask
        draw.equal(watched.participate().tolist(), expected, what="what takes part by a view")
    layout: Layout = sample.layout
    draw.equal(layout.terms, sample.terms)
    if sample.terms:
        term = draw.integers(0, 3, sample.terms).unique(return_inverse=True)[1]
        model = trees.random_model(sample.schema, draw.seed)
        grouped = draw.call(sample.grouped, term)
        chosen = draw.bools(3, grouped.terms)
        with torch.no_grad():
            close(draw, model.evaluate(grouped, chosen), model.evaluate(sample, chosen[:, term]), "outputs to groups")


@case(weight=2)
def mask_vectors(draw: Draw) -> None:
    """Every kind of mask as a vector, alone and in one view, by plain lists."""
    n, m = draw.whole(1, 5), draw.whole(1, 5)
    values, kept = draw.normal(n), draw.bools(n)
    ids = draw.integers(0, n - 1, m)
    kind = draw.of("simple", "heuristic", "sigmoid", "score", "tracker")
    inner: SomeMask = {
        "simple": lambda: SimpleMask(kept.clone()), "heuristic": lambda: HeuristicMask(values, kept.clone()),
        "sigmoid": lambda: SigmoidMask(values, kept.clone()), "score": lambda: ScoreMask(kept.clone()),
        "tracker": lambda: ParticipationTracker(SimpleMask(kept.clone())),
    }[kind]()  # fmt: skip
    clustered = ClusteredMask(inner, ids)
    draw.note(kind=kind, n=n, ids=ids.tolist())
    draw.equal(inner.prunemask().tolist(), kept.tolist())
    draw.equal(clustered.prunemask().tolist(), [bool(kept[i]) for i in ids])
    soft = [1 / (1 + float(torch.exp(-v))) for v in values] if kind == "sigmoid" else [float(k) for k in kept]
    draw.close(inner.diffmask().detach(), soft)
    draw.close(clustered.diffmask().detach(), [soft[i] for i in ids])
    if kind == "heuristic":
        draw.close(inner.heuristic(), values)
    other = SimpleMask(draw.bools(m))
    both = FollowingMasks([clustered, other])
    draw.equal(both.prunemask().tolist(), [bool(kept[i]) or bool(k) for i, k in zip(ids, other.kept, strict=True)])
    view = draw.call(FlatView, [inner, clustered, other])  # the shared one appears once
    draw.equal(len(view), n + m)
    new = draw.bools(n + m)
    view[:] = new
    draw.equal(inner.prunemask().tolist() + other.prunemask().tolist(), new.tolist(), what="what the masks see")
    if kind == "score":
        masks, outputs, counted = draw.bools(9, n), draw.uniform(9, n), draw.bools(9, n, p=0.7)
        scored = ScoreMask.full(n)
        cut = draw.whole(0, 9)
        for part in (slice(0, cut), slice(cut, 9)):
            draw.call(scored.update, masks[part], outputs[part], counted[part])
        for i in range(n):
            sides: tuple[list[float], list[float]] = ([], [])
            for output, inside, counts in zip(outputs[:, i], masks[:, i], counted[:, i], strict=True):
                if counts:
                    sides[int(not inside)].append(float(output))
            expected = np.mean(sides[0]) - np.mean(sides[1]) if all(sides) else 0.0
            draw.close(scored.heuristic()[i], expected, what=f"the score of term {i}")


@case()
def shared_masks(draw: Draw) -> None:
    """One mask of the observations that several leaves have in common."""
    given = [{k: v for k, v in (("a", 1.0), ("b", "x"), ("c", True)) if draw.chance(0.7)} for _ in range(3)]
    given.append({"a": 2.0, "b": "y", "c": False})
    sample = from_json(given)
    parts = sample.root.children()
    a, b = draw.call(ObservationMask.over, [parts["a"], parts["b"]])
    tree = MaskTree(sample.slots, {**MaskTree.of(sample.slots).masks, ("a",): a, ("b",): b})
    view = FlatView(tree)
    seen = sample.seen_by(view)
    model = trees.random_model(sample.schema, draw.seed)
    masks = draw.bools(4, seen.terms)
    with torch.no_grad():
        found = draw.call(model.evaluate, seen, masks)
    # The stored mask comes first: a term for each sample that has a or b, then what is left of c.
    target_cells = [i for i, document in enumerate(given) if "a" in document or "b" in document]
    for mask, output in zip(masks, found, strict=True):
        view[:] = mask
        gone = {i for i, k in zip(target_cells, a.mask.prunemask().tolist(), strict=True) if not k}
        plain = [{k: v for k, v in d.items() if k == "c" or i not in gone} for i, d in enumerate(given)]
        c = iter(tree.masks["c",].prunemask().tolist())
        plain = [{k: v for k, v in d.items() if k != "c" or next(c)} for d in plain]
        with torch.no_grad():
            close(draw, output, model(from_json(plain, sample.schema)))


@case()
def training_and_files(draw: Draw) -> None:
    sample = tree(draw)
    model = trees.random_model(sample.schema, draw.seed).float()
    y = draw.integers(0, 2, len(sample))
    with torch.no_grad():
        p = model(sample).softmax(1)
    draw.close(draw.call(structure.predict, model, sample, batch_size=draw.whole(1, 3)), p, 1e-4, 1e-6, what="predict")
    told = draw.call(structure.evaluate, model, sample, y)
    draw.close(told["loss"], functional.nll_loss(p.log(), y), 1e-4, 1e-5, what="the loss")
    draw.close(told["accuracy"], (p.argmax(1) == y).double().mean(), what="the accuracy")
    path = draw.folder / "model.safetensors"
    draw.call(save_model, path, model)
    again = draw.call(load_model, path)
    with torch.no_grad():
        draw.equal(again(sample), model(sample), what="the loaded model's outputs")
    history = draw.call(structure.fit, model, sample, y, epochs=2, batch_size=2)
    draw.equal(len(history.train_loss), 2)
    twin = draw.call(structure.fit, again, sample, y, epochs=2, batch_size=2)
    draw.equal(twin.train_loss, history.train_loss, what="the losses of the same training")


@case()
def strings(draw: Draw) -> None:
    """The buckets of n-grams."""
    n, buckets = draw.whole(1, 4), draw.whole(1, 40)
    words = ["".join(draw.of(*"abcé ") for _ in range(draw.whole(0, 6))) for _ in range(draw.whole(1, 4))]
    table: StringTable = draw.call(StringTable.of, list(dict.fromkeys(words)), n, buckets)
    for i, string in enumerate(table.strings):
        found = table.ngrams[table.offsets[i] : table.offsets[i + 1]].tolist()
        draw.equal(found, naive.ngrams(string, n, buckets), what=f"{string!r}")
