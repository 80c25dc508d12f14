"""Files of classifiers: what is written comes back, and hostile files are refused by name."""

from __future__ import annotations

import json
import os
import random

import pytest
import torch

from rambit.store import encode, load_tensors
from rambit.structure import load_model, save_model
from rambit.structure.model_files import FORMAT
from tests.structure.trees import BY_TYPE, random_model, random_sample, random_tree
from tests.test_store import on_posix


@pytest.mark.parametrize("name", BY_TYPE)
def test_every_type_of_node_comes_back(tmp_path, name):
    schema = BY_TYPE[name]
    sample, model = random_sample(schema, 0), random_model(schema)
    path = tmp_path / "model.safetensors"
    save_model(path, model)
    before = torch.get_rng_state()
    loaded = load_model(str(path))
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.schema == schema
    assert not loaded.training
    assert torch.equal(loaded(sample), model(sample))
    loaded(sample).sum().backward()  # weights that were read can be trained on
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert loaded.head.bias.grad.abs().sum() > 0


def test_a_later_model_replaces_the_file_and_nothing_else_is_left(tmp_path):
    sample = random_tree(0)
    small, large = random_model(sample.schema, width=2).float(), random_model(sample.schema)
    path = tmp_path / "model.safetensors"
    save_model(path, large)
    save_model(path, small)
    assert list(tmp_path.iterdir()) == [path]
    assert torch.equal(load_model(path)(sample), small(sample))


def test_a_missing_file_is_no_value_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none.safetensors")


@pytest.fixture
def parts(tmp_path):
    """A file with the weights and the configuration of a model, to be damaged."""
    path = tmp_path / "folder" / "model.safetensors"
    path.parent.mkdir()
    save_model(path, random_model(BY_TYPE["bag of products"]))
    weights, metadata = load_tensors(path)
    return path, weights, json.loads(metadata[FORMAT])


def deep(levels):
    schema = {"type": "dense", "features": 1}
    for _ in range(levels):
        schema = {"type": "bag", "child": schema}
    return schema


CONFIGS = {
    "list": lambda c: [],
    "null": lambda c: None,
    "string": lambda c: "schema",
    "empty": lambda c: {},
    "no schema": lambda c: {n: v for n, v in c.items() if n != "schema"},
    "schema list": lambda c: {**c, "schema": []},
    "unknown type": lambda c: {**c, "schema": {"type": "os.system"}},
    "type list": lambda c: {**c, "schema": {"type": []}},
    "unknown option": lambda c: {**c, "schema": {"type": "dense", "features": 1, "path": "../secret"}},
    "no parts": lambda c: {**c, "schema": {"type": "product", "parts": {}}},
    "nested keys": lambda c: {**c, "schema": {"type": "sparse", "keys": [["u"], ["v"]]}},
    "infinite features": lambda c: {**c, "schema": {"type": "dense", "features": float("inf")}},
    "huge features": lambda c: {**c, "schema": {"type": "dense", "features": 10**30}},
    "no features": lambda c: {**c, "schema": {"type": "dense", "features": 0}},
    "other schema": lambda c: {**c, "schema": {"type": "dense", "features": 2}},
    "deep schema": lambda c: {**c, "schema": deep(400)},
    "classes as text": lambda c: {**c, "num_classes": "3"},
    "half a class": lambda c: {**c, "num_classes": 2.5},
    "one class": lambda c: {**c, "num_classes": 1},
    "more classes": lambda c: {**c, "num_classes": 4},
    "width null": lambda c: {**c, "width": None},
    "width -1": lambda c: {**c, "width": -1},
    "other width": lambda c: {**c, "width": 4},
    "huge width": lambda c: {**c, "width": 2**31},  # of which the weights alone would fill any memory
    "endless width": lambda c: {**c, "width": 2**80},
}


@pytest.mark.parametrize("case", CONFIGS)
def test_hostile_configurations(parts, case):
    path, weights, config = parts
    path.write_bytes(encode(weights, {FORMAT: json.dumps(CONFIGS[case](config))}))
    with pytest.raises(ValueError, match=r"model\.safetensors is corrupt or not a model of documents"):
        load_model(path)


@pytest.mark.parametrize("text", ["", "{", "nan", "[" * 100_000, '{"schema": ' + '{"child": ' * 100_000, "9" * 5000])
def test_configurations_that_are_not_json(parts, text):
    path, weights, _ = parts
    path.write_bytes(encode(weights, {FORMAT: text}))
    with pytest.raises(ValueError, match=r"model\.safetensors is corrupt or not a model of documents"):
        load_model(path)


def changed(weights, value):
    """The weights with another one in the place of the head's bias."""
    return {**weights, "head.bias": value}


WEIGHTS = {
    "none": lambda w: {},
    "one missing": lambda w: {n: v for n, v in w.items() if n != "head.bias"},
    "one more": lambda w: {**w, "more": w["head.bias"]},
    "a name that leads out": lambda w: {**w, "../../secret": w["head.bias"]},
    "an attribute": lambda w: {**w, "head.forward": w["head.bias"]},
    "a shape that would broadcast": lambda w: changed(w, w["head.bias"][:1]),
    "one axis more": lambda w: changed(w, w["head.bias"][:, None]),
    "integers": lambda w: changed(w, w["head.bias"].long()),
    "integers only": lambda w: {n: v.long() for n, v in w.items()},
    "another precision": lambda w: changed(w, w["head.bias"].float()),
    "complex numbers": lambda w: {n: v.to(torch.complex64) for n, v in w.items()},
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_do_not_fit(parts, case):
    path, weights, config = parts
    (path.parent.parent / "secret").write_bytes(b"mine")
    path.write_bytes(encode(WEIGHTS[case](weights), {FORMAT: json.dumps(config)}))
    with pytest.raises(ValueError, match=r"model\.safetensors is corrupt or not a model of documents"):
        load_model(path)
    assert (path.parent.parent / "secret").read_bytes() == b"mine"
    assert list(path.parent.iterdir()) == [path]


def test_files_of_something_else(parts):
    path, weights, config = parts
    for metadata in (None, {}, {"rambit": json.dumps(config)}):
        path.write_bytes(encode(weights, metadata))
        with pytest.raises(ValueError, match=r"model\.safetensors is a safetensors file, but not a model of documents"):
            load_model(path)
    for data in (b"", b"nothing", b"PK\3\4" + bytes(100), b"\x80\x02cos\nsystem\n."):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            load_model(path)


@on_posix
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is not a regular file"):
        load_model(tmp_path / "model.safetensors")


def test_every_truncation_is_noticed(parts):
    path, _, _ = parts
    data = path.read_bytes()
    rng = random.Random(0)
    for end in (0, 7, 8, len(data) - 1, *(rng.randrange(len(data)) for _ in range(30))):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            load_model(path)


def test_the_path_comes_first(tmp_path):
    model = random_model(BY_TYPE["bag of products"])
    with pytest.raises(TypeError, match="path comes first, then model: got a HierarchicalClassifier for path"):
        save_model(model, tmp_path / "m")
    with pytest.raises(TypeError, match="model must be a HierarchicalClassifier, got a dict"):
        save_model(tmp_path / "m", {})
