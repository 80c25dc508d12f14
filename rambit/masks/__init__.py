"""Mask families: which subsets of a series to keep. A mask is boolean, True = kept."""

from rambit.masks.families import (
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
    resolve,
)

__all__ = [
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
    "resolve",
]
