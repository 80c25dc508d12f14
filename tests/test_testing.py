"""The contract holds for every method, and is broken by those that break it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from rambit import attribution, testing
from rambit.attribution import (
    FIT,
    FO,
    Dynamask,
    ExactShapley,
    ExtremalMask,
    Gradients,
    Occlusion,
    TemporalOcclusion,
    TintFIT,
)
from rambit.attribution.parts import Gathered
from rambit.counterfactuals import JointGenerator

BACKGROUND = torch.randn(20, 3, 9, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
SMALL = {
    "RaMbIT": {"L": 3},
    "ShapleySampling": {"num_permutations": 3},
    "Banzhaf": {"num_masks": 20},
    "Occlusion": {"width": 2},
    "SegmentGradients": {"steps": 4, "longest": 3},
}
GENERATOR = JointGenerator(3, hidden_size=4)
METHODS = [attribution.METHODS[name] for name in attribution.METHODS]
LEARNED = (Dynamask, ExtremalMask, TintFIT)  # minutes of gradient descent, by a library that is not always there


def maker(method):
    def make(model, **options):
        if issubclass(method, Gradients):
            return method(model, **options)
        if method is FIT:
            return FIT(model, generator=GENERATOR, num_samples=2, **options)
        if method is not FO:  # which draws from a uniform
            background = BACKGROUND if options.get("layout", "BDT") == "BDT" else BACKGROUND.transpose(1, 2)
            options = {"background": background, **options}
        return method(model, **SMALL.get(method.__name__, {}), **options)

    return make


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("method", [m for m in METHODS if m not in LEARNED], ids=lambda m: m.__name__)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_every_method_keeps_the_contract(method, check):
    if method is TemporalOcclusion:
        pytest.importorskip("tint")
    X = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    check(testing.Case(maker(method), testing.Decay(3), X))


def explained(change):
    """FO, with its result changed."""

    class Broken(FO):
        def explain(self, X, **options):
            return change(self, super().explain(X, **options), X, options)

    return lambda model, **options: Broken(model, **options)


def replaced(**parts):
    return lambda self, result, X, options: dataclasses.replace(result, **{k: f(result) for k, f in parts.items()})


def writes_into_x(self, result, X, options):
    X.mul_(1.5)
    return result


def draws_global_numbers(self, result, X, options):
    torch.rand(1)
    return result


def leaves_eval_mode(self, result, X, options):
    self.predictor.module.eval()
    return result


def scores_padding(self, result, X, options):
    return dataclasses.replace(result, values=result.values + 1.0) if options.get("lengths") is not None else result


def forgets_ids(self, result, X, options):
    return dataclasses.replace(result, values=result.values * torch.arange(1, len(X) + 1).view(-1, 1, 1))


def depends_on_the_batch(self, result, X, options):
    return dataclasses.replace(result, values=result.values * (1 if self.batch_size == "auto" else 1 + 1e-12))


BREAKERS = {
    "scores_are_like_the_series": replaced(values=lambda r: r.values.float(), stderr=lambda r: None),
    "layouts_agree": lambda self, r, X, o: dataclasses.replace(r, values=r.values * (1 + (self.layout == "BTD"))),
    "padding_does_not_matter": scores_padding,
    "ids_key_the_draws": forgets_ids,
    "cost_is_what_is_evaluated": replaced(rows=lambda r: r.rows + 1),
    "bits_do_not_depend_on_the_way": depends_on_the_batch,
    "nothing_else_changes": writes_into_x,
    "nothing_else_changes ": draws_global_numbers,
    "nothing_else_changes  ": leaves_eval_mode,
    "results_are_saved": replaced(settings=lambda r: {**r.settings, "a tuple": (1, 2)}),
    "what_is_explained_is_kept": replaced(outputs=lambda r: r.outputs.flip(0)),
    "what_is_explained_is_kept ": replaced(X=lambda r: None),
}


@pytest.mark.parametrize("name", BREAKERS)
def test_who_breaks_it_is_found_out(name):
    check = next(check for check in testing.CHECKS if check.__name__ == name.strip())
    X = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with pytest.raises(AssertionError):
        check(testing.Case(explained(BREAKERS[name]), testing.Decay(3), X))
    with pytest.raises(AssertionError):
        testing.check_attributor(explained(BREAKERS[name]))


@pytest.mark.parametrize("method", [Occlusion, ExactShapley], ids=lambda m: m.__name__)
def test_the_place_that_clears_missing_cells_is_needed(method, monkeypatch):
    monkeypatch.setattr(Gathered, "clear", lambda self, where: None)
    with pytest.raises(AssertionError, match="a missing cell has a score"):
        testing.check_attributor(maker(method))


def test_a_sound_one_passes():
    testing.check_attributor(lambda model, **options: FO(model, num_samples=2, **options))
