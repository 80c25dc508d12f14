"""A number, or values (D,), (D, T) or (B, D, T), in place of what is not kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rambit import RaMbIT
from rambit.attribution import Occlusion, WinIT
from rambit.counterfactuals import Constant, Replay, resolve
from rambit.rex import ReX
from rambit.sufficiency import explain
from tests.models_for_tests import GRU, plain

B, D, T = 3, 3, 5
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(B, D, T, generator=GENERATOR, dtype=torch.float64)
VALUES = torch.randn(B, D, T, generator=GENERATOR, dtype=torch.float64)
#: What is given, and the values (B, D, T) that it means.
GIVEN = {
    "a number": (0.5, torch.full_like(X, 0.5)),
    "an integer": (2, torch.full_like(X, 2)),
    "of NumPy": (np.float32(0.25), torch.full_like(X, 0.25)),
    "a tensor of one": (torch.tensor(0.5), torch.full_like(X, 0.5)),
    "text": ("constant:value=0.5", torch.full_like(X, 0.5)),
    "a strategy": (Constant([1, 2, 3][0]), torch.ones_like(X)),
    "(D,)": (VALUES[0, :, 0], VALUES[0, :, :1].expand_as(X)),
    "(D,) integers": (np.arange(D), torch.arange(D)[:, None].expand_as(X).double()),
    "(D, T)": (VALUES[0], VALUES[:1].expand_as(X)),
    "(D, T) array": (VALUES[1].numpy().astype(">f8"), VALUES[1:2].expand_as(X)),
    "(B, D, T)": (VALUES, VALUES),
    "(S, B, D, T) integers": (torch.ones(1, B, D, T, dtype=torch.int32), torch.ones_like(X)),
}


def turn(given):
    """In layout BTD."""
    several = not isinstance(given, (str, Constant)) and np.ndim(given) >= 2
    return given.swapaxes(-1, -2) if several else given


@pytest.mark.parametrize("kind", GIVEN)
@pytest.mark.parametrize("layout", ["BDT", "BTD"])
def test_constants_are_given_values(kind, layout):
    given, values = GIVEN[kind]
    expected = RaMbIT(plain, L=4, window_size=2).explain(X, counterfactuals=values[None])
    model, x = (plain, X) if layout == "BDT" else (lambda rows: plain(rows.mT), X.mT)
    given = given if layout == "BDT" else turn(given)
    at_first = RaMbIT(model, layout=layout, L=4, window_size=2, num_samples=1, counterfactuals=given).explain(x)
    in_call = RaMbIT(model, layout=layout, L=4, window_size=2, num_samples=1).explain(x, counterfactuals=given)
    for found in (at_first, in_call):
        assert torch.equal(found.values if layout == "BDT" else found.values.mT, expected.values)
        assert found.rows == expected.rows


@pytest.mark.parametrize("kind", [name for name in GIVEN if "S," not in name])
def test_constants_of_padded_series(kind):
    given, values = GIVEN[kind]
    net, lengths = GRU(D).double(), [5, 2, 4]
    found = Occlusion(net, counterfactuals=given).attribute(X, lengths=lengths)
    assert torch.equal(found, Occlusion(net).attribute(X, lengths=lengths, counterfactuals=values[None]))


def test_constants_of_windows_images_and_samples():
    assert torch.equal(
        WinIT(plain, num_samples=1, window_size=2, counterfactuals=0.5).attribute(X),
        WinIT(plain, num_samples=1, window_size=2).attribute(X, counterfactuals=torch.full((1, B, D, T), 0.5)),
    )
    images = torch.randn(1, 2, 5, 5, generator=GENERATOR)

    def look(x):
        return torch.stack((x[:, 0].sum((1, 2)), x[:, 1].sum((1, 2))), dim=1)

    options = {"iters": 2, "output": "logits"}
    maps = [ReX(look, mask_value=value, **options).attribute(images) for value in (0.5, Constant(0.5))]
    assert torch.equal(*maps)
    masks = [
        explain(look, images, counterfactuals=given, output="logits", num_samples=9).mask
        for given in (0.5, np.float64(0.5), torch.full_like(images, 0.5))
    ]
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0], masks[2])


def test_one_draw_is_enough():
    with pytest.warns(UserWarning, match="Constant counterfactuals have one value: one draw is evaluated"):
        result = RaMbIT(plain, L=2, num_samples=3, counterfactuals=0.5).explain(X)
    assert result.settings["counterfactuals"] == {"name": "Constant", "value": 0.5}
    with pytest.raises(ValueError, match="share_draws=False does not apply: Constant values are always the same"):
        RaMbIT(plain, counterfactuals=0.5, share_draws=False)
    assert isinstance(resolve(VALUES), Replay)
    assert resolve(VALUES).values.shape == (1, B, D, T)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (float("nan"), "counterfactuals must be finite"),
        (torch.tensor([0.0, float("inf"), 0.0]), "counterfactuals must be finite"),
        (True, "counterfactuals must be a strategy, its name, a number or a tensor, got bool"),
        (torch.zeros(D, dtype=torch.bool), "counterfactuals must hold real numbers, got torch.bool"),
        (1j, "counterfactuals must be"),
        (torch.zeros(D) + 0j, "counterfactuals must hold real numbers"),
        (torch.zeros(D + 1), rf"counterfactuals must have {D} features for this X, got \({D + 1},\)"),
        (torch.zeros(T, D), rf"counterfactuals must have {D} features for this X"),
        (torch.zeros(D, T + 1), rf"counterfactuals must have {T} steps for this X"),
        (torch.zeros(B + 1, D, T), rf"counterfactuals must be \(S, {B}, {D}, {T}\) for this X"),
        (torch.zeros(0), "counterfactuals must be a number, or values"),
        ("constant:value=much", "value=much' must be a number"),
    ],
)
def test_what_is_no_constant(given, words):
    with pytest.raises((TypeError, ValueError), match=words):
        Occlusion(plain, counterfactuals=given).attribute(X)
    with pytest.raises((TypeError, ValueError), match=words):
        Occlusion(plain).attribute(X, counterfactuals=given)


def test_a_constant_beyond_the_type_of_the_model():
    with pytest.raises(ValueError, match=r"counterfactuals hold values beyond torch.float32"):
        Occlusion(GRU(D), counterfactuals=1e300).attribute(X)
    with pytest.raises(ValueError, match="background does not apply to counterfactuals='float'"):
        Occlusion(plain, counterfactuals=0.5, background=X)
