"""Whether RaMbIT needs settings: its default beside others of its settings and other methods, where the truth is known.

``python -m studies.defaults`` (hours on one core; it goes on where it was stopped). A GRU of 50 units; of each set the
first 40 test series. Masks that are learned by gradient descent take most of the time: they have one seed, all else
five.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rambit.compare import table
from rambit.compare.figures import cost, png
from rambit.compare.methods import parse
from rambit.compare.runs import Settings, Study, open_folder
from rambit.compare.table import Line
from studies import RESULTS, masks

BUILD = Path("build/defaults")
SEEDS = (0, 1, 2, 3, 4)
#: Sets with a label at every step, then those of whole series, as large as a GRU needs to learn them in a minute.
DATA = (
    "spike:n=1500",
    "spike:n=1500,delay=2",
    "redundant_spike:n=1500",
    "state:n=500,truth=active",
    "state:n=500,truth=change",
    "hmm:n=500,truth=active",
    "switch_feature:n=600,truth=active",
    "l2x:n=600",
    "freq_shapes:n=2000",
    "static_covariate:n=1500",
    "forecast_linear:n=1500",
    "low_var:n=1500,T=80",
    "seqcomb_uv:n=1500,T=120",
    "seqcomb_mv:n=1500,T=120",
)
DEFAULT = "rambit"
#: Other settings of RaMbIT: the default before with fewer masks and draws, and what did well on some train part.
OURS = (
    "rambit:cf=marginal,L=5,S=3",
    "rambit:cf=generator,S=3,reduce=mean,masks=permutation,L=20,W=1",
    "rambit:cf=marginal,masks=bernoulli,p=0.3,L=60,S=1,share_draws=false,W=1",
    "leave-one-out:cf=mean,W=1",
)
OTHERS = ("winit:aggregate=max,W=10,S=3", "gradients", "fo", "afo", "occlusion", "shapley:num_permutations=3", "random")
LEARNED = ("dynamask:epochs=200", "extremal-mask:epochs=200")
#: RaMbIT's settings, and the other methods.
GROUPS = ((DEFAULT, *OURS), (*OTHERS, *LEARNED))
SETTINGS = Settings.read({"series": 40, "generator_epochs": 5}, masks.DEFAULT)
SHOWN = ("auprc", "auroc")
NOTE = (
    "rambit: RaMbIT(model, background=...) with no other argument; its rows leave out those by which it chooses W. ±: "
    "standard error over seeds; the learned masks have one. Chosen on train parts, reported on test parts."
)


def plan(methods: Sequence[str], seeds: Sequence[int]) -> Study:
    """These methods on all sets."""
    return Study.plan(DATA, [parse(text) for text in methods], seeds, SETTINGS, BUILD, show_progress=False)


def main() -> None:
    """Make what is not there yet, print the tables and keep them in results/defaults."""
    BUILD.mkdir(parents=True, exist_ok=True)
    open_folder(BUILD, SETTINGS, force=False)
    keep(run(show_progress=sys.stderr.isatty()))


def run(*, show_progress: bool) -> list[str]:
    """Explain what is not explained yet, seed by seed; a note for each method that does not serve a set."""
    notes = plan((DEFAULT, *OURS, *OTHERS), SEEDS[:1]).run(show_progress=show_progress)
    notes += plan(LEARNED, SEEDS[:1]).run(show_progress=show_progress)
    for seed in SEEDS[1:]:
        plan((DEFAULT, *OURS, *OTHERS), [seed]).run(show_progress=show_progress)
    return notes


def keep(notes: Sequence[str], seeds: Sequence[int] = SEEDS) -> None:
    """Tables and figure of what is explained so far with these seeds."""
    study = plan((DEFAULT, *OURS, *OTHERS, *LEARNED), seeds)
    lines = [line for line in table.read(study)[0] if line.values]
    text = f"{summary(lines)}\n\n{table.to_text(study, lines, [*notes, NOTE], SHOWN)}"
    folder = RESULTS / "defaults"
    folder.mkdir(exist_ok=True)
    files = {".csv": table.to_csv(table.to_rows(lines)), ".txt": (text + "\n").encode()}
    table.write(folder, "defaults", {**files, ".png": png(cost(lines, SHOWN[:1]))})
    print(text)


def summary(lines: Sequence[Line]) -> str:
    """AUPRC of the default, of the best of RaMbIT's settings, and of the best other method, by set."""
    rows = [f"{'AUPRC':36}{'default':>16}{'best of RaMbIT':>16}{'best other':>16}  which"]
    for name in dict.fromkeys(line.data for line in lines):
        here = {line.method: line for line in lines if line.data == name and line.values}
        best = [max((here[m] for m in group if m in here), key=lambda line: line.mean("auprc")) for group in GROUPS]
        scores = "".join(f"{line.text('auprc'):>16}" for line in (here[DEFAULT], *best))
        rows.append(f"{name:36}{scores}  {', '.join(line.method for line in best)}")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
