"""Dataset's checks and views, and `load` by name."""

import dataclasses

import numpy as np
import pytest

from rambit.datasets import DATASETS, SYNTHETIC, Dataset, load, low_var, save_file, spike, state


def example(n=6, d=2, t=4, **changes):
    rng = np.random.default_rng(0)
    fields = {
        "name": "example",
        "X": rng.normal(size=(n, d, t)).astype(np.float32),
        "y": np.arange(n) % 3,
        "salient": rng.random((n, d, t)) < 0.3,
        "lengths": rng.integers(1, t + 1, n),
    }
    return Dataset(**fields | changes)


def test_names_are_made_up_or_kept():
    data = example()
    assert data.feature_names == ("feature 0", "feature 1")
    assert data.class_names == ("0", "1", "2")
    assert example(class_names=("a", "b", "c", "d")).class_names[3] == "d"
    assert example(y=np.zeros(6, np.float32)).class_names == ()
    assert example(y=None).class_names == ()


def test_take_and_split():
    data = example(n=11)
    part = data.take([4, 4, 0])
    for name in ("X", "y", "salient", "lengths"):
        assert np.array_equal(getattr(part, name), getattr(data, name)[[4, 4, 0]])
    assert part.class_names == data.class_names
    one, other = data.split(0.4, seed=3)
    assert (len(one), len(other)) == (4, 7)
    rows = [next(i for i in range(11) if np.array_equal(data.X[i], row)) for row in np.concatenate([one.X, other.X])]
    assert sorted(rows) == list(range(11))
    assert rows[:4] == sorted(rows[:4])
    assert np.array_equal(one.X, data.split(0.4, seed=3)[0].X)
    assert not np.array_equal(one.X, data.split(0.4, seed=4)[0].X)
    assert [len(part) for part in data.split(0.001, 0)] == [1, 10]
    assert example(lengths=None, salient=None, y=None).take(np.array([0])).y is None


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"X": np.zeros((6, 2, 4))}, TypeError, "X must be a float32 array, got float64"),
        ({"X": [[[0.0]]]}, TypeError, "X must be a float32 array, got list"),
        ({"X": np.zeros((6, 2), np.float32)}, ValueError, r"X must have shape \(N, D, T\)"),
        ({"X": np.zeros((0, 2, 4), np.float32)}, ValueError, "empty axis"),
        ({"X": np.full((6, 2, 4), np.inf, np.float32)}, ValueError, "X holds infinite"),
        ({"y": np.zeros(6, np.int32)}, TypeError, "y must be int64"),
        ({"y": np.zeros((6, 2), np.int64)}, ValueError, r"y must have shape \(6,\) or \(6, 4\)"),
        ({"y": np.full(6, -1)}, ValueError, "y must hold classes"),
        ({"y": np.full(6, 2), "class_names": ("a", "b")}, ValueError, "2 names, but y holds class 2"),
        ({"y": np.full(6, np.nan, np.float32)}, ValueError, "y holds NaN"),
        ({"y": np.zeros(6, np.float32), "class_names": ("a",)}, ValueError, "class_names need classes"),
        ({"salient": np.zeros((6, 2, 4))}, TypeError, "salient must be a bool"),
        ({"salient": np.zeros((6, 2, 5), bool)}, ValueError, "salient must have shape"),
        ({"lengths": np.full(6, 5)}, ValueError, r"lengths must lie in 1\.\.4, got 5\.\.5"),
        ({"lengths": np.zeros(6, np.int64)}, ValueError, "lengths must lie"),
        ({"feature_names": ("a",)}, ValueError, "feature_names must name 2"),
    ],
)
def test_wrong_fields(changes, error, message):
    with pytest.raises(error, match=message):
        example(**changes)


def test_wrong_views():
    data = example()
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.name = "other"
    for fraction in (0, 1, 1.5):
        with pytest.raises(ValueError, match="fraction"):
            data.split(fraction)
    with pytest.raises(TypeError, match="indices"):
        data.take(np.array([True] * 6))


def test_load_spike():
    whole = load("spike:n=10,T=20,delay=3,seed=2")
    assert np.array_equal(whole.X, spike(10, 20, 3, 2).X)
    assert whole.name == "spike:delay=3"
    train, test = (load("spike:n=10,T=20,delay=3,seed=2", split) for split in ("train", "test"))
    assert (len(train), len(test)) == (8, 2)
    assert np.array_equal(np.concatenate([train.y, test.y]), whole.y)
    assert len(load("spike")) == 3000
    assert "spike" in DATASETS


