"""From a responsibility map to a small part of the input that suffices for the decision.

    found = extract(decision, responsibility, Strategy.Global, options)
    found.mask                    # bool like the map: sufficient, evaluated again and confirmed

`decision` (`rambit.rex.decision`) gives the outputs for masks over the grid; nothing here calls a model.
"""

from rambit.rex.extraction.bar import NoExplanationError
from rambit.rex.extraction.extract import extract
from rambit.rex.extraction.extraction_options import ExtractionOptions, Found, Objective, Strategy
from rambit.rex.extraction.ranking import rank

__all__ = [
    "ExtractionOptions",
    "Found",
    "NoExplanationError",
    "Objective",
    "Strategy",
    "extract",
    "rank",
]
