"""Answers for many masks at once, against the twin that prunes and evaluates one at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rambit.structure import (
    BagSchema,
    CategoricalSchema,
    DenseSchema,
    FlatView,
    HierarchicalClassifier,
    MaskTree,
    ObservationMask,
    ProductSchema,
    SkipSchema,
    TextSchema,
    from_json,
    groups,
)
from rambit.structure.encoders import DenseEncoder, TextEncoder
from tests.naive import structure as naive
from tests.structure.trees import BY_TYPE, random_masks, random_model, random_sample, random_tree

seeds = st.integers(0, 10**6)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@settings(max_examples=25)
@given(seed=seeds, depth=st.integers(0, 3), keep=st.sampled_from([0.2, 0.6, 0.95]))
def test_batched_answers_are_the_twins(seed, depth, keep):
    sample = random_tree(seed, depth)
    model, masks = random_model(sample.schema, seed), random_masks(sample, 6, seed, keep)
    expected = torch.stack([naive.output(model, sample, mask.tolist()) for mask in masks])
    close(model.evaluate(sample, masks), expected)
    with torch.no_grad():
        close(model.evaluate(sample, masks), expected)


@pytest.mark.parametrize("name", BY_TYPE)
def test_hard_soft_and_pruned_agree(name):
    """For every type of node; enough masks that each of a small sample's is among them."""
    for seed in range(4):
        sample = random_sample(BY_TYPE[name], seed)
        model, masks = random_model(sample.schema, seed), random_masks(sample, 64, seed, keep=0.5)
        hard = model.evaluate(sample, masks)
        close(model.evaluate(sample, masks.double()), hard)
        close(torch.stack([model(sample.pruned(mask)) for mask in masks]), hard)
        assert len(torch.unique(hard, dim=0)) > 1 or not sample.terms


@settings(max_examples=25)
@given(seed=seeds)
def test_hard_soft_and_pruned_agree_on_random_trees(seed):
    sample = random_tree(seed)
    model, masks = random_model(sample.schema, seed), random_masks(sample, 5, seed)
    hard = model.evaluate(sample, masks)
    close(model.evaluate(sample, masks.double()), hard)
    close(torch.stack([model(sample.pruned(mask)) for mask in masks]), hard)


@pytest.mark.parametrize("name", BY_TYPE)
def test_gradients_are_finite_differences(name):
    sample = random_sample(BY_TYPE[name], 1, count=2)
    model = random_model(sample.schema)
    masks = torch.rand(3, sample.terms, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    masks = (0.1 + 0.8 * masks).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: model.evaluate(sample, m), (masks,), eps=1e-6, atol=1e-6)
    gradient = torch.autograd.grad(model.evaluate(sample, masks)[..., 0].sum(), masks)[0]
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", BY_TYPE)
def test_gradients_are_finite_where_everything_or_nothing_is_kept(name, dtype):
    sample = random_sample(BY_TYPE[name], 2)
    model = random_model(sample.schema).to(dtype)
    corners = torch.cat((random_masks(sample, 6), torch.tensor([[True], [False]]).expand(2, sample.terms)))
    masks = corners.to(dtype).requires_grad_()
    assert torch.autograd.grad(model.evaluate(sample, masks)[..., 0].sum(), masks)[0].isfinite().all()


@given(seed=seeds)
@settings(max_examples=10)
def test_on_every_device(device, seed):
    sample = random_tree(seed)
    model, masks = random_model(sample.schema, seed), random_masks(sample, 5, seed)
    expected = model.evaluate(sample, masks)
    there, moved = sample.to(device), model.to(device)
    close(moved.evaluate(there, masks).cpu(), expected)
    close(moved.evaluate(there, masks.double().to(device)).cpu(), expected)
    close(moved(there.pruned(masks[0])).cpu(), expected[0])
    view = FlatView(MaskTree.of(there.slots))
    view[:] = masks[0]
    assert torch.equal(view.participate().cpu(), sample.participation(masks)[0])
    close(moved.evaluate(there.seen_by(view), view.kept[None]).cpu()[0], expected[0])


def test_an_instance_without_content_is_not_there():
    schema = BagSchema(ProductSchema((("name", TextSchema(2, 31)), ("size", DenseSchema()))))
    sample = from_json([[{"name": "a", "size": 1}, {"name": "b"}]], schema)
    model = random_model(schema)
    emptied = torch.tensor([True, True, True, False, True])  # both instances, both names, the size: "b" is gone
    only_first = from_json([[{"name": "a", "size": 1}]], schema)
    close(model.evaluate(sample, emptied[None])[0], model(only_first))
    assert len(sample.pruned(emptied).root.child) == 1


