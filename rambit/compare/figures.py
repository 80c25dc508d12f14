"""Figures of the table: how good methods are, at what cost, and what the model says while cells are removed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from rambit.compare.table import HEADS, Line, by_data

#: What the bars show, where it is known.
DRAWN = ("auprc", "accuracy_kept")


def figures(lines: Sequence[Line], tested: Sequence[str]) -> dict[str, bytes]:
    """Those that there is something for, as PNG, by the end of their files' names; none without matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return {}
    found = {".png": bars(lines), "-cost.png": cost(lines, tested), "-curves.png": curves(lines)}
    return {end: png(drawing) for end, drawing in found.items() if drawing is not None}


def png(drawing: Any) -> bytes:
    """The file of a figure, the same for the same figure."""
    image = io.BytesIO()
    drawing.savefig(image, format="png", metadata={"Software": None})
    return image.getvalue()


def bars(lines: Sequence[Line]) -> Any:
    """AUPRC and accuracy of each method, a panel for each data set and what is known of it; None without a result."""
    sets = by_data(lines)
    panes = [(name, column) for name, here in sets.items() for column in DRAWN if _has(here, column)]
    if not panes:
        return None
    methods = list(dict.fromkeys(line.method for line in lines))
    drawing, panels = _panels(1, len(panes), (3.2 * len(panes) + 2.5, 0.3 * len(methods) + 1.2), sharey=True)
    for panel, (name, column) in zip(panels[0], panes, strict=True):
        here = {line.method: line for line in sets[name]}
        means = [here[method].mean(column) for method in methods]
        errors = [np.nan_to_num(here[method].error(column)) for method in methods]
        panel.barh(range(len(methods)), np.nan_to_num(means), xerr=errors, color="#0072B2")
        panel.set(title=name, xlabel=HEADS[column], xlim=(0, 1), yticks=range(len(methods)))
        panel.set_yticklabels(methods)
    panels[0][0].invert_yaxis()
    return drawing


def cost(lines: Sequence[Line], tested: Sequence[str]) -> Any:
    """The first tested metric that a set has against row-steps, a panel for each set; None where there is no such."""
    panes = []
    for name, here in by_data(lines).items():
        panes += [(name, metric) for metric in tested if _has(here, metric)][:1]
    if not panes:
        return None
    methods = list(dict.fromkeys(line.method for line in lines))
    columns = min(4, len(panes))
    rows = -(-len(panes) // columns)
    drawing, panels = _panels(rows, columns, (3.4 * columns + 2.5, max(3.2 * rows, 0.2 * len(methods) + 1)))
    for panel, (name, metric) in zip(panels.flat, panes, strict=False):
        for line in by_data(lines)[name]:
            if metric not in line.values:
                continue
            steps, i = line.mean("row_steps"), methods.index(line.method)
            if not steps:  # evaluates nothing: the axis has no 0
                panel.axhline(line.mean(metric), color=f"C{i % 10}", linestyle=":", label=line.method)
                continue
            style = {"color": f"C{i % 10}", "marker": "osD^vP*X"[i // 10 % 8], "capsize": 2, "linestyle": ""}
            error = np.nan_to_num(line.error(metric))
            panel.errorbar(steps, line.mean(metric), yerr=error, label=line.method, **style)
        panel.set(title=name, xlabel="row-steps", ylabel=HEADS.get(metric, metric), xscale="log")
    for panel in panels.flat[len(panes) :]:
        panel.axis("off")
    _legend(drawing, panels)
    return drawing


def curves(lines: Sequence[Line]) -> Any:
    """The predicted class's probability over the share of cells removed or kept; None where none was asked for.

    A row for each data set, a panel for each kind of removal.
    """
    sets = {name: [line for line in here if line.curves] for name, here in by_data(lines).items()}
    sets = {name: here for name, here in sets.items() if here}
    kinds = list(dict.fromkeys(kind for here in sets.values() for line in here for kind in line.curves))
    if not kinds:
        return None
    drawing, panels = _panels(len(sets), len(kinds), (3.2 * len(kinds) + 2.5, 2.8 * len(sets)), sharey=True)
    for row, (name, here) in zip(panels, sets.items(), strict=True):
        for panel, kind in zip(row, kinds, strict=True):
            for line in here:
                mean = np.mean(list(line.curves[kind].values()), axis=0)
                panel.plot(np.linspace(0, 1, len(mean)), mean, label=line.method)
            panel.set(title=f"{name}\n{kind}", xlabel="share of the cells")
        row[0].set_ylabel("probability")
    _legend(drawing, panels)
    return drawing


def _has(lines: Sequence[Line], name: str) -> bool:
    return any(name in line.values for line in lines)


def _panels(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    drawing = Figure(figsize=size, dpi=80, layout="constrained", facecolor="white")
    return drawing, drawing.subplots(rows, columns, squeeze=False, **options)


def _legend(drawing: Any, panels: Any) -> None:
    """One for all panels, beside them."""
    labels: dict[str, Any] = {}
    for panel in panels.flat:
        labels |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    drawing.legend(labels.values(), labels.keys(), loc="outside right upper", fontsize=7)
