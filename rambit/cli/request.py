"""What `attribute` and `cost` have in common: the series chosen, the model, and the method as the flags say."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rambit import arrays
from rambit.attribution.attributor import Attributor
from rambit.cli import common
from rambit.cli.models import Model, add_model, read_model
from rambit.cli.rambit_options import add_flags, check_size, is_anchor_open, make_attributor
from rambit.datasets import Dataset
from rambit.labels import Labels
from rambit.output_names import are_names
from rambit.text import listed


def add_request(parser: common.Parser) -> None:
    """DATA, the model, which series, the method and its options."""
    common.add_data(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--series", metavar="0,3-7", help="only these series, counted from 0")
    which.add_argument("--limit", metavar="N", type=common.whole(common.MOST_SEED), help="only the first N series")
    parser.add_argument("--split", choices=("train", "test", "all"), help="the part of a data set (test)")
    add_model(parser)
    add_flags(parser)


@dataclass(frozen=True)
class Request:
    """Series X (B, D, T) with what is known about them, and who explains them.

    places: which of the series of DATA they are. known: ids, lengths and observed, as attributors take them. ends: the
    output at the end is explained because each series has one label. text: the method as it was named. borrows: the
    outputs are called as the labels of DATA, since one was given by name and the model names none.
    """

    data: Dataset
    name: str
    X: Tensor
    places: list[int]
    known: dict[str, Any]
    model: Model
    attributor: Attributor
    ends: bool
    text: str
    borrows: bool

    @staticmethod
    def read(args: argparse.Namespace) -> Request:
        """Raises ValueError, TypeError, OSError or ImportError for whatever does not fit together."""
        common.check_file_options(args, "x", "layout")
        whole = common.is_file(args.data)
        if whole and args.split is not None:
            raise ValueError(f"--split is for data sets, but {args.data} is a file")
        part = args.split or "test"
        # Labels only choose the anchor and name outputs, so a file may do without, and else nobody reads them.
        by_name = names_outputs(args)
        labels = "y" if by_name or is_anchor_open(args) else None
        data = common.read(args, None if part == "all" else part, y=labels, need_labels=False)
        name = args.data if whole else f"{args.data} ({part})"
        ends = is_anchor_open(args) and data.y is not None and data.y.ndim == 1
        model = read_model(args, device=getattr(args, "device", None)).check_features(data.X.shape[1], args.data)
        borrows = by_name and not model.class_names
        if borrows and not data.class_names:
            raise ValueError(f"--target must be a number: neither {args.model} nor {args.data} names the outputs")
        attributor = make_ending(args, model) if ends else make_attributor(args, model)

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
        return Request(data, name, X, places, known, model, attributor, ends, args.method.text, borrows)

    @property
    def labels(self) -> Labels:
        """What the axes are called: classes as the model calls them, unless only DATA does."""
        return self.data.labels if self.borrows else replace(self.data.labels, outputs=self.model.class_names or None)

    def called(self, i: int) -> str:
        """What the i-th series is called: by its name in a table, else by its place."""
        return self.data.series_names[i] if self.data.series_names else str(self.places[i])

    def rows(self) -> list[tuple[str, object]]:
        """What a report begins with."""
        count, features, steps = self.X.shape
        rows: list[tuple[str, object]] = [
            ("series", f"{count} of {self.name}: {features} features, {steps} steps"),
        ]
        rows += [("method", self.text)] if self.text != "rambit" else []
        rows += [("anchor", ENDS)] if self.ends else []
        classes = f"called as the labels of {self.name}: {listed(self.data.class_names)}; the model names none"
        return [*rows, ("classes", classes)] if self.borrows else rows


#: What is said where the anchor was chosen.
ENDS = "end, since each series has one label; --anchor says otherwise"


def names_outputs(args: argparse.Namespace) -> bool:
    """Whether --target or --targets, which `cost` does not have, say outputs by name."""
    targets = getattr(args, "targets", None)
    return are_names(getattr(args, "target", None)) or (targets != "all" and are_names(targets))


def make_ending(args: argparse.Namespace, model: Model) -> Attributor:
    """The method with anchor=end, though nobody named it. ValueError, saying so where the anchor is the reason."""
    args.anchor = "end"
    try:
        return make_attributor(args, model)
    except ValueError as error:
        if "anchor" not in str(error):
            raise
        raise ValueError(f"{error} (anchor is {ENDS})") from error