def test_what_is_skipped_stays_and_keeps_its_instance():
    schema = BagSchema(ProductSchema((("id", SkipSchema(TextSchema(2, 31))), ("size", DenseSchema()))))
    sample = from_json([[{"id": "a", "size": 1}, {"id": "b", "size": 2}]], schema)
    model = random_model(schema)
    masks = torch.tensor([[True, True, False, False], [False, True, True, False]])
    expected = from_json([[{"id": "a"}, {"id": "b"}], [{"id": "b"}]], schema)
    close(model.evaluate(sample, masks)[:, 0], model(expected))


@settings(max_examples=25)
@given(seed=seeds)
def test_a_hash_that_collides_changes_nothing(seed):
    sample = random_tree(seed)
    model, masks = random_model(sample.schema, seed), random_masks(sample, 5, seed)
    expected = model.evaluate(sample, masks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "_hashes", lambda codes, owner, n: codes.new_zeros(len(codes), n))
        close(model.evaluate(sample, masks), expected)


@settings(max_examples=25)
@given(seed=seeds)
def test_terms_of_a_view_decide_their_slots(seed):
    """Leaves of the same observations share a mask: as if each of their slots had that mask."""
    sample = random_tree(seed, depth=2)
    leaves = [("x", sample.root)] if not sample.root.children() else list(sample.root.children().items())
    tree = MaskTree.of(sample.slots)
    shared = {(n,): leaf for n, leaf in leaves if (n,) in tree.masks and len(leaf) == len(sample)}
    if shared:
        masks = dict(zip(shared, ObservationMask.over(list(shared.values())), strict=True))
        tree = MaskTree(sample.slots, {**tree.masks, **masks})
    seen = sample.seen_by(FlatView(tree))
    model, masks = random_model(sample.schema, seed), random_masks(seen, 5, seed)
    expected = model.evaluate(sample, seen.layout.over_slots(masks))
    close(model.evaluate(seen, masks), expected)
    close(model.evaluate(seen, masks.double()), expected)
    close(torch.stack([model(seen.pruned(mask)) for mask in masks]), expected)


def test_groups_of_terms_move_together():
    sample = random_sample(BY_TYPE["bag of products"], 3)
    term = torch.arange(sample.terms) % 4
    grouped, model = sample.grouped(term), random_model(sample.schema)
    masks = random_masks(grouped, 8)
    assert grouped.terms == 4
    close(model.evaluate(grouped, masks), model.evaluate(sample, masks[:, term]))


class Counts:
    """Counts what encoders do: embeddings, and rows that go through their dense layers."""

    def __init__(self, model, monkeypatch):
        self.embedded, self.rows = 0, {}
        for cls in (DenseEncoder, TextEncoder):
            monkeypatch.setattr(cls, "embed", self._embedding(cls.embed))
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_pre_hook(lambda _, x, name=name: self._rows(name, len(x[0])))

    def _embedding(self, embed):
        def counted(*arguments):
            self.embedded += 1
            return embed(*arguments)

        return counted

    def _rows(self, name, count):
        self.rows[name] = self.rows.get(name, 0) + count

    def taken(self):
        rows, self.rows = self.rows, {}
        return rows


SCHEMA = ProductSchema(
    (("items", BagSchema(ProductSchema((("name", TextSchema(2, 31)), ("size", DenseSchema()))))), ("x", DenseSchema()))
)
DOCUMENTS = [{"items": [{"name": "a" * i, "size": i} for i in range(10)], "x": 1.0}]
NAME, SIZE, ITEM, BAG, X, ROOT = (
    "encoder.encoders.0.child.encoders.0.layer",
    "encoder.encoders.0.child.encoders.1.layer",
    "encoder.encoders.0.child.layer",
    "encoder.encoders.0.layer",
    "encoder.encoders.1.layer",
    "encoder.layer",
)


@torch.no_grad()
def test_what_cannot_change_is_computed_once(monkeypatch):
    """The instances vary in 100 candidates, what is in them doesn't."""
    sample, model = from_json(DOCUMENTS, SCHEMA), random_model(SCHEMA)
    counts = Counts(model, monkeypatch)
    prepared = model.prepare(sample)
    assert counts.embedded == 3
    masks = torch.ones(100, sample.terms, dtype=torch.bool)
    masks[:, sample.levels == 0] = random_masks(sample, 100)[:, sample.levels == 0]
    prepared.evaluate(masks)
    first = counts.taken()
    different = len(torch.unique(masks[:, :10], dim=0))
    assert (first[NAME], first[SIZE], first[ITEM]) == (10, 10, 10)
    assert (first[BAG], first[X]) == (different, 2)
    prepared.evaluate(masks[:50])
    again = counts.taken()
    assert counts.embedded == 3
    assert not {NAME, SIZE, ITEM} & set(again)


