"""Attribution methods: each chooses masks, asks a game and reduces the answers to importance (B, D, T)."""

from rambit.attribution.rambit import RaMbIT
from rambit.attribution.winit import BiWinIT, WinIT

__all__ = ["BiWinIT", "RaMbIT", "WinIT"]
