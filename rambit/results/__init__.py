"""What `explain()` returns: scores, with what they explain, what they cost and how sure they are."""

from rambit.results.attribution import Attribution
from rambit.results.cell import Cell
from rambit.results.pair_attribution import PairAttribution
from rambit.results.record_checks import FLOATS as FLOATS
from rambit.results.record_checks import check_integer as check_integer
from rambit.results.record_checks import check_number as check_number
from rambit.results.record_checks import check_settings as check_settings

__all__ = ["Attribution", "Cell", "PairAttribution"]
