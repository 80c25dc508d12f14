"""Sufficient explanations: what every answer promises, asked again one row at a time, and the twins of the searches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rambit.structure import Sample, from_json
from rambit.sufficiency import HEURISTICS, SEARCHES, SufficientExplanation, cost, explain
from tests.naive import sufficiency as naive
from tests.soak.engine import Draw, case
from tests.sufficiency import problems

#: A row alone and among others may round differently: nothing is said of gaps so close to the threshold.
EDGE = 1e-11


class Filled(naive.Decision):
    """A decision with values in place of what is not kept, one set of them or several; terms may be groups of cells."""

    def __init__(self, model: Any, x: Tensor, values: Tensor, groups: Tensor, **options: Any) -> None:
        self.values, self.groups = values, groups
        super().__init__(model, x, **options)

    def output(self, mask: Tensor) -> Tensor:
        self.rows += 1
        cells = mask.flatten() if mask.numel() == self.groups.numel() else mask[self.groups]
        kept = cells.view(self.x.shape)
        with torch.no_grad():
            rows = torch.stack([self.model(torch.where(kept, self.x, v)[None]).softmax(1)[0] for v in self.values])
        return rows.double().mean(0)


class Nested(naive.Decision):
    """A nested sample asked about one mask at a time, by pruning it."""

    def __init__(self, model: Any, sample: Sample, **options: Any) -> None:
        self.x, self.model, self.rows = sample, model, 0
        everything = torch.ones(sample.terms, dtype=torch.bool)
        self.target = int(self.output(everything).argmax())
        self.threshold = options["rel_tol"] * self.gap(everything)

    def output(self, mask: Tensor) -> Tensor:
        self.rows += 1
        with torch.no_grad():
            return self.model(self.x.pruned(mask)).softmax(1)[0].double()


def heuristic(draw: Draw, shape: tuple[int, ...]) -> Any:
    return draw.of(*HEURISTICS, "given", "banzhaf") if shape else draw.of(*HEURISTICS)


def listed(found: Any) -> list[SufficientExplanation]:
    return found if isinstance(found, list) else [found]


def promised(draw: Draw, decision: naive.Decision, found: SufficientExplanation, mask: Tensor, search: str) -> None:
    """The part stands when it is asked again, is as large as it says, and no single term of it can go."""
    gap = decision.gap(mask)
    draw.close(found.gap, gap, 1e-9, 1e-10, what="the gap")
    draw.equal(found.target, decision.target, what="the target")
    draw.close(found.threshold, max(decision.threshold, 0.0), 1e-6, 1e-10, what="the threshold")
    draw.true(gap >= decision.threshold - EDGE, "the part stands")
    draw.equal(found.size, int(mask.sum()), what="the size")
    if not search.endswith("add"):
        draw.true(naive.irreducible(decision, mask, EDGE), "no single term can go")


@case(weight=6)
def tensors(draw: Draw) -> None:
    kind, B = draw.of("linear", "pairs", "net", "gru"), draw.whole(1, 3)
    model, X = problems.tensors(kind, draw.seed, B)
    shape = X.shape[1:]
    search = draw.of(*(name for name in SEARCHES if not name.startswith("lbyl")))
    rel_tol = draw.of(0.0, 0.5, 0.9, 1.0)
    terms: Any = draw.of(None, "cells", "timestamps", "features", "groups")
    D, T = shape
    groups = {
        "timestamps": torch.arange(T).repeat(D), "features": torch.arange(D).repeat_interleave(T),
        "groups": draw.integers(0, 4, D * T),
    }.get(terms, torch.arange(D * T))  # fmt: skip
    number = groups.unique(return_inverse=True)[1]
    given: Any = terms if terms != "groups" else groups.view(D, T)
    values: Any = draw.of("zero", "one", "some")
    S = {"zero": 1, "one": 1, "some": 2}[values]
    fill = torch.zeros(1, *X.shape).double() if values == "zero" else draw.normal(S, *X.shape)
    scores = draw.normal(*X.shape)
    name = heuristic(draw, shape)
    draw.note(
        kind=kind, B=B, search=search, rel_tol=rel_tol, terms=given, values=values, heuristic=name, seed=draw.seed
    )
    options = {
        "search": search, "rel_tol": rel_tol, "terms": given, "heuristic": scores if name == "given" else name,
        "num_samples": draw.whole(3, 20), "counterfactuals": {"zero": "zero", "one": fill[0], "some": fill}[values],
    }  # fmt: skip
    found = listed(draw.call(explain, model, draw.placed(X), seed=draw.whole(0, 99), **options))
    if not search.endswith("ft") and draw.chance(0.3):
        most = draw.call(cost, model, X, **{k: v for k, v in options.items() if k != "rel_tol"})
        draw.true(sum(e.rows for e in found) <= most.rows, "the cost is an upper bound")
    n = int(number.max()) + 1
    for b, one in enumerate(found):
        decision = Filled(model, X[b], fill[:, b], number, rel_tol=rel_tol)
        flat = one.mask.flatten()
        mask = torch.stack([flat[number == i].all() for i in range(n)])
        draw.equal(flat, mask[number], what="groups that are kept whole")
        promised(draw, decision, one, mask, search)
        if search == "flat_gadd":
            greedy(draw, decision, one, n)
        if search == "exact":
            draw.true(
                one.size in at_edges(decision, lambda decision: naive.smallest(decision, n)),
                "this is the smallest size",
            )
        if search == "flat_hadd" and name == "given":
            totals = torch.stack([scores[b].flatten()[number == i].sum() for i in range(n)])
            order = totals.argsort(descending=True, stable=True)
            draw.equal(set(mask.nonzero()[:, 0].tolist()), set(order[: one.size].tolist()), what="the prefix")
            if one.size:
                shorter = decision.gap(naive.without(mask, order[one.size - 1]))
                draw.true(shorter < decision.threshold + EDGE, "the one-shorter prefix does not stand")


def greedy(draw: Draw, decision: naive.Decision, found: SufficientExplanation, n: int) -> None:
    """The size of the greedy answer; which terms it holds may hang on a tie."""
    wanted = at_edges(decision, lambda decision: int(naive.add_greedily(decision, n).sum()))
    draw.true(found.size in wanted, f"greedy addition keeps as many terms as here: {wanted}")


def at_edges(decision: naive.Decision, evaluate: Callable[[naive.Decision], int]) -> list[int]:
    """What the twin says when a gap that equals the threshold, as in a tie, stands, and when it does not."""
    threshold, found = decision.threshold, []
    whole = decision.gap(torch.ones(decision.x.numel(), dtype=torch.bool))
    for decision.threshold in (threshold - EDGE, min(threshold + EDGE, whole)):
        found.append(evaluate(decision))
    decision.threshold = threshold
    return found


@case(weight=3)
def nested(draw: Draw) -> None:
    B, search, rel_tol = draw.whole(1, 2), draw.of(*(s for s in SEARCHES if s != "exact")), draw.of(0.5, 0.9)
    model, X = problems.nested(draw.seed, B)
    name = heuristic(draw, ())
    draw.note(B=B, search=search, rel_tol=rel_tol, heuristic=name, seed=draw.seed)
    options = {"search": search, "rel_tol": rel_tol, "heuristic": name, "num_samples": 8}
    found = listed(draw.call(explain, model, X, seed=draw.whole(0, 99), **options))
    for b, one in enumerate(found):
        own = X.output_id == b
        draw.true(not one.mask[~own].any(), "other samples' terms are not kept")
        decision = Nested(model, X.take(torch.tensor([b])), rel_tol=rel_tol)
        promised(draw, decision, one, one.mask[own], search)
        again = from_json([draw.call(one.to_json)], model.schema)
        with torch.no_grad():
            p = model(again).softmax(1)[0].double()
        others = torch.cat((p[: one.target], p[one.target + 1 :]))
        draw.close(p[one.target] - others.max(), one.gap, 1e-6, 1e-6, what="the document's gap")


@case()
def clusters(draw: Draw) -> None:
    """Terms of one id move together, in one sample or across several, whose searches they join."""
    model, X = problems.tensors(draw.of("linear", "net", "pairs"), draw.seed, 2)
    ids = torch.arange(20).view(2, 10)
    for _ in range(draw.whole(0, 3)):
        ids.view(-1)[draw.whole(0, 19)] = ids.view(-1)[draw.whole(0, 19)]
    search = draw.of("flat_hadd", "flat_harr", "flat_garr", "flat_harrft")
    draw.note(ids=ids.tolist(), search=search, seed=draw.seed)
    found = draw.call(explain, model, X, clusters=draw.of(ids, ids.view(2, 2, 5)), search=search, num_samples=10)
    masks = torch.stack([one.mask.flatten() for one in found])
    for name in ids.unique().tolist():
        draw.true(len(masks[ids == name].unique()) == 1, f"cluster {name} moves together")
    for x, one in zip(X, found, strict=True):
        decision = naive.Decision(model, x)
        draw.close(one.gap, decision.gap(one.mask.flatten()), 1e-9, 1e-10, what="the gap")
        draw.true(one.gap >= decision.threshold - EDGE, "the part stands")


@case(weight=2)
def other_criteria(draw: Draw) -> None:
    """A function of the outputs, or values within a tolerance, each sample with its own."""
    model, X = problems.tensors(draw.of("linear", "net", "gru"), draw.seed, B := draw.whole(1, 3))
    search = draw.of(*(name for name in SEARCHES if not name.startswith("lbyl")))
    regression, allowed = draw.chance(), draw.uniform(B) * draw.of(0.1, 1.0)
    name = draw.of(*HEURISTICS, "gnn:steps=2,size=0.1")
    draw.note(B=B, search=search, regression=regression, allowed=allowed, heuristic=name, seed=draw.seed)
    what = {"output": "regression", "tolerance": allowed} if regression else {"criterion": _odds, "abs_tol": allowed}
    found = listed(draw.call(explain, model, X, search=search, heuristic=name, num_samples=8, **what))
    for x, most, one in zip(X, allowed.tolist(), found, strict=True):

        def kept(mask: Tensor, x: Tensor = x) -> float:
            with torch.no_grad():
                rows = torch.stack((torch.where(mask.view(x.shape), x, 0.0), x))
                outputs = model(rows)
            lost = -(outputs[0] - outputs[1]).abs().max() if regression else _odds(outputs.softmax(1)).diff()[0].neg()
            return float(lost)

        mask = one.mask.flatten()
        draw.true(kept(mask) >= -most - EDGE, "the part keeps what it must")
        if not search.endswith("add"):
            smaller = [kept(naive.without(mask, i)) for i in mask.nonzero()[:, 0].tolist()]
            draw.true(all(value < -most + EDGE for value in smaller), "no single term can go")


def _odds(p: Tensor) -> Tensor:
    return p[:, 0] - 0.3 * p[:, 1:].square().sum(dim=1)


@case()
def files(draw: Draw) -> None:
    model, X = problems.tensors("net", draw.seed, 1) if draw.chance() else problems.nested(draw.seed, 1)
    one = draw.call(explain, model, X, heuristic="random")
    path = draw.folder / "part"
    draw.call(one.save, path)
    again = draw.call(SufficientExplanation.load, path)
    mine, theirs = vars(one), vars(again)
    draw.equal(sorted(theirs), sorted(mine))
    for name, value in mine.items():
        draw.equal(theirs[name], value, what=name)
