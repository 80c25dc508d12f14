"""The store: round trips, kills at any moment, one writer, hostile folders, and keys that notice every bit."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rambit.store import Store, StoreError, atomic_write, decode, encode, files, keys, resume_key
from rambit.store.folder import _is_name

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int8, torch.uint8, torch.bool]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
HERE = {"host": socket.gethostname(), "pid": os.getpid()}
on_posix = pytest.mark.skipif(os.name != "posix", reason="signals and links of POSIX")
on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def some(value: float = 0.0) -> dict[str, Tensor]:
    return {"x": torch.full((4, 3), value), "n": torch.tensor(7)}


def same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and encode({"t": a}) == encode({"t": b})


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and not p.is_symlink()}


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    dtype = draw(st.sampled_from(DTYPES))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    tensor = torch.randint(0, 2 if dtype == torch.bool else 100, shape, generator=generator).to(dtype)
    return tensor.permute(draw(st.permutations(range(len(shape)))))  # any strides


names = st.text(min_size=1, max_size=20).filter(_is_name).filter(lambda name: name != "__metadata__")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


# --- atomic_write ----------------------------------------------------------------------------------------------------


def test_atomic_write_replaces_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / ("long name " * 20 + ".bin")
    atomic_write(path, b"old")
    atomic_write(str(path), b"new")
    assert tree(tmp_path) == {path.name: b"new"}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_atomic_write_cleans_up_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "a"
    atomic_write(path, b"old")

    def fail(*args: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(OSError, match="no space"):
        atomic_write(path, b"new")
    assert tree(tmp_path) == {"a": b"old"}


@on_posix
def test_atomic_write_keeps_the_umask_and_replaces_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"kept")
    (tmp_path / "link").symlink_to(outside)
    atomic_write(tmp_path / "link", b"new")
    plain = tmp_path / "plain"
    plain.touch()
    assert outside.read_bytes() == b"kept"
    assert (tmp_path / "link").stat().st_mode == plain.stat().st_mode


# --- round trips -----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    st.dictionaries(
        names,
        st.tuples(st.dictionaries(names, tensors(), max_size=3), st.dictionaries(st.text(), values, max_size=3)),
        max_size=4,
    ),
    st.dictionaries(st.text(), values, max_size=3),
)
def test_what_is_put_comes_back(
    shards: dict[str, tuple[dict[str, Tensor], dict[str, Any]]], meta: dict[str, Any]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with Store(folder, key="k", meta=meta) as store:
            for name, (content, info) in shards.items():
                store.put(name, some())
                store.put(name, content, info)
        for options in ({"key": "k"}, {"read_only": True}):
            with Store(folder, **options) as store:  # type: ignore[arg-type]
                assert (store.key, store.meta, store.names()) == ("k", meta, list(shards))
                for name, (content, info) in shards.items():
                    found, found_info = store.get(name)
                    assert found_info == info
                    assert found.keys() == content.keys()
                    assert all(same(found[n], content[n]) for n in content)
        distinct = {encode(content) for content, _ in shards.values()}
        assert len(os.listdir(folder)) == 1 + len(distinct), "old versions and the lock are gone"


@pytest.mark.parametrize("device", DEVICES)
def test_shared_memory_gradients_and_devices(tmp_path: Path, device: str) -> None:
    x = torch.arange(12.0, device=device).reshape(3, 4).requires_grad_()
    content = {"a": x, "b": x, "t": x.T, "part": x[1:], "minus": torch.ones(1, 2, device=device)._neg_view()}
    with Store(tmp_path, key="k") as store:
        store.put("all", content)
        found, _ = store.get("all")
    for name, tensor in content.items():
        assert found[name].device.type == "cpu"
        assert torch.equal(found[name], tensor.detach().cpu())


def test_remove_and_contains(tmp_path: Path) -> None:
    with Store(tmp_path / "deep" / "er", key="k") as store:
        store.put("a", some(1))
        store.put("twin", some(1))
        store.put("b/c.png", some(2))
        store.remove("a")
        assert "a" not in store
        assert "b/c.png" in store
        assert torch.equal(store.get("twin")[0]["x"], some(1)["x"]), "equal content is one file, kept while it is used"
        for call in (store.get, store.remove):
            with pytest.raises(KeyError):
                call("a")
        assert "2 shards, writer" in repr(store)


def test_a_returned_meta_is_a_copy(tmp_path: Path) -> None:
    with Store(tmp_path, key="k") as store:
        store.put("a", some(), {"list": (1, 2)})
        store.get("a")[1]["list"].append(3)
        assert store.get("a")[1] == {"list": [1, 2]}


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "/etc/passwd", "a/../b", "a//b", "C:/x", "a\\b", "a\nb", "x" * 1001, 3]
)
def test_names_that_could_leave_a_folder_are_refused(tmp_path: Path, name: Any) -> None:
    with Store(tmp_path, key="k") as store, pytest.raises(ValueError, match="name must be"):
        store.put(name, some())


@pytest.mark.parametrize(
    ("content", "meta", "error", "message"),
    [
        ({"a": [1.0]}, None, TypeError, "'a' is a list"),
        ({1: torch.zeros(1)}, None, TypeError, "1 is a Tensor"),
        ({"__metadata__": torch.zeros(1)}, None, ValueError, "reserves"),
        ({"a": torch.zeros(2, 2).to_sparse()}, None, ValueError, "'a' must be dense"),
        ({"a": torch.zeros(2, device="meta")}, None, ValueError, "'a' must be dense"),
        ({"a": torch.zeros(2, dtype=torch.complex128)}, None, ValueError, "can't be written"),
        ({}, {"a": {1}}, TypeError, r"meta\['a'\]"),
        ({}, {1: 1}, TypeError, "strings for keys"),
        ({}, [1], TypeError, "must be a dict"),
    ],
)
def test_what_can_not_be_stored(tmp_path: Path, content: Any, meta: Any, error: type[Exception], message: str) -> None:
    with Store(tmp_path, key="k") as store:
        with pytest.raises(error, match=message):
            store.put("a", content, meta)
        assert store.names() == []


@pytest.mark.parametrize("key", [None, "", 3])
def test_a_writer_needs_a_key(tmp_path: Path, key: Any) -> None:
    with pytest.raises(ValueError, match="key must be"):
        Store(tmp_path, key=key)
    assert tree(tmp_path) == {}


def test_reading_needs_a_store_and_can_not_write(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no store"):
        Store(tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists()
    with Store(tmp_path, key="k") as store:
        store.put("a", some())
    with pytest.raises(StoreError, match="closed"):
        store.put("a", some())
    with pytest.raises(StoreError, match="closed"):
        store.get("a")
    reader = Store(tmp_path, read_only=True)
    for call in (lambda: reader.put("b", some()), lambda: reader.remove("a")):
        with pytest.raises(StoreError, match="reading only"):
            call()
    (tmp_path / "file").touch()
    for folder in ("file", "file/below"):
        with pytest.raises(StoreError, match="is not a folder"):
            Store(tmp_path / folder, key="k")


def test_a_reader_follows_a_writer(tmp_path: Path) -> None:
    with Store(tmp_path, key="k") as store:
        store.put("a", some(1))
        store.put("b", some(1.5))
        reader = Store(tmp_path, read_only=True)
        store.put("a", some(2))
        store.remove("b")
        assert reader.get("a")[0]["x"][0, 0] == 2
        with pytest.raises(KeyError):
            reader.get("b")


def test_another_key_says_what_differs(tmp_path: Path) -> None:
    meta = {"L": 20, "cf": {"name": "zero", "n": 1}, "gone": "x", "same": [1, 2], "long": "y" * 500}
    Store(tmp_path, key="one", meta=meta).close()
    before = tree(tmp_path)
    other = {"L": 10, "cf": {"name": "mean", "n": 1}, "same": (1, 2), "new": 1.0, "long": "z" * 500}
    for read_only in (False, True):
        with pytest.raises(StoreError) as caught:
            Store(tmp_path, key="two", meta=other, read_only=read_only)
        text = str(caught.value)
        assert "other settings, data or model" in text
        for part in (
            "L is 20 there and 10 here",
            "cf.name is 'zero' there",
            "gone is 'x' there and absent here",
            "new is",
        ):
            assert part in text
        assert "same" not in text
        assert "cf.n " not in text
        assert len(text) < 700
    with pytest.raises(StoreError, match="so the data or the model differ"):
        Store(tmp_path, key="two", meta=meta)
    assert tree(tmp_path) == before


# --- kills -----------------------------------------------------------------------------------------------------------

# Imports once, then forks a process for every line that it reads: to write in a loop, or to race for the lock.
NURSERY = """
import os, sys, time, torch
from rambit.store import Store, StoreError
def write(folder, start):
    with Store(folder, key="k") as store:
        for i in range(start, start + 10**9):
            store.put(f"n{i % 3}", {"x": torch.full((50 + i % 2,), float(i))}, {"i": i})
            if i % 7 == 6:
                store.remove("n0")
