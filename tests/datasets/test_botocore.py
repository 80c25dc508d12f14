"""Operations as documents: from a made-up service, and from the real ones where botocore is installed."""

from __future__ import annotations

import gzip
import importlib.util
import json

import numpy as np
import pytest
import torch

from rambit.datasets import botocore, botocore_operations
from rambit.structure import HierarchicalClassifier, fit, from_json, infer_schema, predict
from tests.naive.metrics import auroc

needs_botocore = pytest.mark.skipif(importlib.util.find_spec("botocore") is None, reason="needs botocore")


def structure(**members):
    return {"type": "structure", "members": {name: {"shape": shape} for name, shape in members.items()}}


MODEL = {
    "operations": {
        "ListThings": {"name": "ListThings", "input": {"shape": "In"}, "output": {"shape": "Out"}},
        "Stop": {"name": "Stop", "documentation": "paginated"},
    },
    "shapes": {
        "In": structure(Token="Text", Size="Number", Thing="Thing"),
        "Out": structure(Things="Things", ByName="Map", Deep="Deep"),
        "Things": {"type": "list", "member": {"shape": "Thing"}},
        "Map": {"type": "map", "key": {"shape": "Text"}, "value": {"shape": "Things"}},
        "Thing": structure(Id="Text", Parent="Thing"),
        "Deep": structure(Next="Text", Deeper="Deeper"),
        "Deeper": structure(Last="Text"),
        "Text": {"type": "string"},
        "Number": {"type": "integer"},
    },
}
PAGINATOR = {
    "input_token": "Token",
    "output_token": ["Deep.Next || Things[-1].Id", "Deep.Deeper.Last"],
    "limit_key": "Size",
    "result_key": "Things",
}
ID, THING = {"name": "Id", "type": "string"}, {"name": "Parent", "type": "structure"}


@pytest.fixture
def service(tmp_path, monkeypatch):
    """A service with an old version, of which nothing may be read, and one that has no paginators."""
    for version, model in (("2020-01-01", {}), ("2021-01-01", MODEL)):
        folder = tmp_path / "things" / version
        folder.mkdir(parents=True)
        (folder / "service-2.json.gz").write_bytes(gzip.compress(json.dumps(model).encode()))
        (folder / "paginators-1.json").write_text(json.dumps({"pagination": {"ListThings": PAGINATOR}}))
    plain = tmp_path / "plain" / "2022-01-01"
    plain.mkdir(parents=True)
    (plain / "service-2.json").write_text(json.dumps(MODEL))
    (tmp_path / "endpoints.json").write_text("{}")
    monkeypatch.setattr(botocore, "_service_models", lambda: tmp_path)


def test_what_a_document_says(service):
    data = botocore_operations()
    assert (data.services, data.operations) == (("things", "things"), ("ListThings", "Stop"))
    assert data.y.tolist() == [1, 0]
    things = {"name": "Things", "type": "list", "fields": [ID, THING]}
    assert data.documents[1] == {}
    assert data.documents[0] == {
        "input": [
            {"name": "Token", "type": "string"},
            {"name": "Size", "type": "integer"},
            {"name": "Thing", "type": "structure", "fields": [ID, THING]},
        ],
        "output": [
            things,
            things | {"name": "ByName", "type": "map"},
            {
                "name": "Deep",
                "type": "structure",
                "fields": [{"name": "Next", "type": "string"}, {"name": "Deeper", "type": "structure"}],
            },
        ],
    }
    assert botocore_operations(depth=1).documents[0]["output"] == [
        {"name": "Things", "type": "list"},
        {"name": "ByName", "type": "map"},
        {"name": "Deep", "type": "structure"},
    ]


def test_key_fields_stand_where_they_are_said_to(service):
    data = botocore_operations()
    assert [(key.role, key.name, key.place) for key in data.keys[0]] == [
        ("input_token", "Token", ("input", 0)),
        ("output_token", "Deep.Next", ("output", 2, "fields", 0)),
        ("output_token", "Things.Id", ("output", 0, "fields", 0)),
        ("limit_key", "Size", ("input", 1)),
    ]
    assert data.keys[1] == ()
    assert botocore_operations(depth=3).keys[0][3].place == ("output", 2, "fields", 1, "fields", 0)


def test_bad_input(service):
    for name in ("plain", "nothing", "endpoints.json"):
        with pytest.raises(ValueError, match=f"{name}.* has none"):
            botocore_operations([name])
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        botocore_operations(depth=0)
    data = botocore_operations()
    with pytest.raises(ValueError, match="there must be 2 services"):
        data.split(0.5)


def test_without_botocore(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install rambit\[examples\]"):
        botocore_operations()


FEW = ("cloudfront", "elbv2", "kinesis", "s3", "sns", "sqs")


@pytest.fixture(scope="module")
def few():
    return botocore_operations(FEW)


def fields_of(document):
    for field in document.get("input", []) + document.get("output", []):
        yield field
        yield from field.get("fields", [])


@needs_botocore
def test_real_services(few):
    assert set(few.services) == set(FEW)
    for document, label, keys in zip(few.documents, few.y, few.keys, strict=True):
        assert all({"name", "type"} <= field.keys() <= {"name", "type", "fields"} for field in fields_of(document))
        assert bool(keys) == bool(label)
        for key in keys:
            field = document
            for step in key.place:
                field = field[step]
            assert field["name"] == key.name.split(".")[-1]


@needs_botocore
def test_services_are_never_in_both_parts(few):
    first, second = few.split(0.5, seed=3)
    assert not set(first.services) & set(second.services)
    assert len(first) + len(second) == len(few)
    assert sorted(first.operations + second.operations) == sorted(few.operations)
    again = few.split(0.5, seed=3)[0]
    assert np.array_equal(again.y, first.y)
    assert again.documents == first.documents


@needs_botocore
@pytest.mark.slow
def test_pagination_is_learned_from_other_services():
    data = botocore_operations()
    some = set(sorted(set(data.services))[::6])
    train, test = data.take([i for i, service in enumerate(data.services) if service in some]).split(0.7)
    schema = infer_schema(train.documents)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HierarchicalClassifier(schema, 2, width=16)
    fit(model, from_json(train.documents, schema), torch.from_numpy(train.y), epochs=6, lr=5e-3)
    scores = predict(model, from_json(test.documents, schema))[:, 1]
    assert auroc([scores.tolist()], [test.y.tolist()]) >= 0.95
