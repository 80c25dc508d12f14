"""`rambit suffice`."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from rambit.cli import main
from rambit.cli.suffice.documents import shown
from rambit.compare.methods import parse
from rambit.compare.sufficient import Sufficient
from rambit.models import GRUClassifier
from rambit.structure import HierarchicalClassifier, from_json, save_model, to_json
from rambit.sufficiency import SufficientExplanation, explain
from rambit.training import save_checkpoint

DOCUMENTS = [{"a": 1.0, "tags": [{"name": "x", "size": 2.0}, {"name": "y", "size": 0.5}]}, {"a": -2.0, "tags": []}]


@pytest.fixture
def series(tmp_path):
    """A model and a file of series."""
    torch.manual_seed(0)
    model = GRUClassifier(2, hidden_size=4, num_classes=2)
    save_checkpoint(tmp_path / "model.safetensors", model, {})
    X = np.random.default_rng(0).standard_normal((3, 2, 6)).astype(np.float32)
    np.savez(tmp_path / "data.npz", X=X)
    return tmp_path, model.eval(), torch.from_numpy(X)


@pytest.fixture
def nested(tmp_path):
    """A model and a file of documents."""
    sample = from_json(DOCUMENTS)
    torch.manual_seed(0)
    model = HierarchicalClassifier(sample.schema, 2, width=4)
    save_model(tmp_path / "nested.safetensors", model)
    (tmp_path / "documents.json").write_text(json.dumps(DOCUMENTS))
    return tmp_path, model.eval(), sample


def test_series(series, capsys):
    folder, model, X = series
    command = ["suffice", f"{folder}/data.npz", "--model", f"{folder}/model.safetensors", "--series", "0,2"]
    assert main([*command, "--terms", "timestamps", "--seed", "4", "--out", f"{folder}/out"]) == 0
    printed = capsys.readouterr().out
    expected = explain(model, X[[0, 2]], terms="timestamps", seed=4)
    for place, one in zip((0, 2), expected, strict=True):
        assert torch.equal(SufficientExplanation.load(folder / "out" / f"{place}.safetensors").mask, one.mask)
        assert f"series {place}: SufficientExplanation({one.size} of 2 x 6; class {one.target}" in printed
    assert main([*command, "--out", f"{folder}/out"]) == 2
    assert "--force" in capsys.readouterr().err


def test_documents(nested, capsys):
    folder, model, sample = nested
    command = ["suffice", f"{folder}/documents.json", "--json", "--model", f"{folder}/nested.safetensors"]
    assert main([*command, "--limit", "1"]) == 0
    assert json.loads(capsys.readouterr().out) == explain(model, sample.take(torch.tensor([0]))).to_json()


def test_documents_as_files(nested, capsys):
    folder, model, sample = nested
    command = ["suffice", f"{folder}/documents.json", "--json", "--model", f"{folder}/nested.safetensors"]
    assert main([*command, "--out", f"{folder}/out"]) == 0
    printed = capsys.readouterr().out.splitlines()
    found = explain(model, sample)
    assert printed[0].split() == ["document", "class", "kept", "of", "gap", "at", "least", "rows"]
    for number, (one, terms) in enumerate(zip(found, sample.layout.belongs.sum(0).tolist(), strict=True)):
        assert json.loads((folder / "out" / f"{number}.json").read_text()) == one.to_json()
        assert torch.equal(SufficientExplanation.load(folder / "out" / f"{number}.safetensors").mask, one.mask)
        cells = ["document", f"{number}", f"{one.target}", f"{one.size}", f"{terms}", f"{one.gap:.4f}"]
        assert printed[1 + number].split()[:6] == cells
    assert printed[-1] == f"wrote 2 results and documents into {folder}/out"
    assert main([*command, "--out", f"{folder}/out"]) == 2
    assert "--force" in capsys.readouterr().err


def test_what_the_model_has_not_seen_is_told_of(nested, capsys):
    folder, _, _ = nested
    (folder / "documents.json").write_text(json.dumps([DOCUMENTS[0] | {"new": 1}, {"a": "text", "new": 2}]))
    command = ["suffice", f"{folder}/documents.json", "--json", "--model", f"{folder}/nested.safetensors"]
    assert main([*command, "--heuristic", "gnn:steps=2"]) == 0
    done = capsys.readouterr()
    assert "ignored 3 values that the model has not seen the like of: new (2), a (1)" in done.err
    assert "warning: sample 1 holds nothing: its explanation is empty" in done.err
    assert done.out.endswith("{}\n")
    assert main([*command, "--heuristic", "gnn:step=2"]) == 2
    assert "heuristic gnn has no option 'step=2'" in capsys.readouterr().err


def test_what_suffices_is_highlighted(nested):
    _, model, sample = nested
    found = explain(model, sample)
    for number, one in enumerate(found):
        lines = shown(sample, number, one, colours=True).splitlines()
        plain = [line.replace("\x1b[1;32m", "").replace("\x1b[2m", "").replace("\x1b[0m", "") for line in lines]
        quoted = json.dumps(to_json(sample)[number], indent=2).replace(",\n", "\n").splitlines()
        assert plain == quoted
        text = "\n".join(line for line, shade in zip(plain, lines, strict=True) if shade.startswith("\x1b[1;32m"))
        values = [v for v in (one.to_json().get("a"), *(t.get("name") for t in one.to_json().get("tags", []))) if v]
        assert all(json.dumps(value) in text for value in values)


CODE = """
import torch

