"""`rambit cost`: what `rambit attribute` would evaluate, without calling the model."""

from __future__ import annotations

import argparse

from rambit.cli import common
from rambit.cli.request import Request, add_request

EPILOG = """\
example:
  rambit cost BasicMotions --model model.safetensors --background train --anchor end --L 10 --num-samples 3

A row is one masked input that the model evaluates; a row-step is one step of one row, the unit of cost of a
model that walks through time. Modes marked "unconfirmed" are what the model claims; attribute checks the claim.
The options that say where results go, and --target, --tolerance, --max-rows and --checkpoint, are attribute's only.
"""


def add(commands: common.Commands) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "cost",
        help="say what attribute would evaluate, without calling the model",
        usage="rambit cost DATA --model MODEL [options]",
        description="Says how much `rambit attribute` would evaluate with the same options.",
        epilog=EPILOG,
    )
    add_request(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print rows, row-steps, mode and the memory bound."""
    request = Request.read(args)
    cost = request.attributor.cost(request.X, **request.known)
    print(
        common.table(
            [
                *request.rows(),
                ("mode", cost.mode),
                ("rows", cost.rows),
                ("row-steps", cost.row_steps),
                ("memory", f"{cost.bytes} bytes at most, beside the model's own"),
            ]
        )
    )
