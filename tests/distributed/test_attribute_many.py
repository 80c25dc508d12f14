"""Scores of a stream are those of one call, bit for bit, whatever the batches, and however often the run is killed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from rambit import RaMbIT
from rambit.attribution import FO, ShapleySampling, WinIT
from rambit.distributed import Attributions, attribute_many
from rambit.store import Store, StoreError
from tests.models_for_tests import GRU, Exact

X = torch.randn(23, 3, 7, generator=torch.Generator().manual_seed(0))
HERE = Path(__file__).parents[2]


class Counting(Exact):
    """The batch-independent model; counts its calls, and fails at one of them."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.calls, self.fail_at = 0, fail_at

    def advance(self, x, state):
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        return super().advance(x, state)


class Gaps(Exact):
    """Reads a missing value as 0."""

    def advance(self, x, state):
        return super().advance(x.nan_to_num(), state)


def rambit(model=None, **options):
    given = {"L": 3, "num_samples": 2, "counterfactuals": "uniform", "output": "regression", "model_id": "exact"}
    return RaMbIT(model or Exact(), **{**given, **options})


def shuffled(seed):
    """Sizes of batches that sum up to all of X."""
    rng = random.Random(seed)
    sizes = []
    while sum(sizes) < len(X):
        sizes.append(min(rng.randint(1, 6), len(X) - sum(sizes)))
    return sizes


def same(a, b, *names):
    for name in names or ("values", "stderr", "lengths", "ids", "windows"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        assert x is None or (x.dtype == y.dtype and torch.equal(x, y)), name


# --- the same bits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_as_one_call(tmp_path, seed):
    attributor = rambit(anchor=("cell", "mask", "end", "cell")[seed])
    expected = attributor.explain(X)
    results = attribute_many(
        attributor, X.split(shuffled(seed)), tmp_path, shard_size=random.Random(seed).randint(1, 25)
    )
    same(results[:], expected)
    np.testing.assert_array_equal(results.to_numpy(), expected.values.numpy())
    assert (results.rows, results.row_steps) == (expected.rows, expected.row_steps)
    assert (results.settings, results.seed) == (expected.settings, expected.seed)
    assert results[:].settings == expected.settings
    assert len(results) == len(X)


def test_every_argument_of_a_series(tmp_path):
    generator = torch.Generator().manual_seed(1)
    known = {
        "ids": torch.randint(0, 2**32 - 1, (23,), generator=generator),
        "lengths": torch.randint(1, 8, (23,), generator=generator),
        "observed": torch.rand(X.shape, generator=generator) < 0.8,
        "target": torch.randint(0, 2, (23,), generator=generator),
    }
    missing = X.masked_fill(~known["observed"], float("nan"))
    attributor = rambit(Gaps(), distance="diff")
    parts = {name: value.split(shuffled(5)) for name, value in {"X": missing, **known}.items()}
    batches = [dict(zip(parts, values, strict=True)) for values in zip(*parts.values(), strict=True)]
    same(attribute_many(attributor, batches, tmp_path, shard_size=5)[:], attributor.explain(missing, **known))


@pytest.mark.parametrize("target", [1, torch.arange(23) % 2, np.arange(23) % 2, ["no", "yes"] * 11 + ["no"], "yes"])
def test_an_output_for_all_series_or_for_each(tmp_path, target):
    attributor = rambit(distance="diff")
    attributor.predictor.class_names = ("no", "yes")
    expected = attributor.explain(X, target=target)
    results = attribute_many(attributor, X.split(shuffled(3)), tmp_path, target=target, shard_size=4)
    same(results[:], expected, "values", "stderr", "ids", "target")
    assert torch.equal(results[7].target, expected.target[7:8])


def test_pairs_for_forecasts(tmp_path):
    attributor = RaMbIT(Quantiles(), L=2, num_samples=1, output="regression", anchor="end", window_size=1, model_id="q")
    for number, target in enumerate(((1, 0), torch.stack((torch.arange(23) % 2, torch.arange(23) % 3), dim=1))):
        results = attribute_many(attributor, X.split(5), tmp_path / str(number), target=target, shard_size=8)
        same(results[:], attributor.explain(X, target=target), "values", "target")


class Quantiles(torch.nn.Module):
    """Two steps with three quantiles each, (N, 2, 3)."""

    def forward(self, x):
        return torch.stack((x.cumsum(2)[:, :, -1], x.cumsum(2)[:, :, -2] ** 2), dim=1)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ([1] * 22, "target has 22 outputs, and batch 3 ends with series 22"),
        ([1] * 24, "target has 24 outputs, for 23 series"),
        ("yes", "target must be given by number, got 'yes'"),
        (-1, "target must lie between"),
        ([[1, 2, 3]], "target must be one output"),
        (lambda y: y, "target must be an output, or one for each series"),
    ],
)
def test_outputs_that_do_not_fit(tmp_path, target, words):
    with pytest.raises((TypeError, ValueError), match=words):
        attribute_many(rambit(distance="diff"), X.split(7), tmp_path, target=target)
    with pytest.raises(ValueError, match="batch 0 has a target, and target was given too"):
        attribute_many(rambit(distance="diff"), [{"X": X, "target": [1] * 23}], tmp_path / "b", target=1)


