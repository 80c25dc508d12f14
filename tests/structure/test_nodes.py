"""Nodes: what they hold, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambit.structure import (
    Bag,
    BagSchema,
    Categorical,
    CategoricalSchema,
    Dense,
    DenseSchema,
    Product,
    ProductSchema,
    Sample,
    Sparse,
    SparseSchema,
    StringTable,
    Text,
    TextSchema,
    to_json,
)
from tests.naive import structure as naive
from tests.structure.trees import random_model, random_tree


def ints(*values):
    return torch.tensor(values, dtype=torch.int64)


@given(seed=st.integers(0, 10**6), index=st.lists(st.integers(0, 2), max_size=5))
def test_samples_are_taken_with_all_that_is_below(seed, index):
    sample = random_tree(seed)
    taken = sample.take(torch.tensor(index, dtype=torch.int64))
    documents = to_json(sample)
    assert to_json(taken) == [documents[i] for i in index]
    model = random_model(sample.schema, seed)
    torch.testing.assert_close(model(taken), model(sample)[torch.tensor(index, dtype=torch.int64)])


@given(strings=st.lists(st.text(max_size=6), max_size=5), n=st.integers(2, 7), buckets=st.integers(1, 3000))
def test_ngrams(strings, n, buckets):
    table = StringTable.of(strings, n, buckets)
    found = [table.ngrams[a:b].tolist() for a, b in zip(table.offsets[:-1], table.offsets[1:], strict=True)]
    assert found == [naive.ngrams(string, n, buckets) for string in strings]


def test_slots_are_what_is_there():
    nan = torch.nan
    assert Dense(torch.tensor([[1.0, nan], [nan, nan], [2, 3]])).observation.tolist() == [0, 2, 2]
    assert Categorical(ints(0, -1, 1), 2).observation.tolist() == [0, 2]
    assert Sparse(torch.ones(3), ints(0, 1, 0), ints(0, 2, 2, 3), 2).observation.tolist() == [0, 0, 2]
    assert Bag(Dense(torch.ones(3, 1)), ints(0, 0, 1, 3)).observation.tolist() == [1, 2, 2]


def test_an_empty_instance_is_as_good_as_none():
    """A tree built by hand may hold instances with nothing in them."""
    schema = BagSchema(DenseSchema())
    values = torch.tensor([[1.0], [torch.nan], [2.0]], dtype=torch.float64)
    odd = Sample.of(Bag(Dense(values), ints(0, 2, 3)), schema)
    plain = Sample.of(Bag(Dense(values[[0, 2]]), ints(0, 1, 2)), schema)
    model = random_model(schema)
    torch.testing.assert_close(model(odd), model(plain))
    assert to_json(odd) == to_json(plain) == [[1], [2]]


def table(count=2):
    return StringTable.of([str(i) for i in range(count)], 3, 10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense(torch.ones(3)), r"values must be \(N, F\) floating"),
        (lambda: Dense(torch.ones(3, 1).long()), r"values must be \(N, F\) floating"),
        (lambda: Dense(torch.full((1, 1), torch.inf)), "values must be finite"),
        (lambda: Categorical(ints(0, 3), 2), r"codes must lie in -1\.\.2, got 0\.\.3"),
        (lambda: Categorical(torch.ones(2), 2), "codes must be one axis of int64"),
        (lambda: Text(ints(2), table()), r"codes must lie in -1\.\.1"),
        (lambda: Sparse(torch.ones(2), ints(0, 2), ints(0, 2), 2), r"columns must lie in 0\.\.1"),
        (lambda: Sparse(torch.ones(2), ints(0, 1), ints(0, 1), 2), "offsets must rise from 0 to 2"),
        (lambda: Sparse(torch.full((1,), torch.nan), ints(0), ints(0, 1), 2), "values must be finite"),
        (lambda: Bag(Dense(torch.ones(2, 1)), ints(0, 3)), "offsets must rise from 0 to 2"),
        (lambda: Bag(Dense(torch.ones(2, 1)), ints(0, 2, 1, 2)), "offsets must rise"),
        (lambda: Bag(Dense(torch.ones(2, 1)), torch.tensor([0.0, 2])), r"offsets must be \(N \+ 1,\) int64"),
        (lambda: Product({"a": Dense(torch.ones(2, 1)), "b": Dense(torch.ones(3, 1))}), "equally many observations"),
        (lambda: Product({}), "there must be one part"),
        (lambda: DenseSchema(0), "features must be at least 1, got 0"),
        (lambda: TextSchema(n=1), r"n must lie in 2\.\.7, got 1"),
        (lambda: TextSchema(buckets=0), "buckets must be at least 1"),
        (lambda: SparseSchema(()), "keys must be distinct, and there must be one"),
        (lambda: CategoricalSchema(("a", "a")), "categories must be distinct"),
        (lambda: ProductSchema((("a", DenseSchema()), ("a", DenseSchema()))), "parts must be distinct"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_categories_of_two_types():
    with pytest.raises(TypeError, match="categories must all be strings or all be booleans"):
        CategoricalSchema(("a", True))


@pytest.mark.parametrize(
    ("root", "schema"),
    [
        (Dense(torch.ones(1, 2)), DenseSchema()),
        (Dense(torch.ones(1, 1)), BagSchema(DenseSchema())),
        (Categorical(ints(0), 2), CategoricalSchema(("a",))),
        (Text(ints(0), table()), TextSchema()),
        (Bag(Dense(torch.ones(1, 2)), ints(0, 1)), BagSchema(DenseSchema())),
        (Product({"a": Dense(torch.ones(1, 1))}), ProductSchema((("b", DenseSchema()),))),
    ],
)
def test_nodes_that_do_not_fit_their_schema(root, schema):
    with pytest.raises(ValueError, match="that does not fit"):
        Sample.of(root, schema)
