"""A collection beside somebody's Qdrant collection: theirs finds the pool, this one holds the token vectors.

What it stands beside is among its settings, so that `first:50 >> late:5` is a pipeline that can be typed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latewood import encode
from latewood.errors import InputError, PipelineError
from latewood.protocols import Encoder
from latewood.stores.homes import QdrantAddress, parse_home
from latewood.stores.qdrant import QdrantStore
from latewood.types import FloatArray

__all__ = ["Beside", "TheirSearch"]


@dataclass(frozen=True, slots=True)
class Beside:
    """Which collection, and how it is read.

    Args:
        home: its address.
        text: fields of the payload that hold a point's text.
        source: the field that names a point's document; None where each point is one.
        vector: which vector their search uses; None for the only one.
        model: what made their vectors, as `latewood.encode.load` takes it.
    """

    home: str
    text: tuple[str, ...]
    source: str | None
    vector: str | None
    model: str

    def to_json(self) -> dict[str, Any]:
        """As it stands among a collection's settings."""
        return asdict(self)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Beside | None:
        """What a collection with these settings stands beside, None for a collection by itself."""
        given = settings.get("beside")
        return None if given is None else cls(**{**given, "text": tuple(given["text"])})

    @property
    def address(self) -> QdrantAddress:
        """Of their collection."""
        address = parse_home(self.home)
        if isinstance(address, Path):
            raise InputError(f"{self.home} is no address of a Qdrant collection")
        return address

    def open(self) -> QdrantStore:
        """Their collection, to be read."""
        return QdrantStore.open(self.address, text=self.text, source=self.source, dense=self.vector)


class TheirSearch:
    """What a `first` stage calls: one search of their collection. Connected at the first question.

    Args:
        beside: which collection.
        own: the name of the model whose vectors the collection beside it holds.
        encoder: gives that model.
    """

    def __init__(self, beside: Beside, own: str, encoder: Callable[[], Encoder]) -> None:
        self._beside = beside
        self._encoder = encoder
        self._mutex = threading.Lock()
        self._store: QdrantStore | None = None
        self._theirs: Encoder | None = None
        self.same_model = beside.model == own
        """Whether one encoding of a question serves both."""

    def __call__(self, query: str, k: int) -> Sequence[tuple[str, float]]:
        """Their best k for a question: ids and scores."""
        if self._theirs is None:
            self._theirs = self._encoder() if self.same_model else encode.load(self._beside.model)
        vector = self._theirs.encode_query(query).dense
        if vector is None:
            raise PipelineError(f"'{self._beside.model}' gives no single vector: it didn't make those of their search")
        return self.by_vector(vector, k)

    def by_vector(self, vector: FloatArray, k: int) -> Sequence[tuple[str, float]]:
        """Their best k for a question's vector [D]."""
        with self._mutex:  # the client's local mode is for one thread
            if self._store is None:
                self._store = self._beside.open()
            snapshot = self._store.snapshot()
            found = snapshot.dense(vector, k)
            return list(zip(snapshot.ids(found.rows), map(float, found.scores), strict=True))

    def close(self) -> None:
        """Let go of their collection."""
        if self._store is not None:
            self._store.close()
            self._store = None
