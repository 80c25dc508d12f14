"""A power cut at any moment: whatever was not synced is lost, torn or reordered, and a reader never sees a half result.

A recorder notes what the store asks of the file system while it works on a real one. From its notes the states are made
that a cut may leave: of every folder, any selection of the changes since it was last synced; of every file that was not
synced, nothing, zeros, a part or all. (SQLite is tested in the same way.)
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from rambit.store import Store, StoreError, atomic_write, encode, lock, save_result
from tests.test_store import Dead, on_posix, some

pytestmark = on_posix
State = dict[str, "bytes | None"]  # path -> content, None for a folder


class Change(NamedTuple):
    """What happens to the names of one folder: those that go, and what a new one stands for."""

    kind: str
    folder: int
    gone: tuple[str, ...] = ()
    name: str | None = None
    node: int | None = None


@dataclass
class Disk:
    """What was asked of a file system, in order: changes of folders, syncs of either, and marks of the test."""

    root: Path
    log: list[Any] = field(default_factory=list)
    readers: dict[int, int] = field(default_factory=dict)  # of each file made: a descriptor to read it by
    folders: set[int] = field(default_factory=set)
    stop_at: int | None = None  # the call at which the process dies
    calls: int = 0
    brief: bool = False  # fewer versions of what was not synced

    def mark(self, *promised: Any) -> None:
        """From here on one of these is what was promised."""
        self.log.append(("mark", promised))

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folders.add(self.root.stat().st_ino)
        for name in ("open", "fsync", "replace", "rename", "unlink", "mkdir"):
            monkeypatch.setattr(os, name, self._recorded(getattr(os, name), getattr(self, f"_{name}")))

    def _recorded(self, real: Callable[..., Any], note: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.calls += 1
            if self.stop_at is not None and self.calls >= self.stop_at:
                raise Dead
            return note(real, *args, **options)

        return call

    def _open(self, real: Any, path: Any, flags: int, *mode: Any, **options: Any) -> int:
        fd: int = real(path, flags, *mode, **options)
        if flags & os.O_CREAT and self.root in Path(path).parents:
            node = os.fstat(fd).st_ino
            self.readers[node] = real(path, os.O_RDONLY)
            self.log.append(Change("change", self._folder(path), (), Path(path).name, node))
        return fd

    def _fsync(self, real: Any, fd: int) -> None:
        real(fd)
        node = os.fstat(fd).st_ino
        self.log.append(("synced folder", node) if node in self.folders else ("synced", node, self._content(node)))

    def _replace(self, real: Any, old: Any, new: Any) -> None:
        node = os.lstat(old).st_ino
        real(old, new)
        assert self._folder(old) == self._folder(new)
        self.log.append(Change("change", self._folder(old), (Path(old).name,), Path(new).name, node))

    _rename = _replace

    def _unlink(self, real: Any, path: Any, **options: Any) -> None:
        real(path, **options)
        self.log.append(Change("change", self._folder(path), (Path(path).name,)))

    def _mkdir(self, real: Any, path: Any, *mode: Any) -> None:
        real(path, *mode)
        node = os.stat(path).st_ino
        self.folders.add(node)
        self.log.append(Change("change", self._folder(path), (), Path(path).name, node))

    def _folder(self, path: Any) -> int:
        return os.stat(Path(path).parent).st_ino

    def _content(self, node: int) -> bytes:
        fd = self.readers[node]
        return os.pread(fd, os.fstat(fd).st_size, 0)

    # -- what a cut may leave -----------------------------------------------------------------------------------------

    def states(self) -> Iterator[tuple[State, Sequence[Any]]]:
        """Each state that a cut at some moment may leave, once, with what was promised then or is under way."""
        seen = set()
        marks = [(None,), *(entry[1] for entry in self.log if entry[0] == "mark")]
        for end in range(len(self.log) + 1):
            done = self.log[:end]
            passed = sum(entry[0] == "mark" for entry in done)
            for state in self._states_after(done):
                key = (frozenset(state.items()), passed)
                if key not in seen:
                    seen.add(key)
                    yield state, [allowed for mark in marks[passed : passed + 2] for allowed in mark]

    def _states_after(self, done: list[Any]) -> Iterator[State]:
        changes = [(place, entry) for place, entry in enumerate(done) if entry[0] == "change"]
        loose = [place for place, change in changes if ("synced folder", change.folder) not in done[place:]]
        synced = {entry[1]: entry[2] for entry in done if entry[0] == "synced"}
        for lost in itertools.product((False, True), repeat=len(loose)):
            gone = set(itertools.compress(loose, lost))
            names: dict[int, dict[str, int]] = {folder: {} for folder in self.folders}
            for change in (change for place, change in changes if place not in gone):
                for name in change.gone:
                    names[change.folder].pop(name, None)
                if change.name is not None:
                    names[change.folder][change.name] = change.node
            yield from self._with_contents(names, synced)

    def _with_contents(self, names: dict[int, dict[str, int]], synced: dict[int, bytes]) -> Iterator[State]:
        found: dict[str, int] = {}

        def walk(folder: int, prefix: str) -> None:
            for name, node in names[folder].items():
                found[prefix + name] = node
                if node in self.folders:
                    walk(node, f"{prefix}{name}/")

        walk(self.root.stat().st_ino, "")
        choices: list[tuple[bytes | None, ...]] = []
        for node in found.values():
            if node in self.folders:
                choices.append((None,))
            elif node in synced:
                choices.append((synced[node],))
            else:
                whole = self._content(node)
                torn = (whole[: len(whole) // 2],) if self.brief else (b"", bytes(len(whole)), whole[: len(whole) // 2])
                choices.append((*torn, whole))
        for contents in itertools.product(*choices):
            yield dict(zip(found, contents, strict=True))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    (tmp_path / "disk").mkdir()
    found = Disk(tmp_path / "disk")
    yield found
    for fd in found.readers.values():
        os.close(fd)


def after_a_restart(patch: pytest.MonkeyPatch) -> None:
    """The machine was started anew, and its disk is its own: a lock from before has no living writer."""
    patch.setattr(lock, "_boot", lambda: "after")
    patch.setattr(lock, "_is_own_disk", lambda path: True)
    patch.setattr(lock.time, "sleep", lambda seconds: None)
    patch.setattr(lock.time, "monotonic", itertools.count(0, 10).__next__)  # patience that takes no time
    patch.setattr(os, "fsync", lambda fd: None)


def put_down(state: State, folder: Path) -> None:
    """Make the state's files and folders below ``folder``."""
    folder.mkdir()
    for name, content in sorted(state.items()):
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)


