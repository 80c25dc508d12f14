"""Help, exit codes and errors in one line, whatever goes wrong below."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

import rambit as package
from rambit import PredictionError
from rambit.cli import COMMANDS, common, info, main


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(rambit, name):
    done = rambit(name, "--help")
    assert done.code == 0
    assert f"rambit {name} " in done.out
    assert "example" in done.out
    assert f"\n  rambit {name}" in done.out


def test_top_level_help_names_every_command(rambit):
    done = rambit("--help")
    assert done.code == 0
    assert {"demo", "train", "attribute", "cost", "info"} <= set(COMMANDS)
    assert all(f"\n    {name}" in done.out for name in COMMANDS)


def test_version(rambit):
    assert rambit("--version").out == f"rambit {package.__version__}\n"


def test_no_command_or_a_wrong_one(fails):
    assert "COMMAND" in fails()
    assert "nope" in fails("nope")
    assert "--nope" in fails("info", "--nope")
    assert "--fas" in fails("demo", "--fas")  # no abbreviations: they would break when an option is added


def test_a_command_that_moved_says_where(fails):
    assert (
        fails("study", "--out", "x")
        == "rambit: error: study is now python -m studies.masks, in a copy of the sources\n"
    )
    assert "study" not in COMMANDS


def test_info(rambit):
    done = rambit("info")
    lines = dict(line.split("  ", 1) for line in done.out.splitlines())
    assert done.code == 0
    assert lines["rambit"].strip() == package.__version__
    assert lines["torch"].strip() == torch.__version__
    assert lines["native ops, CPU"].strip() == "loaded"
    assert lines["native ops, CUDA"].strip().split(",")[0] in ("loaded", "not built", "built")
    assert lines["device cpu"].strip() == f"{torch.get_num_threads()} threads"
    assert {f"extra {name}" for name in info.EXTRAS} <= set(lines)


def test_info_names_the_extra_that_is_missing(rambit, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "missing: pip install 'rambit[plots]'" in rambit("info").out


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("L must be\nat least 1"), "L must be at least 1"),
        (TypeError("seed must be an integer"), "seed must be an integer"),
        (FileNotFoundError(2, "No such file or directory", "x.npz"), "x.npz: No such file or directory"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (ConnectionError("no network"), "no network"),
        (ImportError("needs sktime"), "needs sktime"),
        (PredictionError("the model returned NaN"), "the model returned NaN"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_errors_from_below_are_one_line(fails, monkeypatch, error, line):
    def raises(rows):
        raise error

    monkeypatch.setattr(common, "table", raises)
    assert fails("info") == f"rambit: error: {line}\n"
    monkeypatch.setenv("RAMBIT_TRACEBACK", "1")
    with pytest.raises(type(error)):
        main(["info"])


def test_warnings_are_one_line(rambit, monkeypatch):
    def warns(rows):
        warnings.warn("two\nlines", UserWarning, stacklevel=1)
        return "done"

    monkeypatch.setattr(common, "table", warns)
    done = rambit("info")
    assert (done.code, done.out, done.err) == (0, "done\n", "rambit: warning: two lines\n")


def test_interrupt(rambit, monkeypatch):
    def interrupts(rows):
        raise KeyboardInterrupt

    monkeypatch.setattr(common, "table", interrupts)
    done = rambit("info")
    assert (done.code, done.out, done.err) == (130, "", "rambit: interrupted\n")


@pytest.mark.parametrize("by", ["script", "module"])
def test_entry_points(by):
    script = Path(sys.executable).with_name("rambit")
    if by == "script" and not script.exists():
        pytest.skip("the script is not beside this Python")
    command = [str(script)] if by == "script" else [sys.executable, "-m", "rambit.cli"]
    done = subprocess.run([*command, "attribute", "nix.npz"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("rambit: error: the following arguments are required: --model")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "size"),
    [("5", 5), ("1K", 1024), ("512M", 512 << 20), ("2G", 2 << 30), ("1.5gib", 3 << 29), ("1TB", 1 << 40)],
)
def test_memory(text, size):
    assert common.memory(text) == size


def test_series():
    assert common.chosen("0,3-5, 9", None, 10) == [0, 3, 4, 5, 9]
    assert common.chosen(None, 3, 10) == [0, 1, 2]
    assert common.chosen(None, 30, 2) == [0, 1]
    assert common.chosen(None, None, 2) == [0, 1]
    for bad in ("", "a", "3-", "-3", "5-3", "1,,2", "10", "8-10", "1,0-2", "1.5", "0-99999999999999"):
        with pytest.raises(ValueError, match="--series"):
            common.chosen(bad, None, 10)


def test_outputs(tmp_path, monkeypatch):
    old = tmp_path / "old"
    old.write_text("x")
    common.check_outputs([tmp_path / "new", None], force=False)
    common.check_outputs([old], force=True)
    with pytest.raises(FileExistsError, match="--force"):
        common.check_outputs([old], force=False)
    with pytest.raises(FileExistsError, match="is read by"):
        common.check_outputs([old], force=True, inputs=[tmp_path / "." / "old"])
    with pytest.raises(IsADirectoryError):
        common.check_outputs([tmp_path], force=True)
    with pytest.raises(FileNotFoundError, match="no folder"):
        common.check_outputs([tmp_path / "none" / "new"], force=False)
    (tmp_path / "link").symlink_to("nothing")
    with pytest.raises(FileExistsError, match="link exists"):
        common.check_outputs([tmp_path / "link"], force=False)
    monkeypatch.setattr(common.os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="nothing may be written to the folder"):
        common.check_outputs([tmp_path / "new"], force=False)


def test_progress(monkeypatch):
    def shows(terminal, *arguments):
        parser = common.Parser()
        common.add_progress(parser)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
        return common.shows_progress(parser.parse_args(arguments))

    assert shows(True)
    assert not shows(False)
    assert not shows(True, "--quiet")
    assert shows(False, "--progress")
    with pytest.raises(ValueError, match="not allowed"):
        shows(True, "--progress", "--quiet")
