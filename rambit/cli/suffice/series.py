"""`rambit suffice` for series."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import torch

from rambit.cli import common
from rambit.cli.models import Model, read_model
from rambit.cli.suffice import outputs
from rambit.cli.terminal import plain
from rambit.datasets import Dataset
from rambit.sufficiency import SufficientExplanation, explain


def run(args: argparse.Namespace, options: dict[str, Any]) -> None:
    """Explain series of a data set or file, and print a line for each."""
    common.check_file_options(args, "x", "layout")
    if args.split is not None and common.is_file(args.data):
        raise ValueError(f"--split is for data sets, but {args.data} is a file")
    data = common.read(args, args.split or "test", y=None)
    model = read_model(args).check_features(data.X.shape[1], args.data)
    places = common.chosen(args.series, args.limit, len(data))
    with outputs.files(args, places) as write:
        found = _explained(model, data.take(places), args, options)
        written = write(found)
    for place, explanation in zip(places, found, strict=True):
        print(plain(f"series {data.series_names[place] if data.series_names else place}: {explanation}"))
    if written:
        print(f"wrote {written} results into {args.out}")


def _explained(
    model: Model, data: Dataset, args: argparse.Namespace, options: dict[str, Any]
) -> list[SufficientExplanation]:
    X = torch.from_numpy(data.X)
    labels, predictor = replace(data.labels, outputs=model.class_names or None), model.predictor
    options |= {"terms": args.terms, "counterfactuals": args.counterfactuals or "zero"}
    found: list[SufficientExplanation] = []
    if data.lengths is None:
        output = explain(predictor, X, labels=labels, **options)
        found = output if isinstance(output, list) else [output]
    else:  # without the padding
        for b, length in enumerate(data.lengths.tolist()):
            named = labels.take(series=[b], times=range(length))
            one = explain(predictor, X[b : b + 1, :, :length], labels=named, **options)
            assert isinstance(one, SufficientExplanation)
            found.append(one)
    return found
