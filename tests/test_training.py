"""Training repeats bit for bit, keeps the best epoch, refuses wrong data, and its checkpoints hold no code."""

import json
import struct

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rambit import training
from rambit.models import GRUClassifier, LSTMClassifier, build_model
from rambit.training import evaluate, fit, load_checkpoint, save_checkpoint


def task(n=120, D=2, T=8, seed=0):
    """Easy: the class is the sign of feature 0's mean."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    X = rng.normal(size=(n, D, T))
    X[:, 0] += (2 * y - 1)[:, None]
    return X.astype(np.float32), y


def make(D=2, seed=0, cls=GRUClassifier, **arguments):
    return build_model({"model": cls.__name__, "num_features": D, "hidden_size": 8, **arguments}, seed=seed)


def same_weights(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("cls", [GRUClassifier, LSTMClassifier])
def test_learns_an_easy_task(cls):
    X, y = task()
    model = make(cls=cls)
    history = fit(model, X, y, epochs=15, batch_size=20, lr=1e-2)
    scores = evaluate(model, *task(seed=1))
    assert scores["accuracy"] > 0.95
    assert scores["auroc"] > 0.98
    assert len(history.train_loss) == 15
    assert history.train_loss[history.best_epoch] == min(history.train_loss)
    assert history.valid_loss == []
    assert history.seconds > 0
    assert not model.training


def test_learns_every_step_and_lengths():
    """The class at a step is whether feature 0 was ever above 2: a running memory."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2, 10)).astype(np.float32)
    y = np.maximum.accumulate(X[:, 0] > 2, axis=1).astype(int)
    lengths = rng.integers(3, 11, 200)
    padding = np.arange(10) >= lengths[:, None]
    X[np.broadcast_to(padding[:, None], X.shape)] = 1e3
    y[padding] = -7  # labels of padded steps may be anything
    model = make()
    fit(model, X, y, per_step=True, lengths=lengths, epochs=25, batch_size=20, lr=2e-2, weight_decay=0)
    assert evaluate(model, X, y, lengths, per_step=True)["accuracy"] > 0.95
    last = y[np.arange(200), lengths - 1]
    assert evaluate(model, X, last, lengths)["accuracy"] > 0.9


def test_repeats_with_the_seed_and_leaves_the_generator_alone():
    X, y = task(40)
    settings = {"epochs": 3, "batch_size": 7, "valid": 0.25}

    def trained(seed):
        model = make(dropout=0.3)
        return model, fit(model, X, y, seed=seed, **settings)

    state = torch.get_rng_state()
    (one, history), (two, again), (three, _) = trained(1), trained(1), trained(2)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    four, _ = trained(1)
    assert same_weights(one, two)
    assert same_weights(one, four)
    assert not same_weights(one, three)
    assert (history.train_loss, history.valid_loss) == (again.train_loss, again.valid_loss)


