"""However a stream is batched, its pieces are the same; what can't be a batch is refused by its number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from rambit.distributed.pieces import AUTO_BYTES, AUTO_SERIES, Piece, pieces
from rambit.distributed.sources import batches_of
from tests.naive.streams import cut

X = torch.randn(11, 2, 3, generator=torch.Generator().manual_seed(0))


@st.composite
def streams(draw):
    """Batches with any of the arguments that a series may have."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    has = {name: draw(st.booleans()) for name in ("ids", "target", "lengths")}
    batches = []
    for size in sizes:
        batch = {"X": torch.randn(size, 2, 3, generator=generator)}
        for name, high in (("ids", 99), ("target", 5), ("lengths", 4)):
            if has[name]:
                batch[name] = torch.randint(1, high, (size,), generator=generator)
        if draw(st.booleans()):
            batch["observed"] = torch.rand(size, 2, 3, generator=generator) < draw(st.sampled_from((0.5, 1.1)))
        batches.append(batch)
    return batches


@given(streams(), st.integers(1, 20))
def test_pieces_are_those_of_the_whole(batches, size):
    expected = cut(batches, size)
    found = list(pieces(iter(batches), size, "BDT"))
    assert len(found) == len(expected)
    end = 0
    for piece, arguments in zip(found, expected, strict=True):
        assert piece.arguments.keys() == arguments.keys()
        assert all(torch.equal(piece.arguments[name], arguments[name]) for name in arguments)
        assert (piece.start, piece.stop) == (end, end + len(arguments["X"]))
        end = piece.stop
    assert [piece.name for piece in found] == sorted(piece.name for piece in found)


@given(streams(), st.integers(1, 20))
def test_a_piece_goes_through_bytes(batches, size):
    for piece in pieces(batches, size, "BDT"):
        again = Piece.unpack(piece.pack())
        assert (again.start, again.name, again.digest()) == (piece.start, piece.name, piece.digest())


def test_a_digest_sees_every_argument():
    batch = {"X": X, "ids": torch.arange(11), "lengths": torch.full((11,), 3), "target": torch.ones(11).long()}
    batch["observed"] = torch.rand(11, 2, 3) < 0.5
    digests = {next(pieces([batch], 11, "BDT")).digest()}
    for name, value in batch.items():
        other = value.clone()
        other.view(-1)[4] = 2 if name != "observed" else not other.view(-1)[4]
        digests.add(next(pieces([{**batch, name: other}], 11, "BDT")).digest())
    assert len(digests) == 6
    # Ids that are counted and ids that are given as the count are one input.
    assert next(pieces([X], 11, "BDT")).digest() == next(pieces([{"X": X, "ids": range(11)}], 11, "BDT")).digest()


@pytest.mark.parametrize(
    "data",
    [
        [X],
        [X.numpy()],
        X.split(2),
        [(x, "label") for x in X.split(4)],
        [{"X": x.numpy()} for x in X.split(5)],
        DataLoader(TensorDataset(X, torch.arange(11)), batch_size=3),
        (x for x in X.split(1)),
        [X.numpy()[::-1].copy()[::-1]],
        [X.numpy().astype(">f4")],
        [np.broadcast_to(X.numpy(), X.shape)],
        [np.ma.array(X.numpy())],
        [{"X": list(X.numpy())}],
    ],
)
def test_kinds_of_batches(data):
    found = torch.cat([piece.arguments["X"] for piece in pieces(batches_of(data, "BDT"), 4, "BDT")])
    assert torch.equal(found, X)


@pytest.mark.parametrize("layout", ["BDT", "BTD"])
def test_what_is_masked_is_not_observed(layout):
    seen = torch.rand(X.shape, generator=torch.Generator().manual_seed(1)) < 0.6
    other = torch.rand(X.shape, generator=torch.Generator().manual_seed(2)) < 0.6
    masked = np.ma.array(X.numpy(), mask=~seen.numpy())
    batches = [masked[:4], {"X": X[4:6]}, {"X": masked[6:], "observed": other[6:].numpy()}]
    found = torch.cat([piece.arguments["observed"] for piece in pieces(batches, 11, layout)])
    assert torch.equal(found, torch.cat((seen[:4], torch.ones(2, 2, 3, dtype=torch.bool), (seen & other)[6:])))


