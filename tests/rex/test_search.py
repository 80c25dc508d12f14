"""The search against its naive twin, and what it promises: parts asked once, one question a generation."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from functools import partial
from importlib import import_module

import numpy as np
import pytest

from rambit.rex import SearchSettings, causal_explanation, search
from rambit.rex.search import Iterations
from tests.naive import rex as naive
from tests.random_state import numpy_state
from tests.rex.standin import Painted, softmax_answers

MODULE = import_module("rambit.rex.search")  # rambit.rex.search is the function
GRIDS = {"line": ((1, 1, 40), 1), "plane": ((1, 9, 14), 2), "series": ((1, 3, 30), 2), "volume": ((5, 6, 7), 3)}


def decision(kind, seed):
    """A decision over random regions that the whole input passes with class 1 or 2."""
    grid, dimensions = GRIDS[kind]
    rng = np.random.default_rng(seed)
    return Painted(grid, dimensions, partial(softmax_answers, rng.random((2, *grid)) < 0.15))


def plain(settings):
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}


def same_as_twin(kind, seed, **options):
    settings = SearchSettings(**{"iters": 3, "tree_depth": 4, "min_box_size": 3, "seed": seed, **options})
    evaluated = decision(kind, seed)
    result = search(evaluated, settings)
    maps, counts = naive.search(evaluated.output, evaluated.grid, evaluated.dimensions, plain(settings))
    assert [result.stats[name] for name in ("mutants", "passing", "depth")] == counts
    assert list(result.maps) == list(maps)
    for label, map_ in maps.items():
        assert result.maps[label].dtype == np.float32
        assert np.array_equal(result.maps[label], map_)
    return result


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize(
    "queue",
    [
        {"queue": "area"},
        {"queue": "area", "queue_len": 3},
        {"queue": "intersection"},
        {"queue": "intersection", "queue_len": None},
        {"queue": "all", "search_limit": 150},
        {"queue": "dc", "search_limit": 150},
    ],
    ids=str,
)
def test_every_queue_equals_the_twin(kind, queue):
    for seed in range(3):
        assert same_as_twin(kind, seed, **queue).stats["mutants"] >= 3 * 14


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize(
    "style",
    [
        {"responsibility_style": "additive"},
        {"weighted": True},
        {"concentrate": True},
        {"weighted": True, "concentrate": True, "responsibility_style": "additive"},
        {"negative_responsibility": True},
        {"confidence_filter": 0.9},
        {"min_box_size": 1, "tree_depth": 7},
    ],
    ids=str,
)
def test_every_responsibility_style_equals_the_twin(kind, style):
    for seed in range(2):
        same_as_twin(kind, seed, **style)


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("distribution", ["betabinom", "adaptive"])
def test_every_distribution_equals_the_twin(kind, distribution):
    dist_args = (1.5, 2.5) if distribution == "betabinom" else None
    for seed in range(3):
        same_as_twin(kind, seed, distribution=distribution, dist_args=dist_args, iters=4)


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("queue", [{"queue": "area", "queue_len": 2}, {"queue": "intersection"}], ids=str)
def test_conjunctive_equals_the_twin(kind, queue):
    for seed in range(2):
        same_as_twin(kind, seed, search="conjunctive", **queue)


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("queue", ["area", "all"])
def test_no_part_is_asked_twice_nor_the_whole_input(kind, queue):
    evaluated = decision(kind, 1)
    result = search(evaluated, SearchSettings(queue=queue, search_limit=300, min_box_size=2, iters=6))
    assert len(set(evaluated.evaluated)) == len(evaluated.evaluated) == result.stats["rows"] < result.stats["mutants"]
    assert np.ones(evaluated.grid, dtype=bool).tobytes() not in evaluated.evaluated


def test_a_generation_of_all_iterations_is_one_question():
    counts = []
    for iters in (1, 30):
        evaluated = decision("plane", 0)
        search(evaluated, SearchSettings(iters=iters, tree_depth=3, min_box_size=1))
        counts.append(evaluated.calls)
    assert counts[1] <= 4  # depths 0 … 3, however many iterations there are
    assert counts[0] <= counts[1]


def test_the_same_seed_gives_the_same_and_another_does_not():
    first, again, other = (search(decision("plane", 2), SearchSettings(seed=seed)) for seed in (5, 5, 6))
    target = decision("plane", 2).target
    assert first.stats == again.stats
    assert np.array_equal(first.maps[target], again.maps[target])
    assert not np.array_equal(first.maps[target], other.maps[target])


def test_the_global_generator_is_neither_read_nor_written():
    states = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002
        before = numpy_state()
        result = search(decision("volume", 3), SearchSettings(iters=2))
        assert numpy_state() == before
        states.append(result.maps[1])
    assert np.array_equal(*states)


def test_iterations_by_themselves_merge_into_the_same_maps():
    settings = SearchSettings(iters=4, responsibility_style="additive", seed=9)
    together = search(decision("series", 4), settings)
    total = {}
    for iteration in range(1, 5):
        maps, counts = causal_explanation(iteration, decision("series", 4), settings)
        assert counts["mutants"] >= 14
        for label, map_ in maps.items():
            total[label] = total.get(label, np.float32(0)) + map_
    assert sorted(total) == sorted(together.maps)
    for label, map_ in total.items():
        assert np.array_equal(map_, together.maps[label])


def test_logarithms_tell_apart_what_underflowed():
    def output(masks):  # everything hangs on one position, so that all others fade away
        passes = masks[:, 0, 4, 4]
        return passes.astype(np.int32), np.full(len(masks), 0.9, dtype=np.float32)

    def decide():
        return Painted((1, 12, 12), 2, output)

    short = search(decide(), SearchSettings(iters=20, min_box_size=1, concentrate=True))
    assert short.maps[1].all()
    assert short.log_maps == {}
    long = search(decide(), SearchSettings(iters=150, min_box_size=1, concentrate=True))
    lost = long.maps[1] == 0
    assert lost.sum() > 20
    logs = long.log_maps[1]
    assert len(np.unique(logs[lost])) > 20
    assert logs[lost].max() < logs[~lost].min()
    kept = long.maps[1] > 1e-30  # where nothing was lost, both say the same
    assert np.allclose(np.log(long.maps[1][kept]), logs[kept] - logs.max(), atol=1e-3)


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"queue": "all", "search_limit": 150},
        {"search": "conjunctive", "responsibility_style": "additive"},
        {"distribution": "adaptive"},
        {"negative_responsibility": True},
        {"iters": 150, "concentrate": True, "min_box_size": 1},
    ],
    ids=str,
)
def test_so_many_iterations_at_a_time_as_fit_give_the_same(monkeypatch, kind, options):
    settings = SearchSettings(**{"iters": 10, "min_box_size": 2, **options})
    together = search(decision(kind, 1), settings)
    for name, value in (("TOGETHER", 3), ("TOGETHER_CONJUNCTIVE", 3), ("MOST_KNOWN", 40)):
        monkeypatch.setattr(MODULE, name, value)
    apart = search(decision(kind, 1), settings)
    assert [apart.stats[name] for name in ("mutants", "passing", "depth")] == [
        together.stats[name] for name in ("mutants", "passing", "depth")
    ]
    assert apart.stats["rows"] >= together.stats["rows"]
    assert list(apart.maps) == list(together.maps)
    for found, expected in ((apart.maps, together.maps), (apart.log_maps, together.log_maps)):
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[label], expected[label]) for label in found)


def test_logarithms_do_not_depend_on_how_many_iterations_run_together(monkeypatch):
    def output(masks):
        passes = masks[:, 0, 4, 4]
        return passes.astype(np.int32), np.full(len(masks), 0.9, dtype=np.float32)

    settings = SearchSettings(iters=150, min_box_size=1, concentrate=True)
    together = search(Painted((1, 12, 12), 2, output), settings)
    monkeypatch.setattr(MODULE, "TOGETHER", 7)
    apart = search(Painted((1, 12, 12), 2, output), settings)
    assert np.array_equal(apart.log_maps[1], together.log_maps[1])


def test_any_number_of_iterations_begins_with_few(monkeypatch):
    sizes = []

    class Enough(Exception):
        pass

    original = Iterations.__init__

    def counted(run, evaluated, settings, iterations, known, running):
        sizes.append(len(iterations))
        if len(sizes) == 3:
            raise Enough
        original(run, evaluated, settings, iterations, known, running)

    monkeypatch.setattr(Iterations, "__init__", counted)
    for search_kind, most in (("single", 256), ("conjunctive", 32)):
        sizes.clear()
        with pytest.raises(Enough):
            search(decision("plane", 0), SearchSettings(iters=2**31, tree_depth=2, search=search_kind))
        assert sizes == [most] * 3


def test_what_cannot_be_bounded_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"tree_depth must be at most 10,000 with min_box_size=1 in a volume"):
        search(decision("volume", 0), SearchSettings(min_box_size=1, tree_depth=10_001))
    monkeypatch.setattr(MODULE, "MOST_BOXES", 20_000)
    with pytest.raises(ValueError, match=r"one generation would evaluate [\d,]+ mutants of up to [\d,]+ boxes"):
        search(
            decision("plane", 0),
            SearchSettings(search="conjunctive", queue="all", search_limit=10**6, min_box_size=1, iters=1),
        )


def test_an_input_that_cannot_be_split_is_not_asked_about():
    evaluated = Painted((1, 2, 2), 2, partial(softmax_answers, np.ones((2, 1, 2, 2), dtype=bool)))
    result = search(evaluated, SearchSettings(min_box_size=5))
    assert result.maps == {}
    assert result.stats == {"mutants": 0, "passing": 0, "depth": 0, "rows": 0}
