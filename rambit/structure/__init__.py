"""Nested samples: trees of values, lists and objects, their masks, and classifiers that read them."""

from __future__ import annotations

from rambit.structure.classifier import HierarchicalClassifier, Prepared
from rambit.structure.documents import from_json, places, to_json
from rambit.structure.inference import infer_schema
from rambit.structure.layout import Layout, Slots
from rambit.structure.masks import (
    ClusteredMask,
    FlatView,
    FollowingMasks,
    HeuristicMask,
    MaskTree,
    ObservationMask,
    ParticipationTracker,
    ScoreMask,
    SigmoidMask,
    SimpleMask,
    SomeMask,
)
from rambit.structure.model_files import load_model, save_model
from rambit.structure.nodes import Bag, Categorical, Dense, Node, Product, Skip, Sparse, Text
from rambit.structure.sample import Sample
from rambit.structure.schema import (
    MEMBER,
    BagSchema,
    CategoricalSchema,
    DenseSchema,
    MapSchema,
    ProductSchema,
    Schema,
    SkipSchema,
    SparseSchema,
    TextSchema,
    UnionSchema,
    skip,
)
from rambit.structure.strings import StringTable
from rambit.structure.training import evaluate, fit, predict

__all__ = [
    "MEMBER",
    "Bag",
    "BagSchema",
    "Categorical",
    "CategoricalSchema",
    "ClusteredMask",
    "Dense",
    "DenseSchema",
    "FlatView",
    "FollowingMasks",
    "HeuristicMask",
    "HierarchicalClassifier",
    "Layout",
    "MapSchema",
    "MaskTree",
    "Node",
    "ObservationMask",
    "ParticipationTracker",
    "Prepared",
    "Product",
    "ProductSchema",
    "Sample",
    "Schema",
    "ScoreMask",
    "SigmoidMask",
    "SimpleMask",
    "Skip",
    "SkipSchema",
    "Slots",
    "SomeMask",
    "Sparse",
    "SparseSchema",
    "StringTable",
    "Text",
    "TextSchema",
    "UnionSchema",
    "evaluate",
    "fit",
    "from_json",
    "infer_schema",
    "load_model",
    "places",
    "predict",
    "save_model",
    "skip",
    "to_json",
]
