"""rex-xai's two steps, a responsibility map and what is extracted from it, over our search and extraction."""

from __future__ import annotations

import math
from collections.abc import ItemsView, KeysView, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit.checks import one_of, warn
from rambit.compat.rex.causal_args import CausalArgs
from rambit.compat.rex.data import Data
from rambit.rex import Decision, RexExplanation, Strategy
from rambit.rex import ReX as Explainer
from rambit.rex.evaluation import evaluate
from rambit.rex.extraction import Found, extract
from rambit.rex.extraction.families import dice, largest_family

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Map = npt.NDArray[np.float32]
#: How far a prediction function's confidence may be from its own probabilities, relative to it.
CONFIDENCE = 1e-3


class ResponsibilityMaps:
    """Maps by class as rex-xai holds them, float32 (H, W), (1, T) or (H, W, D).

    logs: in our axes (Z, H, W), sums of logarithms that order positions where the target's map underflowed, or None.
    """

    def __init__(self, maps: dict[int, Map], logs: Tensor | None = None) -> None:
        self.maps, self.logs = maps, logs

    def __repr__(self) -> str:
        return f"ResponsibilityMaps of classes {sorted(self.maps)}"

    def get(self, k: int, increment: bool = False) -> Map | None:
        """The map of a class, or None."""
        return self.maps.get(k)

    def items(self) -> ItemsView[int, Map]:
        """Classes and maps, in the order in which the classes were seen."""
        return self.maps.items()

    def keys(self) -> KeysView[int]:
        """The classes that were seen."""
        return self.maps.keys()

    def len(self) -> int:
        """How many classes were seen."""
        return len(self.maps)

    def subset(self, id: int) -> None:
        """Keep the map of one class."""
        self.maps = {id: self.maps[id]}


def calculate_responsibility(
    data: Data, args: CausalArgs, prediction_func: Any
) -> tuple[ResponsibilityMaps, dict[str, int]]:
    """The responsibility map of every class seen, and counts of mutants that pass and fail, and of the depth reached.

    With equal seeds and a model with equal outputs the maps are rex-xai's, bit for bit; `negative_responsibility` is
    applied. The rows of a call are as many as fit, whatever `batch_size` says. Raises ValueError or TypeError naming
    the argument, and NoExplanationError where no part passes.
    """
    explainer, decision = _decision(data, args, prediction_func)
    result = explainer.responsibility(decision)
    maps = {label: data.map_of_theirs(map_) for label, map_ in result.maps.items()}
    logs = result.log_maps.get(decision.target)
    passing = result.stats["passing"]
    return ResponsibilityMaps(maps, None if logs is None else torch.from_numpy(logs)), {
        "total_passing": passing,
        "total_failing": result.stats["mutants"] - passing,
        "max_depth_reached": result.stats["depth"],
    }


def _decision(data: Data, args: CausalArgs, prediction_func: Any) -> tuple[Explainer, Decision]:
    """Our explainer with these settings, and the decision about this input. Raises ValueError or TypeError."""
    target = data.target
    if getattr(target, "classification", None) is None or target.confidence is None:
        raise ValueError(f"data.target must be a prediction, as predict_target makes it, got {target!r}")
    options = {**args.options(), "mask_value": data.replacement(args.mask_value)}
    explainer = Explainer(data.predictor(prediction_func), **options)
    decision = explainer.decision(data.x(), target=target.classification)
    if not math.isclose(decision.confidence, target.confidence, rel_tol=CONFIDENCE):
        raise ValueError(
            f"prediction_func must give data one confidence, got {target.confidence:.4f}, and with raw=True "
            f"{decision.confidence:.4f}"
        )
    return explainer, decision