def race(folder, start):
    time.sleep(max(0, start - time.time()))
    try:
        with Store(folder, key="k"):
            time.sleep(0.4)
        os.write(1, b"won\\n")
    except StoreError:
        os.write(1, b"lost\\n")
for line in sys.stdin:
    what, folder, start = line.split()
    pid = os.fork()
    if pid == 0:
        try:
            {"write": write, "race": race}[what](folder, float(start) if what == "race" else int(start))
        finally:
            os._exit(0)
    if what == "write":
        os.write(1, b"%d\\n" % pid)
        os.waitpid(pid, 0)
        os.write(1, b"reaped\\n")
"""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Callable[[str], str]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def ask(line: str) -> str:
            if line:
                stdin.write(line + "\n")
                stdin.flush()
                if line.startswith("race"):
                    return ""
            return stdout.readline().strip()

        yield ask
        stdin.close()


def check_whole(folder: Path) -> int:
    """Every shard is a whole version, and the versions are of the last few steps; returns the last one."""
    with Store(folder, key="k") as store:
        last = -1
        for name in store.names():
            content, meta = store.get(name)
            i = meta["i"]
            assert name == f"n{i % 3}"
            assert torch.equal(content["x"], torch.full((50 + i % 2,), float(i)))
            last = max(last, i)
        files = set(os.listdir(folder)) - {"manifest.json", "writer.lock"}
        assert len(files) == len(store.names()), f"leftovers: {files}"
    return last


@on_posix
def test_kill_at_any_moment(tmp_path: Path, nursery: Callable[[str], str]) -> None:
    folder, step, rng = tmp_path / "s", 0, random.Random(0)
    kills = 0
    while kills < 25 or step <= 25:  # on a busy machine a writer may be killed before it got to write
        kills += 1
        assert kills < 1000, "the writers never get to write"
        pid = int(nursery(f"write {folder} {step}"))
        time.sleep(rng.random() * 0.04)
        os.kill(pid, signal.SIGKILL)
        assert nursery("") == "reaped"
        step = max(step, check_whole(folder) + 1)


class Dead(BaseException):
    """The process is gone: nothing it still tries has an effect."""


@on_posix
def test_a_stop_at_every_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"open": os.open, "fsync": os.fsync, "replace": os.replace, "unlink": os.unlink}
    stops = 0
    for stop_at in range(1, 60):
        folder = tmp_path / str(stop_at)
        with Store(folder, key="k") as store:
            store.put("a", some(1), {"v": 1})
            store.put("b", some(5), {"v": 5})
        count = 0

        def counted(name: str, stop_at: int = stop_at) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal count
                count += 1
                if count >= stop_at:
                    raise Dead
                return calls[name](*args, **kwargs)

            return call

        finished = False
        with monkeypatch.context() as patch:
            for name in calls:
                patch.setattr(os, name, counted(name))
            with contextlib.suppress(Dead):
                store = Store(folder, key="k")
                store.put("a", some(2), {"v": 2})
                store.remove("b")
                finished = True
        # What the dead process left says a live number, ours: make it a dead one.
        (folder / "writer.lock").write_text(json.dumps({**HERE, "pid": 2**22 + 1}))
        with Store(folder, key="k") as store:
            content, meta = store.get("a")
            assert meta["v"] in (1, 2)
            assert torch.equal(content["x"], some(meta["v"])["x"])
            assert "b" not in store or torch.equal(store.get("b")[0]["x"], some(5)["x"])
            assert len(os.listdir(folder)) == 2 + len(store.names())
        if finished:
            assert meta["v"] == 2
            break
        stops += 1
    assert finished
    assert stops > 15


# --- one writer ------------------------------------------------------------------------------------------------------


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path, key="k") as store:
        with pytest.raises(StoreError, match="being written by another") as caught:
            Store(tmp_path, key="k")
        assert str(tmp_path / "writer.lock") in str(caught.value)
        assert str(os.getpid()) in str(caught.value)
        store.put("a", some())
        assert "a" in Store(tmp_path, read_only=True), "readers need no lock"
    Store(tmp_path, key="k").close()
    assert not (tmp_path / "writer.lock").exists()


@on_posix
@pytest.mark.parametrize("left", [None, "", json.dumps({**HERE, "pid": 2**22 + 1})])
def test_of_several_processes_one_writes(tmp_path: Path, nursery: Callable[[str], str], left: str | None) -> None:
    """From a free folder, one with a lock whose writer was killed before it signed, and one with a dead lock."""
    Store(tmp_path, key="k").close()
    if left is not None:
        (tmp_path / "writer.lock").write_text(left)
    start = time.time() + 0.1
    for _ in range(4):
        nursery(f"race {tmp_path} {start}")
    assert sorted(nursery("") for _ in range(4)) == ["lost", "lost", "lost", "won"]
    assert set(os.listdir(tmp_path)) == {"manifest.json"}


@pytest.mark.parametrize(
    "owner",
    [
        HERE,
        {**HERE, "host": "elsewhere", "pid": 2**22 + 1},
        {**HERE, "namespace": "pid:[1]", "pid": 2**22 + 1},
        {**HERE, "pid": -1},
        {**HERE, "pid": 10**30},
        {**HERE, "pid": True},
        {"pid": 2**22 + 1},
        [],
        "x",
    ],
)
def test_a_lock_that_may_be_alive_is_left_alone(tmp_path: Path, owner: object) -> None:
    (tmp_path / "writer.lock").write_text(json.dumps(owner))
    before = tree(tmp_path)
    with pytest.raises(StoreError, match=r"remove .*writer\.lock"):
        Store(tmp_path, key="k")
    assert tree(tmp_path) == before


@on_linux
def test_dead_locks_are_taken_over(tmp_path: Path) -> None:
    reused = {**HERE, "started": "1"}  # our number, but of a process that started at another time
    with subprocess.Popen(["sleep", "60"]) as zombie:
        zombie.kill()
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # dead, not yet reaped
        for owner in (reused, {**HERE, "pid": zombie.pid}, {**HERE, "pid": 2**22 + 1}):
            (tmp_path / "writer.lock").write_text(json.dumps(owner))
            with Store(tmp_path, key="k") as store:
                store.put("a", some())
                assert json.loads((tmp_path / "writer.lock").read_text())["pid"] == os.getpid()


def test_a_writer_that_lost_its_lock_changes_nothing(tmp_path: Path) -> None:
    with Store(tmp_path, key="k") as store:
        store.put("a", some(1))
        (tmp_path / "writer.lock").unlink()
        manifest = (tmp_path / "manifest.json").read_bytes()
        for call in (lambda: store.put("a", some(2)), lambda: store.remove("a")):
            with pytest.raises(StoreError, match="not this process's lock any more"):
                call()
        (tmp_path / "writer.lock").write_text("another's")
    assert (tmp_path / "writer.lock").read_text() == "another's"
    assert (tmp_path / "manifest.json").read_bytes() == manifest


def test_a_fork_is_not_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path, key="k") as store:
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: HERE["pid"] + 1)
            with pytest.raises(StoreError, match="not this process's lock"):
                store.put("a", some())
            assert store._lock is not None
            store._lock.release()
        assert (tmp_path / "writer.lock").exists()
        store.put("a", some())


# --- hostile folders -------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A store beside a file that nothing may touch."""
    (tmp_path / "secret").write_bytes(encode(some(3)))
    with Store(tmp_path / "s", key="k", meta={"m": 1}) as store:
        store.put("a", some(1))
    return tmp_path / "s"


