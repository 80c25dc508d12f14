"""Whether RaMbIT needs settings: its default beside others of its settings and other methods, where the truth is known.

``python -m studies.defaults`` (hours on one core; it goes on where it was stopped). A GRU of 50 units; of each set the
first 40 test series. Masks that are learned by gradient descent take most of the time: they have one seed, all else
five.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rambit.compare import table
from rambit.compare.methods import parse
from rambit.compare.runs import Settings, Study, open_folder
from rambit.compare.table import Line
from rambit.store import atomic_write
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
    "low_var:n=1500,T=120",
    "seqcomb_uv:n=1500,T=120",
    "seqcomb_mv:n=1500,T=120",
    "static_covariate:n=1500",
    "forecast_linear:n=1500",
)
DEFAULT = "rambit"
#: Other settings of RaMbIT: the default before, and what did well on some train part.
OURS = (
    "rambit:cf=marginal",
    "rambit:cf=generator,S=3,reduce=mean,masks=permutation,L=20,W=1",
    "rambit:cf=marginal,masks=bernoulli,p=0.3,L=60,S=1,share_draws=false,W=1",
    "leave-one-out:cf=mean,W=1",
)
OTHERS = ("winit:aggregate=max,W=10,S=3", "gradients", "fo", "afo", "occlusion", "shapley:num_permutations=3", "random")
LEARNED = ("dynamask:epochs=200", "extremal-mask:epochs=200")
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
    quick, show = (DEFAULT, *OURS, *OTHERS), sys.stderr.isatty()
    notes: dict[str, None] = {}
    for seed in SEEDS:  # so that a study that is stopped has whole seeds
        notes |= dict.fromkeys(plan(quick, [seed]).run(show_progress=show))
        if seed == SEEDS[0]:
            notes |= dict.fromkeys(plan(LEARNED, [seed]).run(show_progress=show))
    study = plan((*quick, *LEARNED), SEEDS)
    lines = table.read(study)
    text = f"{summary(lines)}\n\n{table.to_text(study, lines, [*notes, NOTE], SHOWN)}"
    folder = RESULTS / "defaults"
    folder.mkdir(exist_ok=True)
    table.write(folder, "defaults", lines, text, None)
    image = io.BytesIO()
    figure(lines).savefig(image, format="png", metadata={"Software": None})
    atomic_write(folder / "defaults.png", image.getvalue())
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


GROUPS = ((DEFAULT, *OURS), (*OTHERS, *LEARNED))


def figure(lines: Sequence[Line]) -> Any:
    """AUPRC against row-steps: a panel for each set, a mark for each method."""
    from matplotlib.figure import Figure

    names, methods = (list(dict.fromkeys(getattr(line, of) for line in lines)) for of in ("data", "method"))
    drawing = Figure(figsize=(16, 3.4 * -(-len(names) // 5)), dpi=80, layout="constrained", facecolor="white")
    panels = drawing.subplots(-(-len(names) // 5), 5, sharey=True).flat
    for panel, name in zip(panels, names, strict=False):
        for line in lines:
            if line.data == name and line.values and line.mean("row_steps") > 0:
                i = methods.index(line.method)
                marker = "*" if line.method == DEFAULT else "os^"[i // 10]
                panel.errorbar(
                    line.mean("row_steps"), line.mean("auprc"), line.error("auprc"), color=f"C{i % 10}", marker=marker,
                    markersize=12 if line.method == DEFAULT else 6, linestyle="none", label=line.method,
                )  # fmt: skip
        panel.set(title=name, xlabel="row-steps", xscale="log", ylim=(-0.02, 1.02))
    panels[0].set_ylabel("AUPRC")
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", fontsize=8, ncols=3)
    return drawing


if __name__ == "__main__":
    main()
