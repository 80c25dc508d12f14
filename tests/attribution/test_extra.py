"""Inputs beside the series: static and future covariates, which go with each series and are never replaced."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rambit import Predictor, RaMbIT
from rambit.attribution import FO, Banzhaf, Gradients, Occlusion, ShapleySampling, WinIT
from rambit.distributed import attribute_many
from rambit.rex import ReX
from rambit.sufficiency import explain

B, D, T = 4, 2, 7


class Covariates(nn.Module):
    """Class logits of a series, its static features, its future, and a category."""

    def __init__(self, causal=False):
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = nn.GRU(D, 5, batch_first=True), nn.Linear(5 + 2 + 3, 3)
        self.embedding = nn.Embedding(4, 3)
        self.causal = causal

    def forward(self, x, static, future, *, kind):
        assert kind.dtype == torch.int64
        assert len(x) == len(static) == len(future) == len(kind)
        hidden = self.rnn(x.transpose(1, 2))[0][:, -1]
        return self.head(torch.cat((hidden, static + future.mean(1), self.embedding(kind)), 1))


class AtEveryStep(Covariates):
    def forward(self, x, static, future, *, kind, return_all=True):
        hidden = self.rnn(x.transpose(1, 2))[0]
        beside = torch.cat((static + future.mean(1), self.embedding(kind)), 1)[:, None].expand(-1, x.shape[2], -1)
        out = self.head(torch.cat((hidden, beside), 2)).transpose(1, 2)
        return out if return_all else out[:, :, -1]


@pytest.fixture
def X():
    return torch.randn(B, D, T, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def extra():
    g = torch.Generator().manual_seed(1)
    normal = lambda *shape: torch.randn(shape, generator=g, dtype=torch.float64)  # noqa: E731
    return {"static": normal(B, 2), "future": normal(B, 5, 2), "kind": torch.tensor([0, 3, 1, 3])}


METHODS = {
    "cell": lambda m, **o: RaMbIT(m, L=3, Wt_max=3, Wd_max=2, window_size=2, num_samples=1, **o),
    "mask": lambda m, **o: RaMbIT(m, anchor="mask", L=3, Wt_max=3, Wd_max=2, window_size=2, num_samples=1, **o),
    "end": lambda m, **o: RaMbIT(m, anchor="end", L=3, Wt_max=3, Wd_max=2, window_size=2, num_samples=1, **o),
    "fo": lambda m, **o: FO(m, num_samples=2, **o),
    "winit": lambda m, **o: WinIT(m, num_samples=2, window_size=3, **o),
    "occlusion": lambda m, **o: Occlusion(m, width=2, **o),
    "shapley": lambda m, **o: ShapleySampling(m, num_permutations=2, **o),
    "banzhaf": lambda m, **o: Banzhaf(m, num_masks=9, **o),
}


def one_by_one(method, model, X, extra, **given):
    """A loop over series, each with a model that has its extra inputs inside."""
    parts = []
    for b in range(len(X)):
        mine = {name: value[b : b + 1] for name, value in extra.items()}

        class Closed(nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, x, mine=mine):
                rows = {name: value.expand(len(x), *value.shape[1:]) for name, value in mine.items()}
                more = {"return_all": False} if isinstance(self.model, AtEveryStep) else {}
                return self.model(x, **rows, **more)

        here = {name: value[b : b + 1] for name, value in given.items()}
        parts.append(method(Closed()).attribute(X[b : b + 1], ids=[b], **here))
    return torch.cat(parts)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", [Covariates, AtEveryStep])
def test_equals_a_loop_over_series(name, kind, X, extra):
    model = kind().double()
    method = lambda m: METHODS[name](m, counterfactuals="gaussian")  # noqa: E731
    result = method(model).explain(X, extra=extra)
    torch.testing.assert_close(result.values, one_by_one(method, model, X, extra), rtol=0, atol=1e-10)
    assert method(model).cost(X, extra=extra).rows == result.rows
    other = method(model).attribute(X, extra={**extra, "kind": extra["kind"].flip(0)})
    assert float((other - result.values).abs().max()) > 1e-6


def test_by_position_and_as_arrays(X, extra):
    model = Covariates().double()
    method = Occlusion(model)
    expected = method.attribute(X, extra=extra)
    arrays = {name: value.numpy() for name, value in extra.items()}
    assert torch.equal(method.attribute(X, extra=arrays), expected)
    placed = Occlusion(lambda x, static, future, kind: model(x, static, future, kind=kind))
    torch.testing.assert_close(placed.attribute(X, extra=tuple(extra.values())), expected)


def test_floating_ones_come_in_the_type_of_the_weights(X, extra):
    model = Covariates().float()
    found = Occlusion(model).attribute(X.float(), extra=extra)  # float64, as pandas and NumPy have them
    single = {name: v.float() if v.is_floating_point() else v for name, v in extra.items()}
    assert torch.equal(found, Occlusion(model).attribute(X.float(), extra=single))


class Votes(nn.Module):
    """A decision about an image or series that a bias for each input shifts."""

    def forward(self, x, bias):
        assert len(x) == len(bias)
        return torch.stack((x.flatten(1).mean(1) + bias[:, 0], torch.zeros(len(x), dtype=x.dtype)), 1)


def test_rex_and_sufficient_explanations(X):
    series, bias = X.abs() + 0.1, torch.tensor([[0.0], [0.3], [0.0], [0.1]], dtype=torch.float64)
    rex = ReX(Votes(), iters=4, min_box_size=1)
    maps = rex.attribute(series, extra={"bias": bias})
    parts = explain(Votes(), series, extra=(bias,), heuristic="shapley", num_samples=5)
    for b in range(B):
        shifted = lambda x, b=b: Votes()(x, bias[b : b + 1].expand(len(x), 1))  # noqa: E731
        alone = ReX(shifted, iters=4, min_box_size=1).explain(series[b : b + 1])
        found = rex.explain(series[b : b + 1], extra={"bias": bias[b : b + 1]})
        assert torch.equal(found.responsibility, alone.responsibility)
        assert torch.equal(maps[b].view_as(alone.responsibility), alone.responsibility)
        with_it = explain(shifted, series[b : b + 1], heuristic="shapley", num_samples=5)
        assert parts[b].gap == pytest.approx(with_it.gap, abs=1e-9)
        assert parts[b].size == with_it.size
    with pytest.raises(ValueError, match="a table"):
        explain(Votes(), series[:, :, 0], extra=(bias,))


def test_lengths_and_missing_values(X, extra):
    lengths, seen = torch.tensor([7, 5, 7, 5]), torch.rand(X.shape, generator=torch.Generator().manual_seed(2)) < 0.8
    model = AtEveryStep().double()
    method = lambda m: METHODS["cell"](m, counterfactuals="gaussian")  # noqa: E731
    found = method(model).attribute(X, extra=extra, lengths=lengths, observed=seen)
    expected = one_by_one(method, model, X, extra, lengths=lengths, observed=seen)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_small_batches_and_compile_see_the_same_rows(X, extra):
    model = Covariates().double()
    expected = Banzhaf(model, num_masks=9).attribute(X, extra=extra)
    torch.testing.assert_close(Banzhaf(model, num_masks=9, batch_size=3).attribute(X, extra=extra), expected)


def test_a_stream_of_batches(tmp_path, X, extra):
    method = FO(Covariates().double(), num_samples=2, anchor="end")
    batches = [
        {"X": X[part], "extra": {name: value[part] for name, value in extra.items()}}
        for part in (slice(0, 3), slice(3, 4))
    ]
    many = attribute_many(method, batches, tmp_path / "scores", shard_size=2)
    expected = torch.cat(
        [
            method.attribute(X[i : i + 2], ids=[i, i + 1], extra={n: v[i : i + 2] for n, v in extra.items()})
            for i in (0, 2)
        ]
    )
    assert np.array_equal(many.to_numpy(), expected.numpy())
    attribute_many(method, batches, tmp_path / "scores", shard_size=2)  # the same input: nothing is left to do
    changed = [
        {**batches[0], "extra": {**batches[0]["extra"], "static": batches[0]["extra"]["static"] + 1}},
        batches[1],
    ]
    with pytest.raises(ValueError, match="are not those"):
        attribute_many(method, changed, tmp_path / "scores", shard_size=2)
    with pytest.raises(ValueError, match=r"lacks extra.*unlike batch 0"):
        attribute_many(method, [batches[0], {"X": X[3:]}], tmp_path / "other", shard_size=2)


def test_a_checkpoint_knows_them(tmp_path, X, extra):
    method = METHODS["cell"](Covariates().double(), counterfactuals="gaussian")
    first = method.attribute(X, extra=extra, checkpoint=tmp_path / "run")
    assert torch.equal(method.attribute(X, extra=extra, checkpoint=tmp_path / "run"), first)
    with pytest.raises(ValueError, match="extra"):
        method.attribute(X, extra={**extra, "static": extra["static"] + 1}, checkpoint=tmp_path / "run")


class OfSeries(Predictor):
    """A user's predictor that looks up what belongs to each series."""

    def __init__(self, table):
        super().__init__(output="regression")
        self.table = table

    def call_whole(self, x, lengths, series):
        return self.table[series] * x.mean(dim=(1, 2))[:, None]