def shard_of(folder: Path) -> Path:
    return next(folder.glob("shard-*"))


BAD_MANIFESTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "list": lambda m: [],
    "format": lambda m: {**m, "format": "other"},
    "version": lambda m: {**m, "version": 2},
    "no key": lambda m: {n: v for n, v in m.items() if n != "key"},
    "key": lambda m: {**m, "key": 1},
    "meta": lambda m: {**m, "meta": []},
    "shards": lambda m: {**m, "shards": []},
    "entry": lambda m: {**m, "shards": {"a": 1}},
    "size": lambda m: {**m, "shards": {"a": {**m["shards"]["a"], "size": -1}}},
    "float size": lambda m: {**m, "shards": {"a": {**m["shards"]["a"], "size": 99.0}}},
    "missing sha": lambda m: {**m, "shards": {"a": {"size": 99, "meta": {}}}},
    "short sha": lambda m: {**m, "shards": {"a": {**m["shards"]["a"], "sha256": "ab"}}},
    "path as sha": lambda m: {**m, "shards": {"a": {**m["shards"]["a"], "sha256": "/../../secret"}}},
    "path in sha": lambda m: {**m, "shards": {"a": {**m["shards"]["a"], "sha256": ("../" * 22)[:64]}}},
    "file entry": lambda m: {**m, "shards": {"a": {**m["shards"]["a"], "file": "../secret"}}},
    "shard meta": lambda m: {**m, "shards": {"a": {**m["shards"]["a"], "meta": 1}}},
    "up": lambda m: {**m, "shards": {"../secret": m["shards"]["a"]}},
    "absolute": lambda m: {**m, "shards": {"/etc/passwd": m["shards"]["a"]}},
    "drive": lambda m: {**m, "shards": {"c:\\x": m["shards"]["a"]}},
}


