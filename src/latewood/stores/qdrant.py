"""A collection that lives in a Qdrant: a `Store`, one latewood made or one that was there before."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from latewood.errors import InputError, ShapeError, UsageError
from latewood.index.pooling import pooled
from latewood.pipeline import Pipeline
from latewood.protocols import Compiled
from latewood.stores.homes import QdrantAddress
from latewood.stores.qdrant_client_door import ClientPoints, connect
from latewood.stores.qdrant_edge_door import EdgePoints
from latewood.stores.qdrant_layout import DENSE, LATE, NOTES, POOLED, Layout, foreign
from latewood.stores.qdrant_points import Found, Plan, Point, Points, Storage, VectorShape, batches
from latewood.stores.qdrant_snapshot import QdrantSnapshot, Rows
from latewood.stores.texts import content_digest, record_of
from latewood.types import EncodedPassages, EncoderSpec, FloatArray, MultiVectors, Passage

__all__ = ["QdrantStore", "points_at"]

FORMAT = 1
"""Version of the notes that latewood leaves about a collection that it makes."""


def points_at(address: QdrantAddress, *, make: bool = False) -> Points:
    """The collection at an address; `make` allows a new local folder."""
    if address.kind == "edge":
        return EdgePoints(address)
    return ClientPoints(connect(address, make=make), address)


class QdrantStore:
    """A collection in a Qdrant: a `Store`.

    Qdrant has no commit: `add` writes points in batches, and an interruption leaves those that were written. Each has a
    digest of its content, so that adding the same passages again writes the others only.

    Args:
        points: the collection; closed with this.
        found: what it is.
        layout: where things are in its points.
        exact: search without an approximate index, by the original vectors.
    """

    def __init__(self, points: Points, found: Found, layout: Layout, *, exact: bool = False) -> None:
        self.points = points
        self.layout = layout
        self.found = found
        self._exact = exact
        self._rows = Rows(layout)
        self._generation = 0
        self._notes: Mapping[str, Any] = found.metadata.get(NOTES, {})

    # -- opening and closing ---------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        address: QdrantAddress,
        spec: EncoderSpec,
        settings: Mapping[str, Any] | None = None,
        *,
        golden: FloatArray | None = None,
        storage: Storage | None = None,
        exact: bool = False,
    ) -> QdrantStore:
        """Make an empty collection: a multivector of windows named "dense", one of tokens named "late".

        Args:
            address: where; a server's collection, or a local folder, that isn't there yet.
            spec: the encoder that will fill it.
            settings: JSON object of the caller's.
            golden: vectors to recognise the encoder by.
            storage: how the token vectors are kept.
            exact: as for `open`.

        Raises:
            InputError: it is there already.
            EndpointError: the server can't be reached, refuses, or is too old.
        """
        if address.kind == "local" and not address.collection:
            raise UsageError(f"{address}: a new collection needs a name: put #NAME behind the folder")
        points = points_at(address, make=True)
        try:
            if points.exists():
                raise InputError(
                    f"can't create {address}: a collection is already there; choose another name or open it"
                )
            storage = storage or Storage()
            vectors = {name: VectorShape(dim, "dot", True) for name, dim in _dims(spec).items() if dim}
            if storage.pool_factor is not None and spec.dim:
                vectors[POOLED] = vectors[LATE]
            notes = {**notes_of(spec, settings, golden), "pool_factor": storage.pool_factor}
            points.create(Plan(vectors, LATE if spec.dim else None, storage, {NOTES: notes}))
            found = points.found()
            return cls(points, found, _own(found), exact=exact)
        except BaseException:
            points.close()
            raise

    @classmethod
    def open(
        cls,
        address: QdrantAddress,
        *,
        text: Sequence[str] = (),
        source: str | None = None,
        dense: str | None = None,
        late: str | None = None,
        exact: bool = False,
    ) -> QdrantStore:
        """Open a collection that is there. Nothing is written by opening, searching or reading.

        Args:
            address: where it is.
            text: fields of the payload that hold the text, of a collection that somebody else made.
            source: the field that names a point's document; None where each point is one.
            dense: which vector the first stage searches; None for the only one.
            late: which multivector MaxSim compares; None for the only one, if there is one.
            exact: search without an approximate index, and by the original vectors.

        Raises:
            InputError: there is no such collection.
            EndpointError: the server can't be reached, refuses, or is too old.
            UsageError: a vector that isn't there.
        """
        points = points_at(address)
        try:
            found = points.found()
            own = NOTES in found.metadata and found.metadata[NOTES].get("payload") == "passage"
            if own:
                layout = _own(found)
            else:
                made = json.loads(found.metadata.get(NOTES, {}).get("settings", "{}"))  # of a migration
                layout = foreign(
                    found,
                    tuple(text) or tuple(made.get("text", ())),
                    source or made.get("source"),
                    made.get("vector") if dense is None else dense,
                    late,
                )
            return cls(points, found, layout, exact=exact)
        except BaseException:
            points.close()
            raise

    def close(self) -> None:
        """Give files and connections back. Closing twice is fine."""
        self.points.close()

    # -- what made it ----------------------------------------------------------------------------------------------

    @property
    def noted(self) -> bool:
        """Whether latewood noted which encoder filled it."""
        return "spec" in self._notes

    @property
    def spec(self) -> EncoderSpec:
        """The encoder that filled it.

        Raises:
            InputError: nobody noted it: somebody else made the collection.
        """
        if not self.noted:
            raise InputError(
                "this collection doesn't say which encoder filled it: somebody else made it; name the model"
            )
        return EncoderSpec(**json.loads(self._notes["spec"]))

    @staticmethod
    def of_notes(found: Found) -> tuple[Mapping[str, Any], EncoderSpec] | None:
        """Settings and encoder of a collection that a migration made; None for any other."""
        notes = found.metadata.get(NOTES, {})
        if notes.get("payload") != "theirs":
            return None
        return json.loads(notes["settings"]), EncoderSpec(**json.loads(notes["spec"]))

    @property
    def settings(self) -> Mapping[str, Any]:
        """What its maker said, {} for a collection of somebody else's."""
        settings: Mapping[str, Any] = json.loads(self._notes.get("settings", "{}"))
        return settings

    @property
    def golden(self) -> FloatArray:
        """The vectors that `create` was given to recognise the encoder by; empty for none."""
        flat = np.frombuffer(base64.b64decode(self._notes.get("golden", "")), np.float32)
        golden: FloatArray = flat.reshape(self._notes.get("golden_shape", [0]))
        return golden

    # -- reading ---------------------------------------------------------------------------------------------------

    def snapshot(self) -> QdrantSnapshot:
        """The collection as it is when it is asked."""
        return QdrantSnapshot(self.points, self.layout, self.found, self._rows, self._generation, self._exact)

    def compile(self, pipeline: Pipeline) -> Compiled:
        """How many leading steps are one query to Qdrant, and why no more."""
        return self.snapshot().compile(pipeline)

    def digests(self, ids: Sequence[str]) -> dict[str, bytes]:
        """The content digests of those of these ids that are there."""
        found = self.points.retrieve([self.layout.point_id(name) for name in ids], ["id", "digest"], ())
        return {str(point.payload["id"]): bytes.fromhex(point.payload["digest"]) for point in found}

    @staticmethod
    def digest(passage: Passage) -> bytes:
        """What `digests` would say of this passage."""
        return content_digest(passage)

    # -- writing ---------------------------------------------------------------------------------------------------

    def start_writing(self) -> None:
        """Refuse a collection that isn't latewood's to write.

        Raises:
            UsageError: somebody else made it.
        """
        if not self.layout.own:
            raise UsageError(
                "this collection was made by somebody else, and latewood only reads it: keep token vectors beside it "
                "(latewood sidecar), or make a new one (latewood migrate)"
            )

    def add(
        self, passages: Sequence[Passage], encoded: EncodedPassages, progress: Callable[[int], None] | None = None
    ) -> int:
        """Add or replace these passages, in batches; of one id twice, the last counts.

        Args:
            passages: N passages.
            encoded: their vectors, in the same order.
            progress: called with the number of passages written since the last call.

        Raises:
            ShapeError: not as many vectors as passages, or of another D than the collection's.
            InputError: a passage that can't be stored.
            EndpointError: the server refuses, or is gone; what was written before stays.
        """
        self.start_writing()
        for name, many, dim in ("token", encoded.tokens, self.spec.dim), ("dense", encoded.dense, self.spec.dense_dim):
            if len(many) != len(passages) or many.dim != dim:
                raise ShapeError(
                    f"{name} vectors: got {len(many)} of D {many.dim} for {len(passages)} passages, expected D {dim}"
                )
        last = {record_of(passage)[0]: i for i, passage in enumerate(passages)}
        made = (
            Point(
                self.layout.point_id(name),
                self.layout.payload(passages[i]),
                self._vectors(as_float(encoded.tokens, i), as_float(encoded.dense, i)),
            )
            for name, i in last.items()
        )
        for some in batches(made):
            self.points.upsert(some)
            if progress is not None:
                progress(len(some))
        self._generation += 1
        return self._generation

    def _vectors(self, tokens: FloatArray, dense: FloatArray) -> Mapping[str, FloatArray]:
        named = self.layout.vectors(tokens, dense)
        if self.layout.pooled is None or not len(tokens):
            return named
        return {**named, self.layout.pooled: next(pooled([tokens], float(self._notes["pool_factor"])))}

    def delete(self, ids: Sequence[str]) -> int:
        """Delete these ids; how many were there."""
        self.start_writing()
        there = self.points.retrieve([self.layout.point_id(name) for name in ids], False, ())
        self.points.delete([point.id for point in there])
        self._generation += 1
        return len(there)

    # -- looking after ---------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Counts, vectors and encoder: JSON-ready. Bytes where the files are on this machine."""
        address = getattr(self.points, "address", None)
        folder = None if address is None or address.kind == "server" else Path(address.location)
        return {
            "points": self.points.count(),
            "vectors": {name: asdict(shape) for name, shape in self.found.vectors.items()},
            "sparse_vectors": list(self.found.sparse),
            "made_by_latewood": self.layout.own,
            "bytes": None if folder is None else _bytes(folder),
            "encoder": asdict(self.spec) if self.noted else None,
        }

    def check(self) -> list[str]:
        """Read every point: one line for each whose content isn't what was written, or that lacks a vector."""
        findings = []
        names = [name for name in (self.layout.dense, self.layout.late) if name is not None]
        for some in self.points.scroll(True, names, 64):
            for point in some:
                if self.layout.own and self.digest(self.layout.passage(point)).hex() != point.payload.get("digest"):
                    findings.append(f"point {point.id}: its content isn't what was written")
                findings += [f"point {point.id}: no vector {name!r}" for name in names if name not in point.vectors]
        return findings


