"""Mask families: which subsets of a series to keep. A mask is boolean, True = kept."""

from rambit.masks.families import (
    FAMILIES,
    AllBlocks,
    Bernoulli,
    Block,
    Columns,
    Explicit,
    Family,
    MaskSet,
    Permutation,
    Rows,
    Segments,
    UpperTriangle,
    Whole,
    resolve,
)

__all__ = [
    "FAMILIES",
    "AllBlocks",
    "Bernoulli",
    "Block",
    "Columns",
    "Explicit",
    "Family",
    "MaskSet",
    "Permutation",
    "Rows",
    "Segments",
    "UpperTriangle",
    "Whole",
    "resolve",
]