@pytest.mark.parametrize("case", BAD_MANIFESTS)
def test_bad_manifests(filled: Path, case: str) -> None:
    path = filled / "manifest.json"
    path.write_text(json.dumps(BAD_MANIFESTS[case](json.loads(path.read_text()))))
    before = tree(filled.parent)
    for read_only in (True, False):
        with pytest.raises(StoreError, match=r"manifest\.json"):
            Store(filled, key="k", read_only=read_only)
    assert tree(filled.parent) == before, "a folder that can't be understood is left as it is, without a lock"


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"key": ' + b"9" * 5000 + b"}", b"null"])
def test_manifests_that_are_not_json(filled: Path, data: bytes) -> None:
    (filled / "manifest.json").write_bytes(data)
    with pytest.raises(StoreError, match=r"manifest\.json is corrupt"):
        Store(filled, key="k")


def test_every_truncation_and_every_flipped_bit_is_noticed(filled: Path) -> None:
    path = shard_of(filled)
    data = path.read_bytes()
    rng = random.Random(0)
    cuts = [data[:n] for n in (0, 7, 8, 20, len(data) - 1)] + [data + b"\0"]
    flips = [bytearray(data) for _ in range(30)]
    for flip in flips:
        flip[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    for bad in [*cuts, *flips]:
        path.write_bytes(bad)
        with Store(filled, read_only=True) as store, pytest.raises(StoreError, match=path.name):
            store.get("a")
    path.unlink()
    for options in ({"read_only": True}, {"key": "k"}):
        with Store(filled, **options) as store, pytest.raises(StoreError, match="'a', is missing"):  # type: ignore[arg-type]
            store.get("a")


@on_posix
@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "pipe"])
@pytest.mark.parametrize("which", ["manifest", "shard", "lock"])
def test_only_regular_files_are_read(filled: Path, kind: str, which: str) -> None:
    """A link to a valid file outside, a link to nothing, a folder, and a pipe that would block for ever."""
    path = {"manifest": filled / "manifest.json", "shard": shard_of(filled), "lock": filled / "writer.lock"}[which]
    if path.exists():
        path.rename(filled.parent / "target")
    else:
        (filled.parent / "target").write_text(json.dumps({**HERE, "pid": 2**22 + 1}))
    before = tree(filled.parent)
    make: dict[str, Callable[[], object]] = {
        "link": lambda: path.symlink_to(filled.parent / "target"),
        "dangling": lambda: path.symlink_to(filled.parent / "new"),
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
    }
    make[kind]()
    with pytest.raises(StoreError, match=r"symbolic link|not a regular file"), Store(filled, key="k") as store:
        store.get("a")
    assert tree(filled.parent) == before
    assert not (filled.parent / "new").exists()


