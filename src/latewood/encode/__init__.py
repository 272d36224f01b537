"""Texts to vectors: the bundled model, and any sentence-transformers bi-encoder in a folder.

Importing this module loads neither torch nor a model; `load` does.
"""

from __future__ import annotations

from latewood.encode.bi_encoder import BiEncoder
from latewood.encode.golden import GOLDEN_TEXTS, GOLDEN_TOLERANCE, agrees, golden_deviation, golden_vectors
from latewood.encode.loading import load, load_scorer

__all__ = [
    "GOLDEN_TEXTS",
    "GOLDEN_TOLERANCE",
    "BiEncoder",
    "agrees",
    "golden_deviation",
    "golden_vectors",
    "load",
    "load_scorer",
]
