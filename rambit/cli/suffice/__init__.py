"""`rambit suffice`: the least of a series or of a JSON document that a model needs to decide the same."""

from __future__ import annotations

import argparse
from typing import Any

from rambit.cli import common
from rambit.cli.documents import JSON_HELP
from rambit.cli.models import add_model
from rambit.cli.suffice import documents, series
from rambit.sufficiency import HEURISTICS, SEARCHES
from rambit.sufficiency.reading import TERMS

EPILOG = """\
examples:
  rambit suffice BasicMotions --model model.safetensors --series 0-3 --terms timestamps --out kept
  rambit suffice --json botocore --model operations.safetensors --series 0-2
  rambit suffice --json documents.json --model mine.safetensors --search lbyl_harrft

With --json, DATA holds documents (a .json file with a list of them, .jsonl, or a folder of .json files), and the model
is one of `rambit train --json`; or DATA is botocore: operations of its service models, where the question is which are
paginated; a model that does not exist yet is then trained and kept. On a terminal the documents are shown with what
suffices highlighted, elsewhere that part alone is written. With --out, a table is written in their place, and of each
document N that part (N.json) and the result (N.safetensors).
In Python: rambit.sufficiency.explain(model, X)
"""


def add(commands: common.Commands) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "suffice",
        help="find the least of a series or document that a decision needs",
        usage="rambit suffice DATA --model MODEL [--json] [options]",
        description="Finds a small part of each series, or JSON document, with which the model still decides the same.",
        epilog=EPILOG,
    )
    common.add_data(parser)
    parser.add_argument("--json", action="store_true", help=f"{JSON_HELP}; or botocore")
    parser.add_argument(
        "--unknown",
        choices=("error", "ignore"),
        default="ignore",
        help="keys and types of documents that the model has not seen (ignore, and say how many)",
    )
    add_model(parser)
    parser.add_argument("--split", choices=("train", "test"), help="of a data set (test)")
    parser.add_argument("--series", metavar="0,3-7", help="only these series or documents, counted from 0")
    parser.add_argument("--limit", metavar="N", type=common.whole(common.MOST_SEED), help="only the first N")
    group = parser.add_argument_group("what is searched, and how")
    group.add_argument(
        "--heuristic",
        type=common.registered(HEURISTICS),
        default="banzhaf",
        metavar="NAME",
        help=f"what terms are ranked by: {', '.join(HEURISTICS)} (banzhaf); gnn:steps=50,size=0.01 sets options",
    )
    group.add_argument(
        "--search",
        choices=SEARCHES,
        default="flat_harr",
        metavar="NAME",
        help=f"how: {', '.join(SEARCHES)} (flat_harr)",
    )
    group.add_argument(
        "--rel-tol",
        metavar="X",
        type=float,
        default=0.9,
        help="how much of the whole's gap (the class's probability minus the next best's) a part keeps at least (0.9)",
    )
    group.add_argument("--abs-tol", metavar="X", type=float, help="or by how much the gap may fall")
    group.add_argument(
        "--num-samples",
        metavar="N",
        type=common.whole(),
        default=200,
        help="random masks or orders of the heuristic (200)",
    )
    group.add_argument(
        "--target", metavar="CLASS", type=common.output, help="the class explained, by number or name (the predicted)"
    )
    group.add_argument(
        "--seed", metavar="N", type=common.whole(common.MOST_SEED), default=0, help="of everything random (0)"
    )
    group.add_argument("--max-memory", metavar="SIZE", type=common.memory, help="what may be allocated (1G)")
    group.add_argument("--terms", choices=TERMS, help="of series: what is kept or not (cells)")
    group.add_argument(
        "--counterfactuals",
        choices=("zero", "mean", "uniform", "gaussian", "carry_forward", "interpolate"),
        help="of series: what stands where nothing is kept (zero)",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="a folder for the results (.safetensors, and the kept documents, .json)"
    )
    common.add_force(parser)
    common.add_progress(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Explain, write the files and print what was found."""
    options: dict[str, Any] = {
        name: getattr(args, name)
        for name in ("heuristic", "search", "rel_tol", "abs_tol", "num_samples", "target", "seed", "max_memory")
    }
    options["show_progress"] = common.shows_progress(args)
    (documents if args.json else series).run(args, options)
