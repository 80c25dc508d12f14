"""The search: iterations in lock-step, a generation of all of them as one batch of rows.

So many iterations at a time as fit: memory grows neither with them nor with what was evaluated before.

An iteration grows a random box tree. Its queue holds jobs, sets of boxes; in a generation every box of every job is
split in turn, and 14 mutants are made of it. Whatever the model says, the splits of a generation are the same, so
that all of its rows can be evaluated at once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from rambit.rex import kernels
from rambit.rex.maps import Map, ResponsibilityMaps
from rambit.rex.mutants import TECHNIQUES
from rambit.rex.settings import Distribution, Queue, ResponsibilityStyle, SearchSettings
from rambit.rex.splits import Splitter

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Number = TypeVar("Number", np.int32, np.int64)
Result = TypeVar("Result")
#: How many iterations run in lock-step; of conjunctive ones, each of which takes many rows by itself.
TOGETHER, TOGETHER_CONJUNCTIVE = 256, 32
#: Boxes of known parts beyond which the next iterations start without any: 24 bytes each.
MOST_KNOWN = 1 << 20
#: Boxes of the mutants of one generation, at most.
MOST_BOXES = 1 << 26
#: The deepest tree of a volume whose boxes of one position may be split: they stay what they are at every depth.
DEEPEST = 10_000


class DecisionLike(Protocol):
    """What the search needs of `Decision`."""

    @property
    def grid(self) -> tuple[int, int, int]: ...
    @property
    def dimensions(self) -> int: ...
    @property
    def target(self) -> int: ...
    @property
    def confidence(self) -> float: ...
    @property
    def whole(self) -> tuple[int, float]: ...
    @property
    def rows(self) -> int: ...
    def boxes(self, offsets: Int64, boxes: Int32) -> tuple[Int32, Float32]: ...


@dataclass(frozen=True)
class SearchResult:
    """Maps (Z, H, W) by class, in the order in which the classes were seen, and counts.

    log_maps: where a float32 product underflowed to zero, the sums of logarithms of the target's map, float64, which
    tell the zeros apart. stats: "mutants" made, "passing" ones, "depth" reached, "rows" evaluated.
    """

    maps: dict[int, Map]
    log_maps: dict[int, npt.NDArray[np.float64]]
    stats: dict[str, int]


#: Rows of boxes, and classes and confidences of them.
Rows = tuple[Int64, Int32]
Found = tuple[Int32, Float32]


def search(decision: DecisionLike, settings: SearchSettings) -> SearchResult:
    """Responsibility maps of one decision (Chockler, Kelly, Kroening and Sun, 2024).

    The adaptive distribution needs the map of the iterations before, so that they run one after another.
    Raises ValueError naming the option where a tree cannot end, or a generation cannot fit.
    """
    [result] = _together([_search(decision, settings)], lambda _, rows: [decision.boxes(*rows[0])])
    return result


def search_together(
    decisions: Sequence[DecisionLike],
    settings: SearchSettings,
    evaluate: Callable[[list[int], list[Rows]], list[Found]],
) -> list[SearchResult]:
    """The maps of several decisions, as `search` finds each; a generation of all of them is one batch of rows.

    evaluate: gets which decisions have rows in this generation, and the rows; says what `boxes` would of each.
    """
    return _together([_search(decision, settings) for decision in decisions], evaluate)


def _together(
    searches: Sequence[Generator[Rows, Found, Result]], evaluate: Callable[[list[int], list[Rows]], list[Found]]
) -> list[Result]:
    """The results of all searches, which yield rows and are sent what the model says of them."""
    results: dict[int, Result] = {}
    wanted: dict[int, Rows] = {}

    def advance(number: int, found: Found | None) -> None:
        try:
            wanted[number] = next(searches[number]) if found is None else searches[number].send(found)
        except StopIteration as stop:
            results[number] = stop.value

    for number in range(len(searches)):
        advance(number, None)
    while wanted:
        numbers, rows = list(wanted), list(wanted.values())
        wanted.clear()
        for number, found in zip(numbers, evaluate(numbers, rows), strict=True):
            advance(number, found)
    return [results[number] for number in range(len(searches))]


def _search(decision: DecisionLike, settings: SearchSettings) -> Generator[Rows, Found, SearchResult]:
    before, target = decision.rows, decision.target
    depth, height, width = decision.grid
    maps = ResponsibilityMaps(settings.responsibility_style, height, width, depth)
    known = Known(decision)
    counts = {"mutants": 0, "passing": 0, "depth": 0}
    logs = np.zeros(decision.grid, np.float64)
    multiplied = settings.responsibility_style is ResponsibilityStyle.Multiplicative
    wanted = multiplied and not settings.negative_responsibility
    step = 1 if settings.distribution is Distribution.Adaptive else TOGETHER
    step = min(step, TOGETHER_CONJUNCTIVE) if settings.search == "conjunctive" else step
    for begin in range(1, settings.iters + 1, step):
        iterations = Iterations(
            decision, settings, range(begin, min(begin + step, settings.iters + 1)), known, maps.get(target)
        )
        yield from iterations.to_the_end()
        iterations.merge_into(maps)
        counts["mutants"] += int(iterations.work.sum())
        counts["passing"] += int(iterations.passing.sum())
        counts["depth"] = max(counts["depth"], int(iterations.depth_reached.max()))
        own = maps.get(target)
        # Only a map with zeros needs logarithms; of iterations that are gone by then they must have been added before.
        if wanted and (settings.iters > step or (own is not None and not own.all())):
            iterations.add_logarithms(target, logs)
        if len(known.boxes) > MOST_KNOWN:
            known = Known(decision)
    log_maps = {}
    if own is not None and settings.negative_responsibility:
        maps.subtract_others(target)
    elif own is not None and multiplied and not own.all():
        log_maps[target] = logs
    return SearchResult(dict(maps.items()), log_maps, {**counts, "rows": decision.rows - before})


def causal_explanation(
    iteration: int, decision: DecisionLike, settings: SearchSettings, current_map: Map | None = None
) -> tuple[ResponsibilityMaps, dict[str, int]]:
    """The maps of one iteration, 1 … iters, before they are merged, and its counts.

    ``current_map`` (Z, H, W) is what the adaptive distribution follows.
    """
    before = decision.rows
    iterations = Iterations(decision, settings, [iteration], Known(decision), current_map)
    _together([iterations.to_the_end()], lambda _, rows: [decision.boxes(*rows[0])])
    depth, height, width = decision.grid
    maps = ResponsibilityMaps(settings.responsibility_style, height, width, depth)
    for label, local in iterations.local_maps(0):
        maps.new_map(label)[:] = local
    counts = {"mutants": iterations.work, "passing": iterations.passing, "depth": iterations.depth_reached}
    return maps, {**{name: int(count[0]) for name, count in counts.items()}, "rows": decision.rows - before}


class Known:
    """Every distinct part of the input that was evaluated, and its class; a part is evaluated once.

    The whole input and its class are known from the start.
    """

    def __init__(self, decision: DecisionLike) -> None:
        self.decision = decision
        Z, H, W = decision.grid
        whole = np.array([[0, Z, 0, H, 0, W]], np.int32)
        self.offsets, self.boxes = np.array([0, 1], np.int64), whole
        self.area = np.array([Z * H * W], np.int64)
        self.keys = np.array([kernels.fingerprint(whole)], np.int64)
        label, confidence = decision.whole
        self.labels, self.confidences = np.array([label], np.int32), np.array([confidence], np.float32)

    def number(self, offsets: Int64, boxes: Int32, area: Int64) -> Generator[Rows, Found, Int64]:
        """The number of each row among the known ones; yields those that keep other parts, in one question."""
        before, most = len(self.area), len(self.area) + len(area)
        self.offsets = _extended(self.offsets, len(area))
        self.boxes = _extended(self.boxes, len(boxes))
        self.area, self.keys = _extended(self.area, len(area)), _extended(self.keys, len(area))
        table = kernels.table_of(self.keys[:before], 1 << (2 * most).bit_length())
        number = np.empty(len(area), np.int64)
        count = kernels.number_rows(
            offsets, boxes, area, before, self.offsets, self.boxes, self.area, self.keys, table, number
        )
        self.offsets, self.area, self.keys = self.offsets[: count + 1], self.area[:count], self.keys[:count]
        self.boxes = self.boxes[: self.offsets[-1]]
        if count > before:
            begin = self.offsets[before]
            labels, confidences = yield self.offsets[before:] - begin, self.boxes[begin:]
            self.labels = np.concatenate((self.labels, labels))
            self.confidences = np.concatenate((self.confidences, confidences))
        return number


def _extended(array: npt.NDArray[Number], more: int) -> npt.NDArray[Number]:
    return np.concatenate((array, np.empty((more, *array.shape[1:]), array.dtype)))


class Iterations:
    """Some iterations in lock-step, each with a generator, a tree and a queue of its own.

    The trees share arrays (see kernels). ``work``, ``passing`` and ``depth_reached`` count for each iteration.
    """

    def __init__(
        self,
        decision: DecisionLike,
        settings: SearchSettings,
        iterations: Sequence[int],
        known: Known,
        running: Map | None,
    ) -> None:
        self.decision, self.settings, self.known, self.running = decision, settings, known, running
        if decision.dimensions == 3 and settings.min_box_size == 1 and settings.tree_depth > DEEPEST:
            raise ValueError(
                f"tree_depth must be at most {DEEPEST:,} with min_box_size=1 in a volume, whose boxes of one position "
                f"are split down to that depth, got {settings.tree_depth:,}"
            )
        self.conjunctive = settings.search == "conjunctive"
        self.generators = [np.random.RandomState(settings.seed + i) for i in iterations]
        assert isinstance(settings.distribution, Distribution)
        self.cuts = Splitter(decision.dimensions, settings.distribution, settings.dist_args)
        count = len(iterations)
        Z, H, W = decision.grid
        self.boxes = np.tile(np.array([0, Z, 0, H, 0, W], np.int32), (count, 1))
        self.depth, self.first_child = np.zeros(count, np.int32), np.full(count, -1, np.int32)
        # The first queue: the whole input.
        self.job_offsets, self.job_nodes = np.arange(count + 1), np.arange(count)
        self.job_owner = np.arange(count)
        self.work, self.passing, self.depth_reached = (np.zeros(count, np.int64) for _ in range(3))
        self.recorded: list[tuple[Int64, Int32, Int32, Float32]] = []

    # -- generations ----------------------------------------------------------------------------------------------

    def to_the_end(self) -> Generator[Rows, Found, None]:
        """Generation after generation, until every queue is empty; yields rows, and is sent what the model says."""
        while len(self.job_owner):
            yield from self.generation()
        self.record = [np.concatenate(part) for part in zip(*self.recorded, strict=True)]

    def generation(self) -> Generator[Rows, Found, None]:
        """Split every box of the queues, evaluate all mutants at once, and fill the queues anew."""
        settings, jobs = self.settings, (self.job_offsets, self.job_nodes)
        ended = np.zeros(len(self.generators), np.bool_)
        job, place = self._expand(ended)
        expansions = (job, place, *jobs)
        most = kernels.MUTANTS * int((np.diff(self.job_offsets)[job] + 2).sum())
        if most > MOST_BOXES:
            raise ValueError(
                f"one generation would evaluate {kernels.MUTANTS * len(job):,} mutants of up to {most:,} boxes, more "
                f"than the limit of {MOST_BOXES:,}: lower queue_len, search_limit or tree_depth, or raise min_box_size"
            )
        offsets, visible, area, deepest = kernels.mutants(*expansions, self.boxes, self.depth, self.first_child)
        number = yield from self.known.number(offsets, visible, area)
        labels, confidences = self.known.labels[number], self.known.confidences[number].astype(np.float64)
        passes = (labels == self.decision.target) & (
            confidences >= self.decision.confidence * settings.confidence_filter
        )
        owner = self.job_owner[job]
        self.work += kernels.MUTANTS * np.bincount(owner, minlength=len(self.work))
        rows = np.flatnonzero(passes)
        self.passing += np.bincount(owner[rows // kernels.MUTANTS], minlength=len(self.work))
        # The mutants of a box are equally deep, so that those which pruning keeps are as deep as all that pass.
        np.maximum.at(self.depth_reached, owner[rows // kernels.MUTANTS], deepest[rows])
        self._record(job, place, passes, labels, confidences)
        rows = self._pruned(self._candidates(rows, owner, number), owner, area, expansions)
        rows = rows[~self._finished(ended)[owner[rows // kernels.MUTANTS]]]
        self.job_offsets, self.job_nodes = kernels.nodes_of(rows, self.conjunctive, *expansions, self.first_child)
        self.job_owner = owner[rows // kernels.MUTANTS]

    def _expand(self, ended: npt.NDArray[np.bool_]) -> tuple[Int64, Int64]:
        """The expansions of this generation, as (job, place in job_nodes), after all splits that they need."""
        settings, dimensions = self.settings, self.decision.dimensions
        job, place, parents, owners = kernels.expand(
            self.job_offsets,
            self.job_nodes,
            self.job_owner,
            self.conjunctive,
            settings.tree_depth,
            settings.min_box_size,
            dimensions,
            self.boxes,
            self.depth,
            self.first_child,
            ended,
        )
        drawn = [
            self.cuts(self.generators[i], box, self.running)
            for i, box in zip(owners.tolist(), self.boxes[parents].tolist(), strict=True)
        ]
        cuts = np.array(drawn, np.int64).reshape(-1, 4)
        boxes, depth = kernels.grow(parents, cuts, dimensions, self.boxes, self.depth)
        self.boxes, self.depth = np.concatenate((self.boxes, boxes)), np.concatenate((self.depth, depth))
        self.first_child = np.concatenate((self.first_child, np.full(len(depth), -1, np.int32)))
        return job, place

    def _candidates(self, rows: Int64, owner: Int64, number: Int64) -> Int64:
        """Which passing mutants are pruned: those of each iteration's last box; if conjunctive, all that differ."""
        if self.conjunctive:
            own = owner[rows // kernels.MUTANTS] * (number.max(initial=0) + 1) + number[rows]
            kept: Int64 = rows[np.sort(np.unique(own, return_index=True)[1])]
        else:
            is_last = np.diff(owner, append=-1) != 0
            kept = rows[is_last[rows // kernels.MUTANTS]]
        return kept

    def _pruned(self, rows: Int64, owner: Int64, area: Int64, expansions: tuple[Int64, Int64, Int64, Int64]) -> Int64:
        settings = self.settings
        assert isinstance(settings.queue, Queue)
        offsets, names = kernels.nodes_of(rows, self.conjunctive, *expansions, self.first_child)
        keep = -1 if settings.queue_len is None else settings.queue_len
        owners = owner[rows // kernels.MUTANTS]
        return rows[kernels.prune_each(owners, area[rows], offsets, names, TECHNIQUES[settings.queue], keep)]

    def _finished(self, ended: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which iterations stop: past their limit of work, or too deep on the last box of their last job."""
        settings = self.settings
        finished = np.zeros(len(self.work), np.bool_)
        if settings.search_limit is not None:
            finished |= self.work > settings.search_limit
        if not self.conjunctive:  # there, boxes of one configuration are not equally deep
            finished |= ended & (self.depth_reached > settings.tree_depth)
        return finished

    # -- maps -----------------------------------------------------------------------------------------------------

    def _record(
        self,
        job: Int64,
        place: Int64,
        passes: npt.NDArray[np.bool_],
        labels: Int32,
        confidences: npt.NDArray[np.float64],
    ) -> None:
        """Note what the mutants of boxes with a passing one add to the maps; the maps are made at the end."""
        used = np.flatnonzero(passes.reshape(-1, kernels.MUTANTS).any(axis=1))
        share = np.broadcast_to(1 / kernels.SIZES, (len(used), kernels.MUTANTS))
        if self.settings.weighted:
            share = share * confidences.reshape(-1, kernels.MUTANTS)[used]
        self.recorded.append(
            (
                self.job_owner[job[used]],
                self.first_child[self.job_nodes[place[used]]],
                labels.reshape(-1, kernels.MUTANTS)[used],
                share.astype(np.float32),
            )
        )

    def local_maps(self, iteration: int, only: int | None = None) -> Iterator[tuple[int, Map]]:
        """Each class and map of one iteration, in the order in which the classes were seen, or of one class ``only``.

        All maps share memory: use one before the next.
        """
        owner, *others = self.record
        first, labels, values = (part[owner == iteration] for part in others)
        seen, places = np.unique(labels, return_index=True)
        fill = 0 if self.settings.responsibility_style is ResponsibilityStyle.Additive else 1
        local = np.empty(self.decision.grid, np.float32)
        for label in seen[np.argsort(places)].tolist():
            if only is None or label == only:
                local.fill(fill)
                nodes, added = kernels.shares(
                    label, first, labels, values, self.settings.concentrate, self.boxes, self.depth
                )
                kernels.add_to_boxes(local, self.boxes, nodes, added)
                yield label, local

    def merge_into(self, maps: ResponsibilityMaps) -> None:
        """Merge the maps of all iterations, one after another."""
        for iteration in range(len(self.generators)):
            for label, local in self.local_maps(iteration):
                maps.merge({label: local})

    def add_logarithms(self, label: int, total: npt.NDArray[np.float64]) -> None:
        """Add the logarithms of a class's maps, iteration after iteration."""
        for iteration in range(len(self.generators)):
            for _, local in self.local_maps(iteration, only=label):
                total += np.log(local, dtype=np.float64)
