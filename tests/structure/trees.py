"""Random nested samples for tests: schemas with every type of node, documents that fit, models with random weights."""

from __future__ import annotations

import random

import torch

from rambit.structure import (
    BagSchema,
    CategoricalSchema,
    DenseSchema,
    HierarchicalClassifier,
    ProductSchema,
    SkipSchema,
    SparseSchema,
    TextSchema,
    from_json,
)

LEAVES = {
    "dense": DenseSchema(),
    "sparse": SparseSchema(("u", "v", "w")),
    "categorical": CategoricalSchema(("a", "b", "c")),
    "boolean": CategoricalSchema((False, True)),
    "text": TextSchema(n=2, buckets=31),
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
    "skipped bag": ProductSchema((("x", SkipSchema(BagSchema(DenseSchema()))), ("y", BagSchema(LEAVES["text"])))),
}


def random_schema(rng, depth):
    """A product or bag with leaves of all types below."""
    if depth == 0:
        return rng.choice(list(LEAVES.values()))
    if rng.random() < 0.4:
        return BagSchema(random_schema(rng, depth - 1))
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
        return "".join(rng.choice("abcdé") for _ in range(rng.randint(0, 5)))
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
