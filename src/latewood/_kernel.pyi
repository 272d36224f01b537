"""The compiled module, as kernel/bindings.cpp makes it. Call `latewood.maxsim` instead."""

from typing import Any

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
def isa() -> str: ...
def usable() -> list[str]: ...
def rejected() -> list[str]: ...
def force(name: str) -> bool: ...
