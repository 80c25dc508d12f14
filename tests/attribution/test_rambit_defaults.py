"""What RaMbIT takes of the options that nobody names, and the window that it chooses by a pilot."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rambit import RaMbIT
from rambit.attribution import pilot
from rambit.attribution.rambit import EACH_STEP, PUBLISHED, WHOLE
from tests.models_for_tests import GRU

B, D, T, N = 3, 2, 9, 24
X = torch.randn(B, D, T, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
BACKGROUND = torch.randn(N, D, T, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
COMPARED = ("L", "num_samples", "share_draws", "reduce", "window_size")


class Late(nn.Module):
    """Logits (N, 2) that hang on what the first feature was ``delay`` steps before."""

    def __init__(self, delay: int) -> None:
        super().__init__()
        self.delay, self.calls, self.weight = delay, 0, nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x, return_all=False):
        self.calls += 1
        late = nn.functional.pad(x[:, 0], (self.delay, 0))[:, : x.shape[2]] * self.weight
        outputs = torch.stack((late, -late), dim=1)
        return outputs if return_all else outputs[:, :, -1]


def gru():
    return GRU(D).double()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, EACH_STEP),
        ({"anchor": "end"}, WHOLE),
        ({"anchor": "end", "num_samples": 10}, PUBLISHED),
        ({"anchor": "mask"}, PUBLISHED),
        ({"counterfactuals": "marginal"}, PUBLISHED),
        ({"background": BACKGROUND[:19]}, PUBLISHED),
        ({"background": BACKGROUND[:, :, :3]}, PUBLISHED),
        ({"background": BACKGROUND[:, :, :3], "anchor": "end"}, WHOLE),
        ({"anchor": "end", "background": BACKGROUND.round()}, PUBLISHED),
        ({"anchor": "end", "categorical": [0], "background": BACKGROUND}, PUBLISHED),
    ],
)
def test_what_is_taken_where_nothing_is_named(options, expected):
    attributor = RaMbIT(gru(), **{"background": BACKGROUND, **options})
    assert {name: getattr(attributor, name) for name in COMPARED} == {name: expected[name] for name in COMPARED}
    named = options.get("counterfactuals") or expected["counterfactuals"] or "marginal"
    assert type(attributor.strategy).__name__.lower() == named
    by_name = RaMbIT(gru(), background=BACKGROUND, counterfactuals=named, masks=expected["masks"]).settings()
    assert attributor.settings()["masks"] == by_name["masks"]


def test_no_background_is_as_published():
    settings = RaMbIT(gru()).settings()
    assert {name: settings[name] for name in COMPARED} == {name: PUBLISHED[name] for name in COMPARED}
    assert (settings["counterfactuals"]["name"], settings["masks"]["name"]) == ("Zero", "Block")


@pytest.mark.parametrize("anchor", ["cell", "end"])
def test_the_values_by_hand_repeat_the_default(anchor):
    model = gru()
    found = RaMbIT(model, background=BACKGROUND, anchor=anchor, seed=3).explain(X)
    chosen = {name: found.settings[name] for name in COMPARED}
    table = EACH_STEP if anchor == "cell" else WHOLE
    by_hand = RaMbIT(
        model,
        background=BACKGROUND,
        anchor=anchor,
        seed=3,
        counterfactuals=table["counterfactuals"],
        masks=table["masks"],
        **chosen,
    ).explain(X)
    assert torch.equal(found.values, by_hand.values)
    assert found.settings == by_hand.settings
    assert (found.rows, found.row_steps) == (by_hand.rows, by_hand.row_steps)


def test_sizes_of_blocks_name_blocks_and_given_masks_share_draws():
    blocks = RaMbIT(gru(), background=BACKGROUND, Wt_max=3)
    assert blocks.settings()["masks"] == {"name": "Block", "Wt_min": 1, "Wt_max": 3, "Wd_min": 1, "Wd_max": 5}
    for masks in ("none", torch.ones(2, D, T, dtype=torch.bool)):
        given = RaMbIT(gru(), background=BACKGROUND, masks=masks)
        assert (given.num_samples, given.share_draws) == (10, True)


@pytest.mark.parametrize(("delay", "window"), [(0, 1), (1, 2), (3, 4), (4, 8)])
def test_the_window_reaches_to_where_an_effect_shows(delay, window):
    found = RaMbIT(Late(delay), background=BACKGROUND, L=2).explain(X)
    assert found.settings["window_size"] == window


def test_the_pilot_against_its_definition():
    model = gru()
    attributor = RaMbIT(model, background=BACKGROUND, L=2)
    found = attributor.explain(X).settings["window_size"]
    series = BACKGROUND  # all of it: N · T < STEPS
    ids = torch.arange(N)
    values = attributor.strategy.draws(series, None, ids, 1, seed=0)[0]
    with torch.no_grad():
        original = model(series, return_all=True).softmax(dim=1)
        sums = dict.fromkeys(pilot.SIZES, 0.0)
        for t in range(T):
            replaced = series.clone()
            replaced[:, :, t] = values[:, :, t]
            distance = (model(replaced, return_all=True).softmax(dim=1) - original).abs().sum(dim=1)
            for W in sums:
                sums[W] += float(distance[:, t : t + W].amax(dim=1).square().sum())
    expected = next(W for W in pilot.SIZES if sums[W] >= pilot.SHARE * sums[pilot.SIZES[-1]])
    assert found == expected


def test_the_window_is_one_for_all_calls_and_batches():
    model, few = Late(1), {"background": BACKGROUND, "L": 3}
    attributor = RaMbIT(model, **few)
    whole = attributor.attribute(X)
    cut = X[2:, :, :7]
    assert torch.equal(attributor.attribute(cut, ids=[2]), RaMbIT(model, **few).attribute(cut, ids=[2]))
    torch.testing.assert_close(RaMbIT(model, **few).attribute(X[2:], ids=[2]), whole[2:])


def test_cost_says_the_most_until_the_window_is_chosen():
    model = Late(1)
    attributor = RaMbIT(model, background=BACKGROUND, L=3)
    before = attributor.cost(X)
    assert model.calls == 0
    assert before.mode.endswith(", window_size at most 32")
    result = attributor.explain(X)
    after = attributor.cost(X)
    assert (after.rows, after.row_steps) == (result.rows, result.row_steps)
    assert "at most" not in after.mode
    assert before.row_steps >= after.row_steps


def test_no_pilot_where_the_background_does_not_serve():
    missing = BACKGROUND.clone()
    missing[:, 0, 3] = torch.nan
    data = {"X": missing, "observed": ~missing.isnan()}
    assert RaMbIT(Late(1), background=data, L=2).explain(X).settings["window_size"] == 5

    def model(x, scale):
        return torch.stack((x[:, 0, -1] * scale, -x[:, 0, -1]), dim=1)

    found = RaMbIT(model, background=BACKGROUND, L=2, output="logits")
    assert found.explain(X, extra={"scale": torch.ones(B)}).settings["window_size"] == 5


@pytest.mark.parametrize("options", [{}, {"background": BACKGROUND, "anchor": "end"}])
def test_auto_needs_a_background_and_anchor_cell(options):
    with pytest.raises(ValueError, match=r"window_size='auto' needs a background, .* and anchor='cell'"):
        RaMbIT(gru(), window_size="auto", **options)