def content(store: Store) -> dict[str, float]:
    """Each shard's number, all of it read, and as its meta says."""
    found = {}
    for name in store.names():
        tensors, meta = store.get(name)
        found[name] = meta["v"]
        assert torch.equal(tensors["x"], some(meta["v"])["x"])
    return found


def check_stores(disk: Disk, there: Path, where: str, every: int = 1) -> int:
    """A reader of every state, and then writers of each ``every``-th; how many states there were."""
    count = 0
    for count, (state, allowed) in enumerate(disk.states(), 1):
        put_down(state, there / str(count))
        folder = there / str(count) / where
        try:
            seen = content(Store(folder, read_only=True))
        except StoreError as error:
            seen = None if "holds no store" in str(error) else error
        assert seen in allowed, state.keys()
        if count % every:
            continue
        with Store(folder, key="k") as store:
            assert content(store) == (seen or {})
            store.put("new", some(9), {"v": 9})
        with Store(folder, key="k") as store:
            assert content(store) == {**(seen or {}), "new": 9}
            assert len(os.listdir(folder)) == 2 + len({*(seen or {}).values(), 9}), "leftovers are gone"
    return count


def work(disk: Disk, folder: Path, first: int) -> None:
    """A writer's life, with a mark after each step that returned."""
    with Store(folder, key="k") as store:
        held = {name: store.info(name)["v"] for name in store.names()}
        disk.mark(dict(held))
        for name, v in (("a", first), ("a", first + 1), ("b", first)):
            store.put(name, some(v), {"v": v})
            held[name] = v
            disk.mark(dict(held))
        store.remove("a")
        disk.mark({"b": first})


@pytest.mark.parametrize("saved", ["bytes", "result"])
def test_a_file(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: str) -> None:
    """The old file or the new one; once the call returned, the new one."""
    path = disk.root / "file"

    def save(v: float) -> bytes:
        if saved == "bytes":
            atomic_write(path, encode(some(v)))
        else:
            save_result(path, "form", some(v), {"v": v}, force=True)
        return path.read_bytes()

    with monkeypatch.context() as patch:
        disk.patch(patch)
        for v in (1.0, 2.0):
            disk.mark(save(v))
    states = list(disk.states())
    assert len(states) > 10
    for state, allowed in states:
        assert state.get("file") in allowed
        assert all(name == "file" or name.endswith(".tmp") for name in state)


def test_a_store(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new one, below two folders that are new as well."""
    with monkeypatch.context() as patch:
        patch.setattr(lock, "_boot", lambda: "before")
        disk.patch(patch)
        work(disk, disk.root / "deep" / "er", 1)
    with monkeypatch.context() as patch:
        after_a_restart(patch)
        assert check_stores(disk, tmp_path, "deep/er") > 100


def test_a_store_whose_writer_was_killed_before(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any call; the next writer, on the same start of the machine, begins with what it left, and power goes."""
    killed, count = 0, 0
    for stop_at in itertools.count(1):
        this = Disk(disk.root / str(stop_at), readers=disk.readers, brief=True)
        this.root.mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(lock, "_boot", lambda: "before")
            this.patch(patch)
            with Store(this.root, key="k") as store:
                this.mark({})
                store.put("a", some(1), {"v": 1})
            this.mark({"a": 1})
            this.stop_at = this.calls + stop_at
            try:
                with Store(this.root, key="k") as store:
                    store.put("a", some(2), {"v": 2})
            except Dead:
                killed += 1
            else:
                break
            this.stop_at = None
            patch.setattr(lock, "_is_dead", lambda text, path: True)  # its number is ours, which is alive
            this.mark({"a": 1}, {"a": 2})  # the second was not promised, nor is it taken back
            with Store(this.root, key="k") as store:
                store.put("a", some(3), {"v": 3})
            this.mark({"a": 3})
        with monkeypatch.context() as patch:
            after_a_restart(patch)
            (tmp_path / str(stop_at)).mkdir()
            count += check_stores(this, tmp_path / str(stop_at), ".", every=5)
    assert killed > 10
    assert count > 100
