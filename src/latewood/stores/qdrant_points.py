"""What is asked of Qdrant, in values of our own: two doors give it, `qdrant_client` and `qdrant_edge`.

Nothing above this file knows which of them it talks to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from latewood.errors import UsageError
from latewood.types import FloatArray

__all__ = [
    "QUANTIZATIONS",
    "Distance",
    "Found",
    "Plan",
    "Point",
    "PointId",
    "Points",
    "Search",
    "Storage",
    "VectorShape",
    "as_array",
    "batches",
]

PointId = int | str
"""An unsigned integer, or a UUID."""

Distance = Literal["dot", "cosine", "euclid", "manhattan"]
QUANTIZATIONS = ("none", "scalar", "binary", "turbo4", "turbo2", "turbo1")
"""Of the copy that is searched: none, int8, one bit, or TurboQuant of 4, 2 or 1 bit."""


@dataclass(frozen=True, slots=True)
class VectorShape:
    """A named vector of a collection.

    Args:
        size: D.
        distance: how it is compared.
        multi: a multivector, compared by MaxSim.
    """

    size: int
    distance: Distance
    multi: bool = False


@dataclass(frozen=True, slots=True)
class Storage:
    """How a collection that latewood makes keeps its token vectors.

    Args:
        datatype: of the originals: "float32" or "float16".
        quantization: of the copy that is searched: "none", "scalar" (int8), "binary", or "turbo4", "turbo2", "turbo1"
            (4, 2 or 1 bit).
        on_disk: the originals are read from disk when they are wanted, and don't stay in memory.
        pool_factor: keep, beside a passage's vectors, about 1 / pool_factor of them as means (`latewood.index.pooled`),
            with HNSW: `late` over everything searches these first, and scores what they find. For pages, whose thousand
            patches make scoring all of them slow. None for none.

    Raises:
        UsageError: another datatype or quantisation.
    """

    datatype: str = "float32"
    quantization: str = "none"
    on_disk: bool = True
    pool_factor: float | None = None

    def __post_init__(self) -> None:
        if self.datatype not in ("float32", "float16"):
            raise UsageError(f"datatype: got {self.datatype!r}, expected float32 or float16")
        if self.quantization not in QUANTIZATIONS:
            raise UsageError(f"quantization: got {self.quantization!r}, expected one of {', '.join(QUANTIZATIONS)}")


@dataclass(frozen=True, slots=True)
class Plan:
    """A collection to be made.

    Args:
        vectors: name → shape.
        late: the name of the token vectors: no HNSW, and `storage`. None for no such vector.
        storage: of them.
        metadata: to be found in `Found.metadata`.
        like: the address's own collection whose further settings are taken over, if any.
    """

    vectors: Mapping[str, VectorShape]
    late: str | None
    storage: Storage
    metadata: Mapping[str, Any]
    like: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a collection is.

    Args:
        vectors: name → shape of its dense vectors; "" is the unnamed one.
        sparse: names of its sparse vectors.
        metadata: what its maker noted.
        exact: no approximate index stands between a search and its answer.
    """

    vectors: Mapping[str, VectorShape]
    sparse: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """One point; what was not asked for is empty.

    Args:
        id: of the point.
        payload: its fields.
        vectors: name → [D], or [T, D] for a multivector; float32.
        sparse: name → a sparse vector, as the door that read it has it.
    """

    id: PointId
    payload: Mapping[str, Any] = field(default_factory=dict)
    vectors: Mapping[str, FloatArray] = field(default_factory=dict)
    sparse: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """One search of a query: over everything, or over what the search before it has left.

    Args:
        using: the vector's name.
        query: [D], or [Q, D] against a multivector.
        limit: how many it leaves.
    """

    using: str
    query: FloatArray
    limit: int


class Points(Protocol):
    """One collection of a Qdrant. Every method raises EndpointError where Qdrant can't be reached or refuses."""

    def found(self) -> Found:
        """What the collection is.

        Raises:
            InputError: there is none.
        """
        ...

    def exists(self) -> bool:
        """Whether it is there."""
        ...

    def create(self, plan: Plan) -> None:
        """Make it."""
        ...

    def count(self, where: Any = None) -> int:
        """How many points there are, exactly."""
        ...

    def scroll(
        self, payload: Sequence[str] | bool, vectors: Sequence[str], batch: int, where: Any = None
    ) -> Iterator[list[Point]]:
        """All points, in the order of their ids.

        Args:
            payload: fields to read; True for all, False for none.
            vectors: names to read.
            batch: points at a time.
            where: conditions (`latewood.stores.qdrant_filters`).
        """
        ...

    def retrieve(self, ids: Sequence[PointId], payload: Sequence[str] | bool, vectors: Sequence[str]) -> list[Point]:
        """Those of these points that are there, in any order."""
        ...

    def query(
        self,
        searches: Sequence[Search],
        *,
        payload: Sequence[str] = (),
        only: Sequence[PointId] | None = None,
        where: Any = None,
        exact: bool,
    ) -> list[tuple[Point, float]]:
        """Run searches one behind the other, as one query; the last one's order and scores.

        Args:
            searches: the first over everything, each further one over what the one before has left.
            payload: fields of the found points to read.
            only: the first search finds nothing but these.
            where: the first search finds nothing but what meets these conditions.
            exact: without an approximate index, by the original vectors.
        """
        ...

    def upsert(self, points: Sequence[Point]) -> None:
        """Write whole points, and return when they can be found."""
        ...

    def delete(self, ids: Sequence[PointId]) -> None:
        """Delete points."""
        ...

    def close(self) -> None:
        """Give files and connections back."""
        ...


def as_array(vector: Any) -> FloatArray:
    """A vector or a multivector, as Qdrant gives it, as float32."""
    return np.asarray(vector, np.float32)


_FLOATS = 500_000
"""Floats of one request: about 10 MB of JSON, a third of what a server takes by default."""


def batches(points: Iterable[Point]) -> Iterator[list[Point]]:
    """Points in groups that fit into one request; one that is larger goes alone."""
    group: list[Point] = []
    size = 0
    for point in points:
        floats = sum(vector.size for vector in point.vectors.values())
        if group and size + floats > _FLOATS:
            yield group
            group, size = [], 0
        group.append(point)
        size += floats
    if group:
        yield group