def test_which_cells_were_evaluated(tmp_path):
    """Shards where nothing is missing say nothing, and stand beside those that do."""
    seen = torch.ones_like(X, dtype=torch.bool)
    seen[6, 1, 3] = seen[7, 0, 0] = seen[12, 2, 5] = False
    missing = X.masked_fill(~seen, float("nan"))
    expected = rambit(Gaps()).explain(missing, observed=seen)
    batch = {"X": missing, "observed": seen}
    for name, data in (("dict", [batch]), ("masked", [np.ma.masked_invalid(missing.numpy())])):
        results = attribute_many(rambit(Gaps()), data, tmp_path / name, shard_size=5)
        same(results[:], expected)
        assert torch.equal(results[:].evaluated, seen)
        assert results[:].top(23 * 3 * 7) == expected.top(23 * 3 * 7)
        assert results[:5].evaluated is None
        assert torch.equal(results[4:8].evaluated, seen[4:8])
        assert [shard.evaluated is None for shard in results.shards()] == [True, False, False, True, True]


@pytest.mark.parametrize("padding", [float("nan"), float("inf")])
def test_padding_is_never_judged(tmp_path, padding):
    lengths = torch.arange(23) % 7 + 1
    behind = (torch.arange(7) >= lengths[:, None, None]).expand_as(X)
    expected = rambit().explain(X, lengths=lengths)
    spoiled = X.masked_fill(behind, padding)
    same(attribute_many(rambit(), [{"X": spoiled, "lengths": lengths}], tmp_path / "a", shard_size=5)[:], expected)
    np.savez(tmp_path / "x.npz", X=spoiled.numpy(), lengths=lengths.numpy())
    same(attribute_many(rambit(), tmp_path / "x.npz", tmp_path / "b", shard_size=5)[:], expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: WinIT(Exact(), window_size=3, counterfactuals="uniform", output="regression", model_id="m"),
        lambda: FO(Exact(), output="regression", model_id="m"),
        lambda: ShapleySampling(Exact(), output="regression", model_id="m", distance="abs"),
    ],
)
def test_other_methods(tmp_path, make):
    same(attribute_many(make(), X.split(4), tmp_path, shard_size=6)[:], make().explain(X))


def test_layout_btd(tmp_path):
    attributor = rambit(layout="BTD", model=lambda x: Exact()(x.transpose(1, 2)))
    expected = attributor.explain(X.transpose(1, 2))
    same(attribute_many(attributor, X.transpose(1, 2).split(5), tmp_path / "a", shard_size=4)[:], expected)
    np.save(tmp_path / "x.npy", X.transpose(1, 2).numpy())
    same(attribute_many(attributor, tmp_path / "x.npy", tmp_path / "b", shard_size=4)[:], expected)


