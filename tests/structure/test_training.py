"""Training on nested samples."""

from __future__ import annotations

import random

import pytest
import torch

from rambit.structure import (
    DenseSchema,
    HierarchicalClassifier,
    ProductSchema,
    TextSchema,
    evaluate,
    fit,
    from_json,
    predict,
    skip,
)

SCALED = ProductSchema((("a", DenseSchema()), ("b", TextSchema())))


def labelled(count, seed):
    """Label 1: one of the instances is called "key"."""
    rng = random.Random(seed)
    names = ["lock", "door", "keyhole", "window", "wall"]

    def items():
        return [{"name": rng.choice(names), "size": rng.gauss(50, 9)} for _ in range(5)]

    documents = [{"items": items()} for _ in range(count)]
    y = [rng.random() < 0.5 for _ in range(count)]
    for document, label in zip(documents, y, strict=True):
        if label:
            document["items"][rng.randrange(5)]["name"] = "key"
    return documents, torch.tensor(y).long()


def model_for(schema):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return HierarchicalClassifier(schema, 2, width=8)


def test_it_learns_repeats_and_leaves_the_generators_alone():
    documents, y = labelled(200, 0)
    train = from_json(documents)
    held, held_y = labelled(100, 1)
    valid = from_json(held, train.schema), held_y
    before = torch.get_rng_state()
    models = [model_for(train.schema) for _ in range(2)]
    histories = [fit(model, train, y, valid=valid, epochs=8, batch_size=30, lr=1e-2) for model in models]
    assert torch.equal(torch.get_rng_state(), before)
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert histories[0].train_loss == histories[1].train_loss
    scores = evaluate(models[0], *valid)
    assert scores["accuracy"] > 0.95
    assert scores["loss"] == pytest.approx(min(histories[0].valid_loss))
    probabilities = predict(models[0], valid[0], batch_size=7)
    torch.testing.assert_close(probabilities, predict(models[0], valid[0]))
    assert ((probabilities[:, 1] > 0.5) == (held_y == 1)).double().mean().item() == scores["accuracy"]


def test_it_stops_when_nothing_gets_better():
    documents, y = labelled(40, 0)
    sample = from_json(documents)
    history = fit(model_for(sample.schema), sample, y, valid=(sample, 1 - y), epochs=50, lr=1e-2, patience=2)
    assert len(history.valid_loss) == history.best_epoch + 3 < 50


def test_numbers_are_standardised():
    sample = from_json([{"a": 1, "b": 5}, {"a": 3, "b": 5}, {"b": 5}])
    model = model_for(sample.schema)
    fit(model, sample, torch.tensor([0, 1, 0]), epochs=1)
    a, b = model.encoder.encoders
    assert (a.mean.item(), a.scale.item()) == (2, 1)
    assert (b.mean.item(), b.scale.item()) == (5, 1)


def test_bad_input():
    sample = from_json([1.0, 2.0])
    model, y = model_for(sample.schema), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        fit(model, sample, y, epochs=0)
    with pytest.raises(ValueError, match="lr must be above 0"):
        fit(model, sample, y, lr=0)
    with pytest.raises(ValueError, match=r"y must have one value a series, \(2,\)"):
        fit(model, sample, y[:1])
    with pytest.raises(TypeError, match="y must hold integers, got"):
        fit(model, sample, y.float())
    with pytest.raises(ValueError, match="y must lie between 0 and 1, got 0 … 2"):
        fit(model, sample, y * 2)
    with pytest.raises(ValueError, match="sample must look like"):
        fit(model, from_json(["a", "b"]), y)
    with pytest.raises(RuntimeError, match="the loss became"):
        fit(model, from_json([1e30, 2e30]), y, lr=1e30, epochs=9)


def test_what_is_the_same_everywhere_has_no_scale():
    for values, scale in (([0.1] * 7, 1.0), ([1e-60, 2e-60], 1.0), ([None, None, 3.0], 1.0), ([1.0, 3.0], 1.0)):
        sample = from_json([{"a": value, "b": "x"} for value in values], SCALED)
        model = HierarchicalClassifier(SCALED, 2, width=4)
        fit(model, sample, torch.arange(len(values)) % 2, epochs=1)
        [dense] = [leaf for leaf, _, path in model.encoder.leaves(sample.root) if path == ("a",)]
        assert dense.scale.tolist() == [scale]
        assert predict(model, from_json([{"a": 0.2}], SCALED)).isfinite().all()


def test_numbers_that_the_model_cannot_hold_are_named():
    sample = from_json([{"a": 1.0}, {"a": 1e39}, {"a": -1e40}], SCALED)
    model = HierarchicalClassifier(SCALED, 2, width=4)
    message = r"sample 1 holds 1e\+39 at \('a',\), more than torch.float32 can hold"
    with pytest.raises(ValueError, match=message):
        fit(model, sample, torch.tensor([0, 1, 1]))
    with pytest.raises(ValueError, match=message):
        predict(model, sample, batch_size=1)
    with pytest.raises(ValueError, match=message):
        evaluate(model, sample, torch.tensor([0, 1, 1]), batch_size=1)
    assert predict(model.double(), sample).shape == (3, 2)
    inside = from_json([{"a": 1.0}, {"a": 1e39}], skip(SCALED, ("a",)))
    with pytest.raises(ValueError, match=r"a sample holds 1e\+39 at \('a',\)"):
        predict(HierarchicalClassifier(inside.schema, 2), inside)
