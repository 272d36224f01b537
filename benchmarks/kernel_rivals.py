"""Other libraries that compute MaxSim on a CPU, each as a function from (query, documents) to a function that scores.

What a rival can prepare once (packing, padding) it prepares outside of the measured function. A rival that isn't
installed is left out, and the benchmark says so. Documents are float32 [N, T, D]: all of them want equal lengths, or
are at their best with them. `scoring(first, last)` scores documents first to last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Scoring = Callable[[int, int], Any]


def numpy_blas(query: Floats, documents: Floats) -> Scoring:
    """One matrix product of the BLAS that NumPy brings, then max and sum."""
    transposed = np.ascontiguousarray(query.T)

    def scoring(first: int, last: int) -> Any:
        part = documents[first:last]
        dots = part.reshape(-1, part.shape[2]) @ transposed
        return dots.reshape(*part.shape[:2], -1).max(axis=1).sum(axis=1)

    return scoring


def torch_cpu(query: Floats, documents: Floats) -> Scoring:
    """The same in torch."""
    import torch

    transposed, tensor = torch.from_numpy(np.ascontiguousarray(query.T)), torch.from_numpy(documents)

    def scoring(first: int, last: int) -> Any:
        with torch.inference_mode():
            return (tensor[first:last] @ transposed).amax(dim=1).sum(dim=1)

    return scoring


def maxsim_cpu(query: Floats, documents: Floats) -> Scoring:
    """maxsim-cpu: libxsmm products and a SIMD max, float32, documents of one length."""
    import maxsim_cpu as rival

    return lambda first, last: rival.maxsim_scores(query, documents[first:last])


def numkong_packed(query: Floats, documents: Floats) -> Scoring:
    """NumKong's packed maxsim. It computes angular distances with an 8-bit coarse pass, so its score is Q - MaxSim."""
    import numkong

    packed_query = numkong.maxsim_pack(query)
    packed = [numkong.maxsim_pack(document) for document in documents]
    return lambda first, last: [numkong.maxsim_packed(packed_query, document) for document in packed[first:last]]


RIVALS: dict[str, Callable[[Floats, Floats], Scoring]] = {
    "numpy": numpy_blas,
    "torch": torch_cpu,
    "maxsim-cpu": maxsim_cpu,
    "numkong": numkong_packed,
}
