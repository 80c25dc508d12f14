"""Attribution methods: each chooses masks, asks a game and reduces the answers to importance (B, D, T)."""

from rambit.attribution.rambit import RaMbIT

__all__ = ["RaMbIT"]
