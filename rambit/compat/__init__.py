"""Published explainers over ours: the same constructors, ``set_model(model)``, ``attribute(x)`` and generator methods.

Not taken: further keywords, which are ignored there, and ``set_eval``. The texts of ``get_name`` are our own.
"""

from rambit.compat.jimex import JIMEx
from rambit.compat.winit import BiWinITExplainer, WinITExplainer

__all__ = ["BiWinITExplainer", "JIMEx", "WinITExplainer"]
