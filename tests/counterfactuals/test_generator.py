"""Generators against slow twins that walk over each prefix alone, dense linear algebra, and their own draws."""

import json
import struct

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal

from rambit import RaMbIT
from rambit.counterfactuals import FeatureGenerator, GeneratorModel, JointGenerator, generator
from rambit.models import TCNClassifier
from tests.naive import ops as naive

KINDS = [(FeatureGenerator, {}), (FeatureGenerator, {"conditional": True}), (JointGenerator, {})]
BOTH = pytest.mark.parametrize(("cls", "options"), KINDS, ids=["feature", "conditional", "joint"])
SHAPES = {"B": st.integers(1, 3), "D": st.integers(1, 3), "T": st.integers(1, 6), "P": st.integers(1, 4)}


def series(B, D, T, seed=0):
    return torch.randn(B, D, T, generator=torch.Generator().manual_seed(seed))


def make(cls, D=3, P=2, seed=0, **options):
    """Untrained, but with units and batch-norm statistics as after training."""
    model = cls(D, 4, prediction_size=P, seed=seed, **options).eval()
    random = torch.Generator().manual_seed(seed)
    for buffer in (model.center, model.head.norm.running_mean):
        buffer.copy_(torch.randn(buffer.shape, generator=random))
    for buffer in (model.scale, model.head.norm.running_var):
        buffer.copy_(torch.rand(buffer.shape, generator=random) + 0.5)
    return model


# --- twins ---


def standardized(model, x):
    """One series (D, T)."""
    return torch.stack([(row - m) / s for row, m, s in zip(x, model.center, model.scale, strict=True)])


def head(model, group, value):
    """The units one by one."""
    own, norm = model.head, model.head.norm
    units = []
    for u in range(50):
        k = group * 50 + u
        unit = torch.tanh(value @ own.weight1[group, :, u] + own.bias1[group, u])
        unit = (unit - norm.running_mean[k]) / torch.sqrt(norm.running_var[k] + norm.eps)
        units.append(unit * norm.weight[k] + norm.bias[k])
    return torch.stack(units) @ own.weight2[group] + own.bias2[group]


def state_after(rnn, past):
    """Of one series (D, p) and nothing else."""
    return rnn(past.T[None])[1][0, 0] if past.shape[1] else torch.zeros(rnn.hidden_size)


def positive(value):
    return torch.log(1 + torch.exp(value)) + 1e-3


def dense(model, x, p):
    """Mean (P, D) and covariance (P, D, P, D) of the next steps after x[:, :p], in the model's own units."""
    z, D, P = standardized(model, x), model.num_features, model.prediction_size
    mean, covariance = torch.zeros(P, D), torch.zeros(P, D, P, D)
    if isinstance(model, FeatureGenerator):
        for d in range(D):
            value = state_after(model.rnns[d], z[:, :p])
            if model.conditional:
                value = torch.cat([value, torch.stack([z[e, p] if e != d else torch.tensor(0.0) for e in range(D)])])
            out = head(model, d, value)
            for j in range(P):
                mean[j, d] = out[j]
                covariance[j, d, j, d] = positive(out[P + j]) ** 2
        return mean, covariance
    out, K = head(model, 0, state_after(model.rnn, z[:, :p])), model.latent_size
    A, b = model.decoder.weight, model.decoder.bias
    mean = A @ out[:K] + b
    full = A @ torch.diag(positive(out[K : 2 * K]) ** 2) @ A.T + torch.diag(positive(out[2 * K :]) ** 2)
    return mean.view(P, D), full.view(P, D, P, D)


@BOTH
@given(**SHAPES)
@settings(max_examples=12)
@torch.no_grad()
def test_parameters_equal_a_walk_over_each_prefix(cls, options, B, D, T, P):
    model, x = make(cls, D, P, **options), series(B, D, T)
    mean, std = model.parameters_for(x)
    assert mean.shape == std.shape == (B, D, T, P)
    assert mean.is_contiguous()
    assert std.is_contiguous()
    for b in range(B):
        for p in range(T):
            m, c = dense(model, x[b], p)
            for d in range(D):
                for j in range(P):
                    torch.testing.assert_close(mean[b, d, p, j], m[j, d] * model.scale[d] + model.center[d])
                    torch.testing.assert_close(std[b, d, p, j], c[j, d, j, d].sqrt() * model.scale[d])


