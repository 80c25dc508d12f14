"""What `explain()` returns: scores, with what they explain, what they cost and how sure they are."""

from rambit.results.attribution import Attribution
from rambit.results.cell import Cell
from rambit.results.record_checks import FLOATS, check_integer, check_number, check_settings

__all__ = ["FLOATS", "Attribution", "Cell", "check_integer", "check_number", "check_settings"]
