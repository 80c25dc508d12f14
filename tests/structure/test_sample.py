"""Batches of nested samples: indexed as lists are, and printed as trees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rambit.structure import DenseSchema, SparseSchema, from_json, infer_schema, skip, to_json
from tests.structure.trees import BY_TYPE, random_sample

DOCUMENTS = [
    {
        "age": 20 + n % 5,
        "by": n if n % 3 else f"m{n}",
        "id": 2**60 + n,
        "on": n % 2 == 0,
        "sites": {f"k{n}": [1, n]},
        "tags": ["new"] if n % 2 else ["old", "paid"],
    }
    for n in range(20)
]


@pytest.mark.parametrize("name", BY_TYPE)
def test_an_index_takes_what_it_takes_of_a_list(name):
    sample = random_sample(BY_TYPE[name], 1, count=5)
    documents = to_json(sample)
    for index in (slice(3), slice(None, None, -1), slice(4, 1), slice(-2, None), slice(1, 99)):
        assert to_json(sample[index]) == documents[index]
    for one in (0, -1, np.int64(3)):
        assert to_json(sample[one]) == [documents[one]]
    for several in ([4, 0, 0], [], torch.tensor([1, 2]), np.array([3]), [True, False, True, False, False]):
        chosen = np.arange(5)[np.asarray(several, dtype=None if len(several) else np.int64)]
        assert to_json(sample[several]) == [documents[i] for i in chosen]
    assert [document for one in sample for document in to_json(one)] == documents


@pytest.mark.parametrize(("index", "error"), [(5, IndexError), (-6, IndexError), ([7], IndexError), (True, TypeError)])
def test_what_is_no_index(index, error):
    with pytest.raises(error):
        from_json([1, 2, 3, 4, 5])[index]


def test_a_sample_is_printed_as_a_tree():
    sample = from_json(DOCUMENTS, skip(infer_schema(DOCUMENTS), ("age",)))
    assert str(sample).splitlines() == [
        "Sample(20 samples, 180 terms)",
        "object",
        "├─ age: number, 20 values from 20 to 24, never explained",
        "├─ by: one of several types",
        "│  ├─ number: number, 13 values from 1 to 19",
        "│  └─ string: text, 7 values, 7 different",
        "├─ id: numbers as text, 20 values, 20 different",
        "├─ on: one of 2 categories, 20 values",
        "├─ sites: map, 20 entries",
        "│  └─ value: vector of 2, 40 values from 0 to 19",
        "└─ tags: list, 30 members",
        "   └─ member: one of 3 categories, 30 values",
    ]
    assert repr(sample) == "Sample(20 samples, 180 terms)"
    assert str(from_json([None], DenseSchema())) == "Sample(1 samples, 0 terms)\nnumber, 0 values"
    assert str(from_json([{"u": 1}], SparseSchema(("u", "v")))).endswith("numbers under 2 keys, 1 values")