def test_padding_that_is_declared_may_be_anything():
    for value in (float("nan"), float("inf"), -float("inf")):
        batch = {"X": X.clone(), "lengths": [2] * 11}
        batch["X"][:, :, 2] = value
        assert len(list(pieces([batch], 4, "BDT"))) == 3


def test_auto_depends_on_shapes_alone():
    small = torch.zeros(AUTO_SERIES + 1, 2, 3)
    assert [piece.stop for piece in pieces([small], "auto", "BDT")] == [AUTO_SERIES, AUTO_SERIES + 1]
    steps = AUTO_BYTES // 8 // 5  # five series of float64 fit
    assert next(pieces([torch.zeros(7, 1, steps).double()], "auto", "BDT")).stop == 5
    assert next(pieces([torch.zeros(2, 1, steps * 6).double()], "auto", "BDT")).stop == 1


def bad(second, first=X):
    return [first, second]


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ([], ValueError, "data is empty"),
        (bad(X[0]), ValueError, r"batch 1: X must be \(B, D, T\)"),
        (bad(X[:0]), ValueError, "batch 1: X must be"),
        (bad(X.long()), ValueError, "batch 1: X must be .* torch.int64"),
        (bad("text"), TypeError, "batch 1 must be a tensor"),
        (bad(X.double()), ValueError, r"batch 1: X is torch.float64 .* unlike batch 0"),
        (bad(X[:, :1]), ValueError, "unlike batch 0"),
        (bad(X[:, :, :2]), ValueError, "pad shorter series and pass lengths"),
        (bad({"x": X}), ValueError, "batch 1 must have X"),
        (bad({"X": X, "label": X}), ValueError, "it has X, label"),
        (bad({"X": X, "ids": range(11)}), ValueError, "batch 1 has ids, unlike batch 0"),
        (bad(X, {"X": X, "lengths": [3] * 11}), ValueError, "batch 1 lacks lengths"),
        ([{"X": X, "ids": range(10)}], ValueError, r"batch 0: ids must have one value a series, \(11,\)"),
        ([{"X": X, "ids": [-1] * 11}], ValueError, "ids must lie between 0 and 4294967295"),
        ([{"X": X, "ids": [1.5] * 11}], TypeError, "ids must hold integers"),
        ([{"X": X, "lengths": [0] * 11}], ValueError, "lengths must lie between 1 and 3"),
        ([{"X": X, "target": [-1] * 11}], ValueError, "target must lie"),
        ([X.to_sparse()], TypeError, r"batch 0: X is stored as torch.sparse_coo: write"),
        ([{"X": X.to("meta")}], TypeError, "batch 0: X is on the device 'meta'"),
        ([{"X": [X[0], X[1, :, :2]]}], ValueError, "batch 0: X holds arrays of different shapes"),
        ([{"X": X, "ids": np.ma.masked_equal(range(11), 3)}], ValueError, r"batch 0: ids is a masked array .*filled"),
        ([{"X": X, "observed": X}], ValueError, "observed must be a bool tensor like X"),
        ([{"X": X, "observed": X[:2] > 0}], ValueError, "observed must be a bool tensor like X"),
    ],
)
def test_what_is_no_batch(data, error, said):
    with pytest.raises(error, match=said):
        list(pieces(data, 4, "BDT"))


def test_the_layout_says_which_axis_is_time():
    batch = {"X": X, "lengths": [2] * 11}
    assert len(list(pieces([batch], 4, "BTD"))) == 3
    with pytest.raises(ValueError, match="between 1 and 2"):
        list(pieces([{"X": X, "lengths": [3] * 11}], 4, "BTD"))


@pytest.mark.parametrize("data", [3, X, None, object(), X.numpy(), {"X": X}])
def test_what_is_no_data(data):
    with pytest.raises(TypeError, match="data must be an iterable of batches or a file's path"):
        batches_of(data, "BDT")


@pytest.mark.parametrize("data", [X, X.numpy(), {"X": X}])
def test_one_batch_is_no_data(data):
    with pytest.raises(TypeError, match=r"write \[data\], a list of one batch"):
        batches_of(data, "BDT")


def test_batches_of_arrays_are_not_changed():
    batch = {"X": np.ones((4, 1, 2), np.float32)}
    list(pieces([batch, batch], 3, "BDT"))
    assert list(batch) == ["X"]
    assert batch["X"].shape == (4, 1, 2)
