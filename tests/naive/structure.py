"""Nested samples as defined: one document, one mask and one instance at a time."""

from __future__ import annotations

import torch

from rambit.structure import (
    Bag,
    BagSchema,
    Categorical,
    Dense,
    MapSchema,
    Product,
    ProductSchema,
    Skip,
    SkipSchema,
    Sparse,
    SparseSchema,
    Text,
    UnionSchema,
)


def slots_of(sample):
    """For each slot, in order: (sample, level, parent slot or -1), by walking down from each sample's root."""
    root, found, slots = sample.root, {}, []

    def number(node, path):
        for j in range(len(node.observation)):
            found[path, j] = len(slots)
            slots.append(None)
        if not isinstance(node, Skip):
            for name, child in node.children().items():
                number(child, (*path, name))

    def walk(node, path, i, sample, level, parent):
        for j, observation in enumerate(node.observation.tolist()):
            if observation == i:
                slots[found[path, j]] = (sample, level, parent)
                if isinstance(node, Bag):
                    walk(node.child, (*path, "[]"), j, sample, level + 1, found[path, j])
        if isinstance(node, Product):
            for name, child in node.children().items():
                walk(child, (*path, name), i, sample, level, parent)

    number(root, ())
    for b in range(len(root)):
        walk(root, (), b, b, 0, -1)
    return slots


def participation(sample, mask):
    """Whether each slot is inside kept instances only; mask: a list of bools, one for each slot."""
    slots = slots_of(sample)

    def inside(slot):
        parent = slots[slot][2]
        return parent < 0 or (mask[parent] and inside(parent))

    return [inside(slot) for slot in range(len(slots))]


def output(model, sample, mask):
    """Logits (B, C) of the samples without the slots for which the list ``mask`` is False."""
    place = iter(mask)
    kept = {}

    def hand_out(node, path):
        kept[path] = [next(place) for _ in range(len(node.observation))]
        if not isinstance(node, Skip):
            for name, child in node.children().items():
                hand_out(child, (*path, name))

    hand_out(sample.root, ())
    rows = [_encode(model.encoder, sample.root, kept, (), i)[0] for i in range(len(sample))]
    return torch.stack([model.head.weight @ row + model.head.bias for row in rows])


def _encode(encoder, node, kept, path, i):
    """The vector of observation i, and whether there is anything in it."""
    if isinstance(node, Skip):
        return _encode(encoder.child, node.child, None, path, i)
    own = None if kept is None else kept[path]
    mine = [j for j, o in enumerate(node.observation.tolist()) if o == i and (own is None or own[j])]
    if isinstance(node, Product):
        parts = [
            _encode(part, child, kept, (*path, name), i)
            for part, (name, child) in zip(encoder.encoders, node.children().items(), strict=True)
        ]
        return _layer(encoder.layer, torch.cat([values for values, _ in parts])), any(there for _, there in parts)
    if isinstance(node, Bag):
        instances = [_encode(encoder.child, node.child, kept, (*path, "[]"), j) for j in mine]
        instances = [values for values, there in instances if there]
        if not instances:
            return _layer(encoder.layer, encoder.missing), False
        mean = sum(instances) / len(instances)
        largest = torch.stack(instances).max(dim=0).values
        return _layer(encoder.layer, torch.cat((mean, largest))), True
    if isinstance(node, Sparse):
        total = encoder.layer.bias
        for j in mine:
            total = total + encoder.layer.weight[:, node.columns[j]] * node.values[j]
        return total.relu(), len(mine) > 0
    values = encoder.missing.clone()
    if isinstance(node, Dense):
        for j in mine:
            feature = node.place[j] % node.values.shape[1]
            values[feature] = (node.values[i, feature] - encoder.mean[feature]) / encoder.scale[feature]
    elif mine and isinstance(node, Categorical):
        values = encoder.embedding.weight[min(int(node.codes[i]), node.size)]
    elif mine and isinstance(node, Text):
        table = node.table
        rows = [encoder.embedding.weight[k] for k in ngrams(table.strings[node.codes[i]], table.n, table.buckets)]
        values = sum(rows) / len(rows)
    return _layer(encoder.layer, values), len(mine) > 0


def _layer(layer, values):
    return (layer.weight @ values + layer.bias).relu()


def ngrams(string, n, buckets):
    """The buckets of the n-grams of one string."""
    padded = bytes([2] * (n - 1)) + string.encode() + bytes([3] * (n - 1))
    windows = [padded[i : i + n] for i in range(len(padded) - n + 1)]
    return [sum((byte + 1) * 257 ** (n - 1 - k) for k, byte in enumerate(window)) % buckets for window in windows]


def without_empty(document, schema=None):
    """The document without null, [], {} and what holds nothing else; None if that is all.

    With a schema, the keys of its maps stay whatever stands under them.
    """
    schema = _alternative(document, schema)
    if isinstance(document, dict):
        parts = {key: without_empty(value, _below(schema, key)) for key, value in document.items()}
        keys = isinstance(schema, MapSchema)
        return {key: value for key, value in parts.items() if keys or value is not None} or None
    if isinstance(document, list):
        members = [without_empty(value, _below(schema, "[]")) for value in document]
        return [value for value in members if value is not None] or None
    return document


def _alternative(document, schema):
    """The schema of a document of a union, and of what is skipped."""
    if isinstance(schema, SkipSchema):
        return _alternative(document, schema.child)
    if isinstance(schema, UnionSchema):
        types = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}
        return dict(schema.parts).get(types.get(type(document)))
    return schema


def _below(schema, key):
    if isinstance(schema, MapSchema):
        return schema.value
    if isinstance(schema, ProductSchema):
        return dict(schema.parts).get(key)
    return schema.child if isinstance(schema, BagSchema) else None


def pairs_of(sample):
    """For each slot, whether it is a pair of a map."""
    found = []

    def walk(node, schema):
        found.extend([isinstance(schema, MapSchema)] * len(node.observation))
        if isinstance(node, Bag):
            walk(node.child, schema.child)
        elif isinstance(node, Product):
            for name, child in node.children().items():
                walk(child, dict(schema.parts)[name])

    walk(sample.root, sample.schema)
    return found


def removed(document, gone, pairs=(), place=()):
    """The document without the values and instances at the places ``gone``, and the entries at those of ``pairs``."""
    if place in gone:
        return None
    if isinstance(document, dict):
        items = [(key, value) for key, value in document.items() if (*place, key) not in pairs]
        return {key: removed(value, gone, pairs, (*place, key)) for key, value in items}
    if isinstance(document, list):
        return [removed(value, gone, pairs, (*place, i)) for i, value in enumerate(document)]
    return document


def pruned(sample, written, where, mask):
    """The documents ``written`` of a sample without the slots, at the places ``where``, that ``mask`` removes."""
    gone, pairs = [set() for _ in written], [set() for _ in written]
    for place, kept, b, is_pair in zip(where, mask.tolist(), sample.output_id.tolist(), pairs_of(sample), strict=True):
        if not kept:
            (pairs if is_pair else gone)[b].add(place)
    documents = [removed(d, g, p) for d, g, p in zip(written, gone, pairs, strict=True)]
    return [emptied(without_empty(document, sample.schema), sample.schema) for document in documents]


def emptied(document, schema):
    """As ``to_json`` writes a document in which there is nothing."""
    empty = {ProductSchema: {}, MapSchema: {}, SparseSchema: {}, BagSchema: []}.get(type(schema))
    return empty if document is None else document