class Explanation:
    """Parts of an input that suffice for its class, taken from a responsibility map by the strategy in `args`.

    After `extract`: sufficiency_mask, bool like one row of the data, True = kept, and sufficiency_confidence; of the
    strategy contrastive, necessity_mask and necessity_confidence, and the class and confidence without that part,
    contrastive_classification and contrastive_confidence; with `args.complete`, complete_mask, what must be added for
    the whole input's confidence, None where nothing must. `result` is all of it as a `RexExplanation` of ours.

    Raises ValueError without a target or without its map.
    """

    def __init__(
        self,
        maps: ResponsibilityMaps,
        prediction_func: Any,
        data: Data,
        args: CausalArgs,
        run_stats: dict[str, int],
        keep_all_maps: bool = False,
    ) -> None:
        if data.target is None or maps.get(data.target.classification) is None:
            raise ValueError("data.target must be a prediction of a class that maps hold")
        if not keep_all_maps:
            maps.subset(data.target.classification)
        self.maps, self.run_stats = maps, run_stats
        self.prediction_func, self.data, self.args = prediction_func, data, args
        self.target_map = torch.from_numpy(np.ascontiguousarray(maps.get(data.target.classification))).to(data.device)
        self.sufficiency_mask: Tensor | None = None
        self.sufficiency_confidence: float | None = None
        self.necessity_mask: Tensor | None = None
        self.necessity_confidence: float | None = None
        self.contrastive_classification: int | None = None
        self.contrastive_confidence: float | None = None
        self.complete_mask: Tensor | None = None
        self.result: RexExplanation | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.data}, {self.result if self.result else 'nothing extracted yet'})"

    @property
    def final_mask(self) -> Tensor | None:
        """The older name of sufficiency_mask."""
        return self.sufficiency_mask

    def extract(self, strategy: Strategy | None = None) -> None:
        """Find the parts; a strategy given here, as before 0.4, replaces the one in `args`.

        Raises NoExplanationError where there are none.
        """
        if strategy is not None:
            self.args.strategy = strategy
        explainer, decision = _decision(self.data, self.args, self.prediction_func)
        found = self._extract(decision, explainer, explainer.strategy)
        self.result = self._result(explainer, decision, found)
        self.sufficiency_mask, self.sufficiency_confidence = self._mask(found.mask), found.confidence
        if found.necessary is None:
            return
        self.necessity_mask = self._mask(found.necessary)
        both = torch.stack((found.necessary.flatten(), ~found.necessary.flatten()))
        classes, confidences = decision.masks(both.to(decision.game.device))
        self.necessity_confidence = float(confidences[0])
        self.contrastive_classification, self.contrastive_confidence = int(classes[1]), float(confidences[1])
        added = None if found.complete is None else found.complete & ~found.necessary
        self.complete_mask = self._mask(added) if added is not None and added.any() else None

    def _extract(self, decision: Decision, explainer: Explainer, strategy: Any) -> Found:
        """What the strategy finds, over our grid."""
        map_ = self.data.map_of_ours(self.target_map)
        return extract(decision, map_, strategy, explainer, logs=self.maps.logs, seed=explainer.seed)

    def _result(self, explainer: Explainer, decision: Decision, found: Found) -> RexExplanation:
        """What was found as one of ours; a warning where it is nothing."""
        if not found.mask.any():
            warn("what replaces the input has its class by itself: nothing is kept; rex-xai keeps the first chunk")
        stats = self.run_stats
        x = self.data.x()
        return RexExplanation(
            responsibility=self.data.map_of_ours(self.target_map),
            maps={k: self.data.map_of_ours(torch.from_numpy(np.ascontiguousarray(v))) for k, v in self.maps.items()},
            mask=found.mask,
            target=decision.target,
            confidence=found.confidence,
            area=float(found.mask.double().mean()),
            stats={
                "mutants": stats["total_passing"] + stats["total_failing"],
                "passing": stats["total_passing"],
                "depth": stats["max_depth_reached"],
            },
            settings=explainer.settings(),
            seed=explainer.seed,
            necessary=found.necessary,
            complete=found.complete,
            spotlights=found.spotlights,
            outputs=decision.outputs.to(x.device),
            x=x,
        )

    def _mask(self, mask: Tensor) -> Tensor:
        """A mask over our grid as rex-xai's, like one row of the data."""
        x = self.data.x()
        return self.data.theirs(mask.reshape(1, 1, *x.shape[2:]).expand(x.shape))[0].to(self.data.device)

    def show(self, path: str | Path | None = None) -> Figure:
        """The map over the input and the parts cut out of it, saved if there is a path. Raises as `extract` does."""
        if self.result is None:
            self.extract()
        assert self.result is not None
        return self.result.plot(path, x=self.data.picture())

    def save(self, path: str | Path, mask: Any = None) -> None:
        """Draw what `show` shows to a file, whatever the mask."""
        self.show(path)

    def heatmap_plot(self, path: str | Path | None = None) -> Figure:
        """The map over the input, in the colours of `args.heatmap_colours`."""
        from rambit import plots

        return plots.explanation(
            self.data.map_of_ours(self.target_map),
            x=self.data.picture()[0],
            path=path,
            cmap=self.args.heatmap_colours,
        )

    def surface_plot(self, path: str | Path | None = None) -> Figure:
        """The map as a surface. Raises ValueError for an input that is no image, ImportError without matplotlib."""
        if self.data.mode != "RGB":
            raise ValueError(f"surface_plot is for images, got an input of mode {self.data.mode}")
        from rambit import plots

        return plots.surface(self.target_map, path=path, cmap=self.args.heatmap_colours)


