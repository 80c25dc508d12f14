"""Bad input: a clear error that names the argument, before the model is asked."""

from __future__ import annotations

import pytest
import torch

from rambit import PredictionError, RaMbIT
from rambit.masks import Bernoulli
from tests.models_for_tests import plain

pytestmark = pytest.mark.wheel

X = BACKGROUND = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))


def never(x):
    raise AssertionError("the model was evaluated")


CONSTRUCTOR = [
    ({"num_samples": 0}, ValueError, "num_samples"),
    ({"num_samples": 2.0}, TypeError, "num_samples"),
    ({"L": 0}, ValueError, "L must"),
    ({"window_size": 0}, ValueError, "window_size"),
    ({"Wt_min": 5, "Wt_max": 4}, ValueError, "Wt_min"),
    ({"Wd_min": 3, "Wd_max": 2}, ValueError, "Wd_min"),
    ({"Wt_min": 0}, ValueError, "Wt_min"),
    ({"anchor": "middle"}, ValueError, "anchor"),
    ({"reduce": "sum"}, ValueError, "reduce"),
    ({"normalize": "some"}, ValueError, "normalize"),
    ({"distance": "cosine"}, ValueError, "distance"),
    ({"distance": "abs"}, ValueError, "distance"),
    ({"distance": "kl", "output": "regression"}, ValueError, "distance"),
    ({"counterfactuals": "median"}, ValueError, "counterfactuals"),
    ({"counterfactuals": [3.0]}, TypeError, "counterfactuals"),
    ({"counterfactuals": "marginal"}, ValueError, "background"),
    ({"counterfactuals": "mean", "all_zero_cf": True}, ValueError, "all_zero_cf"),
    ({"background": torch.randn(3)}, ValueError, "background"),
    ({"background": 5}, TypeError, "background"),
    ({"background": torch.full((2, 3, 6), float("nan"))}, ValueError, "background"),
    ({"masks": "spiral"}, ValueError, "masks"),
    ({"masks": torch.ones(2, 3, 6)}, ValueError, "masks"),
    ({"masks": "upper_triangle"}, ValueError, "share_masks"),
    ({"evaluation": "fast"}, ValueError, "evaluation"),
    ({"evaluation": "causal"}, ValueError, "evaluation"),
    ({"evaluation": "full"}, ValueError, "evaluation"),
    ({"output": "logit"}, ValueError, "output"),
    ({"layout": "TBD"}, ValueError, "layout"),
    ({"batch_size": 0}, ValueError, "batch_size"),
    ({"batch_size": "big"}, TypeError, "batch_size"),
    ({"max_memory": 1}, ValueError, "max_memory"),
    ({"seed": -1}, ValueError, "seed"),
    ({"seed": 1.5}, ValueError, "seed"),
]


@pytest.mark.parametrize(("options", "error", "name"), CONSTRUCTOR)
def test_constructor(options, error, name):
    with pytest.raises(error, match=name):
        RaMbIT(never, **{"num_samples": 1, **options}).attribute(X)


