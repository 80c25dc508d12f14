"""The store: round trips, kills at any moment, and one writer."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rambit.store import Store, StoreError, atomic_files, atomic_write, encode, lock
from rambit.store import folder as store_folder
from rambit.store.folder import _is_name

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int8, torch.uint8, torch.bool]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
HERE = {"host": socket.gethostname(), "pid": os.getpid()}
BOOT = "/proc/sys/kernel/random/boot_id"
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

    monkeypatch.setattr(atomic_files.os, call, fail)
    with pytest.raises(OSError, match="no space"):
        atomic_write(path, b"new")
    assert tree(tmp_path) == {"a": b"old"}


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_what_the_system_refuses_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "a temporary file")

    monkeypatch.setattr(atomic_files.os, call, full)
    with pytest.raises(OSError, match="No space left") as caught:
        atomic_write(tmp_path / "a", b"new")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "a"))


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
        store.info("a")["list"].append(3)
        assert store.get("a")[1] == store.info("a") == {"list": [1, 2]}


def test_info_needs_no_shard_file(tmp_path: Path) -> None:
    with Store(tmp_path, key="k") as store:
        store.put("a", some(), {"n": 1})
        next(tmp_path.glob("shard-*")).unlink()
        assert store.info("a") == {"n": 1}
        with pytest.raises(KeyError):
            store.info("b")


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

        def evaluate(line: str) -> str:
            if line:
                stdin.write(line + "\n")
                stdin.flush()
                if line.startswith("race"):
                    return ""
            return stdout.readline().strip()

        yield evaluate
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


def test_a_full_disk_at_any_write_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's own write, its fsync and the folder's: the old version stays, and the writer may try again."""
    fsync, calls = os.fsync, 0
    for at in range(1, 6):  # a shard and a manifest, each with its folder; then nothing fails
        calls = 0

        def full(fd: int, at: int = at) -> None:
            nonlocal calls
            calls += 1
            if calls == at:
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(fd)

        path = tmp_path / str(at)
        with Store(path, key="k") as store:
            store.put("a", some(1), {"v": 1})
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", full)
                with contextlib.nullcontext() if at > 4 else pytest.raises(OSError, match=str(path)):
                    store.put("a", some(2), {"v": 2})
            assert not list(path.glob(".*")), "temporary files are gone"
            v = store.info("a")["v"]
            assert torch.equal(store.get("a")[0]["x"], some(v)["x"])
            store.put("b", some(3), {"v": 3})
        with Store(path, key="k") as store:
            assert all(torch.equal(store.get(n)[0]["x"], some(store.info(n)["v"])["x"]) for n in ("a", "b"))
            assert len(os.listdir(path)) == 4


def test_a_manifest_that_could_not_be_read_again_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path, key="k") as store:
        store.put("a", some(1))
        monkeypatch.setattr(store_folder, "_MAX_MANIFEST", (tmp_path / "manifest.json").stat().st_size + 10)
        with pytest.raises(StoreError, match=r"is full: with 2 shards .* use larger shards"):
            store.put("b", some(2))
        assert store.names() == ["a"]
    with Store(tmp_path, key="k") as store:
        assert torch.equal(store.get("a")[0]["x"], some(1)["x"])


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


@on_linux
@pytest.mark.parametrize(("own_disk", "boot", "dead"), [(1, "other", True), (0, "other", False), (1, "", False)])
def test_a_lock_of_another_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_disk: int, boot: str, dead: bool
) -> None:
    """A host of our name, whose first pid namespace has our number, is told apart by its start: its writer may live.

    Only a disk of our own says that what was written before this start is over.
    """
    Store(tmp_path, key="k").close()
    here = {**lock._here(), "pid": 2**22 + 1, "token": "t"}  # no process of this machine has that number
    (tmp_path / "writer.lock").write_text(json.dumps({**here, "boot": boot}))
    monkeypatch.setattr(lock.os, "major", lambda device: own_disk)
    with contextlib.nullcontext() if dead else pytest.raises(StoreError, match=r"remove .*writer\.lock"):
        Store(tmp_path, key="k").close()
    assert (tmp_path / "writer.lock").exists() is not dead


def test_what_a_lock_says_of_this_machine(tmp_path: Path) -> None:
    with Store(tmp_path, key="k"):
        owner = json.loads((tmp_path / "writer.lock").read_text())
    assert {name: owner[name] for name in ("pid", "host")} == {"pid": os.getpid(), "host": socket.gethostname()}
    assert owner["boot"] == (Path(BOOT).read_text().strip() if Path(BOOT).exists() else "")


@pytest.mark.parametrize("left", [b"", b"\0" * 90, b'{"pid"', b'{"pid": 12, "host": "h', b'{"pid": 12\0\0\0'])
def test_what_a_power_cut_leaves_of_a_lock_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: bytes
) -> None:
    monkeypatch.setattr(lock.time, "monotonic", itertools.count(0, 10).__next__)  # patience that takes no time
    (tmp_path / "writer.lock").write_bytes(left)
    with Store(tmp_path, key="k") as store:
        store.put("a", some())


def test_a_moved_lock_goes_if_its_writer_is_dead(tmp_path: Path) -> None:
    Store(tmp_path, key="k").close()
    moved = [tmp_path / f"writer.lock.{number:016x}.tmp" for number in range(3)]
    owners = {**HERE, "pid": 2**22 + 1}, HERE, {**HERE, "host": "elsewhere"}
    for path, owner in zip(moved, owners, strict=True):
        path.write_text(json.dumps(owner))
    Store(tmp_path, key="k").close()
    assert [path.exists() for path in moved] == [os.name != "posix", True, True]


@on_posix
def test_folders_that_cannot_be_synced_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def refuses(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", refuses)
    with Store(tmp_path / "new", key="k") as store:
        store.put("a", some())
    assert "a" in Store(tmp_path / "new", read_only=True)


class Short(io.FileIO):
    """A file on a disk with room for 20 bytes."""

    def write(self, data: Any) -> int:
        return super().write(data[:20])


def test_a_lock_for_which_there_is_no_room_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(lock, "open", lambda fd, *_, **__: Short(fd, "wb"), raising=False)
        with pytest.raises(OSError, match="No space left") as caught:
            Store(tmp_path, key="k")
    assert caught.value.filename == str(tmp_path / "writer.lock")
    assert tree(tmp_path) == {}


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


@pytest.mark.parametrize("folder", ["", " ", "\n"])
def test_a_folder_without_a_name(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="folder must name a folder"):
        Store(folder, key="k")
    assert not list(tmp_path.iterdir())


def test_an_empty_store_can_be_given_up(tmp_path: Path) -> None:
    for key in "ab":
        with Store(tmp_path / "new", key=key) as store:
            store.discard_if_empty()
            with pytest.raises(StoreError, match="closed"):
                store.put("x", some())
        assert list((tmp_path / "new").iterdir()) == []
    with Store(tmp_path / "new", key="c") as store:
        store.put("x", some())
        store.discard_if_empty()
        store.put("y", some())
    with Store(tmp_path / "new", read_only=True) as store:
        assert store.names() == ["x", "y"]
        with pytest.raises(StoreError, match="reading only"):
            store.discard_if_empty()