def test_load_synthetic():
    assert SYNTHETIC.keys() <= DATASETS.keys()
    for name in SYNTHETIC:
        data, test = load(f"{name}:n=5,seed=3"), load(f"{name}:n=5,seed=3", "test")
        assert len(data) == 5
        assert np.array_equal(test.X, data.X[4:])
        assert np.array_equal(test.y, SYNTHETIC[name](n=5, seed=3).y[4:])
    data = load("state:truth=active,n=4")
    assert np.array_equal(data.salient, state(4, truth="active").salient)
    assert data.name == "state:truth=active"
    with pytest.raises(ValueError, match="truth must be one of change, active, got 'all'"):
        load("state:truth=all")
    with pytest.raises(ValueError, match=r"defaults are state:n=1000,T=200,truth=change,seed=0; got 'delay=2'"):
        load("state:delay=2")


@pytest.mark.parametrize("name", SYNTHETIC)
def test_a_longer_set_goes_on(name):
    data, longer, other = (load(f"{name}:{options}") for options in ("n=6,seed=5", "n=9,seed=5", "n=6,seed=6"))
    for field in ("X", "y", "salient"):
        assert np.array_equal(getattr(data, field), getattr(longer, field)[:6])
    assert not np.array_equal(data.X, other.X)
    assert data.salient.any()


def test_options_that_are_real_numbers():
    assert np.array_equal(load("low_var:noise=0.5,n=3").X, low_var(3, noise=0.5).X)
    for text in ("loud", "", "1,5"):
        with pytest.raises(ValueError, match=r"defaults are low_var:n=5000,T=200,noise=1.0,seed=0; got"):
            load(f"low_var:noise={text}")
    for text in ("-1", "nan", "inf"):
        with pytest.raises(ValueError, match="noise must be at least 0"):
            load(f"low_var:noise={text}")


def test_load_file(tmp_path):
    save_file(tmp_path / "mine.npz", example())
    assert np.array_equal(load(tmp_path / "mine.npz").X, example().X)
    with pytest.raises(ValueError, match="a file has no parts"):
        load(tmp_path / "mine.npz", "train")
    with pytest.raises(FileNotFoundError):
        load("nothing.npz")


@pytest.mark.parametrize(
    "name", ["spike:delay", "spike:delay=-1", "spike:speed=3", "spike:delay=2.5", "spike:delay=99"]
)
def test_wrong_options(name):
    with pytest.raises(ValueError, match="delay"):
        load(name)


@pytest.mark.parametrize("name", SYNTHETIC)
def test_a_set_that_does_not_fit_names_its_sizes(name, monkeypatch):
    """Before a number is drawn."""
    monkeypatch.setattr("numpy.random.Philox", None)
    for options in ("n=2147483648", "T=2147483648", "n=500000,T=500", f"n={10**38}", "n=67108865,T=200"):
        sizes = " x .*".join(options.split(","))
        with pytest.raises(ValueError, match=rf"{sizes}.* are [\d,]+ cells, but at most 67,108,864 are made"):
            load(f"{name}:{options}")
    with pytest.raises(ValueError, match=rf"{name}: the options and their defaults are"):
        load(f"{name}:n=1{'0' * 5000}")


@pytest.mark.parametrize("name", ["switch_feature:n=1,T=8193", "l2x:n=1,T=8193"])
def test_the_steps_of_a_gaussian_process_have_a_limit(name):
    with pytest.raises(ValueError, match="T must be at most 8192, got 8193"):
        load(name)


def test_wrong_names():
    with pytest.raises(ValueError, match="split"):
        load("spike", "valid")
    for name in ("data.txt", "folder/data"):
        with pytest.raises(ValueError, match=r"must end in one of \.npz"):
            load(name)


def test_what_stands_in_the_padding_is_not_looked_at():
    lengths = np.array([1, 2, 3, 4, 4, 4])
    beyond = np.arange(4) >= lengths[:, None]
    X, y = example().X.copy(), np.arange(24).reshape(6, 4) % 3
    X[np.broadcast_to(beyond[:, None], X.shape)] = np.inf
    labels = (np.where(beyond, -100, y), np.where(beyond, 99, y), np.where(beyond, np.nan, y).astype(np.float32))
    for given, names in zip(labels, (("0", "1", "2"),) * 2 + ((),), strict=True):
        data = example(X=X, y=given, lengths=lengths)
        assert data.class_names == names
        assert len(data.take([0, 3])) == 2
    for given, message in ((labels[0], "y must hold classes"), (labels[2], "y holds NaN")):
        with pytest.raises(ValueError, match=message):
            example(y=given, lengths=None)
    with pytest.raises(ValueError, match="X holds infinite"):
        example(X=X, y=y, lengths=lengths + (lengths < 4))


@pytest.mark.parametrize("name", ["X", "y", "salient", "lengths"])
def test_masked_arrays_are_refused(name):
    value = getattr(example(), name)
    assert np.array_equal(getattr(example(**{name: np.ma.array(value, mask=False)}), name), value)
    with pytest.raises(ValueError, match=f"{name} is a masked array with"):
        example(**{name: np.ma.array(value, mask=value == value.max())})


def test_the_path_comes_first(tmp_path):
    with pytest.raises(TypeError, match="path comes first, then dataset: got a Dataset for path"):
        save_file(example(), tmp_path / "mine.npz")