@BOTH
@given(**SHAPES)
@settings(max_examples=12)
@torch.no_grad()
def test_nll_equals_the_dense_distribution(cls, options, B, D, T, P):
    model, x = make(cls, D, P, **options), series(B, D, T)
    total, count = 0.0, 0
    for b in range(B):
        z = standardized(model, x[b])
        for p in range(T):
            mean, covariance = dense(model, x[b], p)
            known = min(P, T - p)
            n = known * D
            marginal = MultivariateNormal(mean[:known].flatten(), covariance[:known, :, :known].reshape(n, n))
            total -= float(marginal.log_prob(z[:, p : p + known].T.flatten()))
            count += n
    assert model.nll(x) == pytest.approx(total / count, rel=1e-3, abs=1e-4)
    assert model.nll(x, batch_size=1) == pytest.approx(model.nll(x), rel=1e-4)
    assert model.nll(x.numpy()) == model.nll(x)


# --- what an answer depends on ---


@BOTH
def test_only_the_past_counts(cls, options):
    model, x = make(cls, **options), series(2, 3, 8)
    for p in range(8):
        changed = x.clone()
        changed[:, :, p:] = 9.0
        changed[:, :, p] = x[:, :, p] if model.config().get("conditional") else 9.0
        for one, other in zip(model.parameters_for(x), model.parameters_for(changed), strict=True):
            assert torch.equal(one[:, :, : p + 1], other[:, :, : p + 1])
            if p < 6:
                assert not torch.equal(one[:, :, p + 2], other[:, :, p + 2])


def test_conditional_sees_the_others_now():
    model, x = make(FeatureGenerator, conditional=True), series(2, 3, 8)
    changed = x.clone()
    changed[:, 1, 5] += 1.0
    one, other = model.parameters_for(x)[0], model.parameters_for(changed)[0]
    assert torch.equal(one[:, 1, 5], other[:, 1, 5])
    for d in (0, 2):
        assert not torch.equal(one[:, d, 5], other[:, d, 5])


@BOTH
def test_kinds_of_input(cls, options, recwarn):
    model, x = make(cls, **options), series(2, 3, 5)
    ids, expected = torch.tensor([4, 1]), model.parameters_for(x)
    model.train()
    for given_as in (x, x.double(), x.transpose(1, 2).contiguous().transpose(1, 2)):
        for one, other in zip(model.parameters_for(given_as), expected, strict=True):
            torch.testing.assert_close(one, other)
        drawn = model.draw(given_as, ids, 2, 0)
        assert drawn.dtype == torch.float32
        assert drawn.shape == (2, 2, 3, 5, 2)
        assert drawn.is_contiguous()
    assert model.training
    assert not any(value.requires_grad for value in expected)
    assert torch.equal(model.head.norm.running_mean, make(cls, **options).head.norm.running_mean)
    assert model.parameters_for(x[:, :, :1])[0].shape == (2, 3, 1, 2)


# --- draws ---


@BOTH
@given(**SHAPES, S=st.integers(1, 3), first=st.integers(0, 3), seed=st.integers(0, 2**62), data=st.data())
@settings(max_examples=12)
def test_draws_do_not_depend_on_the_batch(cls, options, B, D, T, P, S, first, seed, data):
    model, x = make(cls, D, P, **options), series(B, D, T)
    ids = torch.tensor(data.draw(st.lists(st.integers(0, 2**31 - 1), min_size=B, max_size=B)))
    drawn = model.draw(x, ids, S, seed, first)
    assert drawn.shape == (S, B, D, T, P)
    for b in range(B):
        torch.testing.assert_close(model.draw(x[b : b + 1], ids[b : b + 1], S, seed, first), drawn[:, b : b + 1])
    torch.testing.assert_close(model.draw(x, ids, 1, seed, first + S - 1), drawn[S - 1 :])
    for t in range(1, T + 1):
        torch.testing.assert_close(model.draw(x[:, :, :t], ids, S, seed, first), drawn[:, :, :, :t])


