"""A Qdrant collection that stays as it is, and its token vectors in a collection beside it, kept in step.

create("side.lw", "qdrant://localhost:6333/docs", text=["text"])
sync("side.lw")
with Collection.open("side.lw") as kb:
kb.search("who wrote it?", pipeline="first:50 >> late:5")   # their search finds fifty, late interaction orders them
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from latewood import encode
from latewood.beside import Beside
from latewood.collection import AddReport, Collection, Progress
from latewood.encode import Placement
from latewood.errors import CountMismatch, InputError, UsageError
from latewood.index import DEFAULT_BITS, Bits
from latewood.protocols import Encoder
from latewood.qdrant import QdrantCollection
from latewood.stores.qdrant import QdrantStore
from latewood.types import Passage

__all__ = ["Synced", "create", "sync"]

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Synced:
    """What `sync` did.

    Args:
        passages: added, replaced, left alone.
        removed: passages whose point is gone.
        points: that their collection has.
        without_text: ids of the points that have no text in the fields that were named, and can't be encoded.
    """

    passages: AddReport
    removed: int
    points: int
    without_text: tuple[str, ...] = ()


def create(
    path: str | Path,
    home: str,
    *,
    text: Sequence[str],
    source: str | None = None,
    vector: str | None = None,
    query_model: str = "minilm",
    model: str | Path | Encoder = "minilm",
    bits: Bits = DEFAULT_BITS,
    placement: Placement | None = None,
    download: bool = False,
) -> float | None:
    """Make an empty collection beside a Qdrant collection; `sync` fills it. Nothing is written to theirs.

    Args:
        path: the new folder.
        home: address of their collection.
        text: fields of the payload that hold a point's text.
        source: the field that names a point's document; None where each point is one.
        vector: which vector their search uses; None for the only one.
        query_model: what made their vectors.
        model: what makes the token vectors.
        bits: of a dimension of a token vector.
        placement: where the model runs.
        download: fetch a model of the hub that isn't on this machine.

    Returns:
        The mean cosine of their vectors with those that `query_model` makes of the same texts: about 1, where it made
        them. None where nothing could be compared.

    Raises:
        UsageError: no field of text, or a model without token vectors.
        InputError: there is no such collection, none of the first points has text, or the folder is already something.
        EncoderMismatch: `query_model` didn't make their vectors.
    """
    if not text:
        raise UsageError(f"{home}: which field of the payload holds the text? Give --text-field NAME")
    theirs = QdrantCollection.open(home, query_model, text=text, source=source, dense=vector, placement=placement)
    with theirs:
        if theirs.store.layout.dense is None:
            raise UsageError(f"{home} has no vector of a first stage: search it by late interaction as it is")
        _check_text(theirs, text)
        agreement = theirs.agreement()
    encoder: Encoder
    if isinstance(model, str | Path):
        encoder = encode.load(str(model), placement=placement, download=download)
    else:
        encoder = model
    if not encoder.spec.dim:
        raise UsageError(f"'{encoder.spec.name}' gives no token vectors, and a sidecar is for them: take another model")
    beside = Beside(home, tuple(text), source, vector, query_model)
    Collection.create(path, encoder, bits=bits, placement=placement, settings={"beside": beside.to_json()}).close()
    return agreement


def _check_text(theirs: QdrantCollection, text: Sequence[str]) -> None:
    some = next(theirs.store.points.scroll(True, (), 50), [])
    if some and not any(theirs.store.layout.has_text(point) for point in some):
        fields = ", ".join(sorted({name for point in some for name in point.payload})[:12]) or "none"
        raise InputError(f"{theirs.home}: no text in {', '.join(text)} of the first points; their fields are: {fields}")


def sync(
    path: str | Path,
    progress: Progress | None = None,
    *,
    model: str | Path | Encoder | None = None,
    placement: Placement | None = None,
    vectors_from: Collection | None = None,
) -> Synced:
    """Bring a collection in step with the Qdrant collection that it stands beside.

    Points are read in the order of their ids; what is there and unchanged costs nothing. An interruption loses the
    running batch; the next call goes on behind it, and ends in the same state.

    Args:
        path: the collection's folder, made by `create`.
        progress: called with the number of points done since the last call.
        model: where the model is now, if not where it was.
        placement: where it runs.
        vectors_from: another collection of the same encoder, whose passages of the same text aren't encoded again.

    Raises:
        InputError: the collection stands beside nothing.
        CountMismatch: afterwards both don't hold the same; their collection was written meanwhile.
        UsageError: their collection is empty, and this one isn't: an address of something else, most likely.
    """
    with Collection.open(path, model, placement) as kb:
        beside = kb.beside
        if beside is None:
            raise InputError(f"{path} stands beside no other collection: latewood sidecar makes one that does")
        theirs = beside.open()
        try:
            if not theirs.points.count() and len(kb.snapshot):
                raise UsageError(
                    f"{beside.home} is empty, and {path} holds {len(kb.snapshot):,} passages: is it the right one?"
                )
            reader = _Reader(theirs)
            report = kb.add(reader.passages(), progress, vectors_from=vectors_from)
            gone = [name for name in kb.snapshot.ids(kb.snapshot.live_rows) if name not in reader.seen]
            removed = kb.delete(gone) if gone else 0
            points = theirs.points.count()
        finally:
            theirs.close()
        here, read = len(kb.snapshot), len(reader.seen) + len(reader.without)
        if points != read or here != len(reader.seen):
            raise CountMismatch(
                f"{beside.home} has {points:,} points, of which {read:,} were read; {path} holds {here:,} passages, "
                f"expected {len(reader.seen):,}. Was it written meanwhile? Run latewood sync again"
            )
        return Synced(report, removed, points, tuple(reader.without))


@dataclass(slots=True)
class _Reader:
    """Their points as passages, with what was met on the way."""

    store: QdrantStore
    seen: set[str] = field(default_factory=set)
    without: list[str] = field(default_factory=list)

    def passages(self) -> Iterator[Passage]:
        for some in self.store.points.scroll(True, (), _AT_ONCE):
            for point in some:
                if not self.store.layout.has_text(point):
                    self.without.append(str(point.id))
                    continue
                passage = self.store.layout.passage(point)
                self.seen.add(passage.id)
                yield passage