def test_fit_is_the_plain_loop():
    """The same batches through a loop written out."""
    X, y = task(30)
    model, twin = make(), make()
    history = fit(model, X, y, epochs=2, batch_size=8, lr=1e-2, weight_decay=1e-2, seed=5)
    generator = torch.Generator().manual_seed(5)
    optimiser = torch.optim.Adam(twin.parameters(), lr=1e-2, weight_decay=1e-2)
    losses = []
    for _ in range(2):
        total, order = 0.0, torch.randperm(30, generator=generator)
        for begin in range(0, 30, 8):
            rows = order[begin : begin + 8]
            loss = nn.functional.cross_entropy(twin(torch.tensor(X)[rows]), torch.tensor(y)[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(rows)
        losses.append(total / 30)
    assert same_weights(model, twin)
    assert history.train_loss == pytest.approx(losses)


def test_best_epoch_is_restored_and_patience_stops():
    X, y = task(40)
    rng = np.random.default_rng(0)
    noise = (rng.normal(size=(40, 2, 8)).astype(np.float32), rng.integers(0, 2, 40))  # nothing to learn
    model = make()
    history = fit(model, X, y, valid=noise, epochs=60, lr=3e-2, patience=3)
    assert len(history.valid_loss) == history.best_epoch + 4 < 60
    assert history.valid_loss[history.best_epoch] == min(history.valid_loss)
    scores = evaluate(model, *noise)
    assert scores["loss"] == pytest.approx(history.valid_loss[history.best_epoch])
    assert scores["accuracy"] == pytest.approx(history.valid_accuracy[history.best_epoch])


def test_valid_with_lengths_and_fraction():
    X, y = task(20)
    lengths = np.full(20, 5)
    history = fit(make(), X, y, lengths=lengths, valid=(X, y, lengths), epochs=2)
    assert len(history.valid_loss) == 2
    with pytest.MonkeyPatch.context() as patch:
        seen = []
        patch.setattr(training, "_epoch", lambda model, data, *rest: seen.append(data) or 1.0)
        fit(make(), X, y, lengths=lengths, valid=0.3, epochs=1)
    assert len(seen[0].X) == len(seen[0].lengths) == 14


def test_an_error_leaves_the_best_weights(monkeypatch):
    X, y = task(20)
    model, calls = make(), []

    def epoch(model, *rest):
        calls.append(None)
        with torch.no_grad():
            model.head.bias.fill_(len(calls))
        return [1.0, 0.5, float("nan")][len(calls) - 1]

    monkeypatch.setattr(training, "_epoch", epoch)
    with pytest.raises(RuntimeError, match="the loss became nan in epoch 2; lr is"):
        fit(model, X, y)
    assert model.head.bias.tolist() == [2.0, 2.0]
    assert not model.training


def test_standardize():
    X, y = task()
    shifted = X * np.array([1000.0, 0.01], np.float32)[:, None] + np.array([-5e3, 40.0], np.float32)[:, None]
    model = make()
    lengths = np.full(120, 6)
    shifted[:, :, 6:] = 0  # padding must not count
    fit(model, shifted, y, lengths=lengths, standardize=True, epochs=15, batch_size=20, lr=1e-2)
    valid = shifted[:, :, :6].astype(np.float64)
    np.testing.assert_allclose(model.input_mean, valid.mean((0, 2)), rtol=1e-5)
    np.testing.assert_allclose(model.input_scale, valid.std((0, 2)), rtol=1e-5)
    assert evaluate(model, shifted, y, lengths)["accuracy"] > 0.95
    constant = np.ones((4, 2, 3), np.float32)
    fit(model, constant, y[:4], standardize=True, epochs=1)
    assert model.input_scale.tolist() == [1.0, 1.0]
    with pytest.raises(TypeError, match=r"needs a model of rambit\.models"):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), X, y, standardize=True)


def test_any_module_trains_and_arrays_of_any_kind_pass(capsys):
    X, y = task(40)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    fit(model, torch.tensor(X).double(), torch.tensor(y, dtype=torch.int32), epochs=2)
    X.flags.writeable = False
    assert capsys.readouterr().err == ""
    fit(model, X[::-1], y[::-1], epochs=1, show_progress=True)
    assert "training: 100%" in capsys.readouterr().err
    assert set(evaluate(model, X, y)) == {"accuracy", "loss", "auroc"}


def test_arrays_of_any_kind_train_the_same():
    X, y = task(20)
    plain, lengths = make(), np.full(20, 5)
    fit(plain, X, y, lengths=lengths, epochs=1)
    for change in (
        lambda a: torch.tensor(a),
        lambda a: a.astype(a.dtype.newbyteorder(">")),
        lambda a: a[::-1].copy()[::-1],
        lambda a: a.tolist(),
        lambda a: np.ma.array(a, mask=False),
    ):
        model = make()
        fit(model, change(X), change(y), lengths=change(lengths), epochs=1)
        assert same_weights(model, plain)
    for name, wrong in {"X": X, "y": y, "lengths": lengths}.items():
        arguments = {"X": X, "y": y, "lengths": lengths}
        for call in (lambda **given: fit(make(), epochs=1, **given), lambda **given: evaluate(plain, **given)):
            with pytest.raises(ValueError, match=f"{name} is a masked array"):
                call(**arguments | {name: np.ma.array(wrong, mask=wrong == wrong.max())})
            with pytest.raises(TypeError, match=f"{name} is stored as"):
                call(**arguments | {name: torch.tensor(wrong).to_sparse()})


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("padding", [np.nan, np.inf, -np.inf])
def test_padding_may_hold_anything(per_step, padding):
    """As zeros do, which are what the network then sees there."""
    X, y = task(20)
    lengths = np.random.default_rng(0).integers(1, 9, 20)
    beyond = np.broadcast_to((np.arange(8) >= lengths[:, None])[:, None], X.shape)
    models = []
    for value in (0.0, padding):
        models.append(make(standardize=True))
        given = (np.where(beyond, np.float32(value), X), y)
        fit(models[-1], *given, lengths=lengths, per_step=per_step, standardize=True, epochs=2, valid=(*given, lengths))
    assert same_weights(*models)
    assert all(p.isfinite().all() for p in models[1].parameters())
    b = int(np.flatnonzero(lengths < 8)[0])
    late = np.where(beyond, np.float32(padding), X)
    late[b, 1, lengths[b] - 1] = np.nan
    with pytest.raises(ValueError, match=rf"X holds NaN .* \({b}, 1, {lengths[b] - 1}\)"):
        fit(make(), late, y, lengths=lengths, per_step=per_step)