NAN = X.clone()
NAN[1, 2, 3] = float("nan")
INF = X.clone()
INF[0, 1, 2] = float("inf")
CALL = [
    (X[0], {}, ValueError, "X must be"),
    (X.long(), {}, TypeError, "X must be"),
    (X.to(torch.float8_e5m2), {}, TypeError, "X must hold real numbers"),
    ([[1.0]], {}, TypeError, "X must be a tensor or NumPy array .B, D, T., got list; .*attribute_many"),
    (X[:0], {}, ValueError, "X is empty"),
    (INF, {}, ValueError, "series 0, feature 1, time 2"),
    (NAN, {}, ValueError, "observed"),
    (NAN, {"observed": torch.ones(X.shape, dtype=torch.bool)}, ValueError, "observed"),
    (X, {"observed": torch.ones(X.shape)}, ValueError, "observed"),
    (X, {"observed": torch.ones(2, 3, dtype=torch.bool)}, ValueError, "observed"),
    (X, {"lengths": [6]}, ValueError, "lengths"),
    (X, {"lengths": [6, 7]}, ValueError, "lengths"),
    (X, {"lengths": [6, 0]}, ValueError, "lengths"),
    (X, {"lengths": [6.0, 3.0]}, TypeError, "lengths"),
    (X, {"ids": [1]}, ValueError, "ids"),
    (X, {"ids": [1, -1]}, ValueError, "ids"),
    (X, {"target": [0, 1, 2]}, ValueError, "target"),
    (X, {"target": -1}, ValueError, "target"),
    (X, {"target": "walking"}, TypeError, "target must be given by number, got 'walking': .* no names"),
    (X, {"target": ["a", "b"]}, TypeError, "target must be given by number"),
    (X, {"masks": torch.ones(2, 3, 5, dtype=torch.bool)}, ValueError, "masks"),
    (X, {"masks": torch.ones(2, 3, 6)}, ValueError, "masks"),
    (X, {"counterfactuals": torch.zeros(1, 2, 3, 5)}, ValueError, "counterfactuals"),
    (X, {"counterfactuals": torch.zeros(3, 3, 6)}, ValueError, "counterfactuals"),
    (X, {"counterfactuals": torch.full((1, 2, 3, 6), float("nan"))}, ValueError, "counterfactuals"),
    (X, {"tolerance": 0.0}, ValueError, "tolerance"),
    (X, {"tolerance": 0.1, "masks": torch.ones(2, 3, 6, dtype=torch.bool)}, ValueError, "tolerance"),
    (X, {"max_rows": 0, "tolerance": 0.1}, ValueError, "max_rows"),
    (X, {"tolerance": "top"}, ValueError, "tolerance must be a number above 0, or 'top:k'"),
    (X, {"tolerance": "top:0", "max_rows": 9}, ValueError, "tolerance's k must be at least 1"),
    (X, {"tolerance": "top:18", "max_rows": 9}, ValueError, "tolerance's k must be at most 17"),
    (X, {"tolerance": "top:2"}, ValueError, "tolerance='top:2' needs max_rows"),
    (X, {"tolerance": True}, TypeError, "tolerance"),
]


@pytest.mark.parametrize(("x", "options", "error", "name"), CALL)
def test_call(x, options, error, name):
    with pytest.raises(error, match=name):
        RaMbIT(never, num_samples=1).attribute(x, **options)


def test_a_background_of_other_features_or_too_short():
    with pytest.raises(ValueError, match="background has 4 features, but X has 3"):
        RaMbIT(never, background=torch.randn(5, 4, 6)).attribute(X)
    with pytest.raises(ValueError, match="background has 5 steps, but X has 6"):
        RaMbIT(never, background=torch.randn(5, 3, 5), counterfactuals="joint").attribute(X)


def test_l_does_not_apply_to_masks_that_are_given():
    with pytest.raises(ValueError, match="L=7"):
        RaMbIT(never, num_samples=1, L=7, masks="all_blocks").attribute(X)


def test_target_beyond_the_classes():
    with pytest.raises(ValueError, match="target must be below 3"):
        RaMbIT(plain, num_samples=1, distance="diff").attribute(X, target=3)
    many = lambda x: plain(x)  # noqa: E731
    with pytest.raises(ValueError, match="target is needed"):
        RaMbIT(many, num_samples=1, distance="diff", output="regression").attribute(X)


ANSWERS = [
    (lambda x: plain(x)[:-1], {}, "shape"),
    (lambda x: plain(x)[:, 0], {}, "shape"),
    (lambda x: plain(x)[:, None], {}, "shape"),
    (lambda x: "yes", {}, "returned str"),
    (lambda x: (plain(x), plain(x)), {}, r"returned tuple of 0 \(\d, 3\), 1 \(\d, 3\): say which is its output"),
    (lambda x: (0, "scores"), {}, "returned tuple of 0 int, 1 str, none of which is a floating tensor"),
    (lambda x: plain(x) * float("nan"), {}, "series id"),
    (plain, {"output": "probs"}, "no probabilities"),
]


