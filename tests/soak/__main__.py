"""python -m tests.soak --seconds 60 [--seed N] [--only NAME ...]: a summary by function, exit code 1 on a mismatch."""

from __future__ import annotations

import argparse
import datetime
import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

from tests.soak import engine


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, help="how long to go on")
    parser.add_argument("--cases", type=int, help="how many cases to run")
    parser.add_argument("--seed", type=int, default=today(), help="of the run; default: today's date")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="cases whose names begin so")
    parser.add_argument("--case", type=int, metavar="SEED", help="one case again, alone, with this seed")
    parser.add_argument("--verbose", action="store_true", help="name each case before it runs, to find one that hangs")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    args = parser.parse_args(arguments)
    try:
        selected = engine.chosen(args.only)
    except ValueError as error:
        parser.error(str(error))
    if args.list:
        print("\n".join(one.name for one in selected))
        return 0
    if args.case is not None:
        tallies = {one.name: engine.Tally() for one in selected}
        for one in selected:
            engine.run(one, args.case, tallies[one.name], print)
    else:
        print(f"python -m tests.soak --seed {args.seed}")
        tallies = engine.soak(args.seed, seconds=args.seconds, cases=args.cases, only=args.only, verbose=args.verbose)
    print(engine.table(tallies))
    return int(engine.failed(tallies))


def today() -> int:
    """20261231 on the last day of 2026."""
    return int(datetime.date.today().strftime("%Y%m%d"))


if __name__ == "__main__":
    sys.exit(main())
