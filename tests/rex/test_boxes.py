"""Boxes cut by hand: the children tile their parent, and a seed gives ReX's own cuts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rambit.rex import Box, Distribution, ResponsibilityMaps, initialise_tree, subbox
from rambit.rex.settings import SearchSettings
from tests.rex.test_queue import mutant


def painted(box, shape):
    """How often each position of (Z, H, W) is covered by the boxes."""
    z0, z1, y0, y1, x0, x1 = box.bounds()
    mask = np.zeros(shape, dtype=int)
    mask[z0:z1, y0:y1, x0:x1] = 1
    return mask


trees = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["spectral", "RGB", "voxel"]),
        "extents": st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 12)),
        "seed": st.integers(0, 1000),
        "distribution": st.sampled_from(list(Distribution)),
    }
)


@given(trees)
def test_children_tile_their_parent(tree):
    depth, height, width = tree["extents"]
    height = 1 if tree["mode"] == "spectral" else height
    depth = depth if tree["mode"] == "voxel" else 1
    args = (2.0, 1.5) if tree["distribution"] is Distribution.BetaBinomial else None
    d_lim = depth if tree["mode"] == "voxel" else None
    root = initialise_tree(height, width, tree["distribution"], args, d_lim=d_lim, seed=tree["seed"])
    running = np.random.default_rng(tree["seed"]).random((depth, height, width), dtype=np.float32)
    for box in list(root.walk()):
        box.add_children_to_tree(1, tree["mode"], running)
    for box in root.walk():
        if box.children:
            assert [child.name for child in box.children] == [f"{box.name}:{i}" for i in range(4)]
            assert all(child.depth == box.depth + 1 and child.parent is box for child in box.children)
            cover = sum(painted(child, (depth, height, width)) for child in box.children)
            assert np.array_equal(cover, painted(box, (depth, height, width)))
            assert sum(child.area() for child in box.children if 0 not in child.shape()) == box.area()


def test_a_seed_gives_the_cuts_of_rex():
    position = np.random.RandomState(7).randint(1, 20 * 30)
    row, column = divmod(position, 30)
    root = initialise_tree(20, 30, seed=7)
    root.add_children_to_tree(10, "RGB", None)
    assert [child.corners() for child in root.children] == [
        (0, row, 0, column),
        (0, row, column, 30),
        (row, 20, 0, column),
        (row, 20, column, 30),
    ]


def test_shape_area_and_corners():
    flat = initialise_tree(20, 30, Distribution.Uniform, None, 5, 10)
    assert flat.shape() == (15, 20)
    assert flat.area() == 300
    assert flat.corners() == (5, 20, 10, 30)
    solid = initialise_tree(4, 5, d_lim=6)
    assert solid.shape() == (4, 5, 6)
    assert solid.area() == 120
    assert solid.corners() == (0, 4, 0, 5, 0, 6)
    assert Box(0, 0, 3, 8).area() == 5  # a flat box of rows 0 … 0 counts its columns


def test_small_boxes_are_not_split_and_no_box_twice():
    root = initialise_tree(3, 3)
    root.add_children_to_tree(10, "RGB")
    assert root.children == ()
    root.add_children_to_tree(9, "RGB")
    children = root.children
    root.add_children_to_tree(9, "RGB")
    assert len(children) == 4
    assert root.children is children
    for shape, mode in (((1, 1), "RGB"), ((1, 3), "spectral")):
        single = initialise_tree(*shape)
        single.add_children_to_tree(1, mode)
        assert single.children == ()


def test_subbox_finds_a_box_by_name():
    root = initialise_tree(16, 16)
    children = subbox(root, "R", 1, 4, "RGB")
    assert children == root.children
    large = max(children, key=Box.area)
    assert len(subbox(root, large.name, 1, 4, "RGB")) == 4
    deepest = max(large.children, key=Box.area)
    assert subbox(root, deepest.name, 1, 1, "RGB") == ()  # deeper than 1
    assert subbox(root, "R:9", 1, 1, "RGB") is None


def test_adaptive_cuts_follow_the_map():
    hot = np.zeros((10, 10), dtype=np.float32)
    hot[6, 3] = 1
    root = initialise_tree(10, 10, Distribution.Adaptive, seed=1)
    root.add_children_to_tree(1, "RGB", hot)
    assert root.children[3].corners() == (6, 10, 3, 10)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="mode must be one of"):
        initialise_tree(4, 4).add_children_to_tree(1, "colour")
    with pytest.raises(ValueError, match="distribution must be one of"):
        initialise_tree(4, 4, "normal")
    with pytest.raises(ValueError, match="dist_args"):
        initialise_tree(4, 4, "betabinom")


def test_mutants_add_to_the_map_of_their_own_class():
    root = initialise_tree(4, 6)
    root.add_children_to_tree(1, "RGB")
    a, b = (mutant(root.children, active, shape=(4, 6)) for active in ([0, 3], [3]))
    a.prediction, b.prediction = (2, 0.5), (1, 0.25)
    maps = ResponsibilityMaps("additive", 4, 6)
    maps.update_maps([a, b], SearchSettings(weighted=True))
    assert [label for label, _ in maps.items()] == [2, 1]
    masks = [painted(child, (1, 4, 6))[0] for child in root.children]
    assert np.array_equal(maps.get(2), 0.25 * (masks[0] + masks[3]))
    assert np.array_equal(maps.get(1), 0.25 * masks[3])
    assert maps.get(0) is None


def test_merging_multiplies_or_adds():
    local = {3: np.array([[1, 2], [4, 8]], dtype=np.float32)}
    multiplied, added = ResponsibilityMaps("multiplicative", 2, 2), ResponsibilityMaps("additive", 2, 2)
    for maps in (multiplied, added):
        maps.merge(local)
        maps.merge(local)
    assert np.array_equal(multiplied.get(3), np.array([[1, 4], [16, 64]]) / 64)
    assert np.array_equal(added.get(3), 2 * local[3])
