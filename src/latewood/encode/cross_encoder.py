"""A cross-encoder: question and passage through the model together, one number out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from latewood.errors import ModelError
from latewood.types import FloatArray

__all__ = ["CrossScorer"]

_BATCH = 16
"""Pairs of one forward pass on a CPU; on a GPU sixteen times as many."""


class CrossScorer:
    """Pairs of question and passage to scores, by a sentence-transformers CrossEncoder. `load_scorer` makes it.

    Args:
        model: a loaded CrossEncoder.
        name: how to get it again.
        batch_size: pairs of one forward pass; 0 for what suits the device.

    Raises:
        ModelError: it gives several numbers per pair; a reranker needs one.
    """

    def __init__(self, model: Any, *, name: str, batch_size: int = 0) -> None:
        if model.num_labels != 1:
            raise ModelError(f"{name} gives {model.num_labels} numbers per pair; expected a reranker, which gives one")
        self._model = model
        self._batch_size = batch_size or (_BATCH if model.device.type == "cpu" else 16 * _BATCH)
        self._warned = False
        self._name = name

    @property
    def name(self) -> str:
        """Its folder, or its name on the hub."""
        return self._name

    @property
    def bounded(self) -> bool:
        """Its scores end in a sigmoid, so they are in [0, 1]."""
        import torch

        return isinstance(self._model.activation_fn, torch.nn.Sigmoid)

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """[N] float32, as `CrossEncoder.predict` gives them; higher is better, in the order of `texts`.

        A pair beyond the model's limit is cut, as the model's authors measured it; the first time, a warning says so.
        """
        if not texts:
            return np.zeros(0, np.float32)
        pairs = [(query, text) for text in texts]
        self._warn_of_cuts(pairs)
        scores = self._model.predict(pairs, batch_size=self._batch_size, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(scores, np.float32)

    def _warn_of_cuts(self, pairs: list[tuple[str, str]]) -> None:
        limit = self._model.max_seq_length
        if self._warned or limit is None:
            return
        ids = self._model.tokenizer(pairs, truncation=False, padding=False, verbose=False)["input_ids"]
        cut = sum(len(pair) > limit for pair in ids)
        if cut:
            self._warned = True
            warnings.warn(
                f"{self._name} reads {limit} tokens of question and passage together: {cut} of {len(pairs)} passages "
                f"were longer and were cut (said once)",
                RuntimeWarning,
                stacklevel=2,
            )