def test_a_predictor_of_ones_own_is_told_which_series_each_row_is_of(X):
    table = torch.tensor([[1.0], [2.0], [0.0], [3.0], [5.0]], dtype=torch.float64)
    ids = [4, 0, 3, 1]
    plain = Occlusion(lambda x: x.mean(dim=(1, 2))[:, None], output="regression", distance="diff").attribute(X)
    found = Occlusion(OfSeries(table), distance="diff").attribute(X, ids=ids)
    torch.testing.assert_close(found, plain * table[ids, :, None])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (torch.zeros(B), TypeError, "extra must be a dictionary"),
        ({"static": torch.zeros(B - 1, 2)}, ValueError, r"extra\['static'\] must have one entry for each of 4 series"),
        ((3.0,), TypeError, r"extra\[0\] must hold numbers"),
        ({1: torch.zeros(B)}, TypeError, "names of arguments"),
        ({"*static": torch.zeros(B)}, TypeError, r"names of arguments as keys, got '\*static'"),
        ({"*1": torch.zeros(B)}, TypeError, "names of arguments"),
        ({"height": torch.zeros(B)}, ValueError, "extra does not fit the model, which takes .*static"),
        (tuple(torch.zeros(B) for _ in range(3)), ValueError, "extra does not fit the model"),
    ],
)
def test_what_does_not_fit(given, error, message, X):
    with pytest.raises(error, match=message):
        Occlusion(Covariates().double()).attribute(X, extra=given)