def test_a_model_that_rounds_by_batch_gives_the_bits_of_each_shard(tmp_path):
    torch.manual_seed(0)
    attributor = RaMbIT(GRU(), L=2, counterfactuals="uniform", num_samples=1)
    results = attribute_many(attributor, X.split(4), tmp_path / "a", shard_size=9)
    expected = [
        attributor.explain(part, ids=ids) for part, ids in zip(X.split(9), torch.arange(23).split(9), strict=True)
    ]
    for part, shard in zip(results.shards(), expected, strict=True):
        same(part, shard)
    again = attribute_many(attributor, [X], tmp_path / "b", shard_size=9)
    same(again[:], results[:])
    torch.testing.assert_close(results[:].values, attributor.explain(X).values)


def test_a_file_of_lengths_and_missing_values(tmp_path):
    values = X.clone()
    values[5, 1, 2] = float("nan")
    lengths = torch.arange(23) % 7 + 1
    np.savez_compressed(tmp_path / "x.npz", X=values.numpy(), lengths=lengths.numpy())
    attributor = rambit(Gaps())
    expected = attributor.explain(values, lengths=lengths, observed=~values.isnan())
    same(attribute_many(attributor, tmp_path / "x.npz", tmp_path / "s", shard_size=4)[:], expected)


# --- reading back -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("done")
    return attribute_many(rambit(), [X], folder, shard_size=5), rambit().explain(X)


