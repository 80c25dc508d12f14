"""Files hold everything that a result knows, older files load, and no file is written under another kind's name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rambit.labels import Labels
from rambit.results import Attribution
from rambit.rex import RexExplanation
from rambit.store import encode, resume_key
from rambit.sufficiency import SufficientExplanation
from tests.results.made import NAMES, result


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("targets", [None, [1, 0], [[0, 1], [1, 0]]])
@pytest.mark.parametrize(
    "labels",
    [NAMES, Labels(times=np.array([0, 2**62 + 1, -1, 4, 5]).view("timedelta64[ns]")), Labels(times=np.ones((2, 5)))],
)
def test_files_bring_everything_back(tmp_path: Path, targets: Any, labels: Labels) -> None:
    a = result(targets, labels=labels, target=torch.tensor([[0, 1], [1, 1]]) if targets is None else None)
    a.save(tmp_path / "a.safetensors")
    b = Attribution.load(tmp_path / "a.safetensors")
    for field in dataclasses.fields(Attribution):
        assert same(getattr(a, field.name), getattr(b, field.name)), field.name
    b.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": {"features": ["a"]}},
        {"labels": {"colours": ["a"]}},
        {"labels": {"times": "int64"}},
        {"labels": []},
        {"targets": [0, 1]},
        {"targets": {"a": 1}},
        {"model": "none"},
        {"X": 3},
    ],
    ids=str,
)
def test_files_that_say_what_cannot_be(tmp_path: Path, wrong: dict[str, Any]) -> None:
    record = {"rows": 1, "row_steps": 1, "seconds": 1.0, "seed": 0, "mode": "", "settings": {}, **wrong}
    tensors = {"values": torch.zeros(2, 3, 4)}
    record["sha256"] = resume_key(tensors=tensors, record=record)
    path = tmp_path / "some file"
    path.write_bytes(encode(tensors, {"rambit-attribution-1": json.dumps(record)}))
    with pytest.raises(ValueError, match="some file is corrupt"):
        Attribution.load(path)


MAP = torch.tensor([[0.0, 1.0, 0.5], [0.25, 0.0, 0.0]])
LABELS = Labels(features=("a", "b"), times=np.array([1, 2, 4]), unit="s", outputs=("no", "yes"))


def rex(**parts: Any) -> RexExplanation:
    return RexExplanation(MAP, {1: MAP}, MAP > 0.4, 1, 0.9, 0.5, {"rows": 3}, {"iters": 2}, 0, **parts)


def sufficient(**parts: Any) -> SufficientExplanation:
    return SufficientExplanation(MAP > 0.4, 2, 0.5, 0.4, 1, 9, 3, 0.25, {"search": "exact"}, 7, **parts)


KNOWN: dict[str, Any] = {"labels": LABELS, "outputs": torch.tensor([0.1, 0.9]), "model": "0123456789abcdef"}


@pytest.mark.parametrize(("make", "x"), [(rex, torch.rand(1, 2, 3)), (sufficient, torch.rand(2, 3))])
def test_other_results_know_it_too(tmp_path: Path, make: Any, x: torch.Tensor) -> None:
    pytest.importorskip("matplotlib")
    made = make(x=x, **KNOWN)
    made.save(tmp_path / "a.safetensors")
    back = type(made).load(tmp_path / "a.safetensors")
    for name in (*KNOWN, "x"):
        assert same(getattr(made, name), getattr(back, name)), name
    assert "yes" in repr(back)
    pictures = [pixels(one.plot()) for one in (made, back)]
    assert np.array_equal(*pictures)
    figure = back.plot()
    assert "yes" in figure.get_suptitle()
    shown = [axes for axes in figure.axes if axes.lines]
    assert [label.get_text() for label in shown[-1].get_yticklabels()] == ["a", "b"]
    assert shown[-1].get_xlabel() == "time (s)"
    assert not any(axes.lines for axes in back.plot(x=False).axes), "False draws no input"
    with pytest.raises(ValueError, match=r"labels\.features must have 2 names"):
        make(labels={"features": ["a"]})
    with pytest.raises(ValueError, match=r"labels\.outputs must have 3 names"):
        make(labels={"outputs": ["a"]}, outputs=torch.zeros(3))
    with pytest.raises(TypeError, match="x must be a tensor"):
        make(x=3)


@pytest.mark.parametrize("kind", ["rex", "sufficiency"])
def test_their_older_files_load(tmp_path: Path, kind: str) -> None:
    """What was written before there were names, by hand; what knows none is still written so, byte for byte."""
    record: dict[str, Any] = {
        "rex": {"target": 1, "confidence": 0.9, "area": 0.5, "stats": {"rows": 3}, "settings": {"iters": 2}, "seed": 0},
        "sufficiency": {
            "size": 2, "gap": 0.5, "threshold": 0.4, "target": 1, "rows": 9, "calls": 3, "seconds": 0.25, "seed": 7,
            "settings": {"search": "exact"}, "document": None,
        },
    }[kind]  # fmt: skip
    tensors = {"mask": MAP > 0.4}
    if kind == "rex":
        tensors = {"responsibility": MAP, **tensors, "maps": MAP[None], "classes": torch.tensor([1])}
    record["sha256"] = resume_key(tensors=tensors, record=record)
    (tmp_path / "old").write_bytes(encode(tensors, {f"rambit-{kind}-1": json.dumps(record)}))
    made: Any = rex() if kind == "rex" else sufficient()
    back = type(made).load(tmp_path / "old")
    assert torch.equal(back.mask, made.mask)
    assert (bool(back.labels), back.outputs, back.x, back.model) == (False, None, None, None)
    made.save(tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == (tmp_path / "old").read_bytes()


@pytest.mark.parametrize("make", [result, rex, sufficient])
def test_names_of_other_kinds_of_files_are_refused(tmp_path: Path, make: Any) -> None:
    for suffix in ("csv", "json", "png", "npz", "pt", "parquet", "CSV", "onnx"):
        with pytest.raises(ValueError, match=r"path must end in \.safetensors, .*to_csv.*plot") as caught:
            make().save(tmp_path / f"a.{suffix}")
        assert f"a.{suffix}" in str(caught.value)
    assert not list(tmp_path.iterdir())
    for name in ("a.safetensors", "a", "run.1", "a.result"):
        make().save(tmp_path / name)


def pixels(figure: Any) -> np.ndarray[Any, Any]:
    """What the figure shows."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba()).copy()
