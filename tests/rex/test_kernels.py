"""The kernels with and without the JIT, from a package that cannot be written, and how duplicates are found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rambit.rex import kernels
from tests.rex.standin import paint

ROOT = Path(__file__).parents[2]
GRID = (2, 4, 5)


def cut(box, rng):
    """A box in two, along a random axis, or as it is."""
    axis = 2 * rng.integers(3)
    if box[axis + 1] - box[axis] < 2:
        return [box]
    place = rng.integers(box[axis] + 1, box[axis + 1])
    low, high = list(box), list(box)
    low[axis + 1] = high[axis] = place
    return [low, high]


def disjoint(rng, part=0.5):
    """Some disjoint boxes of the grid."""
    boxes = [[0, GRID[0], 0, GRID[1], 0, GRID[2]]]
    for _ in range(4):
        boxes = [piece for box in boxes for piece in cut(box, rng)]
    return [box for box in boxes if rng.random() < part]


def array(boxes):
    return np.array(boxes, dtype=np.int32).reshape(-1, 6)


def mask_of(boxes):
    return paint(GRID, np.array([0, len(boxes)]), array(boxes))[0]


@given(st.integers(0, 10_000))
def test_a_part_is_recognised_however_it_is_cut(seed):
    rng = np.random.default_rng(seed)
    boxes = disjoint(rng)
    finer = [piece for box in boxes for piece in cut(box, rng)]
    rng.shuffle(finer)
    area = int(mask_of(boxes).sum())
    assert kernels.fingerprint(array(finer)) == kernels.fingerprint(array(boxes))
    assert kernels.same_part(array(finer), array(boxes), area)


@given(st.integers(0, 10_000))
def test_parts_are_the_same_exactly_when_their_masks_are(seed):
    rng = np.random.default_rng(seed)
    a, b = disjoint(rng), disjoint(rng)
    equal = np.array_equal(mask_of(a), mask_of(b))
    if mask_of(a).sum() == mask_of(b).sum():
        assert kernels.same_part(array(a), array(b), int(mask_of(a).sum())) == equal
    assert (kernels.fingerprint(array(a)) == kernels.fingerprint(array(b))) == equal


def number(rows):
    """The number that each row of boxes gets, and how many parts are known then, from an empty start."""
    offsets = np.cumsum([0, *map(len, rows)])
    boxes = array([box for row in rows for box in row])
    area = np.array([int(mask_of(row).sum()) for row in rows])
    n = len(rows)
    known_offsets, known_boxes = np.zeros(n + 1, np.int64), np.zeros_like(boxes)
    known_area, known_keys, numbers = (np.zeros(n, np.int64) for _ in range(3))
    table = kernels.table_of(np.zeros(0, np.int64), 64)
    count = kernels.number_rows(
        offsets, boxes, area, 0, known_offsets, known_boxes, known_area, known_keys, table, numbers
    )
    return numbers, count


@given(st.integers(0, 10_000))
def test_rows_share_a_number_exactly_when_they_keep_the_same(seed):
    rng = np.random.default_rng(seed)
    rows = [disjoint(rng, part=0.2) for _ in range(12)]
    numbers, count = number(rows)
    masks = [mask_of(row).tobytes() for row in rows]
    assert count == len(set(masks))
    for i in range(len(rows)):
        for j in range(len(rows)):
            assert (numbers[i] == numbers[j]) == (masks[i] == masks[j])


WITHOUT_JIT = """
import numba
from rambit.rex import kernels
from tests.rex.test_search import GRIDS, same_as_twin
assert not isinstance(kernels.volume, numba.core.dispatcher.Dispatcher)
for kind in GRIDS:
    same_as_twin(kind, 0, iters=1, queue="intersection", concentrate=True)
    same_as_twin(kind, 0, iters=1, search="conjunctive", tree_depth=2)
print("the same")
"""


@pytest.mark.slow
def test_without_the_jit_everything_is_the_same():
    """Small searches with the kernels as plain Python, against the naive twin; a warning is an error."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_JIT],
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout) == (0, "the same\n"), run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["user", "none"])
def test_a_package_that_cannot_be_written_is_compiled_all_the_same(tmp_path, cache):
    """The kernels in a folder without room for a cache: stored in the user's, or, without that too, not at all."""
    package, user = tmp_path / "package", tmp_path / "user"
    package.mkdir()
    shutil.copy(kernels.__file__, package / "kernels.py")
    (package / "__pycache__").write_text("a file, so that no folder can be made here")
    user.mkdir() if cache == "user" else user.write_text("nor here")
    code = "import numpy as np, kernels; print(kernels.volume(np.array([0, 2, 0, 3, 0, 4], np.int32)))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA")}
    run = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=package,
        env={**environment, "XDG_CACHE_HOME": str(user), "HOME": str(user)},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout) == (0, "24\n"), run.stderr
    stored = list(user.rglob("*.nbc"))
    assert len(stored) == (1 if cache == "user" else 0)
