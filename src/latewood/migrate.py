"""A Qdrant collection into a new one that has token vectors too: theirs stays, an alias switches.

    migrate("qdrant://localhost:6333/docs", "docs_late", text=["text"])
    switch("qdrant://localhost:6333/docs_late", "docs_live")

Points keep their ids, payloads and vectors. What is in the new collection and equal is passed over, so that an
interrupted run goes on where it was, and a later run brings it up to date.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from latewood import encode
from latewood.collection import Collection, Progress
from latewood.encode import Placement
from latewood.errors import CountMismatch, InputError, UsageError
from latewood.protocols import Encoder
from latewood.searching import differences
from latewood.stores.homes import QdrantAddress, parse_home
from latewood.stores.qdrant import QdrantStore, as_float, notes_of, points_at
from latewood.stores.qdrant_client_door import ClientPoints, clients_of
from latewood.stores.qdrant_filters import HasVector
from latewood.stores.qdrant_layout import LATE, NOTES, Layout, foreign
from latewood.stores.qdrant_points import Found, Plan, Point, PointId, Storage, VectorShape, batches
from latewood.types import EncodedPassages, EncoderSpec

__all__ = ["Migrated", "migrate", "publish", "switch"]

_AT_ONCE = 128
_SAME = 1e-5
"""Vectors whose numbers differ by less are the same: a server that normalises rounds."""


@dataclass(slots=True)
class Migrated:
    """What `migrate` did, in points.

    Args:
        points: in both collections.
        written: new or changed in the new one.
        encoded: of them, those whose text was encoded.
        unchanged: were there already, and equal.
        removed: from the new one, since they are gone from the old one.
        without_text: ids of points without text, which have no token vectors.
    """

    points: int = 0
    written: int = 0
    encoded: int = 0
    unchanged: int = 0
    removed: int = 0
    without_text: list[str] = field(default_factory=list)


def migrate(
    home: str,
    to: str,
    *,
    text: Sequence[str],
    source: str | None = None,
    vector: str | None = None,
    query_model: str = "minilm",
    model: str | Path | Encoder = "minilm",
    storage: Storage | None = None,
    placement: Placement | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> Migrated:
    """Copy a collection into a new one of the same Qdrant, with a vector "late" of token vectors added.

    Vectors, sparse ones too, payload, payload indexes and the collection's settings are taken over. The old collection
    is only read. Interrupted at any moment, the same call goes on, and ends in the same state.

    Args:
        home: the old collection's address, of a server or a local folder.
        to: the new collection's name.
        text: fields of the payload that hold a point's text.
        source: the field that names a point's document; None where each point is one.
        vector: which vector the first stage searches; None for the only one.
        query_model: what made it, noted for searching later.
        model: what makes the token vectors.
        storage: how they are kept.
        placement: where the model runs.
        download: fetch a model of the hub that isn't on this machine.
        progress: called with the number of points done since the last call.

    Raises:
        UsageError: no field of text, a model without token vectors, a name that is taken.
        InputError: there is no such collection, or the new one was made of something else.
        EndpointError: the server can't be reached, refuses, or is too old.
        CountMismatch: afterwards both don't hold the same; the old one was written meanwhile.
    """
    address = parse_home(home)
    if isinstance(address, Path) or address.kind == "edge":
        raise UsageError(f"{home}: only collections of a server or a local folder of Qdrant can be migrated")
    if not text:
        raise UsageError(f"{home}: which field of the payload holds the text? Give --text-field NAME")
    if not address.collection:
        raise UsageError(f"{home}: which collection? Put #NAME behind the folder")
    if not to or to == address.collection:
        raise UsageError(f"--to {to!r}: the new collection needs a name of its own")
    encoder: Encoder
    if isinstance(model, str | Path):
        encoder = encode.load(str(model), placement=placement, download=download)
    else:
        encoder = model
    if not encoder.spec.dim:
        raise UsageError(f"'{encoder.spec.name}' gives no token vectors, and they are to be added: take another model")
    old, new = clients_of(address, address.collection, to)
    try:
        found = old.found()
        layout = foreign(found, tuple(text), source, vector, None)
        if LATE in found.vectors:
            raise UsageError(f"{home} has a vector {LATE!r} already: it can be searched as it is")
        settings = {
            "from": address.collection,
            "text": list(text),
            "source": source,
            "vector": layout.dense,
            "dense_model": query_model,
        }
        if new.exists():
            _check_same(new.found(), settings, encoder.spec, to)
        else:
            notes = notes_of(encoder.spec, settings, encode.golden_vectors(encoder), payload="theirs")
            shape = VectorShape(encoder.spec.dim, "dot", True)
            new.create(Plan({LATE: shape}, LATE, storage or Storage(), {NOTES: notes}, like=address.collection))
        return _Copy(old, new, found, layout, encoder).run(progress)
    finally:
        old.close()


def publish(
    path: str | Path, home: str, *, storage: Storage | None = None, progress: Progress | None = None
) -> Migrated:
    """Copy a collection in a folder to a Qdrant, with the vectors that it has: nothing is encoded again.

    Interrupted, or after changes, the same call writes what differs, removes what is gone, and compares counts.

    Args:
        path: the folder.
        home: the address of the new collection, or of one that this made before.
        storage: how token vectors are kept.
        progress: called with the number of passages done since the last call.

    Raises:
        UsageError: pages, which have no place in a point yet; or a collection that somebody else made.
        InputError: the collection there is of another encoder.
        EndpointError: the server can't be reached, refuses, or is too old.
        CountMismatch: afterwards both don't hold the same.
    """
    address = parse_home(home)
    if isinstance(address, Path):
        raise UsageError(f"{home}: expected the address of a collection in a Qdrant")
    with Collection.open(path) as kb:
        store = _published(address, kb, storage)
        try:
            return _publish(kb, store, progress)
        finally:
            store.close()


def _published(address: QdrantAddress, kb: Collection, storage: Storage | None) -> QdrantStore:
    points = points_at(address, make=True)
    try:
        there = points.exists()
    finally:
        points.close()
    if not there:
        return QdrantStore.create(address, kb.spec, golden=kb.golden, storage=storage)
    store = QdrantStore.open(address)
    try:
        store.start_writing()
        differing = differences(store.spec, kb.spec)
        if differing:
            raise InputError(f"{address} was made by another encoder, which differs in {', '.join(differing)}")
    except BaseException:
        store.close()
        raise
    return store


def _publish(kb: Collection, store: QdrantStore, progress: Progress | None) -> Migrated:
    done, rows, snapshot = Migrated(), kb.snapshot.live_rows, kb.snapshot
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        passages = snapshot.passages(some)
        known = store.digests([passage.id for passage in passages])
        new = [i for i, passage in enumerate(passages) if known.get(passage.id) != store.digest(passage)]
        if new:
            tokens, dense = snapshot.stored(some[new])
            store.add([passages[i] for i in new], EncodedPassages(tokens, dense))
        done.written += len(new)
        done.unchanged += len(passages) - len(new)
        if progress is not None:
            progress(len(passages))
    wanted, there = set(snapshot.ids(rows)), store.snapshot()
    done.removed = store.delete([name for name in there.ids(there.live_rows) if name not in wanted])
    done.points = store.points.count()
    if done.points != len(rows):
        raise CountMismatch(
            f"{kb.home} has {len(rows):,} passages, the collection in Qdrant {done.points:,} points: was it written "
            f"meanwhile? Run latewood migrate again"
        )
    return done


def _check_same(found: Found, settings: Mapping[str, object], spec: EncoderSpec, to: str) -> None:
    """Refuse a target that is something else, or was begun otherwise."""
    noted = QdrantStore.of_notes(found)
    if noted is None:
        raise InputError(f"there is a collection {to!r} already, and no migration made it: choose another name")
    there, made = noted
    if {name: there.get(name) for name in settings} != settings:
        raise InputError(f"collection {to!r} was made of {there}, expected {settings}: choose another name")
    differing = differences(made, spec)
    if differing:
        raise InputError(f"collection {to!r} was made by another model, which differs in {', '.join(differing)}")


@dataclass(slots=True)
class _Copy:
    """One run."""

    old: ClientPoints
    new: ClientPoints
    found: Found
    layout: Layout
    encoder: Encoder
    done: Migrated = field(default_factory=Migrated)
    seen: set[PointId] = field(default_factory=set)

    def run(self, progress: Progress | None) -> Migrated:
        names = [*self.found.vectors, *self.found.sparse]
        for some in self.old.scroll(True, names, _AT_ONCE):
            self.seen |= {point.id for point in some}
            there = {point.id: point for point in self.new.retrieve([p.id for p in some], True, [*names, LATE])}
            for group in batches(iter(self._changed(some, there))):
                self.new.upsert(group)
                self.done.written += len(group)
            if progress is not None:
                progress(len(some))
        gone = [point.id for some in self.new.scroll(False, (), 1000) for point in some if point.id not in self.seen]
        self.new.delete(gone)
        self.done.removed = len(gone)
        self._check_counts()
        return self.done

    def _changed(self, some: list[Point], there: dict[PointId, Point]) -> list[Point]:
        """What has to be written, with its token vectors."""
        changed, texts = [], {}
        for point in some:
            copy = there.get(point.id)
            words = self.layout.has_text(point)
            if not words:
                self.done.without_text.append(str(point.id))
            text = self.layout.passage(point).text
            kept = copy is not None and LATE in copy.vectors and self.layout.passage(copy).text == text
            if words and not kept:
                texts[point.id] = text
            if copy is not None and kept == words and _same(point, copy):
                self.done.unchanged += 1
                continue
            known = {LATE: copy.vectors[LATE]} if copy is not None and kept and words else {}
            changed.append(replace(point, vectors={**point.vectors, **known}))
        tokens = self.encoder.encode_passages(list(texts.values())).tokens if texts else None
        fresh = {} if tokens is None else {name: as_float(tokens, i) for i, name in enumerate(texts)}
        self.done.encoded += len(fresh)
        return [replace(p, vectors={**p.vectors, LATE: fresh[p.id]}) if p.id in fresh else p for p in changed]

    def _check_counts(self) -> None:
        old, new = self.old.count(), self.new.count()
        late, wanted = self.new.count([HasVector(LATE)]), len(self.seen) - len(self.done.without_text)
        if not old == new == len(self.seen) or late != wanted:
            raise CountMismatch(
                f"{self.old.address} has {old:,} points, {self.new.address} {new:,}, {late:,} with token vectors; "
                f"expected {len(self.seen):,} and {wanted:,}. Was it written meanwhile? Run latewood migrate again"
            )
        self.done.points = new


def _same(one: Point, other: Point) -> bool:
    if one.payload != other.payload or one.sparse != other.sparse:
        return False
    return all(
        name in other.vectors
        and other.vectors[name].shape == vector.shape
        and bool(np.abs(vector - other.vectors[name]).max(initial=0) < _SAME)
        for name, vector in one.vectors.items()
    )


def switch(home: str, alias: str) -> str | None:
    """Have an alias stand for a collection, in one step: whoever searches the alias searches it from now on.

    Args:
        home: the collection's address.
        alias: the name that your search uses.

    Returns:
        The collection that it stood for before, None where it is new.

    Raises:
        UsageError: a collection has that name: then no alias can.
        InputError: there is no such collection.
    """
    address = parse_home(home)
    if not isinstance(address, QdrantAddress) or address.kind == "edge":
        raise UsageError(f"{home}: aliases are of collections on a server or in a local folder of Qdrant")
    points, named = clients_of(address, address.collection, alias)
    try:
        points.found()
        before = points.alias(alias)
        if before is None and named.exists():
            raise UsageError(
                f"--switch {alias!r}: a collection has that name, and no alias can: search by an alias, and switch that"
            )
        points.switch(alias)
        return before
    finally:
        points.close()
