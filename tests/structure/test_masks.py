"""Masks as vectors, and many of them as one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rambit.structure import (
    ClusteredMask,
    FlatView,
    FollowingMasks,
    HeuristicMask,
    MaskTree,
    ObservationMask,
    ParticipationTracker,
    ScoreMask,
    SigmoidMask,
    SimpleMask,
    SomeMask,
    from_json,
)
from tests.naive import structure as naive
from tests.structure.trees import random_masks, random_model, random_tree

seeds = st.integers(0, 10**6)
IDS = torch.tensor([0, 2, 2, 1, 0])


def kept(*values):
    return torch.tensor(values, dtype=torch.bool)


MASKS = {
    "simple": lambda: SimpleMask.full(3),
    "heuristic": lambda: HeuristicMask(torch.tensor([3.0, 1, 2])),
    "sigmoid": lambda: SigmoidMask(torch.tensor([0.0, 1, -1])),
    "score": lambda: ScoreMask.full(3),
    "clustered": lambda: ClusteredMask(SimpleMask.full(3), IDS),
    "tracker": lambda: ParticipationTracker(SimpleMask.full(3)),
    "clustered tracker": lambda: ClusteredMask(ParticipationTracker(SigmoidMask(torch.zeros(3))), IDS),
}


@pytest.mark.parametrize("name", MASKS)
def test_every_mask_is_a_vector(name):
    mask = MASKS[name]()
    assert isinstance(mask, SomeMask)
    assert len(mask) == 3
    mask[1] = False
    assert mask[:].tolist() == [True, False, True]
    mask[:] = kept(0, 1, 1)
    assert mask[torch.tensor([1, 0])].tolist() == [True, False]
    positions = [False, True, True] if len(mask.prunemask()) == 3 else [False, True, True, True, False]
    assert mask.prunemask().tolist() == positions
    assert mask.diffmask().shape == mask.prunemask().shape
    assert ((mask.diffmask() >= 0) & (mask.diffmask() <= 1)).all()
    assert mask.heuristic().shape == (3,)


def test_what_masks_know():
    assert HeuristicMask(torch.tensor([3.0, 1, 2])).heuristic().tolist() == [3, 1, 2]
    assert SimpleMask(kept(1, 0)).diffmask().tolist() == [1, 0]
    values = torch.tensor([0.0, 1, -1], requires_grad=True)
    mask = ClusteredMask(SigmoidMask(values), IDS)
    assert torch.equal(mask.diffmask(), torch.sigmoid(values)[IDS])
    mask.diffmask().sum().backward()
    expected = torch.sigmoid(values) * (1 - torch.sigmoid(values)) * torch.tensor([2, 1, 2])
    torch.testing.assert_close(values.grad, expected.detach())
    assert not mask.heuristic().requires_grad


@given(seed=seeds, n=st.integers(1, 4))
def test_scores_are_differences_of_means(seed, n):
    rng = np.random.default_rng(seed)
    masks, outputs, counted = rng.random((12, n)) < 0.5, rng.random((12, n)), rng.random((12, n)) < 0.7
    daf, banzhaf = ScoreMask.full(n), ScoreMask.full(n)
    for part in (slice(0, 5), slice(5, 12)):  # in two pieces
        m, o, c = (torch.from_numpy(a[part]) for a in (masks, outputs, counted))
        daf.update(m, o, c)
        banzhaf.update(m, o)
    for mask, draws in ((daf, counted), (banzhaf, np.ones_like(counted))):
        for i in range(n):
            sides = [outputs[draws[:, i] & (masks[:, i] == side), i] for side in (True, False)]
            expected = sides[0].mean() - sides[1].mean() if all(map(len, sides)) else 0.0
            assert mask.heuristic()[i].item() == pytest.approx(expected, abs=1e-12)


def test_following_masks_keep_what_any_keeps():
    first = SimpleMask(kept(1, 0, 0, 0))
    second = ClusteredMask(HeuristicMask(torch.tensor([1.0, 5]), kept(0, 1)), torch.tensor([0, 0, 0, 1]))
    following = FollowingMasks([first, second])
    assert following.prunemask().tolist() == [True, False, False, True]
    assert following.diffmask().tolist() == [1, 0, 0, 1]
    assert following.heuristic().tolist() == [1, 1, 1, 5]
    with pytest.raises(TypeError, match="cannot be set"):
        following[0] = True
    view = FlatView(following)
    assert len(view) == 4 + 2
    view[:] = kept(0, 0, 1, 0, 1, 0)
    assert following.prunemask().tolist() == [True, True, True, False]


def test_a_view_is_one_array_that_the_masks_see():
    a, b = SimpleMask(kept(1, 0)), HeuristicMask(torch.tensor([7.0, 8, 9]), kept(0, 1, 1))
    view = FlatView([a, ClusteredMask(b, IDS), a])
    assert view.kept.is_contiguous()
    assert view[:].tolist() == [True, False, False, True, True]
    assert view.heuristic().tolist() == [0, 0, 7, 8, 9]
    view[1:3] = True
    assert a.prunemask().tolist() == [True, True]
    assert b.prunemask().tolist() == [True, True, True]
    a[0] = False
    assert not view[0]
    view.fill(False)
    assert not any(m.prunemask().any() for m in (a, b))
    assert view.diffmask().tolist() == [0] * 5
    assert view.levels.tolist() == view.output_id.tolist() == [0] * 5
    assert view.participate().all()
    expand = view.layout.over_slots(torch.eye(5).bool())
    assert expand.shape == (5, 2 + 5 + 2)
    assert torch.equal(expand[:, :2], expand[:, 7:])
    assert torch.equal(expand[:, 2:7], torch.eye(5).bool()[:, 2 + IDS])


def test_a_view_of_nothing():
    view = FlatView([])
    assert len(view) == 0
    assert view.heuristic().shape == view.diffmask().shape == view.participate().shape == (0,)


@given(seed=seeds)
def test_the_layout_of_a_tree(seed):
    sample = random_tree(seed)
    slots = naive.slots_of(sample)
    view = FlatView(MaskTree.of(sample.slots))
    assert len(view) == sample.terms == len(slots)
    for found in (view, sample):
        assert found.output_id.tolist() == [output for output, _, _ in slots]
        assert found.levels.tolist() == [level for _, level, _ in slots]
    assert sample.parents.tolist() == [parent for _, _, parent in slots]


@given(seed=seeds)
def test_participation(seed):
    sample = random_tree(seed)
    masks = random_masks(sample, 4, seed)
    expected = [naive.participation(sample, mask.tolist()) for mask in masks]
    assert sample.participation(masks).tolist() == expected
    trackers = MaskTree.of(sample.slots, lambda n: ParticipationTracker(SimpleMask.full(n)))
    view = FlatView(trackers)
    for mask, inside in zip(masks, expected, strict=True):
        view[:] = mask
        assert view.participate().tolist() == inside
        tracked = [t.participating for t in dict(sorted(trackers.masks.items())).values()]
        by_path = {path: inside[span.start : span.own] for path, span in sample.slots.spans.items()}
        assert [t.tolist() for t in tracked] == [by_path[path] for path in sorted(trackers.masks)]


@given(seed=seeds)
def test_groups_take_part_while_one_of_their_slots_does(seed):
    sample = random_tree(seed)
    if sample.terms == 0:
        return
    term = torch.randint(0, 4, (sample.terms,), generator=torch.Generator().manual_seed(seed))
    grouped, slots = sample.grouped(term), naive.slots_of(sample)
    masks = random_masks(grouped, 4, seed)
    for mask, found in zip(masks, grouped.participation(masks).tolist(), strict=True):
        inside = naive.participation(sample, mask[term].tolist())
        members = [[i for i, t in enumerate(term.tolist()) if t == group] for group in range(grouped.terms)]
        assert found == [any(inside[i] for i in group) for group in members]
        outputs = [{slots[i][0] for i in group} for group in members]
        assert grouped.output_id.tolist() == [o.pop() if len(o) == 1 else -1 for o in outputs]


def test_leaves_share_the_mask_of_their_observations():
    sample = from_json([{"a": 1, "b": "x"}, {"a": 2}, {"b": "y"}, {"c": True}])
    parts = sample.root.children()
    a, b = ObservationMask.over([parts["a"], parts["b"]])
    tree = MaskTree(sample.slots, {("a",): a, ("b",): b, ("c",): SimpleMask.full(1)})
    view = FlatView(tree)
    assert len(view) == 3 + 1  # the fourth observation has neither a nor b
    assert view.output_id.tolist() == [0, 1, 2, 3]
    view[0] = False
    assert a.prunemask().tolist() == [False, True]
    assert b.prunemask().tolist() == [False, True]
    seen = sample.seen_by(view)
    assert seen.layout.over_slots(view.kept[None])[0].tolist() == [False, True, False, True, True]
    with pytest.raises(ValueError, match="equally many observations"):
        ObservationMask.over([parts["a"], from_json([1.0]).root])


@given(seed=seeds)
@settings(max_examples=25)
def test_a_node_can_follow_two_masks(seed):
    """As if each of its slots were kept by either."""
    sample = random_tree(seed)
    stored = {
        path: (SimpleMask.full(len(m)), SimpleMask.full(len(m))) for path, m in MaskTree.of(sample.slots).masks.items()
    }
    view = FlatView(MaskTree(sample.slots, {path: FollowingMasks(pair) for path, pair in stored.items()}))
    seen, model = sample.seen_by(view), random_model(sample.schema, seed)
    assert seen.terms == 2 * sample.terms
    masks = random_masks(seen, 3, seed, keep=0.5)
    for mask in masks:
        view[:] = mask
        either = torch.ones(sample.terms, dtype=torch.bool)
        for path, pair in stored.items():
            span = sample.slots.spans[path]
            either[span.start : span.own] = pair[0].kept | pair[1].kept
        torch.testing.assert_close(model.evaluate(seen, mask[None]), model.evaluate(sample, either[None]))
        torch.testing.assert_close(model.evaluate(seen, mask[None].double()), model.evaluate(sample, either[None]))
        inside = dict(zip(range(sample.terms), naive.participation(sample, either.tolist()), strict=True))
        by_item = {int(item): inside[slot] for slot, items in enumerate(view.layout.item) for item in items}
        assert view.participate().tolist() == [by_item[item] for item in range(seen.terms)]


def test_each_sample_scores_its_own_terms():
    sample = from_json([{"a": 1, "b": 2}, {"a": 3}])  # slots: a of both, then b of the first
    view = FlatView(MaskTree.of(sample.slots, ScoreMask.full))
    masks = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 1]]).bool()
    outputs = torch.tensor([[1.0, 10], [2, 20], [3, 30], [5, 50]])
    view.update(masks, outputs)
    assert view.heuristic().tolist() == [(1 + 3) / 2 - (2 + 5) / 2, (10 + 20) / 2 - (30 + 50) / 2, 3.5 - 2]
    joint = FlatView(ClusteredMask(ScoreMask.full(2), torch.tensor([0, 1, 1])))
    joint.update(masks[:, :2], outputs[:, :1], counted=masks[:, 1:])
    assert joint.heuristic().tolist() == [1 - 2, 2 - 5]
    spanning = {("a",): ClusteredMask(ScoreMask.full(1), torch.tensor([0, 0])), ("b",): ScoreMask.full(1)}
    both = FlatView(MaskTree(sample.slots, spanning))
    assert both.output_id.tolist() == [-1, 0]
    both.update(masks[:, [0, 2]], outputs)
    means = outputs.mean(dim=1)
    assert both.heuristic()[0].item() == pytest.approx(float(means[[0, 2]].mean() - means[[1, 3]].mean()))


def test_bad_masks():
    sample = from_json([{"a": 1}, {"a": 2}])
    with pytest.raises(ValueError, match="kept must be one axis of bool"):
        SimpleMask(torch.ones(3))
    with pytest.raises(ValueError, match="values must have one axis"):
        HeuristicMask(torch.ones(3, 1))
    with pytest.raises(ValueError, match=r"kept must have shape \(3,\)"):
        SigmoidMask(torch.ones(3), kept(1, 1))
    with pytest.raises(ValueError, match=r"cluster must lie in 0\.\.2, got 0\.\.3"):
        ClusteredMask(SimpleMask.full(3), torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="cluster must be one axis of int64"):
        ClusteredMask(SimpleMask.full(3), torch.tensor([0.0]))
    with pytest.raises(ValueError, match="equally many positions"):
        FollowingMasks([SimpleMask.full(2), SimpleMask.full(3)])
    with pytest.raises(ValueError, match="masks must have these positions"):
        MaskTree(sample.slots, {("a",): SimpleMask.full(3)})
    with pytest.raises(ValueError, match="view must be over a MaskTree of this sample"):
        sample.seen_by(FlatView(SimpleMask.full(2)))
    with pytest.raises(ValueError, match=r"term must be \(2,\) int64"):
        sample.grouped(torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="masks must be bool, got"):
        sample.participation(torch.ones(1, 2))
