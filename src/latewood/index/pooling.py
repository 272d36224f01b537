"""Fewer vectors a document: those that say nearly the same become their mean, by sentence-transformers' own module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood.errors import MissingExtra, UsageError

__all__ = ["pooled"]


def pooled(documents: Iterable[npt.NDArray[Any]], factor: float) -> Iterator[npt.NDArray[np.float32]]:
    """Documents with about 1 / factor of their vectors (Clavié et al. 2024, hierarchical clustering by Ward's linkage).

    Each document's first vector, usually [CLS], stands as it is; vectors come out with length 1.

    Args:
        documents: [T, D] each.
        factor: 1 or more; fractions are fine.

    Raises:
        UsageError: factor < 1.
        MissingExtra: sentence-transformers isn't installed.
    """
    if factor < 1:
        raise UsageError(f"pool_factor: got {factor}, expected 1 or more; 2 keeps half of the vectors")
    try:
        import torch
        from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling
    except ImportError:
        raise MissingExtra("token pooling", "sentence-transformers", "encode") from None
    module = HierarchicalTokenPooling(pool_factor=factor)
    for document in documents:
        values = np.ascontiguousarray(document, np.float32)
        yield module.pool([torch.from_numpy(values)])[0].numpy() if len(values) else values
