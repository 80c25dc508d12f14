"""Python passes enumerators by number: each enum has the names and the values that its C++ header says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rambit import ops
from rambit.game import rows

CSRC = Path(__file__).parents[2] / "csrc"
ENUMS = [ops.Family, ops.Draw, ops.Fill, ops.Metric, ops.Reduce, ops.Activation, rows.StartRule, rows.StateRule]


@pytest.fixture(scope="module")
def headers():
    """Every enum of the headers that ends in kLast, by name: its enumerators and their values, as they are written."""
    if not CSRC.exists():
        pytest.skip("the C++ sources are not here")
    text = "".join(header.read_text() for header in CSRC.rglob("*.h"))
    enums = re.findall(r"enum class (\w+) : \w+ \{(.*?)\};", text, re.DOTALL)
    return {name: re.findall(r"k(\w+) = (\w+)", body) for name, body in enums if "kLast" in body}


def upper(name):
    """CarryForward becomes CARRY_FORWARD."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


def test_every_checked_enum_of_the_headers_has_one_in_python(headers):
    assert headers.keys() == {enum.__name__ for enum in ENUMS}


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.__name__)
def test_names_and_values_are_those_of_the_header(headers, enum):
    *written, last = headers[enum.__name__]
    assert [(upper(name), int(value)) for name, value in written] == [(e.name, e.value) for e in enum]
    assert last == ("Last", f"k{written[-1][0]}")


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.__name__)
def test_the_last_enumerator_is_the_greatest(enum):
    """What C++ checks is 0 … kLast."""
    assert [e.value for e in enum] == list(range(len(enum)))


def test_the_old_name_of_a_fill_warns():
    with pytest.warns(DeprecationWarning, match=r"Fill\.RUNS is now called Fill\.WINDOWS"):
        assert ops.Fill.RUNS is ops.Fill.WINDOWS
    assert "RUNS" not in ops.Fill.__members__