def test_values_that_the_model_has_no_numbers_for():
    X, y = task(6)
    large = X.astype(np.float64)
    large[2, 1, 3] = 1e300
    with pytest.raises(ValueError, match=r"X holds values beyond torch\.float32, .* \(2, 1, 3\)"):
        fit(make(), large, y)
    with pytest.raises(ValueError, match=r"X holds values beyond torch\.float32"):
        fit(make(), X, y, valid=(large, y))
    with pytest.raises(ValueError, match=r"X holds values beyond torch\.float32"):
        evaluate(make(), large, y)


def test_one_label_for_all_steps():
    X, y = task(20)
    one, two = make(), make()
    fit(one, X, y, per_step=True, epochs=2)
    fit(two, X, np.repeat(y[:, None], 8, axis=1), per_step=True, epochs=2)
    assert same_weights(one, two)


X, Y = task(6)
COUNTS = ("epochs", "batch_size", "patience")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"X": X[0]}, ValueError, r"X must have shape \(N, D, T\)"),
        ({"X": X[:0], "y": Y[:0]}, ValueError, "without an empty axis"),
        ({"X": X.astype(int)}, TypeError, "X must be floating, got torch.int64"),
        ({"X": np.where(X[3, 1, 5] == X, np.nan, X)}, ValueError, r"NaN .* \(3, 1, 5\)"),
        ({"X": X[:, :1]}, ValueError, r"x must have shape \(B, 2, T\)"),
        ({"y": Y[:5]}, ValueError, r"y must have shape \(6,\), got \(5,\)"),
        ({"y": Y.astype(float)}, TypeError, "y must hold integers, got torch.float64"),
        ({"y": Y + 1}, ValueError, r"y must lie in 0\.\.1, the model's classes, got 1\.\.2"),
        ({"y": Y - 100}, ValueError, "y must lie"),
        ({"y": np.zeros((6, 8), int)}, ValueError, "need per_step=True"),
        ({"y": np.zeros((6, 7), int), "per_step": True}, ValueError, r"\(6,\) or \(6, 8\), got \(6, 7\)"),
        ({"y": np.full((6, 8), -100), "per_step": True}, ValueError, r"got -100\.\.-100"),
        ({"lengths": np.full(6, 9)}, ValueError, r"lengths must lie in 1\.\.8"),
        ({"lengths": np.ones(6)}, TypeError, "lengths must hold integers"),
        ({"valid": 1.0}, ValueError, "as a fraction valid must lie"),
        ({"valid": (X,)}, ValueError, "got 1 parts"),
        ({"valid": (X, Y + 1)}, ValueError, "y must lie"),
        ({"valid": (1, 2)}, TypeError, "valid: X must hold numbers, got 1"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1"),
        ({"epochs": 1.5}, TypeError, "epochs must be an integer, got 1.5"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"patience": 0}, ValueError, "patience"),
        *(({name: 2**31}, ValueError, f"{name} must be at most 2147483647, got") for name in COUNTS),
        *(({name: 10**5000}, ValueError, f"{name} must .* got a number of 16610 bits") for name in COUNTS),
        *(({name: "3"}, TypeError, f"{name} must be an integer, got '3'") for name in COUNTS),
        ({"seed": 2**64}, ValueError, "seed must be at most"),
        ({"seed": 1.5}, TypeError, "seed must be an integer"),
        ({"lr": 0.0}, ValueError, "lr must be above 0"),
        ({"lr": float("nan")}, ValueError, "lr"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay"),
        ({"lr": "fast"}, TypeError, "lr must be a number, got 'fast'"),
        ({"weight_decay": None}, TypeError, "weight_decay must be a number, got None"),
        ({"epochs": None}, TypeError, "epochs must be an integer, got None"),
        ({"batch_size": torch.zeros(0)}, TypeError, "batch_size must be an integer"),
        ({"valid": "some"}, TypeError, "valid must be a number, got 'some'"),
        ({"valid": torch.zeros(0)}, TypeError, "valid must be a number"),
        ({"lengths": "all"}, TypeError, "lengths must hold integers"),
        ({"per_step": "yes"}, TypeError, "per_step must be True or False, got 'yes'"),
        ({"standardize": 1}, TypeError, "standardize must be True or False, got 1"),
        ({"show_progress": 2}, TypeError, "show_progress must be True or False, got 2"),
        ({"device": "nowhere"}, ValueError, "device='nowhere' cannot be used here"),
        ({"device": object()}, ValueError, "device='<object"),
    ],
)
def test_wrong_arguments_cost_nothing(changes, error, message):
    model, untouched = make(), make()
    with pytest.raises(error, match=message):
        fit(model, **({"X": X, "y": Y} | changes))
    assert same_weights(model, untouched)