@torch.no_grad()
def test_a_candidate_costs_what_it_changes(monkeypatch):
    """Each candidate removes one name or size: its instance is encoded anew, the others are not."""
    sample, model = from_json(DOCUMENTS, SCHEMA), random_model(SCHEMA)
    below = (sample.levels == 1).nonzero()[:, 0]
    masks = torch.ones(len(below), sample.terms, dtype=torch.bool)
    masks[torch.arange(len(below)), below] = False
    counts = Counts(model, monkeypatch)
    model.evaluate(sample, masks)
    rows = counts.taken()
    assert rows[ITEM] == 10 + len(below)
    assert rows[X] == 1
    assert rows[ROOT] == len(below)


def test_what_is_remembered_is_forgotten_in_time():
    """Answers of one prepared model to changing questions are those of a fresh one."""
    sample = random_tree(5)
    model = random_model(sample.schema)
    prepared = model.prepare(sample)
    base = random_masks(sample, 20, seed=1, keep=0.8)
    with torch.no_grad():
        for level in (0, 1, 0, 2, 1):
            masks = base[level].repeat(6, 1)
            at = sample.levels == level
            masks[:, at] = random_masks(sample, 6, seed=level)[:, at]
            close(prepared.evaluate(masks), model.evaluate(sample, masks))


def test_prepared_in_inference_mode_still_has_gradients():
    sample = random_sample(BY_TYPE["bag of products"], 0)
    model = random_model(sample.schema)
    with torch.inference_mode():
        prepared = model.prepare(sample)
        hard = prepared.evaluate(torch.ones(2, sample.terms, dtype=torch.bool))
    masks = torch.ones(2, sample.terms, dtype=torch.float64, requires_grad=True)
    soft = prepared.evaluate(masks)
    close(soft, hard.clone())
    assert torch.autograd.grad(soft[..., 0].sum(), masks)[0].abs().sum() > 0


def test_rows_take_the_memory_that_is_said():
    small = random_model(SCHEMA).prepare(from_json(DOCUMENTS, SCHEMA))
    large = random_model(SCHEMA).prepare(from_json(DOCUMENTS * 4, SCHEMA))
    assert large.row_bytes == 4 * small.row_bytes
    assert small.row_bytes >= 8 * 10 * 5 * 3  # two leaves and a product of ten instances, width 5, float64


def test_no_masks_and_no_terms():
    sample = random_sample(BY_TYPE["bag"], 0)
    model = random_model(sample.schema)
    assert model.evaluate(sample, torch.ones(0, sample.terms, dtype=torch.bool)).shape == (0, 3, 3)
    empty = from_json([[], []], sample.schema)
    assert empty.terms == 0
    outputs = model.evaluate(empty, torch.ones(4, 0, dtype=torch.bool))
    close(outputs, naive.output(model, empty, []).expand(4, -1, -1))


def test_a_configuration_rebuilds_the_model():
    schema = ProductSchema(tuple((str(i), part) for i, part in enumerate(BY_TYPE.values())))
    model = random_model(schema)
    again = HierarchicalClassifier.from_config(model.config()).double()
    again.load_state_dict(model.state_dict())
    sample = random_sample(schema, 0)
    assert again.schema == schema
    close(again(sample), model(sample))


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (torch.ones(4, dtype=torch.bool), r"masks must be \(N, 4\)"),
        (torch.ones(2, 5, dtype=torch.bool), r"masks must be \(N, 4\)"),
        (torch.ones(2, 4, dtype=torch.int64), "bool or floating"),
        (torch.full((2, 4), 1.5), r"must lie in \[0, 1\]"),
        (torch.full((2, 4), torch.nan), r"must lie in \[0, 1\]"),
    ],
)
def test_bad_masks(masks, message):
    sample = from_json([[1], [2]])
    with pytest.raises(ValueError, match=message):
        random_model(sample.schema).evaluate(sample, masks)


def test_bad_models():
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        HierarchicalClassifier(DenseSchema(), 1)
    with pytest.raises(ValueError, match="width must be at least 1"):
        HierarchicalClassifier(DenseSchema(), 2, width=0)
    with pytest.raises(ValueError, match="sample must look like the model's schema"):
        random_model(CategoricalSchema(("a",)))(from_json([1.0]))
    with pytest.raises(ValueError, match="config must be that of a schema"):
        HierarchicalClassifier.from_config({"schema": {"type": "list"}, "num_classes": 2, "width": 3})
