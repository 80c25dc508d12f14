"""Options are declared once, and checked by what their declaration says."""

from __future__ import annotations

import inspect
from enum import Enum
from typing import Literal

import pytest
from torch import nn

from rambit import RaMbIT, game, rex, sufficiency
from rambit.counterfactuals import Counterfactual, Zero
from rambit.masks import Bernoulli, Block
from rambit.options import Options, option
from tests.models_for_tests import plain


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Shape(Options):
    """A shape."""

    sides: int = option(default=3, low=3, high=9, help="of the shape")
    size: float = option(default=1.0, low=0.0, above=True, help="in metres")
    kind: Literal["flat", "solid"] = option(default="flat", help="of shape")
    colour: Colour | str = option(default=Colour.RED, help="of its faces")
    filled: bool = option(default=False, help="with something", recorded=False)
    limit: int | None = option(default=None, help="of anything")


class Star(Shape):
    """A star."""

    renamed = {"points": "rays"}  # noqa: RUF012
    unused = ("curved",)
    rays: int = option(default=5, help="from the middle")


def test_values_are_checked_and_made_plain():
    shape = Shape(sides=4, size=2, colour="blue", limit=7)
    assert (shape.sides, shape.size, shape.colour, shape.limit) == (4, 2.0, Colour.BLUE, 7)
    assert type(shape.size) is float
    assert shape.recorded() == {"sides": 4, "size": 2.0, "kind": "flat", "colour": Colour.BLUE, "limit": 7}


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"sides": 2}, ValueError, "sides must be at least 3, got 2"),
        ({"sides": 10}, ValueError, "sides must be at most 9, got 10"),
        ({"sides": 3.5}, TypeError, "sides must be an integer, got 3.5"),
        ({"size": 0}, ValueError, "size must be above 0, got 0"),
        ({"kind": "round"}, ValueError, "kind must be one of flat, solid, got 'round'"),
        ({"colour": "green"}, ValueError, "colour must be one of red, blue, got 'green'"),
        ({"filled": 1}, TypeError, "filled must be True or False, got 1"),
        ({"limit": 0}, ValueError, "limit must be at least 1, got 0"),
        ({"sids": 4}, TypeError, "Shape takes no sids; did you mean sides"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(given, error, words):
    with pytest.raises(error, match=words):
        Shape(**given)


def test_a_subclass_shows_its_own_options_first():
    assert list(inspect.signature(Star).parameters) == ["rays", "sides", "size", "kind", "colour", "filled", "limit"]
    assert "* ``rays``: from the middle" in Star.__doc__
    assert [one.name for one in Star.options()][:2] == ["rays", "sides"]


def test_an_older_name_works_and_warns():
    with pytest.warns(DeprecationWarning, match="points is called rays now"):
        assert Star(points=7).rays == 7
    with pytest.raises(ValueError, match="points is the older name of rays: give one of them"):
        Star(points=7, rays=8)
    with pytest.raises(ValueError, match="curved does not apply to Star"):
        Star(curved=True)


def test_older_names_of_the_package_work_and_warn():
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    with pytest.warns(DeprecationWarning, match="metric is called distance now"):
        assert RaMbIT(model, metric="kl").settings()["distance"] == "kl"

    with pytest.warns(DeprecationWarning, match=r"Old\.runs is called windows now"):

        class Old(Counterfactual):
            def draws(self, x, observed, ids, count, *, seed, first=0):
                return x.new_zeros(count, *x.shape)

            def runs(self, x, observed, ids, count, window, *, seed, first=0):
                return "runs"

    assert Old().windows(None, None, None, 1, 1, seed=0) == "runs"

    with pytest.warns(DeprecationWarning, match=r"owners of Few\.sample is called target_cells now"):

        class Few(Block):
            def sample(self, count, D, T, *, seed, first=0, owners=None, device=None):
                return owners

    assert Few().sample(1, 2, 3, seed=0, target_cells="cells") == "cells"
    assert RaMbIT(plain, counterfactuals=Zero(), num_samples=1, masks=Bernoulli(0.5)).distance == "pd"


@pytest.mark.parametrize(
    ("package", "old", "new"),
    [
        (rex, "Explanation", rex.RexExplanation),
        (rex, "Asked", rex.Decision),
        (sufficiency, "Explanation", sufficiency.SufficientExplanation),
        (game, "Runs", game.Windows),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_older_names_of_packages(package, old, new):
    with pytest.warns(DeprecationWarning, match=f"{old} is called {new.__name__} now"):
        assert getattr(package, old) is new
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018
