"""`rambit train --json`, and `rambit suffice` on its model, give what the Python calls give."""

from __future__ import annotations

import json

import pytest
import torch

from rambit.models.sequence_classifier import seeded
from rambit.structure import HierarchicalClassifier, evaluate, fit, from_json, load_model

DOCUMENTS = [
    {"meta": {"kind": "spam" if n % 3 == 0 else "fine"}, "words": ["win", "now"] if n % 3 == 0 else ["dear"], "id": n}
    for n in range(30)
]
OPTIONS = ["--epochs", 20, "--lr", 0.02, "--hidden", 8, "--seed", 3]


@pytest.fixture(params=["documents.json", "documents.jsonl", "folder"])
def data(request, tmp_path):
    path = tmp_path / request.param
    if path.suffix == ".json":
        path.write_text(json.dumps(DOCUMENTS))
    elif path.suffix:
        path.write_text("\n".join(map(json.dumps, DOCUMENTS)) + "\n\n")
    else:
        for n, document in enumerate(DOCUMENTS):
            (path / f"{n % 2}").mkdir(parents=True, exist_ok=True)
            (path / f"{n % 2}" / f"{n:02}.json").write_text(json.dumps(document))
    return path


def test_a_model_of_documents(rambit, data, tmp_path):
    out = tmp_path / "model.safetensors"
    done = rambit("train", data, "--json", "--label", "meta.kind", "--valid", 0.2, "--out", out, *OPTIONS)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == f"data                 {data}: 30 documents, 2 classes by meta.kind"
    assert lines[-1] == f"wrote                {out}"
    assert [line.split()[0] for line in lines[3:5]] == ["train", "validation"]
    model = load_model(out)
    assert model.class_names == ("fine", "spam")
    kept = [{"words": d["words"], "id": d["id"]} for d in DOCUMENTS]
    y = [model.class_names.index(d["meta"]["kind"]) for d in DOCUMENTS]
    assert evaluate(model, from_json(kept, model.schema), y)["accuracy"] == 1

    done = rambit("suffice", data, "--json", "--model", out, "--limit", 2, "--out", tmp_path / "kept")
    assert done.code == 0, done.err
    assert "ignored 2 values that the model has not seen the like of: meta (2)" in done.err
    name = "0/00.json" if data.name == "folder" else "document 0"
    assert done.out.splitlines()[1].startswith(f"{name}  spam ")
    assert json.loads((tmp_path / "kept" / "0.json").read_text())["words"]


def test_it_is_what_fit_gives(rambit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.json").write_text(json.dumps(DOCUMENTS))
    done = rambit("train", "d.json", "--json", "--label", "id", "--out", "m.safetensors", "--device", "cpu", *OPTIONS)
    assert done.code == 0, done.err
    sample = from_json([{key: value for key, value in d.items() if key != "id"} for d in DOCUMENTS])
    with seeded(3):
        twin = HierarchicalClassifier(sample.schema, 30, width=8)
    fit(twin, sample, list(range(30)), epochs=20, lr=0.02, weight_decay=1e-3, seed=3)
    model = load_model(tmp_path / "m.safetensors")
    assert model.class_names == tuple(map(str, range(30)))  # numbers in their order
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(rambit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.json").write_text(json.dumps(DOCUMENTS))
    run = ("train", "d.json", "--json", "--label", "meta.kind", "--valid", 0.2, "--out", "m.safetensors", *OPTIONS)
    done = rambit(*run, "--device", "cuda")
    assert done.code == 0, done.err
    assert "validation accuracy  1.0000" in done.out
    assert load_model("m.safetensors").head.weight.device.type == "cpu"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("[{}]", [], "--json needs --label KEY"),
        ("[{}]", ["--label", "k", "--model", "gru"], "--model is for series, not for documents"),
        ("[{}]", ["--label", "k", "--per-step"], "--per-step is for series"),
        (
            '[{"k": "a"}, {}]',
            ["--label", "k"],
            "document 1: --label k must be text, a whole number or a boolean, got null",
        ),
        ('[{"k": 0.5}]', ["--label", "k"], "got 0.5"),
        ('[{"k": "a", "v": 1}]', ["--label", "k"], "is 'a' in every document"),
        ('[{"k": "a"}, {"k": "b"}]', ["--label", "k"], "there is nothing in the documents"),
        (
            '[{"k": "a", "v": 1}, {"k": "b"}]',
            ["--label", "k", "--valid", "1"],
            "--valid must lie between 0 and 1, got 1",
        ),
        ("[]", ["--label", "k"], "must hold a list of documents"),
        ("{", ["--label", "k"], "is not a JSON file"),
    ],
)
def test_what_does_not_serve(rambit, tmp_path, monkeypatch, text, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.json").write_text(text)
    done = rambit("train", "d.json", "--json", *options, "--out", "m.safetensors")
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "m.safetensors").exists()


def test_files_that_can_not_be_read(rambit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.jsonl").write_text('{"k": "a"}\n{"k": \n')
    (tmp_path / "none").mkdir()
    for name, message in (("d.jsonl", "d.jsonl, line 2, is not a JSON file"), ("none", "none holds no .json files")):
        done = rambit("train", name, "--json", "--label", "k", "--out", "m.safetensors")
        assert done.code == 2
        assert message in done.err
