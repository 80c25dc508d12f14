"""Methods side by side where the truth is known, then the mask families: ``python -m studies.methods`` (`make study`).

With a GRU trained as in the WinIT paper and, where that would take long, with a smaller one. Half an hour on one idle
core.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rambit.compare import compare
from studies import RESULTS, masks

BUILD = Path("build/study")
#: Values from a trained generator, three for each cell.
GENERATED = "cf=generator,S=3"
METHODS = (
    "winit:W=10,S=3",
    "winit:aggregate=max,W=10,S=3",
    f"rambit:{GENERATED},L=5,W=10",
    f"rambit:{GENERATED},reduce=max,L=5,W=10",
    f"leave-one-out:{GENERATED},W=10",
    f"leave-one-out:{GENERATED},W=1",
    f"rambit:{GENERATED},masks=permutation,L=20,W=1",
    f"rambit:{GENERATED},masks=bernoulli,p=0.3,L=20,W=1",
    "rambit:cf=marginal,L=5,W=10,S=3",
    "rambit:anchor=mask,cf=marginal,L=5,W=10,S=3",
    "fo",
    "afo",
    "random",
)
#: Each run's data, seeds and settings: those of the WinIT paper are the defaults.
RUNS: dict[str, dict[str, Any]] = {
    "paper": {"data": ("spike", "spike:delay=2"), "seeds": (0, 1)},
    "learned": {
        "data": ("state:truth=change", "state:truth=active", "redundant_spike"),
        **asdict(masks.DEFAULT),
    },
}


def main() -> None:
    """Make what is not there yet, print the tables and keep them in results/study."""
    for name, run in RUNS.items():
        table = compare(methods=METHODS, out=BUILD / name, show_progress=sys.stderr.isatty(), **run)
        table.save(RESULTS / "study", name)
        print(table, end="\n\n")
    masks.main(["--out", str(BUILD / "learned")])  # on the same models
    for kind in ("csv", "txt", "png"):
        shutil.copy(BUILD / "learned" / f"study.{kind}", RESULTS / "study")


if __name__ == "__main__":
    main()
