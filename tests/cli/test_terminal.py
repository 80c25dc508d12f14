"""Printing that fails, terminals without the characters, closed streams, and interrupts at any time."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rambit import Attribution
from rambit.cli import common, main, terminal
from rambit.cli.suffice import documents
from rambit.datasets import Dataset, save_file

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
QUICK = ("--L", "2", "--num-samples", "1", "--window-size", "1")


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture
def broken_pipe():
    """A stream whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        yield stream


@needs_full
def test_a_report_that_can_not_be_printed_does_not_undo_what_is_written(made, tmp_path, monkeypatch, capsys):
    with FULL.open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert run("attribute", made.data, "--model", made.model, *QUICK, "--out", tmp_path / "a.safetensors") == 0
    said = capsys.readouterr().err
    assert said == "rambit: warning: the report can't be printed: No space left on device; the files are written\n"
    assert Attribution.load(tmp_path / "a.safetensors").values.shape == (12, 2, 9)


@needs_full
@pytest.mark.parametrize("command", [("info",), ("--help",), ("--version",)])
def test_what_only_prints_fails_where_it_can_not(monkeypatch, capsys, command):
    with FULL.open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert run(*command) == 2
    assert capsys.readouterr().err == "rambit: error: the report can't be printed: No space left on device\n"


@needs_full
def test_progress_and_errors_that_can_not_be_printed(made, tmp_path, monkeypatch):
    command = ("attribute", made.data, "--model", made.model, *QUICK, "--progress", "--out", tmp_path / "a.safetensors")
    with FULL.open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert run(*command) == 0
        assert run(*command) == 2  # it exists
    assert Attribution.load(tmp_path / "a.safetensors").values.shape == (12, 2, 9)


def test_a_reader_that_wants_no_more_is_no_error(broken_pipe, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", broken_pipe)
    assert run("info") == 0
    assert capsys.readouterr().err == ""


def test_streams_that_are_closed(made, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    assert run("cost", made.data, "--model", "none.safetensors") == 2
    assert capsys.readouterr().out == ""  # print(file=None) means standard output
    monkeypatch.setattr(sys, "stdout", None)
    assert run("cost", made.data, "--model", made.model) == 0


@pytest.mark.parametrize(
    ("encoding", "printed"), [("ascii", b"\\xb1 \\u2013 \\udcff"), ("latin-1", b"\xb1 \\u2013 \\udcff")]
)
def test_characters_that_a_terminal_lacks(monkeypatch, encoding, printed):
    below = io.BytesIO()
    stream = io.TextIOWrapper(below, encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(common, "table", lambda rows: "± – \udcff")
    assert run("info") == 0
    assert below.getvalue() == printed + b"\n"
    assert stream.errors == "strict"


@pytest.mark.skipif(os.name != "posix", reason="closes streams as a shell does")
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_file_does_not_take_the_place_of_a_closed_stream(tmp_path, number):
    """Or it would get what a library prints."""
    program = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("terminal", sys.argv[1])
terminal = importlib.util.module_from_spec(spec)
spec.loader.exec_module(terminal)
with terminal.guarded(), open(sys.argv[2], "wb") as file:
    assert file.fileno() > 2
"""
    found = importlib.util.find_spec("rambit.cli.terminal").origin
    command = 'exec "$0" -c "$1" "$2" "$3" ' + f"{number}>&-"
    arguments = ["sh", "-c", command, sys.executable, program, found, str(tmp_path / "file")]
    subprocess.run(arguments, check=True, timeout=60)


# --- text that is data -----------------------------------------------------------------------------------------------

ODD = ("line\nbreak", "\x1b[31mred\x9b0m")


def test_names_reach_the_report_escaped(rambit, made, tmp_path):
    odd = Dataset("odd", made.set.X, made.set.y, feature_names=ODD)
    save_file(tmp_path / "odd.npz", odd)
    done = rambit(
        "attribute", tmp_path / "odd.npz", "--model", made.model, *QUICK, "--out", tmp_path / "a\u202eb.safetensors"
    )
    assert done.code == 0
    assert all(line.isprintable() for line in done.out.splitlines())
    assert len(done.out.splitlines()) == 12
    assert "line\\x0abreak" in done.out or "\\x1b[31mred\\x9b0m" in done.out
    assert "a\\u202eb.safetensors" in done.out


def test_names_reach_errors_escaped(fails, made):
    said = fails("cost", "\x1b[31mred\n.npz", "--model", made.model)
    assert "\\x1b[31mred" in said
    assert said.rstrip("\n").isprintable()


def test_documents_are_printed_as_json_without_escapes_of_a_terminal():
    value = {"a\x9b": ["\x1b[31m", "\u202e", "é", "\U000e0001"]}
    for indent in (None, 2):
        text = documents._text(value, indent=indent)
        assert json.loads(text) == value
        assert all(line.isprintable() for line in text.split("\n"))
        assert "é" in text


def test_plain_and_shortened():
    assert terminal.plain("a\tb\x7f\u2028\U000e0001é") == "a\\x09b\\x7f\\u2028\\U000e0001é"
    assert terminal.shortened("x" * 600) == "x" * 600
    assert terminal.shortened("a" * 400 + "b" * 400) == "a" * 300 + " … " + "b" * 300


def test_long_values_do_not_fill_the_screen(fails, made):
    for option in ("--L", "--max-memory", "--series", "--seed"):
        said = fails("cost", made.data, "--model", made.model, option, "9" * 5000)
        assert option in said
        assert len(said) < 800


# --- interrupts ------------------------------------------------------------------------------------------------------


#: A shell's background jobs ignore interrupts, and so do their children.
HEARD = pytest.mark.skipif(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason="interrupts are ignored here")


@HEARD
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupt_while_modules_are_imported(tmp_path):
    """In the middle of the import of one that only `rambit rex` needs."""
    program = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    (tmp_path / "numba.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-m", "rambit.cli", "rex", "--help"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "rambit: interrupted\n")


@HEARD
def test_an_interrupt_that_became_another_error(rambit, monkeypatch):
    def interrupts(rows):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            signal.pause()
        except KeyboardInterrupt:
            raise SystemError("returned a result with an exception set") from None

    monkeypatch.setattr(common, "table", interrupts)
    before = signal.getsignal(signal.SIGINT)
    done = rambit("info")
    assert (done.code, done.out, done.err) == (130, "", "rambit: interrupted\n")
    assert signal.getsignal(signal.SIGINT) is before


def test_whatever_a_name_holds_is_one_line():
    report = common.table([("name", "".join(map(chr, range(0x2100))))])
    assert report.isprintable()
