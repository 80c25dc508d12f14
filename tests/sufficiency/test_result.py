"""The result object: what it and its files refuse."""

from __future__ import annotations

import json
import math

import pytest
import torch

from rambit.store import encode, resume_key
from rambit.sufficiency.sufficient_explanation import SufficientExplanation

MASK = torch.tensor([[True, False, True]])
RECORD = {
    "size": 2,
    "gap": 0.5,
    "threshold": 0.4,
    "target": 1,
    "rows": 9,
    "calls": 3,
    "seconds": 0.25,
    "settings": {"search": "exact"},
    "seed": 7,
    "document": None,
}
INTEGERS = ("size", "target", "rows", "calls", "seed")
NUMBERS = ("gap", "threshold", "seconds")
#: Entries that a hash can hold for good, but no explanation.
SENSELESS = [
    *((name, value) for name in (*INTEGERS, *NUMBERS) for value in ("1", [1], True, {})),
    *((name, None) for name in (*INTEGERS, *NUMBERS) if name != "target"),
    *((name, 1.5) for name in INTEGERS),
    *((name, -1) for name in (*INTEGERS[:-1], "seconds")),
    *((name, value) for name in NUMBERS for value in (math.nan, math.inf, -math.inf, 10**400)),
    *(("settings", value) for value in ([], None, 3, "exact")),
]


def file(path, mask=MASK, **changes):
    record = RECORD | changes
    record["sha256"] = resume_key(tensors={"mask": mask}, record=record)
    path.write_bytes(encode({"mask": mask}, {"rambit-sufficiency-1": json.dumps(record)}))
    return path


@pytest.mark.parametrize(("name", "value"), SENSELESS, ids=str)
def test_senseless_entries_are_refused(tmp_path, name, value):
    with pytest.raises((TypeError, ValueError), match=f"{name} must"):
        SufficientExplanation(MASK, **RECORD | {name: value})
    with pytest.raises(ValueError, match=f"some file is corrupt or not a saved sufficient explanation: {name} must"):
        SufficientExplanation.load(file(tmp_path / "some file", **{name: value}))


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.complex64, torch.float8_e4m3fn])
def test_masks_are_boolean(tmp_path, kind):
    with pytest.raises(TypeError, match="mask must be boolean"):
        SufficientExplanation(MASK.to(kind), **RECORD)
    with pytest.raises(ValueError, match=r"some file is corrupt .*: mask must be boolean"):
        SufficientExplanation.load(file(tmp_path / "some file", MASK.to(kind)))
    with pytest.raises(TypeError, match="mask must be boolean, given list"):
        SufficientExplanation(MASK.tolist(), **RECORD)


def test_a_sound_file_loads(tmp_path):
    back = SufficientExplanation.load(file(tmp_path / "a", gap=1, seed=2**63))
    assert torch.equal(back.mask, MASK)
    assert {name: getattr(back, name) for name in RECORD} == RECORD | {"gap": 1, "seed": 2**63}
    back.save(tmp_path / "b")
    assert SufficientExplanation.load(tmp_path / "b").gap == 1.0