@pytest.mark.parametrize(("model", "options", "words"), ANSWERS)
@pytest.mark.parametrize("anchor", ["cell", "end"])
def test_unusable_answers(model, options, words, anchor):
    with pytest.raises(PredictionError, match=words):
        RaMbIT(model, num_samples=1, anchor=anchor, **options).attribute(X)


def test_nan_in_one_row_names_that_row():
    poison = torch.full((1, 2, 3, 6), 99.0)
    masks = torch.ones(1, 3, 6, dtype=torch.bool)

    def fails_on_poison(x):
        out = plain(x)
        out[x[:, 1, min(3, x.shape[2] - 1)] == 99.0] = float("nan")
        return out

    with pytest.raises(PredictionError, match="draw 0, mask 0, feature 1, time 3 flipped"):
        RaMbIT(fails_on_poison, anchor="end", window_size=1).attribute(X, masks=masks, counterfactuals=poison)


def test_a_fixed_length_model_is_pointed_to_anchor_end():
    def fixed(x):
        if x.shape[2] != 6:
            raise RuntimeError("expected 6 steps")
        return plain(x)

    with pytest.raises(ValueError, match="anchor='end'"):
        RaMbIT(fixed, num_samples=1).attribute(X)
    assert RaMbIT(fixed, num_samples=1, anchor="end").explain(X).mode == "full"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"L": 2**40}, "L=1099511627776 masks of this X would have .* at most"),
        ({"L": 2**22, "share_masks": False}, "masks of this X would have .* at most"),
        ({"num_samples": 2**40, "counterfactuals": "uniform"}, "num_samples=1099511627776 would draw .* at most"),
        ({"window_size": 2**31}, "window_size must be at most 2147483647"),
    ],
)
def test_numbers_that_would_need_all_memory(options, words):
    evaluated = []
    method_of = {"num_samples": 1, **options}
    with pytest.raises(ValueError, match=words):
        RaMbIT(lambda x: evaluated.append(len(x)) or plain(x), **method_of).attribute(torch.randn(2, 3, 8))
    assert not evaluated


def test_a_batch_size_beyond_all_rows_is_as_many_as_there_are():
    X = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    few, many = (RaMbIT(plain, num_samples=1, L=2, batch_size=size).attribute(X) for size in (1 << 16, 1 << 40))
    assert torch.equal(few, many)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reduce": "max", "anchor": "end"}, "reduce='max' does not apply to anchor='end', which has one horizon"),
        ({"counterfactuals": "zero", "background": BACKGROUND}, "background does not apply to counterfactuals='zero'"),
        ({"counterfactuals": "uniform:lo=-1", "background": BACKGROUND}, "background does not apply to"),
        ({"counterfactuals": BACKGROUND[None], "background": BACKGROUND}, r"background does not apply to .*'Tensor'"),
        ({"share_draws": False}, "share_draws=False does not apply: Zero values are always the same"),
        ({"masks": "rows", "Wt_max": 3}, "Wt_max=3 does not apply to masks='rows'"),
        ({"masks": "columns", "Wd_min": 2}, "Wd_min=2 does not apply to masks='columns'"),
        ({"masks": "bernoulli:p=0.3", "Wt_max": 3}, "Wt_max=3 does not apply to masks='bernoulli'"),
        ({"masks": Bernoulli(0.3), "Wt_max": 3}, "Wt_max=3 does not apply to masks='Bernoulli'"),
        ({"masks": torch.ones(2, 3, 6, dtype=torch.bool), "Wd_max": 3}, "Wd_max=3 does not apply to masks='Tensor'"),
        ({"masks": "none", "L": 3}, "L=3 does not apply"),
        ({"masks": "all_blocks", "L": 3}, "L=3 does not apply"),
    ],
)
def test_an_option_without_effect_beside_the_others(options, words):
    with pytest.raises(ValueError, match=words):
        RaMbIT(plain, **{"num_samples": 1, **options})