class MultiExplanation(Explanation):
    """Several parts that each suffice: `explanations`, masks, and `explanation_confidences`.

    The first is the strategy global's, the others are those of circles at random places, smallest first.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.explanations: list[Tensor] = []
        self.explanation_confidences: list[float] = []
        self._parts: list[Tensor] = []

    def extract(self, strategy: Strategy | None = None) -> None:
        """Find `args.spotlights` parts, of which some may fail. Raises NoExplanationError where none suffices."""
        if strategy is not None:
            self.args.strategy = strategy
        explainer, decision = _decision(self.data, self.args, self.prediction_func)
        best = self._extract(decision, explainer, Strategy.Global)
        explainer.permitted_overlap = 1.0  # all of them: `separate_by` chooses
        found = self._extract(decision, explainer, Strategy.MultiSpotlight)
        assert found.spotlights is not None
        others = [mask for mask in found.spotlights if not torch.equal(mask, best.mask)]
        self._parts = [best.mask, *others]
        flat = torch.stack(self._parts).flatten(1).to(decision.game.device)
        self.explanations = [self._mask(mask) for mask in self._parts]
        self.explanation_confidences = decision.masks(flat)[1].tolist()
        self.sufficiency_mask, self.sufficiency_confidence = self.explanations[0], best.confidence
        self.result = self._result(explainer, decision, replace(found, spotlights=torch.stack(self._parts)))

    def separate_by(self, dice_coefficient: float, reverse: bool = True) -> list[tuple[int, ...]]:
        """The largest sets of explanations of which no two overlap more than this, the one of least area first.

        dice_coefficient: twice what two share over the sum of both, 0 to 1. Raises ValueError before `extract`.
        """
        if not self._parts:
            raise ValueError("extract must come before separate_by")
        flat = torch.stack(self._parts).flatten(1)
        apart = (dice(flat) <= dice_coefficient).tolist()
        areas = flat.sum(1).tolist()
        size = len(largest_family(flat, dice_coefficient))
        families = combinations(range(len(areas)), size)
        found = [family for family in families if all(apart[i][j] for i, j in combinations(family, 2))]
        return sorted(found, key=lambda family: sum(areas[i] for i in family))

    def show(  # type: ignore[override]
        self, multi_style: str | None = None, clauses: Sequence[Sequence[int]] | None = None
    ) -> list[Figure]:
        """A picture of each set of explanations, of all without `clauses`; of multi_style "separate", one of each.

        Raises ValueError naming multi_style.
        """
        return [part.plot(x=self.data.picture()) for part in self._pictured(multi_style, clauses).values()]

    def save(
        self,
        path: str | Path,
        mask: Any = None,
        clauses: Sequence[int] | Sequence[Sequence[int]] | None = None,
        multi_style: str | None = None,
    ) -> None:
        """Draw what `show` shows; pictures of `clauses`, one or some, and separate ones have numbers in their names."""
        one = clauses is not None and all(isinstance(entry, int) for entry in clauses)
        sets: Any = [clauses] if one else clauses
        for numbers, part in self._pictured(multi_style, sets).items():
            name = Path(path)
            part.plot(name if numbers is None else name.with_stem(f"{name.stem}_{numbers}"), x=self.data.picture())

    def _pictured(self, multi_style: str | None, clauses: Sequence[Sequence[int]] | None) -> dict[Any, RexExplanation]:
        """What goes into each picture, by the numbers of its explanations; None of all of them."""
        style = one_of("multi_style", multi_style or self.args.multi_style, ("composite", "separate"))
        if self.result is None:
            self.extract()
        assert self.result is not None
        everything = tuple(range(len(self._parts)))
        sets: dict[Any, Sequence[int]] = {None: everything} if clauses is None else {tuple(one): one for one in clauses}
        if style == "separate":
            sets = {i: [i] for one in sets.values() for i in one}
        return {
            numbers: replace(self.result, spotlights=torch.stack([self._parts[i] for i in one]))
            for numbers, one in sets.items()
        }


def analyze(exp: Explanation, data_mode: str | None = None) -> dict[str, float | None]:
    """rex-xai's measures by our definitions, see `rambit.rex.Evaluation`, of the necessary part if there is one.

    insertion_curve, deletion_curve: areas in units of positions times probability, or with `args.normalise_curves`
    relative to all positions at the target's confidence. entropy: of images. Raises ValueError before `extract`.
    """
    if exp.result is None:
        raise ValueError("extract must come before analyze")
    _, decision = _decision(exp.data, exp.args, exp.prediction_func)
    part = exp.result.mask if exp.result.necessary is None else exp.result.necessary
    found = evaluate(decision, replace(exp.result, mask=part), step=exp.args.insertion_step)
    unit = 1.0 if exp.args.normalise_curves else decision.confidence * decision.terms
    return {
        "area": float(part.double().mean()),
        "entropy": found.entropy if data_mode in (None, "RGB") else None,
        "robustness": found.robustness,
        "max_entropy": None,
        "insertion_curve": found.insertion * unit,
        "deletion_curve": found.deletion * unit,
    }
