"""The selector: scores of timestamps, and the mechanism that keeps some of them."""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

from torch import Tensor, nn

from rambit.checks import count, number, one_of
from rambit.models.sequence_classifier import dropout_rate
from rambit.selection.mechanisms import GumbelSoftmaxSelector, ThresholdSelector, TopKSelector
from rambit.selection.scorer import AttentionScorer
from rambit.selection.selection_checks import mask_of, share

SelectionMethod = Literal["topk", "gumbel", "threshold"]
METHODS: tuple[SelectionMethod, ...] = get_args(SelectionMethod)


class TimestampSelector(nn.Module):
    """Keeps timestamps of series (B, T, D): an `AttentionScorer` and a mechanism, both trainable.

    ``selection_method``: ``topk`` keeps the k highest scores, ``gumbel`` draws k steps in training (one without k) and
    ``threshold`` keeps as many as pass ``threshold``, whatever k says. ``selector.selector = MyModule()`` replaces the
    mechanism by any module from scores (B, T) to a mask (B, T). ``positions`` as in `AttentionScorer`.
    """

    selector: nn.Module

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int = 128,
        num_heads: int = 4,
        selection_method: SelectionMethod = "topk",
        k: int | None = None,
        temperature: float = 1.0,
        dropout: float = 0.1,
        threshold: float = 0.5,
        positions: bool = False,
    ) -> None:
        super().__init__()
        self.selection_method = one_of("selection_method", selection_method, METHODS)
        if selection_method == "topk" and k is None:
            raise ValueError("k must be given for selection_method='topk': how many timestamps to keep")
        self.k = None if k is None else count("k", k)
        self.temperature = number("temperature", temperature, 0.0, above=True)
        self.dropout, self.threshold = dropout_rate(dropout), share("threshold", threshold)
        self.scorer = AttentionScorer(input_dim, hidden_dim, num_heads, dropout, positions)
        self.input_dim, self.hidden_dim = self.scorer.input_dim, self.scorer.hidden_dim
        if selection_method == "threshold":
            self.selector = ThresholdSelector(threshold)
        elif selection_method == "gumbel":
            self.selector = GumbelSoftmaxSelector(temperature, hard=True, k=self.k)
        else:
            self.selector = TopKSelector(cast(int, self.k))

    def forward(
        self, x: Tensor, return_scores: bool = False, key_padding_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The mask (B, T) of x (B, T, D), and the scores (B, T) if asked for.

        ``key_padding_mask`` (B, T) bool: True where a step is padding, which is never selected.
        """
        scores = self.scorer(x, key_padding_mask)
        return self.selector(scores), scores if return_scores else None

    def get_selected_timestamps(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D) with the steps that the mask (B, T) does not keep set to 0."""
        return x * mask_of(mask, x)[..., None]

    def compute_selection_stats(self, mask: Tensor) -> dict[str, float]:
        """Of a mask (B, T): num_selected (a series, above 1/2), selection_ratio, mean_score, max_score, min_score.

        The three scores are those of the mask's own values.
        """
        values = mask.detach().double()
        kept = (values > 0.5).double()
        return {
            "num_selected": float(kept.sum(dim=-1).mean()),
            "selection_ratio": float(kept.mean()),
            "mean_score": float(values.mean()),
            "max_score": float(values.max()),
            "min_score": float(values.min()),
        }

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, ready for JSON."""
        return {
            "input_dim": self.input_dim,
            "hidden_dim": self.hidden_dim,
            "num_heads": self.scorer.num_heads,
            "selection_method": self.selection_method,
            "k": self.k,
            "temperature": self.temperature,
            "dropout": self.dropout,
            "threshold": self.threshold,
            "positions": self.scorer.positions,
        }
