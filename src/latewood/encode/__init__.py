"""Texts to vectors, and pairs to scores: the bundled model, and any checkpoint that sentence-transformers loads.

Importing this module loads neither torch nor a model; `load` does.
"""

from __future__ import annotations

from latewood.encode.bi_encoder import BiEncoder
from latewood.encode.golden import GOLDEN_TEXTS, GOLDEN_TOLERANCE, agrees, golden_deviation, golden_vectors
from latewood.encode.joined import Joined
from latewood.encode.joint import encode_joint, without_blank_pages
from latewood.encode.late_encoder import LateEncoder
from latewood.encode.loading import load, load_scorer
from latewood.encode.placement import DTYPES, Placement
from latewood.encode.vision_encoder import VisionEncoder

__all__ = [
    "DTYPES",
    "GOLDEN_TEXTS",
    "GOLDEN_TOLERANCE",
    "BiEncoder",
    "Joined",
    "LateEncoder",
    "Placement",
    "VisionEncoder",
    "agrees",
    "encode_joint",
    "golden_deviation",
    "golden_vectors",
    "load",
    "load_scorer",
    "without_blank_pages",
]
