"""Whatever a user's network or file does: one line that names it, and where it went wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from rambit.cli import main
from rambit.structure import HierarchicalClassifier, infer_schema, save_model

NETWORKS = """\
import torch
class Own(Exception):
    pass
class Module(torch.nn.Module):
    def forward(self, x):
        return self.inner(x)
    def inner(self, x):
        return torch.zeros(3) @ torch.zeros(4)
def raising(error):
    def network(x):
        raise error
    return network
key, zero, own = raising(KeyError("k")), raising(ZeroDivisionError("division by zero")), raising(Own("two\\nlines"))
leaves, leaves_well, says = raising(SystemExit(3)), raising(SystemExit()), raising(SystemExit("bye"))
base, empty, value = raising(BaseException("b")), raising(AssertionError()), raising(ValueError("bad value"))
def endless(x):
    return endless(x)
module = Module()
def made():
    return {}["nix"]
"""
LINES = {
    "key": "KeyError: 'k' (networks.py, line 11, in network)",
    "zero": "ZeroDivisionError: division by zero (networks.py, line 11, in network)",
    "own": "Own: two lines (networks.py, line 11, in network)",
    "leaves": "SystemExit: 3 (networks.py, line 11, in network)",
    "leaves_well": "SystemExit (networks.py, line 11, in network)",
    "says": "SystemExit: bye (networks.py, line 11, in network)",
    "base": "BaseException: b (networks.py, line 11, in network)",
    "empty": "AssertionError (networks.py, line 11, in network)",
    "value": "bad value (networks.py, line 11, in network)",
    "endless": "maximum recursion depth exceeded (networks.py, line 17, in endless)",
    "module": ", line 8, in inner)",
    "made": "KeyError: 'nix' (networks.py, line 20, in made)",
}


@pytest.fixture
def networks(tmp_path, monkeypatch):
    """A folder with networks.py and inputs, where the commands run; the module is forgotten afterwards."""
    (tmp_path / "networks.py").write_text(NETWORKS)
    np.save(tmp_path / "one.npy", np.ones((1, 1, 30), np.float32))
    np.save(tmp_path / "two.npy", np.arange(60, dtype=np.float32).reshape(2, 1, 30))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    import sys

    sys.modules.pop("networks", None)


@pytest.mark.parametrize("name", LINES)
def test_a_network_that_raises(fails, networks, name):
    said = fails("rex", "one.npy", "--model", f"networks:{name}", "--out", "x.safetensors")
    assert said.endswith(LINES[name] + "\n")
    assert not (networks / "x.safetensors").exists()
    said = fails("rex", "two.npy", "--model", f"networks:{name}", "--model-id", "n", "--out", "folder")
    assert LINES[name].partition(" (")[2] in said


def test_a_module_that_can_not_be_imported(fails, networks):
    for name, text, line in (
        ("bad_a", "raise KeyError('here')", "KeyError: 'here' (bad_a.py, line 1, in <module>)"),
        ("bad_b", "def f(:", "invalid syntax (bad_b.py, line 1)"),
        ("bad_c", "import nix", "No module named 'nix' (bad_c.py, line 1, in <module>)"),
        ("bad_d", "raise SystemExit", "SystemExit (bad_d.py, line 1, in <module>)"),
    ):
        (networks / f"{name}.py").write_text(text)
        assert fails("rex", "one.npy", "--model", f"{name}:f", "--out", "x.safetensors") == f"rambit: error: {line}\n"


def test_an_error_of_our_own_says_where(fails, monkeypatch):
    from rambit.cli import common

    def faulty(rows):
        return {}["nix"]

    monkeypatch.setattr(common, "table", faulty)
    assert fails("info").startswith("rambit: error: KeyError: 'nix' (")
    monkeypatch.setenv("RAMBIT_TRACEBACK", "1")
    with pytest.raises(KeyError):
        main(["info"])


def test_a_long_native_stack_is_left_out(fails, monkeypatch):
    from rambit.cli import common

    def native(rows):
        torch.empty(10**30)

    monkeypatch.setattr(common, "table", native)
    said = fails("info")
    assert "Overflow when unpacking long" in said
    assert "frame #" not in said


@pytest.mark.parametrize(
    "text",
    ['[{"a": ' + "9" * 5000 + "}]", "[" * 100_000, "\xff", '{"a": 1}', "[]", "[1", '[{"a": 1e400}]'],
    ids=range(7),
)
def test_hostile_documents(fails, tmp_path, text):
    schema = infer_schema([{"a": 1}, {"a": 2}])
    save_model(tmp_path / "m.safetensors", HierarchicalClassifier(schema, 2))
    (tmp_path / "d.json").write_bytes(text.encode("latin-1"))
    said = fails(
        "suffice", "--json", tmp_path / "d.json", "--model", tmp_path / "m.safetensors", "--out", tmp_path / "o"
    )
    assert "d.json" in said or json.loads(text)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("text", ["iters = " + "9" * 5000, "a = " + "[" * 100_000, "iters = inf", "iters = 1979-05-27"])
def test_hostile_settings(fails, tmp_path, text):
    (tmp_path / "s.toml").write_text(text)
    command = ("rex", "a.png", "--model", "m:f", "--out", tmp_path / "x.safetensors", "--settings", tmp_path / "s.toml")
    assert "s.toml" in fails(*command)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"hidden": ' + "9" * 5000 + "}", "\xff", "1"])
def test_a_hostile_folder_of_comparisons(fails, tmp_path, text):
    (tmp_path / "settings.json").write_bytes(text.encode("latin-1"))
    assert "settings.json holds no settings" in fails(
        "compare", "--data", "spike:n=40,T=20", "--methods", "random", "--out", tmp_path
    )