@BOTH
def test_draws_use_the_native_deviates(cls, options):
    model, x, ids = make(cls, **options), series(2, 3, 4), torch.tensor([5, 9])
    drawn = model.draw(x, ids, 2, 7, 1)
    if cls is FeatureGenerator:
        mean, std = model.parameters_for(x)
        normal = naive.draw("GAUSSIAN", 2, [5, 9], 3, 4 * 2, torch.float32, first=1, seed=7).view(2, 2, 3, 4, 2)
        torch.testing.assert_close(drawn, mean + std * normal)
        return
    K = model.latent_size
    normal = naive.draw("GAUSSIAN", 2, [5, 9], K + 6, 4, torch.float32, first=1, seed=7)
    with torch.no_grad():
        for b in range(2):
            z = standardized(model, x[b])
            for p in range(4):
                out = head(model, 0, state_after(model.rnn, z[:, :p]))
                for s in range(2):
                    latent = out[:K] + positive(out[K : 2 * K]) * normal[s, b, :K, p]
                    value = model.decoder(latent) + positive(out[2 * K :]) * normal[s, b, K:, p]
                    value = value.view(2, 3) * model.scale + model.center
                    torch.testing.assert_close(drawn[s, b, :, p], value.T)


@BOTH
@torch.no_grad()
def test_draws_have_the_distribution(cls, options):
    model, x, S = make(cls, 2, 2, **options), series(1, 2, 3), 40000
    drawn = (model.draw(x, torch.tensor([3]), S, 0)[:, 0, :, 2] - model.center[:, None]) / model.scale[:, None]
    mean, covariance = dense(model, x[0], 2)
    flat = drawn.transpose(1, 2).flatten(1)  # (S, P D)
    close(flat, mean.flatten(), covariance.reshape(4, 4))


def close(samples, mean, covariance):
    """Sample mean and covariance, within five standard errors."""
    S = len(samples)
    variance = covariance.diagonal()
    assert ((samples.mean(0) - mean).abs() <= 5 * (variance / S).sqrt() + 1e-6).all()
    error = ((variance[:, None] * variance + covariance.square()) / S).sqrt()
    assert ((torch.cov(samples.T) - covariance).abs() <= 5 * error + 1e-6).all()


@pytest.mark.parametrize("kept", [[0], [2], [0, 2], [2, 1]])
@torch.no_grad()
def test_conditional_draws_equal_dense_algebra(kept):
    model, x, S, t = make(JointGenerator), series(2, 3, 4), 40000, 3
    others = [d for d in range(3) if d not in kept]
    drawn = model.draw_given(x, kept if len(kept) > 1 else kept[0], torch.tensor([0, 1]), S, 0)
    assert drawn.shape == (S, 2, 3, 4)
    for d in kept:
        assert torch.equal(drawn[:, :, d], x[:, d].expand(S, 2, 4))
    for b in range(2):
        mean, covariance = dense(model, x[b], t)
        mean, covariance = mean[0].double(), covariance[0, :, 0].double()
        value = standardized(model, x[b])[kept, t].double()
        solved = torch.linalg.inv(covariance[kept][:, kept])
        between = covariance[others][:, kept]
        conditional = mean[others] + between @ solved @ (value - mean[kept])
        left = covariance[others][:, others] - between @ solved @ between.T
        samples = (drawn[:, b, others, t] - model.center[others]) / model.scale[others]
        close(samples.double(), conditional, left)


