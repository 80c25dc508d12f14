"""What `attribute` and `cost` have in common: the series chosen, the model, and RaMbIT as the flags say."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rambit import RaMbIT, arrays
from rambit.cli import common
from rambit.cli.models import Model, add_model, read_model
from rambit.cli.rambit_options import add_flags, check_size, make_attributor
from rambit.datasets import Dataset
from rambit.labels import Labels


def add_request(parser: common.Parser) -> None:
    """DATA, the model, which series, and RaMbIT's options."""
    common.add_data(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--series", metavar="0,3-7", help="only these, counted from 0")
    which.add_argument("--limit", metavar="N", type=common.whole(common.MOST_SEED), help="only the first N")
    parser.add_argument("--split", choices=("train", "test", "all"), help="the part of a data set (test)")
    add_model(parser)
    add_flags(parser)


@dataclass(frozen=True)
class Request:
    """Series X (B, D, T) with what is known about them, and who explains them.

    places: which of the series of DATA they are. known: ids, lengths and observed, as RaMbIT takes them. ends: the
    output at the end is explained because each series has one label.
    """

    data: Dataset
    name: str
    X: Tensor
    places: list[int]
    known: dict[str, Any]
    model: Model
    attributor: RaMbIT
    ends: bool

    @staticmethod
    def read(args: argparse.Namespace) -> Request:
        """Raises ValueError, TypeError, OSError or ImportError for whatever does not fit together."""
        common.check_file_options(args, "x", "layout")
        whole = common.is_file(args.data)
        if whole and args.split is not None:
            raise ValueError(f"--split is for data sets, but {args.data} is a file")
        part = args.split or "test"
        # Labels only choose the anchor, so a file may do without, and with an anchor nobody reads them.
        labels = None if hasattr(args, "anchor") else "y"
        data = common.read(args, None if part == "all" else part, y=labels, need_labels=False)
        name = args.data if whole else f"{args.data} ({part})"
        ends = labels is not None and data.y is not None and data.y.ndim == 1
        model = read_model(args, device=getattr(args, "device", None)).check_features(data.X.shape[1], args.data)
        attributor = make_ending(args, model) if ends else make_attributor(args, model.predictor)

        places = common.chosen(args.series, args.limit, len(data))
        data = data.take(places)
        X = torch.from_numpy(data.X)
        X = X.to(arrays.model_type(model.predictor.module) or X.dtype)
        check_size(args, attributor, X.shape)
        # With the places as ids a series gets the same draws alone as among all the others.
        known: dict[str, Any] = {"ids": torch.tensor(places)}
        if data.lengths is not None:
            known["lengths"] = torch.from_numpy(data.lengths)
        if bool(X.isnan().any()):
            known["observed"] = ~X.isnan()
        return Request(data, name, X, places, known, model, attributor, ends)

    @property
    def labels(self) -> Labels:
        """What the axes are called: classes as the checkpoint calls them."""
        return replace(self.data.labels, outputs=self.model.class_names or None)

    def called(self, i: int) -> str:
        """What the i-th series is called: by its name in a table, else by its place."""
        return self.data.series_names[i] if self.data.series_names else str(self.places[i])

    def rows(self) -> list[tuple[str, object]]:
        """What a report begins with."""
        count, features, steps = self.X.shape
        rows: list[tuple[str, object]] = [
            ("series", f"{count} of {self.name}: {features} features, {steps} steps"),
        ]
        return [*rows, ("anchor", ENDS)] if self.ends else rows


#: What is said where the anchor was chosen.
ENDS = "end, since each series has one label; --anchor says otherwise"


def make_ending(args: argparse.Namespace, model: Model) -> RaMbIT:
    """RaMbIT with anchor=end, though nobody named it. Raises ValueError, saying so where the anchor is the reason."""
    args.anchor = "end"
    try:
        return make_attributor(args, model.predictor)
    except ValueError as error:
        if "anchor" not in str(error):
            raise
        raise ValueError(f"{error} (anchor is {ENDS})") from error
