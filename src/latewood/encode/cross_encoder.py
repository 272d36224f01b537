"""A cross-encoder: question and passage through the model together, one number out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from latewood.errors import ModelError
from latewood.types import FloatArray

__all__ = ["CrossScorer"]

_BATCH = 32


class CrossScorer:
    """Pairs of question and passage to scores, by a sentence-transformers CrossEncoder. `load_scorer` makes it.

    Args:
        model: a loaded CrossEncoder.
        name: how to get it again.

    Raises:
        ModelError: it gives several numbers per pair; a reranker needs one.
    """

    def __init__(self, model: Any, *, name: str) -> None:
        if model.num_labels != 1:
            raise ModelError(f"{name} gives {model.num_labels} numbers per pair; expected a reranker, which gives one")
        self._model = model
        self.name = name

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """[N] float32, as `CrossEncoder.predict` gives them; higher is better, in the order of `texts`."""
        if not texts:
            return np.zeros(0, np.float32)
        pairs = [(query, text) for text in texts]
        scores = self._model.predict(pairs, batch_size=_BATCH, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(scores, np.float32)