def first(outputs):
    return outputs[:, 0]

def flow():
    return lambda x: x.sum(dim=2)

number = 3
"""


def test_a_criterion_and_a_tolerance(series, nested, capsys, monkeypatch):
    folder, model, X = series
    monkeypatch.chdir(folder)
    (folder / "mine.py").write_text(CODE)

    def first(outputs):
        return outputs[:, 0]

    command = ["suffice", "data.npz", "--model", "model.safetensors", "--criterion", "mine.py:first", "--out", "first"]
    assert main(command) == 0, capsys.readouterr().err
    for place, one in enumerate(explain(model, X, criterion=first)):
        found = SufficientExplanation.load(folder / "first" / f"{place}.safetensors")
        assert torch.equal(found.mask, one.mask)
        assert found.settings["criterion"] == "first"
    command = ["suffice", "data.npz", "--model", "mine.py:flow", "--output", "regression", "--tolerance", "0.5"]
    assert main([*command, "--out", "within"]) == 0, capsys.readouterr().err
    for place, one in enumerate(explain(lambda x: x.sum(dim=2), X, output="regression", tolerance=0.5)):
        found = SufficientExplanation.load(folder / "within" / f"{place}.safetensors")
        assert torch.equal(found.mask, one.mask)
        assert found.settings["tolerance"] == 0.5
    capsys.readouterr()
    command = ["suffice", "documents.json", "--json", "--model", "nested.safetensors"]
    assert main([*command, "--criterion", "mine.py:first", "--out", "kept"]) == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()[1:3]] == ["–", "–"]
    assert (folder / "kept" / "0.json").exists()
    for options, said in (
        (["--criterion", "mine.py"], "--criterion must be FILE.py:NAME or package.module:NAME, got mine.py"),
        (["--criterion", "mine.py:second"], "--criterion: mine.py has no second"),
        (["--criterion", "mine.py:number"], "criterion must be a function of the outputs (N, C), got 3"),
        (["--criterion", "mine.py:first", "--target", "0"], "target and criterion exclude each other"),
        (["--tolerance", "1"], "tolerance is for output='regression', got 'logits'"),
    ):
        assert main([*command, *options]) == 2
        assert said in capsys.readouterr().err


def test_a_file_that_is_no_model(nested, capsys):
    folder, _, _ = nested
    (folder / "nested.safetensors").write_bytes(b"nothing")
    assert main(["suffice", f"{folder}/documents.json", "--json", "--model", f"{folder}/nested.safetensors"]) == 2
    assert "nested.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "--terms", "cells"], "--terms is for series"),
        (["--json", "--series", "5"], "there are series 0 to 1"),
        (["--json", "--rel-tol", "2"], "rel_tol must be at least 0 and at most 1, got 2"),
        (["--json", "--search", "add"], "--search"),
    ],
)
def test_bad_options(nested, capsys, options, message):
    folder, _, _ = nested
    command = ["suffice", f"{folder}/documents.json", "--model", f"{folder}/nested.safetensors", *options]
    assert main(command) == 2
    assert message in capsys.readouterr().err


def test_bad_documents(nested, capsys):
    folder, _, _ = nested
    command = ["suffice", f"{folder}/documents.json", "--json", "--model", f"{folder}/nested.safetensors"]
    for text, message in (("{", "not a JSON file"), ("{}", "a list of documents"), ('[{"b": 1}]', "does not fit")):
        (folder / "documents.json").write_text(text)
        assert main([*command, "--unknown", "error"]) == 2
        assert message in capsys.readouterr().err


def test_sufficient_masks_stand_beside_attributions(series):
    _, model, X = series
    found = Sufficient(model, search="flat_garr", seed=2).explain(X)
    expected = explain(model, X, search="flat_garr", seed=2)
    assert torch.equal(found.values, torch.stack([one.mask for one in expected]).double())
    assert found.rows == sum(one.rows for one in expected)
    assert parse("sufficient:search=flat_garr,S=50").options == {"search": "flat_garr", "num_samples": 50}
