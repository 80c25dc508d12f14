"""Hostile and damaged folders: clear errors, nothing read or written outside, nothing changed."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rambit.store import Store, StoreError, decode, encode, load_tensors, read_file, read_header
from tests.test_store import HERE, on_posix, some, tree


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


@pytest.mark.parametrize(
    "data",
    [
        b"no header",
        with_header({"x": {"dtype": "F64", "shape": [4, 3], "data_offsets": [0, 48]}}, b"\0" * 48),
        with_header({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, b"\0" * 48),
        with_header({"../x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"\0" * 8),
    ],
)
def test_a_hostile_shard_whose_hash_holds(filled: Path, data: bytes) -> None:
    """A dtype, a shape or offsets that its bytes are not: the hash only says that a writer meant it."""
    sha256 = hashlib.sha256(data).hexdigest()
    (filled / f"shard-{sha256}.safetensors").write_bytes(data)
    manifest = json.loads((filled / "manifest.json").read_text())
    manifest["shards"]["a"] |= {"sha256": sha256, "size": len(data)}
    (filled / "manifest.json").write_text(json.dumps(manifest))
    with Store(filled, read_only=True) as store, pytest.raises(StoreError, match=sha256):
        store.get("a")


def test_metadata_of_null_are_none() -> None:
    assert decode(with_header({"__metadata__": None}), "some/file") == ({}, {})


def test_a_huge_header_is_not_parsed() -> None:
    with pytest.raises(StoreError, match="header of 20000000 bytes"):
        decode(with_header(b" " * 20_000_000), "some/file")


@pytest.mark.parametrize(
    "data", [b"", b"1234567", with_header(b""), with_header([]), with_header(b"[" * 100_000), with_header(b"{}")[:-1]]
)
def test_headers_that_are_none(data: bytes) -> None:
    with pytest.raises(StoreError, match=r"^it is"):
        read_header(io.BytesIO(data), "it")


def test_a_header_is_read_up_to_the_data() -> None:
    file = io.BytesIO(encode(some(1), {"k": "v"}))
    header = read_header(file, "it")
    assert header["__metadata__"] == {"k": "v"}
    assert len(file.read()) == 4 * 3 * 8 + 8


@on_posix
def test_files_that_never_end_or_begin_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(encode(some(1)))
    (tmp_path / "link").symlink_to("a")
    assert load_tensors(tmp_path / "link")[0].keys() == {"x", "n"}, "a user's own link is followed"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("pipe", "endless"):
        with pytest.raises(ValueError, match=f"{name} is not a regular file"):
            read_file(tmp_path / name)
    with pytest.raises(OSError, match=str(tmp_path)) as caught:
        read_file(tmp_path)
    assert caught.value.errno == errno.EISDIR


def test_a_file_larger_than_memory_is_refused_by_name(filled: Path) -> None:
    huge = filled.parent / "huge"
    huge.touch()
    os.truncate(huge, 1 << 43)  # it holds no blocks
    with pytest.raises(ValueError, match=r"huge holds 8796093022208 bytes, more than there is memory for"):
        read_file(huge)
    shard = shard_of(filled)
    os.truncate(shard, 1 << 43)
    manifest = json.loads((filled / "manifest.json").read_text())
    manifest["shards"]["a"]["size"] = 1 << 43
    (filled / "manifest.json").write_text(json.dumps(manifest))
    with Store(filled, read_only=True) as store, pytest.raises(StoreError, match=f"{shard.name} holds 8796093022208"):
        store.get("a")
