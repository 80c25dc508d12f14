"""What the methods have in common: an argument that one does not take is refused by name."""

from __future__ import annotations

import inspect
import pydoc

import pytest
import torch

from rambit import attribution
from rambit.attribution import AFO, FIT, FO, Banzhaf, BiWinIT, ExactShapley, Occlusion, ShapleySampling, WinIT
from rambit.counterfactuals import JointGenerator
from tests.models_for_tests import plain

METHODS = {method: {} for method in (AFO, FO, Banzhaf, BiWinIT, ExactShapley, Occlusion, ShapleySampling, WinIT)} | {
    FIT: {"generator": JointGenerator(3)}
}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_a_misspelled_argument(method):
    with pytest.raises(TypeError, match=f"{method.__name__} takes no backgroud; .*background, batch_size"):
        method(plain, backgroud=torch.zeros(2, 3, 6), **METHODS[method])


@pytest.mark.parametrize("method", [Occlusion, ExactShapley, ShapleySampling, WinIT, FIT], ids=lambda m: m.__name__)
def test_an_anchor_of_its_own(method):
    with pytest.raises(TypeError, match=f"{method.__name__} takes no anchor"):
        method(plain, anchor="mask", **METHODS[method])


@pytest.mark.parametrize("method", [FO, Occlusion, Banzhaf], ids=lambda m: m.__name__)
def test_a_window_where_there_is_none(method):
    with pytest.raises(TypeError, match=f"{method.__name__} takes no window_size"):
        method(plain, window_size=7)


@pytest.mark.parametrize("name", attribution.METHODS)
def test_every_argument_is_seen_by_name(name):
    method = attribution.METHODS[name]
    seen = inspect.signature(method).parameters
    assert {"model", "seed", "output", "layout", "background", "batch_size", "max_memory"} <= seen.keys()
    assert all(one.kind is one.KEYWORD_ONLY for key, one in seen.items() if key not in ("model", "method"))
    assert "seed: 'int' = 0" in pydoc.render_doc(method, renderer=pydoc.plaintext)


def test_arguments_of_the_classes_between():
    assert inspect.signature(ShapleySampling).parameters["players"].default == "cells"
    assert inspect.signature(ExactShapley).parameters["players"].default == "features"
    assert inspect.signature(ExactShapley).parameters["segment"].default == 10
    assert "window_size" not in inspect.signature(Occlusion).parameters
    assert "anchor" not in inspect.signature(WinIT).parameters
