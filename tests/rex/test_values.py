"""What stands where a part is not kept, seen through the rows that the model gets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rambit.counterfactuals import CarryForward, Gaussian, Interpolate, Mean
from rambit.game import Coalitions, Game, TensorSample
from rambit.predictors import Predictor
from rambit.rex.mask_values import NAMES, SPECTRAL_NOISE, mask_values
from tests.random_state import numpy_state

SHAPES = {"spectrum": (1, 1, 40), "series": (1, 3, 12), "image": (1, 3, 5, 6), "volume": (1, 2, 3, 4, 5)}


def inputs(kind, seed=0):
    return torch.randn(SHAPES[kind], generator=torch.Generator().manual_seed(seed))


def rows(x, value, masks, seed=0):
    """The masked inputs that the model sees, for masks (N, terms)."""
    seen = []

    def model(batch):
        seen.append(batch.clone())
        return torch.zeros(len(batch), 2)

    series = x.ndim == 3
    sample = TensorSample(x, torch.zeros(1, dtype=torch.int64)) if series else TensorSample.spatial(x)
    predictor = Predictor.of(model, output="logits")
    predictor.looked = True  # only the rows that are asked for
    game = Game(predictor, sample, mask_values(value, sample), seed=seed)
    game.runner.fewer = None  # nor is what a row costs looked at
    list(game.evaluate(Coalitions(masks)))
    return torch.cat(seen)


def random_masks(x, count=6, seed=1):
    terms = x[0].numel() if x.ndim == 3 else x[0, 0].numel()
    return torch.rand(count, terms, generator=torch.Generator().manual_seed(seed)) < 0.5


def kept(x, masks):
    """Masks over every value of the input."""
    if x.ndim == 3:
        return masks.view(-1, *x.shape[1:])
    return masks.view(-1, 1, *x.shape[2:]).expand(-1, *x.shape[1:])


@pytest.mark.parametrize("kind", SHAPES)
def test_fixed_values(kind):
    x = inputs(kind)
    masks = random_masks(x)
    context = inputs(kind, seed=5)
    channels = x.double().flatten(2).mean(2).float().view(1, -1, *[1] * (x.ndim - 2))
    expected = {
        0: 0.0,
        -1.5: -1.5,
        "min": float(x.min()),
        "mean": float(x.double().mean()),
        context: context,
        context[0]: context,
        Mean(): channels,
    }
    for value, there in expected.items():
        wanted = torch.where(kept(x, masks), x, torch.as_tensor(there, dtype=x.dtype))
        assert torch.equal(rows(x, value, masks), wanted), value


@pytest.mark.parametrize("kind", SHAPES)
def test_random_values_lie_in_the_range_and_follow_the_seed(kind):
    x = inputs(kind)
    masks = random_masks(x)
    before = torch.get_rng_state(), numpy_state()
    one, same, other = (rows(x, "random", masks, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    replaced = one[~kept(x, masks)]
    assert x.min() <= replaced.min() < replaced.max() <= x.max()
    assert len(replaced.unique()) > 5
    assert torch.equal(torch.get_rng_state(), before[0])
    assert numpy_state() == before[1]


def test_an_input_of_one_value_has_only_that_to_draw():
    x = torch.full((1, 1, 4, 4), 2.0)
    assert torch.equal(rows(x, "random", random_masks(x)), x.expand(6, -1, -1, -1))


def interpolated(x, mask):
    """Straight lines over the gaps of one feature (T,), by NumPy; nothing kept: zeros."""
    if not mask.any():
        return np.zeros_like(x)
    time = np.arange(len(x))
    return np.interp(time, time[mask], x[mask])


@pytest.mark.parametrize("kind", ["spectrum", "series"])
def test_every_gap_is_filled_whole(kind):
    x = inputs(kind).double()
    T = x.shape[2]
    masks = random_masks(x, 8)
    # Gaps of one, at both ends, everything, nothing.
    masks[0], masks[1], masks[2], masks[3] = True, False, True, True
    masks[2, ::3] = False
    masks[3, :4] = masks[3, -4:] = False
    wanted = np.stack(
        [
            [interpolated(row, keep) for row, keep in zip(x[0].numpy(), mask, strict=True)]
            for mask in masks.view(8, -1, T).numpy()
        ]
    )
    assert np.allclose(rows(x, "linear", masks).numpy(), wanted, atol=1e-12)
    spectral = rows(x, "spectral", masks).numpy()
    noise = (spectral - wanted)[~masks.view(8, -1, T).numpy()]
    assert np.array_equal(spectral[masks.view(8, -1, T).numpy()], x[0].numpy()[None].repeat(8, 0)[masks.view(8, -1, T)])
    assert (noise != 0).mean() > 0.5
    assert np.abs(noise).max() < 6 * SPECTRAL_NOISE


@pytest.mark.parametrize("kind", ["image", "volume"])
@pytest.mark.parametrize("value", ["linear", "spectral", Interpolate(), CarryForward()])
def test_gaps_along_time_are_for_series(kind, value):
    x = inputs(kind)
    with pytest.raises(ValueError, match=r"mask_value: .* fills gaps along time"):
        mask_values(value, TensorSample.spatial(x))


def test_any_strategy():
    sample = TensorSample(inputs("series"), torch.zeros(1, dtype=torch.int64))
    for strategy in (Gaussian(), CarryForward(), Mean()):
        assert mask_values(strategy, sample) is strategy


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("median", ValueError, f"one of {', '.join(NAMES)}, zero, .*given 'median'"),
        (float("nan"), ValueError, "finite"),
        (True, TypeError, "mask_value must be"),
        (None, TypeError, "mask_value must be"),
        (torch.zeros(1, 3, 5, 7), ValueError, r"\(1, 3, 5, 6\), given \(1, 3, 5, 7\)"),
        (torch.zeros(1, 3, 5, 6, dtype=torch.int64), ValueError, "floating"),
        (torch.full((1, 3, 5, 6), torch.inf), ValueError, "finite"),
        (np.ones((1, 3, 5, 7)), ValueError, r"mask_value must have the input's shape"),
        (np.ma.masked_equal(np.ones((1, 3, 5, 6)), 1.0), ValueError, "mask_value is a masked array"),
        (torch.zeros(1, 3, 5, 6).to_sparse(), TypeError, "mask_value is stored as torch.sparse_coo"),
        (torch.zeros(1, 3, 5, 6, device="meta"), TypeError, "mask_value is on the device 'meta'"),
        (np.array(["a"]), TypeError, "mask_value must hold numbers"),
        (10**400, TypeError, "mask_value must be a number"),
        (1e300, ValueError, r"mask_value 1e\+300 is beyond torch.float32"),
        (torch.full((1, 3, 5, 6), 1e300, dtype=torch.float64), ValueError, "mask_value holds values beyond"),
    ],
)
def test_wrong_values(value, error, message):
    with pytest.raises(error, match=message):
        mask_values(value, TensorSample.spatial(inputs("image")))


def test_arrays_are_contexts_and_their_scalars_numbers():
    x = inputs("image")
    sample = TensorSample.spatial(x)
    context = np.linspace(-1, 1, x.numel()).reshape(x.shape)
    found = mask_values(context, sample).values
    assert torch.equal(found, mask_values(torch.from_numpy(context), sample).values)
    assert torch.equal(found.flatten(), torch.from_numpy(context).flatten().to(x.dtype))
    assert torch.equal(mask_values(np.float32(0.25), sample).values, mask_values(0.25, sample).values)