def notes_of(
    spec: EncoderSpec, settings: Mapping[str, Any] | None, golden: FloatArray | None, payload: str = "passage"
) -> dict[str, Any]:
    """What latewood leaves in a collection's metadata.

    Args:
        spec: the encoder.
        settings: the caller's.
        golden: vectors to recognise the encoder by.
        payload: "passage" where the payload is latewood's, "theirs" where it is somebody else's.
    """
    vectors = np.zeros(0, np.float32) if golden is None else np.asarray(golden, np.float32)
    return {
        "format": FORMAT,
        "payload": payload,
        "spec": json.dumps(asdict(spec), sort_keys=True),
        "settings": json.dumps(dict(settings or {}), sort_keys=True),
        "golden": base64.b64encode(vectors.tobytes()).decode(),
        "golden_shape": list(vectors.shape),
    }


def as_float(many: MultiVectors, i: int) -> FloatArray:
    """[T_i, D] float32 of document i, whatever it is stored as."""
    rows = many[i]
    if many.scales is None:
        return np.asarray(rows, np.float32)
    scales = many.scales[many.offsets[i] : many.offsets[i + 1]]
    return np.asarray(rows.astype(np.float32) * scales[:, None], np.float32)


def _dims(spec: EncoderSpec) -> dict[str, int]:
    return {DENSE: spec.dense_dim, LATE: spec.dim}


def _own(found: Found) -> Layout:
    names = [name if name in found.vectors else None for name in (DENSE, LATE)]
    return Layout(names[0], names[1], own=True, pooled=POOLED if POOLED in found.vectors else None)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