def test_conditional_draws_move_with_the_plain_ones():
    model, x, ids = make(JointGenerator), series(2, 3, 4), torch.tensor([8, 2])
    plain = model.draw(x, ids, 3, 5, 2)[..., 0]
    torch.testing.assert_close(model.draw_given(x, [], ids, 3, 5, 2), plain)
    assert torch.equal(model.draw_given(x, [0, 1, 2], ids, 3, 5, 2), x.expand(3, 2, 3, 4))
    one = model.draw_given(x, 1, ids, 3, 5, 2)
    torch.testing.assert_close(model.draw_given(x[1:], 1, ids[1:], 1, 5, 4), one[2:, 1:])
    # Where the plain draw happens to be the observation, nothing moves.
    changed = x.clone()
    changed[:, 1, 3] = plain[0, :, 1, 3]
    torch.testing.assert_close(model.draw_given(changed, 1, ids, 1, 5, 2)[0, :, :, 3], plain[0, :, :, 3])


@BOTH
def test_devices_agree(cls, options, device):
    model, x, ids = make(cls, **options), series(2, 3, 6), torch.tensor([4, 1])
    expected = model.draw(x, ids, 3, 0)
    drawn = model.to(device).draw(x, ids, 3, 0).cpu()
    torch.testing.assert_close(drawn, expected, rtol=1e-2, atol=1e-2)  # GPUs round a GRU's products to TF32


# --- training ---


def autoregressive(n=240, T=30, seed=0):
    """Two features: x[t] = .8 x[t-1] + e[t], the noises correlated by .9."""
    rng = np.random.default_rng(seed)
    noise = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], (n, T)).transpose(0, 2, 1)
    X = np.zeros((n, 2, T), np.float32)
    for t in range(T):
        X[..., t] = noise[..., t] / 0.6 if t == 0 else 0.8 * X[..., t - 1] + noise[..., t]
    return X


TRAIN, VALID = autoregressive(), autoregressive(seed=1)


@BOTH
def test_learns_an_autoregressive_process(cls, options, threads):
    threads(1)
    # The units of the data do not matter.
    units, shift = np.array([[50], [0.01]], np.float32), np.array([[7], [-3]], np.float32)
    train, valid = TRAIN * units + shift, VALID * units + shift
    model = cls(2, prediction_size=4, **options)
    history = model.fit(train, valid, epochs=30, batch_size=40)
    assert not model.training
    assert len(history.train_loss) == len(history.valid_loss) > 5
    assert history.valid_loss[history.best_epoch] == min(history.valid_loss) < history.valid_loss[0] - 0.1
    assert model.nll(valid, batch_size=40) == pytest.approx(min(history.valid_loss), rel=1e-6)
    assert history.seconds > 0

    x = torch.from_numpy(valid)
    mean, std = model.parameters_for(x)
    for j in range(4):
        inside = ((x[:, :, j:] - mean[:, :, : 30 - j, j]).abs() < std[:, :, : 30 - j, j])[:, :, 2:]
        assert abs(inside.float().mean() - 0.683) < 0.05
        if not options.get("conditional"):
            expected = 0.8 ** (j + 1) * torch.from_numpy(VALID)[:, :, 3:-1]
            found = (mean[:, :, 4:, j] - torch.from_numpy(shift)) / torch.from_numpy(units)
            assert (found - expected).square().mean().sqrt() < 0.25
            deviation = np.sqrt(sum(0.8 ** (2 * k) for k in range(j + 1)))
            assert abs((std[:, :, 4:, j].mean(dim=(0, 2)) / torch.from_numpy(units[:, 0]) / deviation) - 1).max() < 0.1
    if options.get("conditional"):  # given the other's noise, only √(1 - .9²) = .44 is left of the first step
        assert abs(std[:, :, 4:, 0].mean(dim=(0, 2)) / torch.from_numpy(units[:, 0]) - 0.44).max() < 0.1
    if cls is JointGenerator:
        drawn = model.draw_given(x[:20], 0, torch.arange(20), 200, 0)[:, :, 1, 4:].std(dim=0).mean() / 0.01
        assert abs(drawn - 0.44) < 0.1