@pytest.mark.parametrize(
    "changes",
    [
        {"standardize": True},  # of a model that can't
        *({"valid": valid} for valid in ("some", 1.0, (X,), (X, Y[:2]), (X, Y - 1), (X, Y, Y + 9))),
        {"lengths": Y - 1},
        {"y": Y - 1},
        {"per_step": "yes"},
    ],
)
def test_a_model_is_not_asked_before_all_else_is_right(changes):
    class Counting(nn.Linear):
        def forward(self, x):
            raise AssertionError("it was evaluated")

    with pytest.raises((TypeError, ValueError), match=r"standardize|valid|lengths|y must|per_step"):
        fit(Counting(2, 2), **({"X": X, "y": Y} | changes))


@pytest.mark.parametrize("model", [object(), nn.Flatten(), lambda x: x, None])
def test_what_is_no_model_is_named(model):
    for call in (fit, evaluate):
        with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module with parameters, got"):
            call(model, X, Y)


def test_models_of_the_wrong_shape():
    with pytest.raises(ValueError, match=r"must give \(1, C\), it gave \(1, 3, 8\)"):
        fit(nn.Conv1d(2, 3, 1), X, Y)
    with pytest.raises(ValueError, match=r"must give \(1, C\), it gave \(16,\)"):
        evaluate(nn.Sequential(nn.Flatten(0), nn.Linear(16, 16)), X, Y)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
