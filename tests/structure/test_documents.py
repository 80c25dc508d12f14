"""JSON in and out."""

from __future__ import annotations

import copy
import datetime
import json
import random
from decimal import Decimal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rambit.structure import (
    BagSchema,
    CategoricalSchema,
    DenseSchema,
    MapSchema,
    ProductSchema,
    SkipSchema,
    SparseSchema,
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
from rambit.structure.documents import read_json
from tests.naive import structure as naive
from tests.structure.trees import random_document, random_masks, random_model, random_schema

seeds = st.integers(0, 10**6)


def random_documents(seed, count=3):
    rng = random.Random(seed)
    schema = random_schema(rng, 3)
    return [random_document(rng, schema, missing=0.1) for _ in range(count)], schema


@given(seed=seeds)
def test_out_comes_what_went_in_without_empty_parts(seed):
    documents, schema = random_documents(seed)
    before = copy.deepcopy(documents)
    written = to_json(from_json(documents, schema))
    assert written == [naive.emptied(naive.without_empty(document, schema), schema) for document in documents]
    assert documents == before
    assert json.loads(json.dumps(written)) == written


@given(seed=seeds)
def test_a_pruned_document_lacks_what_is_removed(seed):
    documents, schema = random_documents(seed)
    sample = from_json(documents, schema)
    written, where = to_json(sample), places(sample)
    assert len(where) == sample.terms
    for mask in random_masks(sample, 3, seed):
        assert to_json(sample, mask) == naive.pruned(sample, written, where, mask)


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


def test_several_types_at_one_place():
    documents = [{"by": "me"}, {"by": {"name": "you"}}, {"by": ["we", 2]}, {"by": 3}, {"by": True}, {"by": None}]
    schema = infer_schema(documents)
    assert dict(schema.parts)["by"] == UnionSchema(
        (
            CategoricalSchema((False, True)),
            BagSchema(UnionSchema((DenseSchema(), TextSchema()))),
            DenseSchema(),
            ProductSchema((("name", TextSchema()),)),
            TextSchema(),
        )
    )
    sample = from_json(documents)
    assert to_json(sample) == [*documents[:5], {}]
    assert places(sample)[:2] == [("by",), ("by", 0)]
    assert places(from_json(documents, skip(schema, ("by", "list"))))[0] == ("by",)


def test_objects_keyed_by_data_are_maps():
    documents = [{"name": f"n{i}", "needs": {f"p{i}": "1", f"q{i % 4}": {"at": 2}}} for i in range(20)]
    needs = dict(infer_schema(documents).parts)["needs"]
    either = UnionSchema((ProductSchema((("at", DenseSchema()),)), CategoricalSchema(("1",))))
    assert needs == ProductSchema(
        tuple((k, dict(needs.parts)[k]) for k in sorted({f"p{i}" for i in range(20)} | {"q0", "q1", "q2", "q3"}))
    )
    assert dict(infer_schema(documents, map_share=0.3).parts)["needs"] == MapSchema(either)
    assert dict(infer_schema(documents, kinds={("needs",): "map"}).parts)["needs"] == MapSchema(either)
    documents = [{"needs": {f"p{i}": i}} for i in range(20)]
    schema = infer_schema(documents)
    assert schema == ProductSchema((("needs", MapSchema(DenseSchema())),))
    assert isinstance(dict(infer_schema(documents, map_share=0).parts)["needs"], ProductSchema)
    assert isinstance(dict(infer_schema(documents, kinds={("needs",): "object"}).parts)["needs"], ProductSchema)
    unseen = [{"needs": {"new": 3, "newer": None}}]
    sample = from_json(unseen, schema)
    assert to_json(sample) == unseen
    assert places(sample) == [("needs", "new"), ("needs", "newer"), ("needs", "new")]
    assert to_json(sample, torch.tensor([True, False, False])) == [{"needs": {"new": None}}]


def test_keys_alone():
    documents = [{"ports": {"80/tcp": {}, "443/tcp": None}}, {"ports": {}}]
    schema = infer_schema(documents, kinds={("ports",): "map"})
    assert schema == ProductSchema((("ports", MapSchema(None)),))
    assert to_json(from_json(documents, schema)) == [{"ports": {"80/tcp": None, "443/tcp": None}}, {}]


def test_numbers_in_rows_are_vectors():
    assert infer_schema([{"x": [1, 2, None]}] * 5) == ProductSchema((("x", DenseSchema(3)),))
    assert infer_schema([[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 0]]]) == BagSchema(DenseSchema(2))
    for documents in ([[1, 2]] * 4, [[1, 2]] * 5 + [[1]], [[1]] * 5, [[1, 2**60]] * 5, [[1, "a"]] * 5):
        assert isinstance(infer_schema(documents), BagSchema)
    assert infer_schema([[1, 2]], kinds={(): "vector"}) == DenseSchema(2)
    assert infer_schema([[1, 2]] * 5, kinds={(): "list"}) == BagSchema(DenseSchema())
    with pytest.raises(ValueError, match=r"document 1 .* a list of 2 numbers, got \[3\]"):
        infer_schema([[1, 2], [3]], kinds={(): "vector"})


def test_large_integers_and_ids_are_text():
    documents = [{"id": 7}, {"id": 2**53 + 1}, {"id": -0.5}, {"id": 10**300}]
    schema = infer_schema(documents)
    assert schema == ProductSchema((("id", TextSchema(numbers=True)),))
    assert to_json(from_json(documents, schema)) == documents
    assert infer_schema([{"id": 7}], kinds={("id",): "text"}) == schema
    with pytest.raises(ValueError, match=r"expected number within ±2\^53, got 9007199254740993"):
        from_json([2**53 + 1], DenseSchema())