@BOTH
def test_training_repeats_and_leaves_the_global_generator_alone(cls, options):
    before = torch.get_rng_state()

    def trained(seed):
        model = cls(2, 4, prediction_size=3, seed=seed, **options)
        return model, model.fit(TRAIN[:20], epochs=2, batch_size=7, seed=seed)

    (one, history), (two, _), (three, _) = trained(1), trained(1), trained(2)
    assert torch.equal(before, torch.get_rng_state())
    assert history.valid_loss == []
    assert len(history.train_loss) == 2
    x = torch.from_numpy(VALID[:2])
    assert torch.equal(one.parameters_for(x)[0], two.parameters_for(x)[0])
    assert not torch.equal(one.parameters_for(x)[0], three.parameters_for(x)[0])


def scripted(monkeypatch, losses):
    """Epochs that only set a weight to their number, and validation losses from a list."""
    model, calls = make(JointGenerator, 2), []

    def epoch(z, batch_size, optimiser, order):
        calls.append(1)
        with torch.no_grad():
            model.decoder.bias.fill_(len(calls))
        return 1.0

    monkeypatch.setattr(model, "_epoch", epoch)
    monkeypatch.setattr(model, "_mean_nll", lambda z, batch_size: losses[len(calls) - 1])
    return model


def test_the_best_epoch_is_kept_and_patience_ends_it(monkeypatch):
    model = scripted(monkeypatch, [3.0, 1.0, 2.0, 1.5, 0.0])
    history = model.fit(TRAIN[:4], VALID[:4], patience=2, epochs=5)
    assert history.valid_loss == [3.0, 1.0, 2.0, 1.5]
    assert history.best_epoch == 1
    assert model.decoder.bias.tolist() == [2.0] * 4
    model = scripted(monkeypatch, [3.0, 1.0, 2.0, 1.5, 0.0])
    assert model.fit(TRAIN[:4], VALID[:4], patience=None, epochs=5).best_epoch == 4


def test_a_loss_of_nan_is_an_error(monkeypatch):
    model = scripted(monkeypatch, [1.0, float("nan")])
    with pytest.raises(RuntimeError, match="the loss became nan in epoch 1; lr is"):
        model.fit(TRAIN[:4], VALID[:4])
    assert model.decoder.bias.tolist() == [1.0] * 4
    assert not model.training


def test_progress_and_arrays_of_any_kind(capsys):
    model, X = FeatureGenerator(2, 4, 3), TRAIN[:6].copy()
    X.flags.writeable = False
    X[:, 1:].flags.writeable = False
    model.fit(X[::-1], torch.from_numpy(VALID[:4]).double(), epochs=1)
    assert capsys.readouterr().err == ""
    model.fit(X, epochs=1, show_progress=True)
    assert "training the generator: 100%" in capsys.readouterr().err


def test_constant_features():
    X = TRAIN[:6].copy()
    X[:, 1] = 4.0
    model = JointGenerator(2)
    model.fit(X, epochs=1)
    assert model.scale[1] == 1.0
    assert model.draw(torch.from_numpy(X), torch.arange(6), 2, 0).isfinite().all()


# --- files ---


@BOTH
def test_files(cls, options, tmp_path):
    model, path, x = make(cls, **options), tmp_path / "generator.safetensors", series(2, 3, 5)
    model.save(path)
    state = torch.get_rng_state()
    for reader in (cls, GeneratorModel):
        again = reader.load(path)
        assert type(again) is cls
        assert not again.training
        assert again.config() == model.config()
        for one, other in zip(again.parameters_for(x), model.parameters_for(x), strict=True):
            assert torch.equal(one, other)
    assert torch.equal(state, torch.get_rng_state())
    assert json.loads((tmp_path / "generator.json").read_text())["config"] == model.config()
    path.write_bytes(b"")  # the loaded one does not lean on the file
    again.fit(x, epochs=1)
    assert not torch.equal(again.parameters_for(x)[0], model.parameters_for(x)[0])


