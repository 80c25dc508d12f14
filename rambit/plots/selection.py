"""Which timestamps a mask keeps, drawn with the series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from rambit.plots.canvas import show
from rambit.plots.series import heatmap

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def visualize_selection(x: Tensor, mask: Tensor, sample_idx: int = 0, save_path: str | Path | None = None) -> Figure:
    """One series of x (B, T, D) as curves, the steps that the mask (B, T) keeps in blue behind them.

    With ``save_path`` it is saved, by its suffix, and a line printed that says where; otherwise a window shows it until
    it is closed. Raises ValueError naming the argument; ImportError without matplotlib.
    """
    if x.ndim != 3 or mask.shape != x.shape[:2]:
        raise ValueError(f"mask must be (B, T) for x (B, T, D), given {tuple(mask.shape)} for {tuple(x.shape)}")
    if not 0 <= sample_idx < len(x):
        raise ValueError(f"sample_idx must be 0 to {len(x) - 1}, given {sample_idx}")
    inputs = x.detach().transpose(1, 2)
    kept = mask.detach()[:, None].expand(inputs.shape)
    figure = heatmap(kept, X=inputs, series=sample_idx, path=save_path, top=None, label="kept")
    if save_path is None:
        show(figure)
    else:
        print(f"saved to {save_path}")
    return figure
