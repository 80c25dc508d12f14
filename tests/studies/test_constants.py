"""The methods and settings of the studies are taken, and are those of the tables in studies/results/."""

from __future__ import annotations

import csv

import pytest

from rambit.compare.methods import parse
from rambit.compare.runs import Settings
from studies import RESULTS, masks, methods, systems

TABLES = {
    "study/paper": (methods.RUNS["paper"]["data"], methods.METHODS),
    "study/learned": (methods.RUNS["learned"]["data"], methods.METHODS),
    "study/study": (masks.DATA, (*(point.text() for point in masks.grid(small=False)), *masks.WINIT)),
    "compare/compare": (systems.DATA, systems.METHODS),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_of_these_methods(name):
    sets, texts = TABLES[name]
    assert [parse(text).text for text in texts] == list(texts)
    with (RESULTS / f"{name}.csv").open(newline="") as file:
        lines = [(row["data"], row["method"]) for row in csv.DictReader(file)]
    assert lines == [(data, text) for data in sets for text in texts]


def test_settings_are_taken():
    settings = {key: value for key, value in methods.RUNS["learned"].items() if key != "data"}
    assert Settings.read(settings) == masks.DEFAULT  # or the mask families would not have the same models
    assert Settings.read(systems.SIZES).hidden == 32
