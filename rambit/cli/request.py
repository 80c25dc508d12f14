"""What `attribute` and `cost` have in common: the series chosen, the model, and RaMbIT as the flags say."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rambit import RaMbIT
from rambit.cli import common
from rambit.cli.rambit_options import add_flags, check_size, make_attributor
from rambit.datasets import Dataset
from rambit.models import Classifier


def add_request(parser: common.Parser) -> None:
    """DATA, the model, which series, and RaMbIT's options."""
    common.add_data(parser)
    parser.add_argument("--model", metavar="FILE", required=True, help="a checkpoint that `rambit train` wrote")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--series", metavar="0,3-7", help="only these, counted from 0")
    which.add_argument("--limit", metavar="N", type=common.whole(common.MOST_SEED), help="only the first N")
    parser.add_argument("--split", choices=("train", "test", "all"), help="the part of a data set (test)")
    add_flags(parser)


@dataclass(frozen=True)
class Request:
    """Series X (B, D, T) with what is known about them, and who explains them."""

    data: Dataset
    name: str
    X: Tensor
    known: dict[str, Any]  # ids, lengths and observed, as RaMbIT takes them
    model: Classifier
    notes: dict[str, Any]
    attributor: RaMbIT

    @staticmethod
    def read(args: argparse.Namespace) -> Request:
        """Raises ValueError, TypeError, OSError or ImportError for whatever does not fit together."""
        common.check_file_options(args, "x", "layout")
        whole = common.is_file(args.data)
        if whole and args.split is not None:
            raise ValueError(f"--split is for data sets, but {args.data} is a file")
        part = args.split or "test"
        # Labels are not needed, so a file may do without.
        data = common.read(args, None if part == "all" else part, y=None)
        name = args.data if whole else f"{args.data} ({part})"
        model, notes = common.read_model(args.model, data.X.shape[1], args.data)
        attributor = make_attributor(args, model)

        places = common.chosen(args.series, args.limit, len(data))
        data = data.take(places)
        X = torch.from_numpy(data.X).to(next(model.parameters()).dtype)
        check_size(args, attributor, X.shape)
        # With the places as ids a series gets the same draws alone as among all the others.
        known: dict[str, Any] = {"ids": torch.tensor(places)}
        if data.lengths is not None:
            known["lengths"] = torch.from_numpy(data.lengths)
        if bool(X.isnan().any()):
            known["observed"] = ~X.isnan()
        return Request(data, name, X, known, model, notes, attributor)

    def describe(self) -> str:
        """The series in one line."""
        count, features, steps = self.X.shape
        return f"{count} of {self.name}: {features} features, {steps} steps"
