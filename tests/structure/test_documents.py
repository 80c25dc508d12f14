"""JSON in and out."""

from __future__ import annotations

import copy
import json
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rambit.structure import (
    BagSchema,
    CategoricalSchema,
    DenseSchema,
    ProductSchema,
    SkipSchema,
    SparseSchema,
    TextSchema,
    from_json,
    infer_schema,
    places,
    skip,
    to_json,
)
from tests.naive import structure as naive
from tests.structure.trees import random_document, random_masks, random_model, random_schema

seeds = st.integers(0, 10**6)


def random_documents(seed, count=3):
    rng = random.Random(seed)
    schema = random_schema(rng, 3)
    return [random_document(rng, schema, missing=0.1) for _ in range(count)], schema


def emptied(document, schema):
    """As ``to_json`` writes a document in which there is nothing."""
    empty = {ProductSchema: {}, SparseSchema: {}, BagSchema: []}.get(type(schema))
    return empty if document is None else document


@given(seed=seeds)
def test_out_comes_what_went_in_without_empty_parts(seed):
    documents, schema = random_documents(seed)
    before = copy.deepcopy(documents)
    written = to_json(from_json(documents, schema))
    assert written == [emptied(naive.without_empty(document), schema) for document in documents]
    assert documents == before
    assert json.loads(json.dumps(written)) == written


@given(seed=seeds)
def test_a_pruned_document_lacks_what_is_removed(seed):
    documents, schema = random_documents(seed)
    sample = from_json(documents, schema)
    written, where, output = to_json(sample), places(sample), sample.output_id.tolist()
    assert len(where) == sample.terms
    for mask in random_masks(sample, 3, seed):
        gone = [{p for p, k, o in zip(where, mask.tolist(), output, strict=True) if not k and o == b} for b in range(3)]
        expected = [naive.without_empty(naive.removed(d, g)) for d, g in zip(written, gone, strict=True)]
        assert to_json(sample, mask) == [emptied(document, schema) for document in expected]


@settings(max_examples=25)
@given(seed=seeds)
def test_a_pruned_document_gets_the_answer_to_its_mask(seed):
    documents, schema = random_documents(seed)
    sample, model = from_json(documents, schema), random_model(schema, seed)
    masks = random_masks(sample, 4, seed)
    again = torch.stack([model(from_json(to_json(sample, mask), schema)) for mask in masks])
    torch.testing.assert_close(again, model.evaluate(sample, masks), rtol=0, atol=1e-9)


def test_inferred_schemas():
    people = [{"name": f"n{i}", "kind": "xy"[i % 2], "tags": [{"on": True}, None], "size": i} for i in range(20)]
    people += [{"extra": [[1.5]], "tags": [], "never": [{}, {"deep": None}]}]
    assert infer_schema(people) == ProductSchema(
        (
            ("extra", BagSchema(BagSchema(DenseSchema()))),
            ("kind", CategoricalSchema(("x", "y"))),
            ("name", TextSchema()),
            ("size", DenseSchema()),
            ("tags", BagSchema(ProductSchema((("on", CategoricalSchema((False, True))),)))),
        )
    )
    assert infer_schema(people, max_categories=1).parts[1] == ("kind", TextSchema())
    assert infer_schema([["a"] * 9 + ["b"]]) == BagSchema(CategoricalSchema(("a", "b")))
    assert infer_schema([["a"] * 8 + ["b"]]) == BagSchema(TextSchema())


def test_parts_can_be_skipped():
    schema = infer_schema([{"a": [{"id": 1, "x": 2}]}])
    skipped = skip(schema, ("a", "[]", "id"))
    sample = from_json([{"a": [{"id": 1, "x": 2}, {"id": 3, "x": 4}]}], skipped)
    assert [place for place in places(sample) if "id" in place] == []
    nothing = torch.zeros(sample.terms, dtype=torch.bool)
    nothing[0] = True
    assert to_json(sample, nothing) == [{"a": [{"id": 1}]}]
    assert skip(schema, ()) == SkipSchema(schema)
    with pytest.raises(ValueError, match="path must name a node"):
        skip(schema, ("a", "id"))


def cyclic():
    document = {"a": [1]}
    document["a"].append(document)
    return document


