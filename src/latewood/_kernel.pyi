"""The compiled module, as kernel/bindings.cpp makes it. Call `latewood.maxsim` instead."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood.types import FloatArray, IntArray

def scores(
    query: FloatArray,
    tokens: npt.NDArray[Any],
    offsets: IntArray,
    scales: FloatArray | None,
    rows: IntArray | None,
    threads: int,
    levels: int = 0,
) -> FloatArray: ...
def top_k(
    query: FloatArray,
    tokens: npt.NDArray[Any],
    offsets: IntArray,
    scales: FloatArray | None,
    k: int,
    rows: IntArray | None,
    threads: int,
    levels: int = 0,
) -> tuple[IntArray, FloatArray]: ...
def similarities(
    query: FloatArray, tokens: npt.NDArray[Any], offsets: IntArray, scales: FloatArray | None, row: int, levels: int = 0
) -> FloatArray: ...
def nearest(
    centres: FloatArray,
    tokens: npt.NDArray[Any],
    offsets: IntArray,
    scales: FloatArray | None,
    bias: FloatArray,
    most: int,
    rows: IntArray | None,
    threads: int,
) -> tuple[npt.NDArray[np.int32], FloatArray]: ...

class Parts:
    def __init__(self) -> None: ...
    def add(self, tokens: npt.NDArray[Any], offsets: IntArray, scales: FloatArray | None) -> None: ...
    def scores(self, query: FloatArray, parts: IntArray, rows: IntArray) -> FloatArray: ...

class Centroids:
    def __init__(self, vectors: npt.NDArray[np.int8], scales: FloatArray, longest: float) -> None: ...

class Lists:
    def __init__(
        self,
        numbers: npt.NDArray[np.uint16],
        number_offsets: IntArray,
        postings: npt.NDArray[np.int32] | None,
        posting_offsets: IntArray | None,
        codes: npt.NDArray[np.uint8],
        token_offsets: IntArray,
    ) -> None: ...

class Cascade:
    def __init__(self, centroids: Centroids, lists: Sequence[Lists]) -> None: ...
    def candidates(
        self,
        query: FloatArray,
        probe: int,
        leaving: tuple[tuple[int, float], ...],
        k: int,
        last: int,
        allowed: npt.NDArray[np.uint8] | None,
    ) -> tuple[IntArray, FloatArray, int]: ...

def isa() -> str: ...
def usable() -> list[str]: ...
def rejected() -> list[str]: ...
def force(name: str) -> bool: ...
