"""The four systems in one table: ``python -m studies.systems`` (`make compare`). Minutes on one core.

With no known truth on BasicMotions, with one on Spike.
"""

from __future__ import annotations

import sys
from typing import Any

from rambit.compare import compare
from studies import RESULTS

DATA = ("BasicMotions", "spike:n=1000")
METHODS = (
    "selection:k=10,epochs=200",
    "rambit:cf=marginal,L=5,S=3",
    "winit:W=10,S=3",
    "rex:iters=5",
    "sufficient:num_samples=100",
    "random",
)
#: Small, so that the table is quickly made.
SIZES: dict[str, Any] = {
    "hidden": 32,
    "head": "linear",
    "epochs": 20,
    "batch_size": 10,
    "lr": 5e-3,
    "weight_decay": 0.0,
    "dropout": 0.0,
    "generator_epochs": 5,
}


def main() -> None:
    """Make what is not there yet, print the table and keep it in results/compare."""
    table = compare(DATA, METHODS, out="build/compare", show_progress=sys.stderr.isatty(), **SIZES)
    table.save(RESULTS / "compare")
    print(table)


if __name__ == "__main__":
    main()
