"""Random nested samples for tests: schemas with every type of node, documents that fit, models with random weights."""

from __future__ import annotations

import random

import torch

from rambit.structure import (
    BagSchema,
    CategoricalSchema,
    DenseSchema,
    HierarchicalClassifier,
    MapSchema,
    ProductSchema,
    SkipSchema,
    SparseSchema,
    TextSchema,
    UnionSchema,
    from_json,
)

LEAVES = {
    "dense": DenseSchema(),
    "sparse": SparseSchema(("u", "v", "w")),
    "categorical": CategoricalSchema(("a", "b", "c")),
    "boolean": CategoricalSchema((False, True)),
    "text": TextSchema(n=2, buckets=31),
    "numbers as text": TextSchema(n=2, buckets=31, numbers=True),
    "skip": SkipSchema(TextSchema(n=3, buckets=17)),
}

BY_TYPE = {
    **{name: ProductSchema((("x", schema), ("y", DenseSchema()))) for name, schema in LEAVES.items()},
    "dense vector": DenseSchema(3),
    "bag": BagSchema(DenseSchema()),
    "bag of vectors": BagSchema(DenseSchema(2)),
    "bag of bags": BagSchema(BagSchema(CategoricalSchema(("a", "b")))),
    "bag of products": BagSchema(ProductSchema((("x", TextSchema(2, 31)), ("y", SparseSchema(("u", "v")))))),
    "product of bags": ProductSchema((("x", BagSchema(DenseSchema())), ("y", BagSchema(LEAVES["categorical"])))),
    "map": MapSchema(DenseSchema(), TextSchema(2, 31)),
    "map of keys alone": ProductSchema((("x", MapSchema(None)), ("y", DenseSchema()))),
    "map of maps": MapSchema(MapSchema(LEAVES["categorical"], TextSchema(2, 17)), TextSchema(2, 31)),
    "union": UnionSchema((DenseSchema(), LEAVES["boolean"], TextSchema(2, 31), BagSchema(DenseSchema()))),
    "bag of unions": BagSchema(UnionSchema((LEAVES["text"], ProductSchema((("x", DenseSchema()),)), DenseSchema(2)))),
    "union of a map": ProductSchema((("x", UnionSchema((MapSchema(LEAVES["text"]), LEAVES["categorical"]))),)),
    "skipped bag": ProductSchema((("x", SkipSchema(BagSchema(DenseSchema()))), ("y", BagSchema(LEAVES["text"])))),
}


def random_schema(rng, depth):
    """A product, bag, map or union with leaves of all types below."""
    if depth == 0:
        return rng.choice(list(LEAVES.values()))
    kind = rng.random()
    if kind < 0.3:
        return BagSchema(random_schema(rng, depth - 1))
    if kind < 0.45:
        return MapSchema(rng.choice([None, random_schema(rng, depth - 1)]), TextSchema(2, 31))
    if kind < 0.6:
        below = BagSchema(random_schema(rng, depth - 1)), ProductSchema((("x", random_schema(rng, depth - 1)),))
        return UnionSchema(tuple(rng.sample([*below, DenseSchema(), LEAVES["text"], LEAVES["boolean"]], 3)))
    names = rng.sample(["a", "b.c", "items", "[]", "ü"], rng.randint(1, 3))
    return ProductSchema(tuple((name, random_schema(rng, depth - 1)) for name in names))


def random_document(rng, schema, missing=0.15):
    """A document that fits; any part may be missing."""
    if rng.random() < missing:
        return None
    if isinstance(schema, SkipSchema):
        return random_document(rng, schema.child)
    if isinstance(schema, DenseSchema):
        values = [rng.choice([round(rng.gauss(0, 1), 3), rng.randint(-3, 3)]) for _ in range(schema.features)]
        return values[0] if schema.features == 1 else [rng.choice([v, v, v, None]) for v in values]
    if isinstance(schema, SparseSchema):
        return {key: round(rng.gauss(0, 1), 3) for key in schema.keys if rng.random() < 0.5}
    if isinstance(schema, CategoricalSchema):
        other = [] if isinstance(schema.categories[0], bool) else ["other", "more"]
        return rng.choice([*schema.categories, *other])
    if isinstance(schema, TextSchema):
        if schema.numbers:
            return rng.choice([rng.randint(-3, 3), 2**60 + rng.randint(0, 9), -(10**30), 0.1 * rng.randint(0, 9)])
        return "".join(rng.choice("abcdé") for _ in range(rng.randint(0, 5)))
    if isinstance(schema, UnionSchema):
        return random_document(rng, rng.choice(schema.alternatives), missing)
    if isinstance(schema, MapSchema):
        keys = rng.sample(["k", "l.m", "", "[]", "é"], rng.randint(0, 3))
        return {key: None if schema.value is None else random_document(rng, schema.value) for key in keys}
    if isinstance(schema, BagSchema):
        return [random_document(rng, schema.child) for _ in range(rng.randint(0, 3))]
    return {name: random_document(rng, part) for name, part in schema.parts}


def random_sample(schema, seed, count=3):
    rng = random.Random(seed)
    return from_json([random_document(rng, schema, missing=0) for _ in range(count)], schema)


def random_tree(seed, depth=3, count=3):
    return random_sample(random_schema(random.Random(seed), depth), seed, count)


def random_model(schema, seed=0, classes=3, width=5):
    """Every weight is random, so that nothing is zero by chance."""
    model = HierarchicalClassifier(schema, classes, width=width).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.normal_(std=0.7, generator=generator)
        for name, value in model.named_buffers():
            value.uniform_(0.5, 2, generator=generator) if name.endswith("scale") else value.fill_(0.3)
    return model


def random_masks(sample, count, seed=0, keep=0.6):
    return torch.rand(count, sample.terms, generator=torch.Generator().manual_seed(seed)) < keep
