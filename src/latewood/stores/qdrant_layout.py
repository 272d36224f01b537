"""How a passage lies in a point: in collections that latewood made, and in those that were there before."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from latewood.errors import InputError, UsageError
from latewood.stores.qdrant_points import Found, Point, PointId, VectorShape
from latewood.stores.texts import content_digest
from latewood.types import FloatArray, Page, Passage

__all__ = ["DENSE", "LATE", "NOTES", "POOLED", "Layout", "point_id"]

DENSE = "dense"
LATE = "late"
POOLED = "pooled"
NOTES = "latewood"
"""The member of a collection's metadata that says latewood made it, and with which encoder."""

_NAMESPACE = uuid.UUID("0c2f33c5-2f0a-5a53-9a71-63f6f1b6a0de")
_OWN = ("id", "text", "source_id", "title", "source", "metadata")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in a point things are.

    Args:
        dense: the vector of the first stage; "" for the unnamed one, None where there is none.
        late: the multivector that MaxSim compares; None where there is none.
        text: fields of the payload whose texts, one line each, are the passage.
        source: the field that names the document a point is a part of; None where each point is one.
        own: latewood made the collection: a point's payload holds the passage as it is, metadata in a member.
        pooled: means of token vectors that `late` over everything searches first; None where there are none.
    """

    dense: str | None
    late: str | None
    text: tuple[str, ...] = ("text",)
    source: str | None = None
    own: bool = False
    pooled: str | None = None

    @property
    def within(self) -> str:
        """The field that conditions on metadata are about; "" for the payload itself."""
        return "metadata" if self.own else ""

    @property
    def keys(self) -> tuple[str, ...]:
        """The fields that tell a point's passage id and source."""
        if self.own:
            return "id", "source_id"
        return () if self.source is None else (self.source,)

    def point_id(self, passage_id: str) -> PointId:
        """The point of a passage.

        Raises:
            InputError: it can't be the id of a point.
        """
        if self.own:
            return point_id(passage_id)
        found = _as_point_id(passage_id)
        if found is None:
            raise InputError(f"no point {passage_id!r:.60}: Qdrant's ids are whole numbers and UUIDs")
        return found

    def names(self, point: Point) -> tuple[str, str]:
        """Passage id and source id of a point that was read with `keys`."""
        if self.own:
            return str(point.payload["id"]), str(point.payload["source_id"])
        name = str(point.id)
        source = None if self.source is None else point.payload.get(self.source)
        return name, name if source is None or isinstance(source, list | dict) else str(source)

    def has_text(self, point: Point) -> bool:
        """Whether there are words to encode."""
        return any(isinstance(point.payload.get(field), str) and point.payload[field].strip() for field in self.text)

    def passage(self, point: Point) -> Passage:
        """The passage of a point that was read with its whole payload."""
        name, source = self.names(point)
        if self.own:
            fields = {key: point.payload[key] for key in ("title", "source", "metadata")}
            text, boxes = str(point.payload["text"]), point.payload.get("boxes")
            if boxes is None:
                return Passage(name, text, source, **fields)
            places = np.frombuffer(base64.b64decode(boxes), np.float32).reshape(-1, 4)
            return Page(name, text, source, **fields, boxes=places, layout=str(point.payload["layout"]))
        lines = [point.payload[field] for field in self.text if isinstance(point.payload.get(field), str)]
        rest = {key: value for key, value in point.payload.items() if key not in self.text}
        return Passage(name, "\n".join(line for line in lines if line), source, metadata=rest)

    def payload(self, passage: Passage) -> dict[str, Any]:
        """What a point of a collection that latewood made holds besides vectors."""
        assert self.own
        values = (passage.id, passage.text, passage.source_id, passage.title, passage.source, dict(passage.metadata))
        payload = {**dict(zip(_OWN, values, strict=True)), "digest": content_digest(passage).hex()}
        if isinstance(passage, Page):
            payload |= {"boxes": base64.b64encode(passage.boxes.tobytes()).decode(), "layout": passage.layout}
        return payload

    def vectors(self, tokens: FloatArray, dense: FloatArray) -> Mapping[str, FloatArray]:
        """The named vectors of a passage with [T, D] and [W, D]; one without any has none."""
        named = {self.late: tokens, self.dense: dense}
        return {name: np.asarray(rows, np.float32) for name, rows in named.items() if name is not None and len(rows)}


def point_id(passage_id: str) -> PointId:
    """The point of a passage in a collection that latewood made: the id itself where it can be one, else a UUID."""
    found = _as_point_id(passage_id)
    return str(uuid.uuid5(_NAMESPACE, passage_id)) if found is None else found


def _as_point_id(text: str) -> PointId | None:
    if text.isascii() and text.isdigit() and str(int(text)) == text and int(text) < 2**64:
        return int(text)
    try:
        return text if str(uuid.UUID(text)) == text else None
    except ValueError:
        return None


def foreign(found: Found, text: tuple[str, ...], source: str | None, dense: str | None, late: str | None) -> Layout:
    """The layout of a collection that somebody else made.

    Args:
        found: what it is.
        text: the fields that hold the text; () where nothing reads it.
        source: the field that names a point's document.
        dense: which vector is the first stage's; None for the only one.
        late: which multivector is MaxSim's; None for the only one, if there is one.

    Raises:
        UsageError: a vector that isn't there, or isn't of its kind; or it isn't clear which.
    """
    single = {name: shape for name, shape in found.vectors.items() if not shape.multi}
    multi = {name: shape for name, shape in found.vectors.items() if shape.multi}
    chosen = _chosen(dense, {**single, **multi} if dense is not None else single, "--vector", "first stage")
    others = {name: shape for name, shape in multi.items() if name != chosen}
    if late is None and len(others) != 1:
        return Layout(chosen, None, text, source)
    name = _chosen(late, others, "--late-vector", "late interaction")
    assert name is not None
    if others[name].distance not in ("dot", "cosine"):
        raise UsageError(
            f"vector {name!r} is compared by {others[name].distance}: late interaction sums dot products: "
            f"it must be dot or cosine"
        )
    return Layout(chosen, name, text, source)


def _chosen(given: str | None, there: Mapping[str, VectorShape], option: str, use: str) -> str | None:
    names = ", ".join(repr(name) for name in there) or "none"
    if given is not None:
        if given not in there:
            raise UsageError(f"{option} {given!r}: no such vector for the {use}; there are: {names}")
        return given
    if len(there) > 1:
        raise UsageError(f"which vector is for the {use}? There are {names}: give {option} NAME")
    return next(iter(there), None)
