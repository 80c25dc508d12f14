"""`rambit rex`: which part of an image, a volume, a spectrum or a series a decision rests on."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from rambit.checks import has_channels_last
from rambit.cli import common
from rambit.cli.models import add_model, read_model
from rambit.cli.rex.array_files import ARRAYS, VOLUMES
from rambit.cli.rex.image_files import ImageFiles
from rambit.cli.rex.input_files import find_sources
from rambit.cli.rex.many import check_folder, explain_many
from rambit.cli.rex.measures import analysed, measured
from rambit.cli.rex.names import class_name, read_class_names
from rambit.cli.rex.pictures import add_pictures, check_pictures, draw, named
from rambit.cli.rex.replacement import replacing
from rambit.cli.rex.rex_options import CIRCLES, IMAGES, REX, add_options, read_options
from rambit.cli.rex.sources import Source
from rambit.datasets.dataset_files import TABLES
from rambit.labels import Labels
from rambit.output_names import numbers_of
from rambit.predictors.onnx import OnnxPredictor
from rambit.rex import ReX

INPUT_HELP = (
    f"an image file, a folder of image files, arrays ({' '.join(ARRAYS)}) of spectra (T,) or (N, T), series (N, D, T), "
    f"images (N, C, H, W) or volumes (N, C, Z, H, W), a volume ({' '.join(VOLUMES)}), a table of series "
    f"({' '.join(TABLES)}), or the name of a data set"
)
EPILOG = """\
examples:
  rambit rex cat.png --model zoo:mobilenet --size 224 --mean .485,.456,.406 --std .229,.224,.225 \\
      --out cat.safetensors --figure cat.png
  rambit rex cat.png --model net.onnx --labels imagenet.txt --target 281 --picture why_not.png --out why_not.safetensors
  rambit rex photos --model net.onnx --size 224 --settings rex.toml --out results --figure pictures
  rambit rex BasicMotions --model model.safetensors --series 3 --mask-value mean --out third.safetensors

The result holds the responsibility map and a small part of the input that suffices for the model's output.
--picture writes the explained image itself; --output, with which rex-xai names that file, says what the model returns.
Unsigned samples of up to 16 bits are read as 0 … 1; signed, 32-bit and float samples keep their values.
A settings file has the same names, with underscores, one a line:  iters = 30; or it is a rex.toml of rex-xai.
Of many inputs the results go into a folder, as they come; the same command goes on after an interruption. An input
for which no part suffices is named and left out.
In Python: rambit.rex.RexExplanation.load("cat.safetensors").mask
"""


def add(commands: common.Commands) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "rex",
        help="find the part of an image, a spectrum or a series that suffices for a decision",
        usage="rambit rex INPUT --model MODEL --out PATH [options]",
        description="Finds how responsible each part of an input is for a decision, and a small part that suffices.",
        epilog=EPILOG,
    )
    parser.add_argument("input", metavar="INPUT", help=INPUT_HELP)
    parser.add_argument("--x", metavar="NAME", help="the array in a file of several (X)")
    parser.add_argument("--recursive", action="store_true", help="the images of a folder's sub-folders too")
    parser.add_argument("--series", metavar="0,3-7", help="only these of many arrays, counted from 0")
    parser.add_argument("--out", metavar="PATH", required=True, help="the result (.safetensors); of many, a folder")
    parser.add_argument("--labels", metavar="FILE", help="what the classes are called: a name a line, or JSON")
    parser.add_argument(
        "--analyse",
        "--analyze",
        action="store_true",
        help="measure the explanation too: its area, entropy, insertion and deletion curves and robustness",
    )
    add_pictures(parser)
    common.add_force(parser)
    common.add_progress(parser)
    common.add_columns(parser)
    add_model(parser, output=False)
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Explain the input or inputs, write the files and print what was found."""
    given, args.read_from = read_options(args)
    images = ImageFiles({o.name: given.pop(o.name) for o in IMAGES if o.name in given})
    sources, many = find_sources(args, images)
    check_pictures(args, many=many)
    target = given.get("target")
    if many:
        check_folder("--out", args.out, args.input)
        args.checkpoint = args.out  # where the same command goes on after an interruption
        explainer, labels = _explainer(args, given, images)
        explain_many(args, explainer, sources, labels, target=_number(target, labels))
        return
    common.check_suffix("--out", args.out, ".safetensors")
    replacing_file = str(given["mask_value"]) if "mask_value" in given else None
    inputs = (args.input, args.model, args.settings, args.labels, replacing_file)
    with common.reserved((args.out, *named(args).values()), force=args.force, inputs=inputs) as place:
        explainer, labels = _explainer(args, given, images)
        _explain_one(args, explainer, sources[0], labels, place, target=_number(target, labels))