def test_files_of_others_stay(filled: Path) -> None:
    others = ["notes.txt", ".hidden.0123456789abcdef.tmp", "shard-1.safetensors", "shard-" + "g" * 64 + ".safetensors"]
    for name in others:
        (filled / name).write_bytes(b"mine")
    (filled / ("shard-" + "0" * 64 + ".safetensors")).mkdir()
    leftovers = ["shard-" + "1" * 64 + ".safetensors", ".manifest.json.0123456789abcdef.tmp"]
    leftovers.append(".shard-" + "1" * 26 + ".0123456789abcdef.tmp")
    for name in leftovers:
        (filled / name).write_bytes(b"half")
    Store(filled, read_only=True).close()
    assert all((filled / name).exists() for name in leftovers), "a reader changes nothing"
    Store(filled, key="k").close()
    assert not any((filled / name).exists() for name in leftovers)
    assert all((filled / name).read_bytes() == b"mine" for name in others)


def with_header(header: object, body: bytes = b"") -> bytes:
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(data).to_bytes(8, "little") + data + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        (2**63).to_bytes(8, "little") + b"{}",
        (1 << 40).to_bytes(8, "little") + b"{}",
        with_header([]),
        with_header(b"\xff" * 8),
        with_header({"a": 1}),
        with_header({"__metadata__": {"k": 1}}),
        with_header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234567"),
        with_header({"a": {"dtype": "F32", "shape": [2**63, 2**63], "data_offsets": [0, 0]}}),
        with_header({"a": {"dtype": "F32", "shape": [0, 2**62, 4], "data_offsets": [0, 0]}}),
        with_header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, b"1" * 12),
        with_header({"a": {"dtype": "NEW", "shape": [2], "data_offsets": [0, 8]}}, b"1" * 8),
        b"PK\3\4" + b"\0" * 100,
    ],
)
def test_decode_names_the_file(data: bytes) -> None:
    with pytest.raises(StoreError, match=r"^some/file"):
        decode(data, "some/file")


def test_a_huge_header_is_not_parsed() -> None:
    with pytest.raises(StoreError, match="header of 20000000 bytes"):
        decode(with_header(b" " * 20_000_000), "some/file")


# --- resume_key ------------------------------------------------------------------------------------------------------


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