def broken_files():
    model = make(FeatureGenerator)
    weights, config = dict(model.state_dict()), model.config()

    def variant(weights=weights, metadata=None, **changes):
        text = {"format": generator.FORMAT, "config": config | changes}
        return safetensors.torch.save(weights, metadata or {"rambit": json.dumps(text)})

    whole = variant()
    return {
        "empty": (b"", "truncated"),
        "half": (whole[: len(whole) // 2], "corrupt"),
        "longer": (whole + b"0", "corrupt"),
        "huge header": (struct.pack("<Q", 2**60) + whole[8:], "truncated"),
        "foreign": (variant(metadata={"a": "b"}), "a safetensors file, but not a rambit generator"),
        "no json": (variant(metadata={"rambit": "{"}), "Expecting"),
        "deep json": (variant(metadata={"rambit": "[" * 99999}), "recursion"),
        "a list": (variant(metadata={"rambit": "[]"}), "indices"),
        "format": (variant(metadata={"rambit": '{"format": "x"}'}), "its format is 'x'"),
        "no config": (variant(metadata={"rambit": json.dumps({"format": generator.FORMAT})}), "there is no 'config'"),
        "class": (variant(generator="Evil"), "it holds a Evil"),
        "class of no name": (variant(generator=[]), "unhashable"),
        "argument": (variant(colour=1), "colour"),
        "type": (variant(hidden_size="4"), "hidden_size must be an integer, got '4'"),
        "size": (variant(hidden_size=5), r"head\.weight1 should be"),
        "too many features": (variant(num_features=10**9), "it has the weights of 3 features, not 1000000000"),
        "absurd": (variant(prediction_size=10**18), "corrupt or not a rambit generator"),
        "missing": (variant({k: v for k, v in weights.items() if k != "center"}), "center should be .* has None"),
        "more": (variant(weights | {"extra": torch.zeros(1)}), "extra should be None"),
        "mixed": (variant(weights | {"center": torch.zeros(3).double()}), "not of one floating type"),
        "double": (variant(dict(make(FeatureGenerator).double().state_dict())), r"should be torch\.float32"),
    }


@pytest.mark.parametrize("kind", broken_files())
def test_broken_files(tmp_path, kind):
    data, message = broken_files()[kind]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        GeneratorModel.load(path)
    assert str(path) in str(caught.value)


def test_wrong_files(tmp_path):
    model = make(FeatureGenerator)
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        model.save(tmp_path / "generator.pt")
    with pytest.raises(FileNotFoundError):
        FeatureGenerator.load(tmp_path / "none.safetensors")
    model.save(tmp_path / "g.safetensors")
    with pytest.raises(ValueError, match="it holds a FeatureGenerator, not a JointGenerator"):
        JointGenerator.load(tmp_path / "g.safetensors")


# --- wrong arguments ---


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_features": 0}, ValueError, "num_features must be at least 1"),
        ({"num_features": 2.0}, TypeError, "num_features must be an integer, got 2.0"),
        ({"num_features": 2, "prediction_size": 0}, ValueError, "prediction_size"),
        ({"num_features": 2, "hidden_size": True}, TypeError, "hidden_size"),
        ({"num_features": 2, "hidden_size": 10**30}, ValueError, "hidden_size must be at most 2147483647"),
        ({"num_features": 10**9}, ValueError, "num_features must be at most 65536, got 1000000000"),
        ({"num_features": 2, "prediction_size": 2**63}, ValueError, "prediction_size must be at most"),
        ({"num_features": 2, "seed": "x"}, TypeError, "seed must be an integer, got 'x'"),
        ({"num_features": 2, "seed": 2**64}, ValueError, "seed must be at most"),
    ],
)
@pytest.mark.parametrize("cls", [FeatureGenerator, JointGenerator])
def test_wrong_sizes(cls, arguments, error, message):
    with pytest.raises(error, match=message):
        cls(**arguments)