@pytest.mark.parametrize("name", ["past", "codes", "lengths", "return_all"])
def test_what_the_model_is_given_already(name, X):
    def model(past, lengths, codes, return_all=False):
        raise AssertionError("refused before any work")

    predictor = Predictor.of(model, input_name="past", categorical=[1], categorical_name="codes")
    with pytest.raises(ValueError, match=f"extra holds '{name}', which the model is given already"):
        Occlusion(predictor).attribute(X.round(), extra={name: torch.zeros(B)})


def test_who_takes_none(X, extra):
    with pytest.raises(ValueError, match="extra does not apply to Gradients"):
        Gradients(Covariates().double(), "integrated_gradients").attribute(X, extra=extra)
    with pytest.raises(ValueError, match="has no argument 'static' in call_whole"):
        Occlusion(OfSeries(torch.zeros(5, 1))).attribute(X, extra={"static": extra["static"]})


class WritesExtra(Covariates):
    """Overwrites everything that it is given."""

    def forward(self, x, static, future, *, kind):
        found = super().forward(x, static, future, kind=kind)
        static.add_(1)
        future.mul_(torch.nan)
        kind.zero_()
        return found


@pytest.mark.parametrize("name", METHODS)
def test_a_model_that_overwrites_them(name, X, extra):
    kept = {key: value.clone() for key, value in extra.items()}
    expected = METHODS[name](Covariates().double(), counterfactuals="gaussian").attribute(X, extra=extra)
    for batch_size in (1, 5, "auto"):
        method = METHODS[name](WritesExtra().double(), counterfactuals="gaussian", batch_size=batch_size)
        torch.testing.assert_close(method.attribute(X, extra=extra), expected)
    assert all(torch.equal(kept[key], value) for key, value in extra.items())


class WithState(AtEveryStep):
    def advance(self, x, state=None):
        raise AssertionError("a state knows nothing of extra inputs")


def test_a_state_is_not_used(X, extra):
    method = METHODS["cell"](WithState().double())
    assert method.explain(X, extra=extra).mode == "causal"
    with pytest.raises(ValueError, match="does not serve extra="):
        METHODS["cell"](WithState().double(), evaluation="stateful").attribute(X, extra=extra)
