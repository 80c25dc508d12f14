"""Drop-in replacements for published explainers: the same constructor, ``set_model``, ``attribute``, ``get_name``."""

from rambit.compat.jimex import JIMEx
from rambit.compat.winit import BiWinITExplainer, WinITExplainer

__all__ = ["BiWinITExplainer", "JIMEx", "WinITExplainer"]
