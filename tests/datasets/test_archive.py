"""The two sets that sktime ships, compared with sktime's own reader, and what happens without sktime or a network."""

import sys
import types
import warnings

import numpy as np
import pytest

from rambit.datasets import archive, basic_motions, japanese_vowels, load, ucr_uea


@pytest.fixture(scope="module")
def sktime_datasets():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("sktime.datasets")


def test_basic_motions(sktime_datasets):
    train, test = basic_motions("train"), basic_motions("test")
    both = load("BasicMotions")
    assert train.X.shape == test.X.shape == (40, 6, 100)
    assert np.array_equal(both.X, np.concatenate([train.X, test.X]))
    assert train.class_names == test.class_names == ("badminton", "running", "standing", "walking")
    assert train.lengths is None
    assert (train.name, both.name) == ("BasicMotions (train)", "BasicMotions")
    for split, ours in (("train", train), ("test", test)):
        X, labels = sktime_datasets.load_basic_motions(split=split, return_type="numpy3d")
        assert np.array_equal(ours.X, X.astype(np.float32))
        assert [ours.class_names[i] for i in ours.y] == list(labels)
        assert np.bincount(ours.y).tolist() == [10] * 4


def test_japanese_vowels(sktime_datasets):
    train, test = japanese_vowels("train"), load("JapaneseVowels", "test")
    assert train.X.shape == (270, 12, 29)
    assert test.X.shape == (370, 12, 29)
    assert train.class_names == test.class_names == tuple("123456789")
    assert (test.lengths.min(), test.lengths.max()) == (7, 29)
    frames, labels = sktime_datasets.load_japanese_vowels(split="train", return_type="df-list")
    for x, y, n, frame, label in zip(train.X, train.y, train.lengths, frames, labels, strict=True):
        assert n == len(frame)
        assert np.array_equal(x[:, :n], frame.to_numpy().T.astype(np.float32))
        assert not x[:, n:].any()
        assert train.class_names[y] == label


def test_another_bundled_set(sktime_datasets):
    data = ucr_uea("GunPoint", "train")
    assert data.X.shape == (50, 1, 150)
    assert data.class_names == ("1", "2")


def test_unknown_names_never_reach_the_network(sktime_datasets, monkeypatch):
    monkeypatch.setattr(sktime_datasets, "load_UCR_UEA_dataset", lambda *a, **k: pytest.fail("evaluated"))
    for name in ("Spkie", "../GunPoint", "GunPoint\n", ""):
        with pytest.raises(ValueError, match="there is no data set"):
            ucr_uea(name)
    with pytest.raises(ValueError, match="split"):
        ucr_uea("BasicMotions", "TRAIN")


def test_no_network(sktime_datasets, monkeypatch):
    def fail(*arguments, **settings):
        raise RuntimeError("all mirrors failed")

    monkeypatch.setattr(sktime_datasets, "load_UCR_UEA_dataset", fail)
    with pytest.raises(ConnectionError, match=r"'ACSF1'.*all mirrors failed"):
        ucr_uea("ACSF1")


def test_without_sktime(monkeypatch):
    for name in ("sktime", "sktime.datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install rambit\[data\]") as caught:
        basic_motions()
    assert "\n" not in str(caught.value)


def test_both_parts_have_the_same_classes_and_steps(monkeypatch):
    """A class and a length that only one part has."""

    class Frame(types.SimpleNamespace):
        def to_numpy(self, dtype):
            return np.ones((self.steps, 2), dtype)

    parts = {"train": ([Frame(steps=3)], ["10"]), "test": ([Frame(steps=2), Frame(steps=5)], ["9", "10"])}
    fake = types.SimpleNamespace(load_basic_motions=lambda split, return_type: parts[split])
    monkeypatch.setattr(archive, "_sktime_datasets", lambda: fake)
    train, test, both = basic_motions("train"), basic_motions("test"), basic_motions()
    assert train.class_names == test.class_names == ("9", "10")
    assert (train.y.tolist(), test.y.tolist(), both.y.tolist()) == ([1], [0, 1], [1, 0, 1])
    assert train.X.shape == (1, 2, 5)
    assert both.lengths.tolist() == [3, 2, 5]