def _number(target: int | str | None, labels: Labels) -> int | None:
    """The class of --target, by its number. Raises TypeError or ValueError for a name that there is not."""
    if isinstance(target, str) and labels.outputs is None:
        raise ValueError(f"--target {target}: the model does not name its classes: --labels does, or give a number")
    return numbers_of("--target", target, labels.outputs) if isinstance(target, str) else target


def _explainer(args: argparse.Namespace, given: Mapping[str, Any], images: ImageFiles) -> tuple[ReX, Labels]:
    """ReX as the options say, and what classes are called; sizes and axes left open are read from an ONNX model."""
    settings = {option.name: given[option.name] for option in (*REX, *CIRCLES) if option.name in given}
    threshold = given.get("binary_threshold", 0.5)
    how = {"output": given.get("output", "auto"), "device": given.get("device"), "threshold": threshold}
    labels = Labels() if args.labels is None else Labels(outputs=read_class_names(args.labels))
    model = read_model(args, **how)
    predictor = model.predictor
    if not labels and model.class_names:
        labels = Labels(outputs=model.class_names)
    declared = predictor.declared if isinstance(predictor, OnnxPredictor) else ()
    settings.setdefault("layout", "NHWC" if has_channels_last(declared) else "NCHW")
    images.fit(declared, settings["layout"])
    explainer = ReX(predictor, **replacing(settings, given.get("noise"), images))
    return explainer, labels


def _explain_one(
    args: argparse.Namespace,
    explainer: ReX,
    source: Source,
    labels: Labels,
    place: common.Place,
    *,
    target: int | None,
) -> None:
    one, named_so = source.read(), source.labels.over(labels)
    started = time.perf_counter()
    found = explainer.explain(one.x, target=target, show_progress=common.shows_progress(args), labels=named_so)
    found = analysed(explainer, one.x, found) if args.analyse else found
    seconds = time.perf_counter() - started
    written = [place(args.out)]
    found.save(written[0], force=True)
    for option, path in named(args).items():
        written.append(place(path))
        draw(option, written[-1], args, explainer, found, one)
    kept = f"{found.area:.2%}, with a confidence of {found.confidence:.4f}"
    if not found.mask.any():
        kept = f"nothing: what replaces the input has the class by itself, with a confidence of {found.confidence:.4f}"
    if explainer.settings()["strategy"] == "map_only":
        kept = "all: only the map was made"
    necessary = [] if found.necessary is None else [("necessary", f"{float(found.necessary.double().mean()):.2%}")]
    rows: list[tuple[str, Any]] = [
        ("input", f"{args.input}: {' x '.join(map(str, one.x.shape[1:]))}"),
        *args.read_from,
        ("class", class_name(found, found.target)),
        *([] if found.predicted is None else [("instead of", class_name(found, found.predicted))]),
        ("kept", kept),
        *necessary,
        *([] if found.spotlights is None else [("explanations", len(found.spotlights))]),
        *found.stats.items(),
        *measured(found),
        ("seconds", f"{seconds:.2f}"),
        ("wrote", ", ".join(map(str, written))),
    ]
    print(common.table(rows))
