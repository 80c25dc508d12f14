"""Outputs keep their places while a command works, and no output is something that it reads."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from rambit import Attribution, RaMbIT
from rambit.cli import common
from rambit.store import Lock, StoreError
from rambit.store.lock import _here
from rambit.training import load_checkpoint

QUICK = ("--L", "2", "--num-samples", "1", "--window-size", "1")
DEAD = json.dumps({**_here(), "pid": 2**22 + 1, "token": "t"})
on_posix = pytest.mark.skipif(os.name != "posix", reason="a dead process is told from a living one")


def test_places_are_kept_and_given_back(tmp_path):
    a, b = tmp_path / "a.txt", tmp_path / "b.txt"
    with common.reserved([a, None, b], force=False) as place:
        assert a.exists()
        assert b.exists()
        for force in (False, True):
            with pytest.raises(StoreError, match=r"a\.txt is being written by another process"):
                common.reserved([a], force=force).__enter__()
        place(a).write_text("done")
    assert a.read_text() == "done"
    assert not b.exists()
    with pytest.raises(ZeroDivisionError), common.reserved([b], force=False):
        raise ZeroDivisionError
    assert not b.exists()


def test_all_places_or_none(tmp_path):
    with common.reserved([tmp_path / "b"], force=False):
        with pytest.raises(StoreError), common.reserved([tmp_path / "a", tmp_path / "b"], force=True):
            pass
        assert not (tmp_path / "a").exists()


@on_posix
def test_the_place_of_a_dead_run_is_taken_over(tmp_path):
    path = tmp_path / "a"
    path.write_text(DEAD)
    with common.reserved([path], force=False) as place:
        assert path.read_text() != DEAD
        place(path).write_text("done")
    assert path.read_text() == "done"


def test_what_came_to_be_meanwhile_is_not_overwritten(tmp_path):
    a, b = tmp_path / "a.txt", tmp_path / "a.json"
    (tmp_path / "a-1.json").write_text("theirs")
    with common.reserved([a, b], force=False) as place:
        b.write_text("theirs")
        with pytest.warns(UserWarning, match=r"a\.txt came to be .* goes to .*a-2\.txt"):
            assert place(a, b) == tmp_path / "a-2.txt"
        assert place(a) == a
    assert b.read_text() == "theirs"
    with common.reserved([a], force=True) as place:  # that it may be overwritten was said
        a.write_text("theirs")
        assert place(a) == a
    assert a.read_text() == "theirs"


def test_what_exists_stays_until_it_is_replaced(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(FileExistsError, match="--force"), common.reserved([path], force=False):
        pass
    with common.reserved([path], force=True):
        assert path.read_text() == "old"
    assert path.read_text() == "old"


@pytest.mark.parametrize("meanwhile", ["nothing", "result", "figure"])
def test_attribute_loses_no_result(rambit, made, tmp_path, monkeypatch, meanwhile):
    pytest.importorskip("matplotlib")
    out, figure = tmp_path / "a.safetensors", tmp_path / "a.png"
    explain = RaMbIT.explain

    def slow(self, *arguments, **options):
        assert out.exists()
        assert figure.exists()
        if meanwhile != "nothing":
            (out if meanwhile == "result" else figure).write_text("theirs")
        return explain(self, *arguments, **options)

    monkeypatch.setattr(RaMbIT, "explain", slow)
    done = rambit("attribute", made.data, "--model", made.model, *QUICK, "--out", out, "--figure", figure)
    assert done.code == 0
    result = tmp_path / ("a-1.safetensors" if meanwhile == "result" else out.name)
    picture = tmp_path / ("a-1.png" if meanwhile == "figure" else figure.name)
    assert Attribution.load(result).values.shape == (12, 2, 9)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert f"{result}, {picture}" in done.out
    assert (done.err == "") is (meanwhile == "nothing")


def test_train_writes_both_files_beside_each_other(rambit, made, tmp_path, monkeypatch):
    from rambit.cli import train

    fit = train.fit

    def slow(*arguments, **options):
        (tmp_path / "m.json").write_text("theirs")
        return fit(*arguments, **options)

    monkeypatch.setattr(train, "fit", slow)
    command = ("train", made.data, "--model", "gru", "--hidden", 2, "--epochs", 1, "--out", tmp_path / "m.safetensors")
    assert rambit(*command).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m-1.json", "m-1.safetensors", "m.json"]
    assert load_checkpoint(tmp_path / "m-1.safetensors")[0].hidden_size == 2


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A folder with copies of data and model, and with inputs of other kinds."""
    for name in ("data.npz", "model.safetensors", "model.json"):
        shutil.copy(made.folder / name, tmp_path / name)
    np.save(tmp_path / "one.npy", np.ones((1, 1, 30), np.float32))
    (tmp_path / "net.py").write_text("def f(x):\n    return x[:, 0, :2]\n")
    os.link(tmp_path / "model.safetensors", tmp_path / "twin.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


SAME = [
    "attribute data.npz --model model.safetensors --out model.safetensors",
    "attribute data.npz --model model.safetensors --out twin.safetensors",
    "attribute data.npz --model model.safetensors --background twin.safetensors --out twin.safetensors",
    "attribute data.npz --model model.safetensors --out a.safetensors --checkpoint data.npz",
    "attribute data.npz --model model.safetensors --out a.safetensors --checkpoint a.safetensors",
    "train twin.safetensors --model gru --out twin.safetensors",
    "train data.npz --test-data twin.safetensors --model gru --out twin.safetensors",
    "select twin.safetensors --k 2 --out twin.safetensors",
    "rex one.npy --model model.safetensors --out model.safetensors",
    "rex one.npy --model twin.safetensors --out model.safetensors",
    "rex . --model net:f --model-id f --out .",
]


@pytest.mark.parametrize("line", SAME)
def test_no_command_overwrites_what_it_reads(fails, here, line):
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    if " . " in line:
        from PIL import Image

        Image.new("RGB", (9, 9)).save(here / "a.png")
        before["a.png"] = (here / "a.png").read_bytes()
    force = [] if "--checkpoint" in line else ["--force"]
    said = fails(*line.split(), *force)
    assert "is read by this command" in said or "is not a folder" in said
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before


def test_suffice_and_export(fails, here):
    (here / "kept").mkdir()
    (here / "model.safetensors").rename(here / "kept" / "0.safetensors")
    model = (here / "kept" / "0.safetensors").read_bytes()
    command = ("suffice", "data.npz", "--model", "kept/0.safetensors", "--limit", 1, "--out", "kept", "--force")
    assert "kept/0.safetensors is read by this command" in fails(*command)
    (here / "link.parquet").symlink_to("twin.safetensors")
    said = fails("export", "twin.safetensors", "--out", "link.parquet", "--force")
    assert "link.parquet is read by this command" in said
    assert (here / "kept" / "0.safetensors").read_bytes() == model


def test_pictures_never_replace_inputs(fails, here):
    """a.png's picture is a.png.png, which may be an input of its own."""
    image = pytest.importorskip("PIL.Image")
    (here / "photos").mkdir()
    for name in ("a.png", "a.png.png"):
        image.new("RGB", (9, 9)).save(here / "photos" / name)
    command = (
        "rex",
        "photos",
        "--model",
        "net:f",
        "--model-id",
        "f",
        "--out",
        "found",
        "--figure",
        "photos",
        "--force",
    )
    assert "--figure photos is read by this command" in fails(*command)


def test_a_failed_command_leaves_nothing(fails, made, tmp_path):
    pytest.importorskip("matplotlib")
    missing = ("--model", tmp_path / "none.safetensors")
    fails("attribute", made.data, *missing, "--out", tmp_path / "a.safetensors", "--figure", tmp_path / "a.png")
    fails("suffice", made.data, *missing, "--out", tmp_path / "new" / "er")
    fails("suffice", made.data, "--model", made.model, "--target", 7, "--limit", 1, "--out", tmp_path / "kept")
    assert {path.name for path in tmp_path.iterdir()} <= {"new"}


def test_a_second_run_is_refused_while_the_first_works(fails, made, tmp_path):
    out = tmp_path / "a.safetensors"
    lock = Lock(out, out)
    for force in ([], ["--force"]):
        said = fails("attribute", made.data, "--model", made.model, *QUICK, "--out", out, *force)
        assert "a.safetensors is being written by another process" in said
    lock.release()