X = TRAIN[:4]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train": X[0]}, ValueError, r"train must have shape \(B, 2, T\)"),
        ({"train": X[:, :1]}, ValueError, r"train must have shape \(B, 2, T\).* got \(4, 1, 30\)"),
        ({"train": X[:0]}, ValueError, "none empty"),
        ({"train": X[:, :, :1]}, ValueError, "train must have at least 2 steps"),
        ({"train": X.astype(int)}, TypeError, "train must be floating, got torch.int64"),
        ({"train": np.where(X > 1, np.nan, X)}, ValueError, "train holds NaN"),
        ({"valid": X[:, :1]}, ValueError, "valid must have shape"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1"),
        ({"batch_size": 1.5}, TypeError, "batch_size must be an integer"),
        ({"patience": 0}, ValueError, "patience"),
        ({"lr": 0.0}, ValueError, "lr must be above 0"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay"),
        ({"lr": "fast"}, TypeError, "lr must be a number, got 'fast'"),
        ({"weight_decay": []}, TypeError, "weight_decay must be a number"),
        ({"epochs": None}, TypeError, "epochs must be an integer, got None"),
        ({"epochs": 2**63}, ValueError, "epochs must be at most"),
        ({"batch_size": 2**63}, ValueError, "batch_size must be at most"),
        ({"seed": "x"}, TypeError, "seed must be an integer, got 'x'"),
        ({"seed": None}, TypeError, "seed must be an integer, got None"),
    ],
)
def test_wrong_arguments_cost_nothing(changes, error, message):
    model, untouched = FeatureGenerator(2, 4, 3), FeatureGenerator(2, 4, 3)
    with pytest.raises(error, match=message):
        model.fit(**({"train": X} | changes))
    for one, other in zip(model.state_dict().values(), untouched.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_wrong_questions():
    model, x, ids = make(JointGenerator), series(2, 3, 4), torch.arange(2)
    for bad in (x[0], x[:, :2], x[:, :, :0]):
        with pytest.raises(ValueError, match="X must have shape"):
            model.parameters_for(bad)
    with pytest.raises(ValueError, match="X holds NaN"):
        model.draw(x / 0, ids, 1, 0)
    for bad in (ids[:1], ids.float(), ids[None]):
        with pytest.raises(ValueError, match=r"ids must be integers of shape \(2,\)"):
            model.draw(x, bad, 1, 0)
    for cls in (FeatureGenerator, JointGenerator):
        for bad, error, message in (
            ((None, 1, 0), TypeError, "ids must be a tensor of integers, got NoneType"),
            ((ids, 0, 0), ValueError, "count must be at least 1"),
            ((ids, 1, "x"), TypeError, "seed must be an integer, got 'x'"),
            ((ids, 1, 2**63), ValueError, "seed must be at most"),
            ((ids, 1, 0, -1), ValueError, "first must be at least 0"),
        ):
            with pytest.raises(error, match=message):
                make(cls).draw(x, *bad)
    with pytest.raises(TypeError, match=r"observed must be an integer, got 1\.5"):
        model.draw_given(x, 1.5, ids, 1, 0)
    assert torch.equal(model.draw_given(x, torch.tensor([1, 0]), ids, 1, 0), model.draw_given(x, [1, 0], ids, 1, 0))
    for bad in (3, -1, [0, 0]):
        with pytest.raises(ValueError, match=r"different features in 0\.\.2"):
            model.draw_given(x, bad, ids, 1, 0)


@pytest.mark.parametrize("evaluation", ["full", "prefix"])
def test_padding_is_not_missing(evaluation):
    """Series of different lengths, which a model in mode full reads padded, have the scores that each has alone."""
    X, generator = torch.randn(2, 3, 6), FeatureGenerator(3, hidden_size=4)
    model = TCNClassifier(num_features=3, num_classes=2)
    method = RaMbIT(
        model, anchor="end", window_size=1, L=3, counterfactuals=generator, evaluation=evaluation, num_samples=2
    )
    together = method.attribute(X, lengths=[4, 6])
    alone = method.attribute(X[:1, :, :4], ids=[0])
    torch.testing.assert_close(together[:1, :, :4], alone)
