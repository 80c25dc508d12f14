"""FO, AFO and Occlusion against one cell or window at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rambit.attribution import AFO, FO, Occlusion
from tests.models_for_tests import GRU, plain
from tests.naive.rambit import distance

pytestmark = pytest.mark.wheel

B, D, T, S = 2, 3, 7, 2
X = torch.randn(B, D, T, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
DRAWS = torch.randn(S, B, D, T, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def setting(name):
    torch.manual_seed(0)
    model = plain if name == "plain" else GRU().double().eval()

    def f(x):
        with torch.no_grad():
            return model(x).softmax(-1)[0]

    return model, f


@pytest.mark.parametrize(
    ("name", "mode", "anchor"),
    [
        *(
            (*each, anchor)
            for each in (("plain", "prefix"), ("gru", "causal"), ("gru", "stateful"))
            for anchor in ("cell", "end")
        ),
        ("gru", "incremental", "end"),
    ],
)
def test_fo_replaces_one_cell(name, mode, anchor):
    model, f = setting(name)
    expected = np.zeros((B, D, T))
    for b, d, t in np.ndindex(B, D, T):
        h = t if anchor == "cell" else T - 1
        for s in range(S):
            x = X[b : b + 1].clone()
            x[0, d, t] = DRAWS[s, b, d, t]
            expected[b, d, t] += distance("pd", f(X[b : b + 1, :, : h + 1]), f(x[:, :, : h + 1])) / S
    for method in (FO(model, anchor=anchor, evaluation=mode), AFO(model, anchor=anchor, evaluation=mode, background=X)):
        scores = method.attribute(X, counterfactuals=DRAWS)
        np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-6, atol=1e-12)


def test_afo_draws_from_the_data_and_fo_from_a_uniform():
    model, _ = setting("gru")
    with pytest.raises(ValueError, match="background"):
        AFO(model)
    assert AFO(model, background=X).settings()["counterfactuals"]["name"] == "Marginal"
    assert FO(model).settings()["counterfactuals"] == {"name": "Uniform", "lo": -3.0, "hi": 3.0}


@pytest.mark.parametrize(
    ("height", "width", "stride"), [(1, 1, (1, 1)), (2, 3, (1, 2)), (3, 2, (2, 1)), (5, 9, (1, 1)), (2, 4, (2, 3))]
)
def test_occlusion_averages_the_windows_that_cover_a_cell(height, width, stride):
    model, f = setting("gru")
    total, covered = np.zeros((B, D, T)), np.zeros((D, T))

    def starts(size, window, step):
        found = [0]
        while found[-1] + window < size:
            found.append(found[-1] + step)
        return found

    for d in starts(D, height, stride[0]):
        for t in starts(T, width, stride[1]):
            covered[d : d + height, t : t + width] += 1
            for b in range(B):
                for s in range(S):
                    x = X[b : b + 1].clone()
                    x[0, d : d + height, t : t + width] = DRAWS[s, b, d : d + height, t : t + width]
                    total[b, d : d + height, t : t + width] += distance("pd", f(X[b : b + 1]), f(x)) / S
    method = Occlusion(model, height=height, width=width, stride=stride)
    scores = method.attribute(X, counterfactuals=DRAWS)
    np.testing.assert_allclose(scores.numpy(), total / covered, rtol=1e-6, atol=1e-12)
    assert method.cost(X).rows > 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(("window", "stride"), [((1, 4), (1, 3)), ((2, 3), (2, 2)), ((3, 5), (2, 4)), ((2, 2), (1, 2))])
def test_occlusion_is_captums(window, stride):
    captum = pytest.importorskip("captum.attr")
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(2, 3 * 11, generator=generator, dtype=torch.float64)
    x = torch.randn(2, 3, 11, generator=generator, dtype=torch.float64)

    def model(x):
        return torch.tanh(x.flatten(1) @ weight.T)

    theirs = captum.Occlusion(model).attribute(x, window, strides=stride, target=1)
    options = {"distance": "diff", "output": "regression", "counterfactuals": "zero"}
    ours = Occlusion(model, height=window[0], width=window[1], stride=stride, **options).attribute(x, target=1)
    torch.testing.assert_close(ours, theirs.double(), rtol=1e-5, atol=1e-6)  # captum adds up in float32


def test_lengths_and_missing_values():
    model, _ = setting("gru")
    observed = torch.rand(X.shape, generator=torch.Generator().manual_seed(2)) < 0.7
    for method in (Occlusion(model, width=2), FO(model)):
        scores = method.attribute(X, counterfactuals=DRAWS, lengths=[T, 4], observed=observed)
        assert bool((scores[1, :, 4:] == 0).all())
        assert bool((scores[~observed] == 0).all())
        assert float(scores[0].abs().max()) > 0


def test_bad_input():
    model, _ = setting("gru")
    for build, words in (
        (lambda: FO(model, anchor="mask"), "anchor"),
        (lambda: Occlusion(model, width=0), "width"),
        (lambda: Occlusion(model, height=0), "height"),
        (lambda: Occlusion(model, stride=(1, 2)), "stride"),
        (lambda: Occlusion(model, stride=2), "stride"),
    ):
        with pytest.raises(ValueError, match=words):
            build()