@pytest.mark.parametrize(
    "which",
    [0, 22, -1, -23, slice(3, 4), slice(3, 17), slice(None), slice(-4, None), slice(1, 20, 6), slice(None, None, -3)],
)
def test_parts_of_the_results(done, which):
    results, expected = done
    places = torch.arange(23)[[which] if isinstance(which, int) else torch.arange(23).tolist()[which]]
    part = results[which]
    assert torch.equal(part.values, expected.values[places])
    assert torch.equal(part.stderr, expected.stderr[places])
    assert part.ids.tolist() == places.tolist()
    shards = {int(place) // 5 for place in places}
    assert part.rows == sum(shard.rows for i, shard in enumerate(results.shards()) if i in shards)


@pytest.mark.parametrize("which", [23, -24, slice(5, 5), slice(30, 40)])
def test_parts_that_are_not_there(done, which):
    with pytest.raises(IndexError):
        done[0][which]


def test_iterating_gives_each_series(done):
    results, expected = done
    assert torch.equal(torch.cat([one.values for one in results]), expected.values)


# --- going on ---------------------------------------------------------------------------------------------------------


def test_what_is_finished_is_not_asked_again(tmp_path):
    model = Counting()
    first = attribute_many(rambit(model), X.split(5), tmp_path, shard_size=4)
    calls = model.calls
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = attribute_many(rambit(model), X.split(2), tmp_path, shard_size=4)
    assert model.calls == calls
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    same(again[:], first[:])


def test_an_interrupt_at_every_call(tmp_path):
    expected, at, stops = rambit(L=1).explain(X[:6]), 1, 0
    while True:
        model = Counting(fail_at=at)
        folder = tmp_path / str(at)
        try:
            attribute_many(rambit(model, L=1), X[:6].split(4), folder, shard_size=2)
            break
        except KeyboardInterrupt:
            stops += 1
        with pytest.raises(StoreError, match=r"unfinished run|holds no store|no store of many"):
            Attributions(folder)
        rest = Counting()
        results = attribute_many(rambit(rest, L=1), [X[:6]], folder, shard_size=2)
        same(results[:], expected)
        at += 7
    assert stops > 3


def test_a_full_disk_at_every_write(tmp_path, monkeypatch):
    """Whatever was written stays, and with room again the same call goes on to the same bits."""
    expected, fsync, stops = rambit(L=1).explain(X[:6]), os.fsync, 0
    for at in range(1, 100):
        calls = 0

        def full(fd, at=at):
            nonlocal calls
            calls += 1
            if calls >= at:
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(fd)

        folder = tmp_path / str(at)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            try:
                attribute_many(rambit(L=1), [X[:6]], folder, shard_size=2)
                break
            except OSError as error:
                said = str(error)
                stops += 1
        assert str(folder) in said
        assert not [path for path in folder.iterdir() if path.name[0] == "." or path.name == "writer.lock"]
        same(attribute_many(rambit(L=1), [X[:6]], folder, shard_size=2)[:], expected)
    assert stops > 10


@pytest.mark.parametrize("harm", ["lost", "short", "flipped"])
def test_a_harmed_shard_is_made_again(tmp_path, harm):
    model = Counting()
    first = attribute_many(rambit(model), [X], tmp_path, shard_size=4)[:]
    calls, model.calls = model.calls, 0
    path = sorted(tmp_path.glob("shard-*"), key=lambda path: path.stat().st_size)[-1]
    data = bytearray(path.read_bytes())
    if harm == "lost":
        path.unlink()
    else:
        data[-9] ^= 1
        path.write_bytes(data if harm == "flipped" else data[:-1])
    results = attribute_many(rambit(model), [X], tmp_path, shard_size=4)
    assert 0 < model.calls < calls
    same(results[:], first)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attributor": {"seed": 1}}, "seed is 0 there and 1 here"),
        ({"attributor": {"L": 4}}, "L is 3 there and 4 here"),
        ({"attributor": {"model_id": "another"}}, "model is"),
        ({"attributor": {"counterfactuals": "gaussian"}}, "counterfactuals"),
        ({"shard_size": 5}, "shard_size is 4 there and 5 here"),
        ({"data": [X + 1]}, "series 0 to 3 of the input are not those"),
        ({"data": [torch.cat((X[:21], X[:2]))]}, "series 20 to 22 of the input are not those"),
        ({"data": [{"X": X, "ids": torch.arange(23).flip(0)}]}, "series 0 to 3 of the input are not those"),
        ({"data": [torch.cat((X, X))]}, "finished with 23 series"),
        ({"data": [X[:20]]}, "holds scores of 23 series, but the input has 20"),
    ],
)
def test_another_run_is_refused(tmp_path, change, said):
    first = attribute_many(rambit(), [X], tmp_path, shard_size=4)[:]
    with pytest.raises(StoreError, match=said):
        attribute_many(
            rambit(**change.get("attributor", {})),
            change.get("data", [X]),
            tmp_path,
            shard_size=change.get("shard_size", 4),
        )
    same(Attributions(tmp_path)[:], first)


def test_two_at_once(tmp_path):
    def batches():
        yield X[:12]
        with pytest.raises(StoreError, match="being written by another process"):
            attribute_many(rambit(), [X], tmp_path, shard_size=4)
        yield X[12:]

    same(attribute_many(rambit(), batches(), tmp_path, shard_size=4)[:], rambit().explain(X))