def test_values_of_python_and_numpy():
    day = datetime.datetime(2024, 2, 29, 12)
    given = {
        "i": np.int64(3), "b": np.bool_(True), "t": (1, (2.5, None)), "d": Decimal("0.25"), "n": Decimal(2**60),
        "at": day, "on": day.date(), "np": np.datetime64("2024-02-29"), "a": np.arange(3), "s": np.str_("x"),
    }  # fmt: skip
    plain = {
        "i": 3, "b": True, "t": [1, [2.5]], "d": 0.25, "n": 2**60,
        "at": "2024-02-29T12:00:00", "on": "2024-02-29", "np": "2024-02-29", "a": [0, 1, 2], "s": "x",
    }  # fmt: skip
    found = to_json(from_json([given]))
    assert found == [plain]
    assert json.loads(json.dumps(found)) == [plain]
    with pytest.raises(ValueError, match="numbers must be finite"):
        from_json([Decimal("NaN")])


def test_what_the_schema_has_not_seen():
    schema = infer_schema([{"a": 1, "null": None, "l": [{"x": "t"}]}])
    held_out = [{"a": "one", "null": 3, "new": {"k": 1}, "l": [{"x": 1, "y": 2}, {"x": "u"}]}, {"a": 2}, 7]
    for document in ({"a": "one"}, {"null": 3}, {"l": [{"x": 1}]}, 7):
        with pytest.raises(ValueError, match="does not fit"):
            from_json([document], schema)
    sample, ignored = read_json(held_out, schema, "ignore")
    assert to_json(sample) == [{"l": [{"x": "u"}]}, {"a": 2}, {}]
    assert ignored == {(): 1, ("a",): 1, ("null",): 1, ("new",): 1, ("l", "[]", "x"): 1, ("l", "[]", "y"): 1}
    assert to_json(from_json(held_out, schema, unknown="ignore")) == to_json(sample)
    vectors = from_json([[1, 2], [1], ["a", "b"], [2**60, 1]], DenseSchema(2), unknown="ignore")
    assert to_json(vectors) == [[1, 2], None, None, None]
    assert to_json(from_json([{"u": "1", "v": 2}], SparseSchema(("u",)), unknown="ignore")) == [{}]
    with pytest.raises(ValueError, match="unknown must be one of error, ignore"):
        from_json(held_out, schema, unknown="skip")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": {("a",): "number"}}, r"kinds\[\('a',\)\] must be one of map"),
        ({"kinds": {("a",): "map"}}, r"kinds names \('a',\) as map, but there is nothing of that kind"),
        ({"kinds": {("b",): "text"}}, r"kinds names \('b',\)"),
        ({"map_share": 2}, "map_share must be at least 0 and at most 1"),
        ({"max_categories": -1}, "max_categories must be at least 0"),
    ],
)
def test_bad_options_of_inference(options, message):
    with pytest.raises(ValueError, match=message):
        infer_schema([{"a": 1}], **options)


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
        ({"a": [0.0, float("nan")]}, r"\['a'\]\[1\]: numbers must be finite"),
        ({"a": 10**400}, "integers of at most 1024 bits, got one of 1329 bits"),
        ({"a": {2: 1}}, "keys must be strings, got 2"),
    ],
)
def test_bad_documents(document, message):
    with pytest.raises(ValueError, match=message):
        from_json([{"b": "text"}, document])
    schema = ProductSchema((("a", BagSchema(DenseSchema())), ("b", TextSchema())))
    with pytest.raises(ValueError, match=message):
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
        (MapSchema(TextSchema()), {"a": 1}, r"at \('\[\]', 'value'\): expected string, got 1"),
        (MapSchema(None), {"a": 1}, r"one of the keys \['key'\], got 'value'"),
        (UnionSchema((DenseSchema(), TextSchema())), [[1]], "expected number or string, got"),
    ],
)
def test_documents_that_do_not_fit(schema, document, message):
    with pytest.raises(ValueError, match=message):
        from_json([document], schema)


def test_empty_parts_may_have_any_name():
    schema = ProductSchema((("a", DenseSchema()),))
    assert to_json(from_json([{"a": 1, "z": [None, {}]}], schema)) == [{"a": 1}]


def nested_maps(levels):
    schema = DenseSchema()
    for _ in range(levels):
        schema = MapSchema(schema)
    return schema


def nested_unions(levels):
    document = 1
    for _ in range(levels):
        document = ["x", document]
    return document


@pytest.mark.parametrize(
    ("document", "schema"),
    [(deep(100), None), (deep(100, dict), None), (deep(100, dict), nested_maps(100)), (nested_unions(100), None)],
    ids=["lists", "objects", "maps", "unions"],
)
def test_hundred_levels_are_allowed(tmp_path, document, schema):
    sample = from_json([document], schema)
    assert to_json(sample) == [document]
    model = random_model(sample.schema, width=2)
    mask = torch.ones(2, sample.terms, dtype=torch.bool)
    torch.testing.assert_close(model.evaluate(sample, mask)[0], model(sample))
    torch.testing.assert_close(model(sample.pruned(mask[0])), model(sample))
    save_model(tmp_path / "model", model)
    assert load_model(tmp_path / "model").schema == sample.schema
    assert len(places(sample)) == sample.terms
    assert len(str(sample).splitlines()) > 100 or schema is not None


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


@pytest.mark.parametrize("wrong", ["documents.json", b"[]", {"a": 1}])
@pytest.mark.parametrize("read", [from_json, infer_schema])
def test_one_document_is_no_list_of_them(read, wrong):
    with pytest.raises(TypeError, match="documents must be a sequence of documents"):
        read(wrong)
