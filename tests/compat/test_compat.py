"""The drop-in explainers give what the attributors give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rambit import RaMbIT
from rambit.attribution import BiWinIT, WinIT
from rambit.compat import BiWinITExplainer, JIMEx, WinITExplainer
from tests.models_for_tests import GRU

X = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
TRAIN = torch.randn(16, 3, 8, generator=torch.Generator().manual_seed(1))


class Protocol:
    """Only ``predict``: one state becomes (p, 1 - p)."""

    def __init__(self, states):
        torch.manual_seed(0)
        self.net = GRU(C=max(states, 1)).eval()
        self.states = states

    def predict(self, x, return_all=False):
        outputs = self.net(x, return_all=return_all)
        return outputs.sigmoid() if self.states == 1 else outputs.softmax(1)


@pytest.mark.parametrize("states", [1, 3])
def test_jimex(states):
    model = Protocol(states)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(TRAIN, torch.zeros(16)), batch_size=5)
    explainer = JIMEx(3, num_samples=2, num_masks=4, window_size=3, train_loader=loader, random_state=7)
    with pytest.raises(RuntimeError, match="set_model"):
        explainer.attribute(X)
    explainer.set_model(model)
    scores = explainer.attribute(X)
    assert isinstance(scores, np.ndarray)
    assert scores.shape == (2, 3, 8)
    expected = RaMbIT(
        model, num_samples=2, L=4, window_size=3, Wt_max=3, Wd_max=3, anchor="mask", background=TRAIN, seed=7
    ).attribute(X)
    np.testing.assert_array_equal(scores, expected.numpy())
    assert explainer.get_name() == "jimex_samples_2_masks_4_window_3"
    zero = JIMEx(3, num_masks=4, window_size=3, train_loader=loader, all_zero_cf=True)
    zero.set_model(model)
    assert not np.array_equal(zero.attribute(X), scores)


@pytest.mark.parametrize("joint", [False, True])
def test_winit_with_trained_generators(tmp_path, joint):
    model = Protocol(3)
    common = {"window_size": 3, "joint": joint, "random_state": 2}
    explainer = WinITExplainer("cpu", 3, "toy", tmp_path, train_loader=TRAIN, **common)
    explainer.set_model(model)
    marginal = explainer.attribute(X)
    np.testing.assert_array_equal(marginal, WinIT(model, window_size=3, background=TRAIN, seed=2).explain(X).windows)
    with pytest.raises(RuntimeError, match="train_generators"):
        explainer.test_generators(TRAIN)
    history = explainer.train_generators(TRAIN, TRAIN[:4], num_epochs=2)
    assert len(history.train_loss) == 2
    drawn = explainer.attribute(X)
    assert drawn.shape == (2, 3, 8, 3)
    assert not np.array_equal(drawn, marginal)
    loss = explainer.test_generators(TRAIN)
    again = WinITExplainer("cpu", 3, "toy", tmp_path, **common)
    again.set_model(model)
    again.load_generators()
    np.testing.assert_array_equal(again.attribute(X), drawn)
    assert again.test_generators(TRAIN) == loss


def test_biwinit_and_bad_input(tmp_path):
    model = Protocol(3)
    explainer = BiWinITExplainer("cpu", 3, "toy", tmp_path, train_loader=TRAIN, window_size=3, height=2)
    explainer.set_model(model)
    expected = BiWinIT(model, window_size=3, height=2, background=TRAIN).explain(X).windows
    np.testing.assert_array_equal(explainer.attribute(X), expected)
    assert explainer.get_name() == "biwinit_window_3_samples_3_height_2"
    with pytest.raises(ValueError, match="x must be"):
        explainer.attribute(X[:, :2])
    with pytest.raises(ValueError, match="train_loader"):
        JIMEx(4, train_loader=TRAIN)
    with pytest.raises(ValueError, match="joint"):
        WinITExplainer("cpu", 3, "toy", tmp_path, joint=True, conditional=True)


def test_inputs_as_people_have_them(tmp_path):
    """Arrays of any strides, and reference data that misses values and says so; what is masked in x is refused."""
    seen = torch.rand(TRAIN.shape, generator=torch.Generator().manual_seed(2)) < 0.8
    loader = [
        np.ma.array(part.numpy(), mask=~here.numpy()) for part, here in zip(TRAIN.split(5), seen.split(5), strict=True)
    ]
    model = Protocol(3)
    for make, method in (
        (lambda: JIMEx(3, num_samples=2, num_masks=4, wt_bounds=(1, 3), train_loader=loader), None),
        (lambda: WinITExplainer("cpu", 3, "toy", tmp_path, train_loader=loader, window_size=3), WinIT),
    ):
        explainer = make()
        explainer.set_model(model)
        scores = explainer.attribute(X)
        np.testing.assert_array_equal(explainer.attribute(X.numpy()[::-1].copy()[::-1]), scores)
        np.testing.assert_array_equal(explainer.attribute(X.numpy().astype(">f4")), scores)
        known = {"X": TRAIN, "observed": seen}
        if method is not None:
            expected = method(model, window_size=3, background=known).explain(X).windows
            np.testing.assert_array_equal(scores, expected)
        with pytest.raises(ValueError, match=r"x is a masked array with 1 masked values.*x.filled"):
            explainer.attribute(np.ma.masked_equal(X.numpy(), X.numpy().max()))