# Imports once, then forks a run for every line that it reads.
NURSERY = """
import os, sys, time, torch
torch.set_num_threads(1)
from tests.distributed.test_attribute_many import X, rambit
from tests.models_for_tests import Exact
from rambit.distributed import attribute_many
class Slow(Exact):
    def advance(self, x, state):
        time.sleep(0.002)
        return super().advance(x, state)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        try:
            attribute_many(rambit(Slow()), X.split(5), line.strip(), shard_size=2)
        finally:
            os._exit(0)
    os.write(1, b"%d\\n" % pid)
    os.write(1, b"%d\\n" % os.waitpid(pid, 0)[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_kill_at_any_moment(tmp_path):
    """Killed again and again until it is through: no finished shard is lost, and no bit differs."""
    expected, folder, rng = rambit().explain(X), tmp_path / "s", random.Random(0)
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        finished, kills, status = set(), 0, None
        while status != 0:
            process.stdin.write(f"{folder}\n")
            process.stdin.flush()
            pid = int(process.stdout.readline())
            time.sleep(0.05 + rng.random() * 0.2)
            with contextlib.suppress(ProcessLookupError):  # it was through before
                os.kill(pid, signal.SIGKILL)
            status = int(process.stdout.readline())
            kills += status != 0
            assert kills < 300, "the runs never get through"
            if (folder / "manifest.json").exists():
                with Store(folder, read_only=True) as store:
                    names = set(store.names()) - {"summary"}
                    assert finished <= names
                    finished = names
                    for name in names:
                        start, stop = map(int, name.split("-"))
                        assert torch.equal(store.get(name)[0]["values"], expected.values[start:stop])
        process.stdin.close()
    assert kills >= 3
    results = Attributions(folder)
    same(results[:], expected)
    assert len(os.listdir(folder)) == len(results._names) + 2, "nothing is left over"


# --- what is refused --------------------------------------------------------------------------------------------------


def lone(x):
    return x[:, :2, -1]


@pytest.mark.parametrize(
    ("attributor", "options", "error", "said"),
    [
        (lambda: lone, {}, TypeError, "attributor must be one of rambit's"),
        (lambda: RaMbIT(lone), {}, ValueError, "model_id is needed"),
        (lambda: rambit(counterfactuals=torch.zeros(2, 23, 3, 7)), {}, ValueError, "given values of one batch"),
        (rambit, {"shard_size": 0}, ValueError, "shard_size must be at least 1"),
        (rambit, {"shard_size": 1.5}, TypeError, "shard_size must be an integer"),
        (rambit, {"devices": []}, ValueError, "devices must name at least one"),
        (rambit, {"devices": "cpu"}, TypeError, r"devices must be a list, got 'cpu': write \['cpu'\]"),
        (rambit, {"devices": ["cpu", "cuda:99"]}, ValueError, "devices: 'cuda:99' is not on this machine"),
        *(
            (rambit, {"devices": bad}, TypeError, "devices must be a list of names")
            for bad in (7, object(), (1, 2), b"x")
        ),
        *((rambit, {"folder": bad}, TypeError, "folder must be a path, got") for bad in (7, None, b"x", [])),
        (rambit, {"data": X}, TypeError, "data must be an iterable"),
        (rambit, {"data": []}, ValueError, "data is empty"),
        (rambit, {"data": [X[0]]}, ValueError, "batch 0: X must be"),
        (rambit, {"data": "x.json"}, ValueError, r"data: x\.json: the name must end in .* to be read piece by piece"),
        (rambit, {"data": "none.npz"}, FileNotFoundError, "none.npz"),
    ],
)
def test_bad_input_leaves_nothing_behind(tmp_path, attributor, options, error, said):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = attributor()
    with pytest.raises(error, match=said):
        attribute_many(**{"attributor": made, "data": [X], "folder": tmp_path / "s", **options})
    assert not (tmp_path / "s").exists()


def shard(name, meta=None, **tensors):
    """A writer that puts one more shard, or another version of one."""

    def change(store):
        content, info = store.get(name) if name in store else ({}, {})
        store.put(name, {**content, **tensors} if tensors else {}, info if meta is None else {**info, **meta})

    return change


FIRST, LAST = "000000000000-000000000005", "000000000020-000000000023"
HOSTILE = {
    "a foreign shard": (shard("other", x=torch.ones(1)), "has the shard 'other'"),
    "a name that is no range": (shard("000000000005-000000000005", x=torch.ones(1)), "has the shard"),
    "a name of other digits": (shard("000000000٠23-000000000024", x=torch.ones(1)), "has the shard"),
    "an overlap": (shard("000000000022-000000000024", x=torch.ones(1)), "does not begin at series 22|begin"),
    "more series": (shard("000000000023-000000000024", x=torch.ones(1)), "not of 23 series"),
    "a gap": (lambda store: store.remove(FIRST), "does not begin"),
    "the end is gone": (lambda store: store.remove(LAST), "not of 23 series"),
    "no summary": (lambda store: store.remove("summary"), "summary is corrupt"),
    "a bad summary": (lambda store: store.put("summary", {}, {"settings": [], "series": 23}), "summary is corrupt"),
    "a summary without a seed": (lambda store: store.put("summary", {}, {"settings": {}, "series": 23}), "summary"),
    "text for a number": (shard("summary", {"series": "23"}), "summary is corrupt"),
    "text for rows": (shard(FIRST, {"rows": "9"}), "lacks rows"),
    "too few values": (shard(FIRST, values=torch.ones(4, 3, 7)), "has 'values'"),
    "integer values": (shard(FIRST, values=torch.ones(5, 3, 7).long()), "'values' of torch.int64"),
    "bool ids": (shard(FIRST, ids=torch.ones(5, dtype=torch.bool)), "'ids' of torch.bool"),
    "evaluated that is no bool": (shard(FIRST, evaluated=torch.ones(5, 3, 7).byte()), "'evaluated' of torch.uint8"),
    "evaluated of another shape": (shard(FIRST, evaluated=torch.ones(5, 3).bool()), "evaluated must have the shape"),
    "complex values": (shard(FIRST, values=torch.ones(5, 3, 7) + 0j), "'values' of torch.complex64"),
    "float8": (shard(FIRST, values=torch.ones(5, 3, 7).to(torch.float8_e4m3fn)), "values must be a tensor of"),
    "windows of other axes": (shard(FIRST, windows=torch.ones(5, 3, 7)), "windows must have the shape"),
    "negative lengths": (shard(FIRST, lengths=-torch.ones(5).long()), "lengths must be at least 0"),
    "seconds that are none": (
        shard(FIRST, {"seconds": float("nan")}, values=torch.ones(5, 3, 7)),
        "seconds must be at least 0",
    ),
    "floating lengths": (shard(FIRST, lengths=torch.ones(5)), "'lengths' of torch.float32"),
    "an unknown tensor": (shard(FIRST, other=torch.ones(5)), "has 'other'"),
    "another shape of stderr": (shard(FIRST, stderr=torch.ones(5, 2)), "stderr must have the shape"),
    "a scalar": (shard(FIRST, ids=torch.tensor(1)), "has 'ids'"),
    "no values": (lambda store: store.put(FIRST, {}, store.get(FIRST)[1]), "has no 'values'"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_stores(tmp_path, case):
    """Stores whose hashes all hold, and which no run has written."""
    attribute_many(rambit(), [X], tmp_path, shard_size=5)
    key = json.loads((tmp_path / "manifest.json").read_text())["key"]
    change, said = HOSTILE[case]
    with Store(tmp_path, key=key) as store:
        change(store)
    with pytest.raises(StoreError, match=said):
        Attributions(tmp_path)[:]


def test_altered_shards_are_noticed(tmp_path):
    attribute_many(rambit(), [X], tmp_path, shard_size=5)
    results = Attributions(tmp_path)
    for path in tmp_path.glob("shard-*"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match="truncated or altered"):
        results[3]


def test_shards_that_differ_in_shape_are_no_array(tmp_path):
    results = attribute_many(rambit(), [X], tmp_path, shard_size=5)
    with Store(tmp_path, key=results.store.key) as store:
        shard(LAST, values=torch.ones(3, 2, 7), stderr=torch.ones(3, 2, 7))(store)
    with pytest.raises(StoreError, match="another shape"):
        Attributions(tmp_path).to_numpy()
    with pytest.raises(StoreError, match="another shape"):
        Attributions(tmp_path)[:]