@settings(max_examples=60, deadline=None)
def test_auroc_counts_pairs(pairs):
    scores, positive = np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs])
    if positive.all() or not positive.any():
        return
    wins = [(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    assert training._auroc(scores, positive) == pytest.approx(np.mean(wins))


def test_evaluate_by_hand():
    model, (x, y) = make(num_classes=3), task(17)
    y = y + (np.arange(17) % 2)
    with torch.no_grad():
        p = model.predict(torch.tensor(x)).double().numpy()
    scores = evaluate(model.train(), x, y, batch_size=5)
    assert scores["accuracy"] == pytest.approx(np.mean(p.argmax(1) == y))
    assert scores["loss"] == pytest.approx(-np.log(p[np.arange(17), y]).mean())
    assert set(scores) == {"accuracy", "loss"}  # three classes: no auroc
    assert model.training
    assert "auroc" not in evaluate(make(), x, np.ones(17, int))


# --- checkpoints ---


def document(path):
    with safetensors.safe_open(path, "pt") as file:
        return json.loads(file.metadata()["rambit"])


@pytest.mark.parametrize("cls", [GRUClassifier, LSTMClassifier])
@pytest.mark.parametrize("standardize", [False, True])
def test_checkpoint_round_trip(tmp_path, cls, standardize):
    model = make(cls=cls, num_layers=2, dropout=0.5)
    fit(model, X, Y, epochs=1, standardize=standardize)
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, model, {"data": "easy", "accuracy": 0.5})
    state = torch.get_rng_state()
    again, config = load_checkpoint(path)
    assert torch.equal(state, torch.get_rng_state())
    assert config == {"model": model.config(), "extra": {"data": "easy", "accuracy": 0.5}}
    assert json.loads((tmp_path / "model.json").read_text()) == document(path)
    assert type(again) is cls
    assert not again.training
    assert same_weights(model, again)
    x = torch.tensor(X)
    assert torch.equal(again(x), model(x))
    again.advance(x)[0].sum().backward()
    assert all(p.grad is not None for p in again.parameters())
    fit(again, X, Y, epochs=1)  # goes on training
    assert not torch.equal(again(x), model(x))
    path.write_bytes(b"")  # the loaded model does not lean on the file
    again(x)


def test_double_precision_survives(tmp_path):
    save_checkpoint(tmp_path / "m.safetensors", make().double())
    assert load_checkpoint(tmp_path / "m.safetensors")[0].head.weight.dtype == torch.float64


def broken_checkpoints():
    model = make()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    text = {"format": training.FORMAT, "model": model.config(), "extra": {}}

    def variant(weights=weights, metadata=None, **changes):
        if metadata is None:
            metadata = {"rambit": json.dumps({**text, **changes})}
        return safetensors.torch.save(weights, metadata)

    whole = variant()
    config = model.config()
    normed_model = make(head="batchnorm")
    normed = variant({k: v.float() for k, v in normed_model.state_dict().items()}, model=normed_model.config())
    return {
        "empty": (b"", "not a safetensors file"),
        "short": (b"abc", "not a safetensors file"),
        "text": (b"this is not a checkpoint at all", "not a safetensors file"),
        "half": (whole[: len(whole) // 2], "not a safetensors file"),
        "cut": (whole[:-1], "not a safetensors file"),
        "longer": (whole + b"0", "not a safetensors file"),
        "huge header": (struct.pack("<Q", 2**60) + whole[8:], "not a safetensors file"),
        "foreign": (safetensors.torch.save(weights), "a safetensors file, but not a checkpoint of a rambit model"),
        "no json": (variant(metadata={"rambit": "{"}), "Expecting"),
        "deep json": (variant(metadata={"rambit": "[" * 99999}), "recursion"),
        "a list": (variant(metadata={"rambit": "[]"}), "indices"),
        "format": (variant(format="rambit checkpoint 9"), "its format is 'rambit checkpoint 9'"),
        "no model": (variant(metadata={"rambit": json.dumps({"format": training.FORMAT})}), "there is no 'model'"),
        "layers": (variant(model=config | {"num_layers": 10**9}), r"1000000000 layers, for \d weights"),
        "class": (variant(model=config | {"model": "Evil"}), "must be one of GRUClassifier"),
        "argument": (variant(model=config | {"colour": 1}), "colour"),
        "type": (variant(model=config | {"hidden_size": "8"}), "hidden_size must be an integer, got '8'"),
        "size": (variant(model=config | {"hidden_size": 9}), r"head\.weight should be torch\.float32 \(2, 9\)"),
        "too large": (variant(model=config | {"hidden_size": 10**6}), r"should be torch\.float32 \(\d+"),
        "absurd": (variant(model=config | {"hidden_size": 10**18}), "corrupt or not a checkpoint of a rambit model"),
        "missing": (variant({k: v for k, v in weights.items() if k != "head.bias"}), r"head\.bias.* the file has None"),
        "more": (variant(weights | {"extra": torch.zeros(1)}), "extra should be None"),
        "misshapen": (variant(weights | {"head.bias": torch.zeros(3)}), r"head\.bias should be torch\.float32 \(2,\)"),
        "integers": (variant({k: v.int() for k, v in weights.items()}), "not of one floating type"),
        "no arithmetic": (
            variant({k: v.to(torch.float8_e5m2) for k, v in weights.items()}),
            "not of one floating type",
        ),
        "float counts": (normed, r"num_batches_tracked should be torch\.int64"),
        "mixed": (variant(weights | {"head.bias": torch.zeros(2).double()}), "not of one floating type"),
    }


@pytest.mark.parametrize("kind", broken_checkpoints())
def test_broken_checkpoints(tmp_path, kind):
    data, message = broken_checkpoints()[kind]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)


def test_wrong_checkpoint_calls(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        save_checkpoint(tmp_path / "model.json", make())
    with pytest.raises(TypeError, match="path comes first, then model: got a GRUClassifier for path"):
        save_checkpoint(make(), tmp_path / "m.safetensors")
    with pytest.raises(TypeError, match="model must be a Classifier, got a Linear"):
        save_checkpoint(tmp_path / "m.safetensors", torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match="JSON"):
        save_checkpoint(tmp_path / "m.safetensors", make(), {"when": object()})
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path / "m.safetensors", make(), {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "m.safetensors")


@pytest.mark.parametrize("value", [0.1, 770000.1])
def test_a_feature_that_is_the_same_everywhere_has_no_scale(value):
    X = np.full((50, 2, 7), value)
    X[:, 1] = np.random.default_rng(0).normal(size=(50, 7))
    assert np.full(350, value).std() > 0  # by the rounding of the mean
    model = make(standardize=True).double()
    fit(model, X, np.arange(50) % 2, epochs=1, standardize=True)
    assert float(model.input_scale[0]) == 1.0
    assert float(model.input_scale[1]) == pytest.approx(X[:, 1].std(), rel=1e-9)


def test_a_feature_that_varies_by_less_than_the_model_can_tell_has_no_scale():
    X = np.zeros((6, 1, 3), dtype=np.float32)
    X[0, 0, 0] = 1e-45
    model = make(D=1, standardize=True)
    fit(model, X, np.arange(6) % 2, epochs=1, standardize=True)
    assert model.input_scale.tolist() == [1.0]
    with pytest.raises(ValueError, match="scale positive"):
        model.set_standardization(torch.zeros(1).double(), torch.full((1,), 1e-60).double())