def deep(levels, container=list):
    document = 1
    for _ in range(levels):
        document = [document] if container is list else {"a": document}
    return document


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (cyclic(), r"document 1 at \['a'\]\[1\]: it contains itself"),
        (deep(10_000), "more than 100 levels"),
        (deep(10_000, dict), "more than 100 levels"),
        ({"a": {1}}, r"document 1 at \['a'\]: it must be JSON, got set"),
        ({"a": (1,)}, "must be JSON, got tuple"),
        ({"a": [0.0, float("nan")]}, r"\['a'\]\[1\]: numbers must be finite"),
        ({"a": 10**400}, "integers within"),
        ({"a": 2**53 + 1}, "integers within"),
        ({"a": {2: 1}}, "keys must be strings, got 2"),
        ({"b": 1.0}, r"document 1 does not fit the schema at \('b',\): expected string, as in document 0, got 1.0"),
        ({"b": ["x"]}, r"expected string, as in document 0"),
        ([1], r"at \(\): expected object, as in document 0"),
        ({"b": True}, r"expected string"),
    ],
)
def test_bad_documents(document, message):
    with pytest.raises(ValueError, match=message):
        from_json([{"b": "text"}, document])
    schema = ProductSchema((("a", BagSchema(DenseSchema())), ("b", TextSchema())))
    with pytest.raises(ValueError, match=message.partition(", as in")[0]):
        from_json([{"b": "text"}, document], schema)


@pytest.mark.parametrize(
    ("schema", "document", "message"),
    [
        (ProductSchema((("a", DenseSchema()),)), {"a": 1, "z": [2]}, r"one of the keys \['a'\], got 'z'"),
        (BagSchema(DenseSchema(2)), [[1, 2], [1, 2, 3]], r"\('\[\]',\): expected a list of 2 numbers, got \[1, 2, 3\]"),
        (DenseSchema(2), [1, "x"], "a list of 2 numbers"),
        (DenseSchema(), True, "expected number, got True"),
        (SparseSchema(("u",)), {"v": 1}, r"under keys among \['u'\]"),
        (SparseSchema(("u",)), {"u": "1"}, "numbers under keys"),
        (CategoricalSchema(("a",)), 3, "expected string, got 3"),
        (CategoricalSchema((False, True)), "a", "expected boolean, got 'a'"),
        (TextSchema(), ["x" * 100], "expected string, got .*…"),
        (BagSchema(TextSchema()), {"a": 1}, "expected list, got"),
    ],
)
def test_documents_that_do_not_fit(schema, document, message):
    with pytest.raises(ValueError, match=message):
        from_json([document], schema)


def test_empty_parts_may_have_any_name():
    schema = ProductSchema((("a", DenseSchema()),))
    assert to_json(from_json([{"a": 1, "z": [None, {}]}], schema)) == [{"a": 1}]


def test_hundred_levels_are_allowed():
    sample = from_json([deep(100)])
    assert to_json(sample) == [deep(100)]
    assert sample.levels.max() == 100
    model = random_model(sample.schema, width=2)
    mask = torch.ones(2, sample.terms, dtype=torch.bool)
    torch.testing.assert_close(model.evaluate(sample, mask)[0], model(sample))


def test_no_documents():
    for documents in ([], [{}], [{"a": []}, None]):
        with pytest.raises(ValueError, match="there is nothing in the documents"):
            from_json(documents)
    sample = from_json([], DenseSchema())
    assert len(sample) == sample.terms == 0
    assert to_json(sample) == []


def test_values_that_a_model_has_not_seen():
    schema = CategoricalSchema(("a", "b"))
    sample = from_json(["a", "new", "other", None], schema)
    assert to_json(sample) == ["a", "new", "other", None]
    outputs = random_model(schema)(sample)
    assert torch.equal(outputs[1], outputs[2])
    assert not torch.equal(outputs[1], outputs[3])


EMPTY = [None, [], {}, [None], [[]], {"x": None}, [{}], {"x": [{}]}]
COLUMNS = {
    "number": [1, 2.5],
    "boolean": [True, False],
    "categories": ["a"] * 5 + ["b"] * 5,
    "text": ["aa", "bb"],
    "list": [[1], [2, 3]],
    "object": [{"k": 1}, {"k": 2}],
    "objects": [[{"k": 1}], [{"k": 2}]],
}


@pytest.mark.parametrize("around", ["document", "object", "list", "list in object"])
@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_what_a_schema_is_inferred_from_can_be_encoded(column, around):
    wrap = {
        "document": lambda value: value,
        "object": lambda value: {"w": value},
        "list": lambda value: [value],
        "list in object": lambda value: {"w": [value]},
    }[around]
    for empty in EMPTY:
        documents = [wrap(value) for value in (*column, empty, *column)]
        sample = from_json(documents, infer_schema(documents))
        nothing = {ProductSchema: {}, BagSchema: []}.get(type(sample.schema))
        kept = [naive.without_empty(document) for document in documents]
        assert to_json(sample) == [nothing if document is None else document for document in kept]


def test_numbers_in_a_row_or_by_key_may_be_empty_in_any_way():
    for empty in EMPTY:
        rows = from_json([[1, empty], empty], DenseSchema(features=2))
        assert rows.root.values.nan_to_num(-1).tolist() == [[1, -1], [-1, -1]]
        entries = from_json([{"a": 1, "b": empty}, empty], SparseSchema(("a", "b")))
        assert to_json(entries) == [{"a": 1}, {}]
