"""Methods side by side on data sets: `compare` trains a model on each, explains the same test series, and judges.

Only the names listed here are public; the modules below are the engine.
"""

from rambit.compare.comparison import DATA, METHODS, Comparison, compare

__all__ = ["DATA", "METHODS", "Comparison", "compare"]
