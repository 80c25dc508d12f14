"""Resume keys: every bit, dtype and name matters, and nothing else does."""

from __future__ import annotations

import json
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rambit.store import keys, resume_key
from tests.test_store import DEVICES, tensors, values


def test_resume_key_is_fixed() -> None:
    """A checkpoint of an older version stays valid as long as this holds."""
    parts = {"a": [1, 2.5, None, True, "é"], "x": torch.arange(3, dtype=torch.int16), "d": {"z": 1, "y": ()}}
    assert resume_key(**parts) == "03daa327988b559ab5e823655cf5dd173bef69748e6adc64b9c42174e1c244a3"


@settings(deadline=None, max_examples=60)
@given(tensors(), st.data())
def test_resume_key_sees_every_bit_and_no_strides(x: Tensor, data: st.DataObject) -> None:
    key = resume_key(state={"w": x})
    spread = torch.zeros([n * 2 for n in x.shape], dtype=x.dtype)
    view = spread[tuple(slice(None, None, 2) for _ in x.shape)]
    view.copy_(x)
    assert resume_key(state={"w": view}) == key
    assert resume_key(state={"w": torch.nn.Parameter(x, requires_grad=False)}) == key
    if x.dtype != torch.bfloat16:
        array = x.numpy()
        assert resume_key(state={"w": array}) == key
        assert resume_key(state={"w": array.astype(array.dtype.newbyteorder(">"))}) == key
    assert resume_key(state={"w": x.unsqueeze(0)}) != key
    assert resume_key(state={"v": x}) != key
    if x.numel():
        flat = x.contiguous().clone().reshape(-1)
        raw = flat.view(torch.uint8)
        at = data.draw(st.integers(0, raw.numel() - 1))
        raw[at] ^= 1 if x.dtype == torch.bool else 1 << data.draw(st.integers(0, 7))
        assert resume_key(state={"w": flat.reshape(x.shape)}) != key


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.text(), values, min_size=1, max_size=5), st.dictionaries(st.text(), values, max_size=5))
def test_resume_key_ignores_the_order_of_dicts_and_nothing_else(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert resume_key(s=dict(reversed(a.items()))) == resume_key(s=OrderedDict(a))
    # As text, because 1 == 1.0 == True in Python.
    equal = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (resume_key(s=a) == resume_key(s=b)) == equal


def test_resume_key_tells_types_and_nesting_apart() -> None:
    zero = np.float32(0)
    distinct: list[Any] = [
        *(None, True, False, 0, 1, -1, 2**70, 1.0, 0.0, -0.0, float("nan"), float("inf"), "", "0", "1", "None"),
        *([], {}, [[]], [None], [1, 2], [[1], 2], [1, [2]], [[1, 2]], ["12"], ["1", "2"], {"a": {}}, {"a": None}),
        *({"a": {"b": 1}, "c": 2}, {"a": {"b": 1, "c": 2}}, zero, np.float64([0.0]), np.zeros(0), np.zeros((0, 3))),
        *(np.zeros((3, 0)), np.array("a"), np.array(b"a"), np.array(["a", "b"]), np.array("2020", "M8[D]")),
        *(np.array("2020", "M8[s]"), torch.zeros(2), torch.zeros(2, 1), torch.zeros(2, dtype=torch.int32)),
        *(
            torch.zeros(2, dtype=torch.bfloat16),
            torch.zeros(2, dtype=torch.complex64),
            torch.zeros(8, dtype=torch.uint8),
        ),
    ]
    keys = [resume_key(part=value) for value in distinct]
    assert len(set(keys)) == len(keys)
    assert resume_key(part=(1, (2,))) == resume_key(part=[1, [2]])
    assert resume_key(a=1, b=2) == resume_key(b=2, a=1) != resume_key(a=2, b=1)
    assert resume_key(part=torch.tensor([1 + 1j]).conj()) == resume_key(part=torch.tensor([1 - 1j]))
    assert resume_key(part=np.float32(1.5)) == resume_key(part=torch.tensor(1.5))


@pytest.mark.parametrize("device", DEVICES)
def test_resume_key_in_pieces(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    x = torch.randn(7, 6, 5, generator=torch.Generator().manual_seed(0))
    key = resume_key(x=x)
    for piece in (8, 24, 100, 500, 10**6):
        monkeypatch.setattr(keys, "_PIECE", piece)
        assert resume_key(x=x.to(device)) == key
        assert resume_key(x=x.to(device).transpose(0, 2).contiguous().transpose(0, 2)) == key
        assert resume_key(x=np.asfortranarray(x.numpy())) == key
        assert resume_key(x=x[..., :-1]) != key


def test_resume_key_needs_little_memory() -> None:
    array = np.zeros((64, 512, 128)).transpose(2, 0, 1)
    tracemalloc.start()
    resume_key(x=array)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes / 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "settings is a builtins.object"),
        ({"a": [1, {2}]}, r"settings\['a'\]\[1\] is a builtins.set"),
        ({"f": {"g": len}}, r"settings\['f'\]\['g'\] is a builtins.builtin_function"),
        ({"a": {1: 2}}, r"settings\['a'\] has the key 1"),
        (b"bytes", "is a builtins.bytes"),
        (Path("x"), "settings is a pathlib"),
        (torch.float32, "settings is a torch.dtype"),
        (torch.nn.Linear(1, 1), "settings is a torch.nn"),
        (torch.zeros(2, 2).to_sparse(), "settings must be a dense tensor"),
        (torch.zeros(2, device="meta"), "settings must be a dense tensor"),
        (np.array([object()]), "settings is an array of dtype object"),
        (np.zeros(2, [("a", "f4")]), "settings is an array of dtype"),
        (np.longdouble(1), "settings is an array of dtype"),
        (np.ma.masked_array([1.0], [True]), "settings is a numpy.ma"),
    ],
)
def test_resume_key_names_what_it_can_not_hash(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        resume_key(fine=1, settings=value)


def test_resume_key_of_a_state_dict() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    key = resume_key(model=model.state_dict())
    assert resume_key(model=model.state_dict()) == key
    model[1].num_batches_tracked += 1
    assert resume_key(model=model.state_dict()) != key
