"""The life of a late-interaction index: built, extended while its collection grows, trained again when need be.

Rows that came after those that an index covers are scored exactly. That is cheap while they are few; before it isn't,
they are given to the centroids that there are, and one new file covers everything. The centroids were trained for other
vectors, though: when most vectors are new, or when new ones lie further from their centroids than those of the
training, all is trained again, from the stored vectors and, if questions were given, with these. No model is needed.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from latewood.errors import UsageError
from latewood.index.certify import pseudo_queries
from latewood.index.disk import disk_errors
from latewood.index.format import Array, Pieces, SegmentFile
from latewood.index.late import LateIndex, Manifest
from latewood.index.late_build import (
    MEMORY_BUDGET,
    Plan,
    build_lists,
    codebook_in,
    finish,
    free_path,
    lists_of,
    live_part,
    write_late,
)
from latewood.index.live import Index
from latewood.index.snapshot import IndexSnapshot
from latewood.index.tuning import tuned
from latewood.types import FloatArray, IntArray

__all__ = ["LATE_FOLDER", "LateUpkeep", "build_late", "extend_late", "is_outgrown", "uncovered"]

LATE_FOLDER = "derived/late"

_TARGET = 0.99
_SAMPLES = 256

_TAIL, _LEAST_TAIL = 1 / 256, 1 << 15
"""Vectors that may be scored exactly behind an index: as a share of it, and at least. At 10.7 million vectors both take
about a quarter of the time of a search (docs/index.md)."""
_LIVE = 0.8  # share of the covered passages below which the lists of the dead are left out
_GROWN, _DRIFTED = 1.0, 1.1  # appended vectors for each of the training; `Manifest.drift`
_LOOK = 0.2  # seconds between two looks, while an index is trained, at how much has come meanwhile
_FEW = 0.05  # appended vectors for each of the training from which on their drift means something

Progress = Callable[[str, int, int], None]


def build_late(
    index: Index,
    column: str,
    *,
    target_overlap: float = _TARGET,
    queries: Sequence[FloatArray] | None = None,
    kind: str = "given",
    centroids: int | None = None,
    memory_budget: int = MEMORY_BUDGET,
    threads: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> LateIndex:
    """Build the late-interaction index over everything that is in `index` now, and tune it.

    Args:
        index: whose newest generation is covered; the write lock is taken.
        column: of token vectors, int8 with scales or floats.
        target_overlap: mean overlap@10 with exhaustive scoring that the depths are tuned for, below 1.
        queries: [Q, D] float32 each, to tune on; None for 256 runs of token vectors out of the documents.
        kind: what they are, "given" or "pseudo".
        centroids: K; None for about 8 times the root of the number of vectors.
        memory_budget: bytes beyond the output.
        threads: most threads to use; the result doesn't depend on it.
        seed: of sample, centroids and drawn queries.
        progress: called with the step, units done and units in all.

    Raises:
        UsageError: no vectors, vectors of one bit a dimension, or a setting out of range.
        LockedError: another process is writing.
        StorageError: the disk refused. What was finished is kept; the next call goes on behind it.
    """
    if not 0 < target_overlap < 1:
        raise UsageError(f"target_overlap: got {target_overlap}, expected more than 0 and less than 1")
    index.start_writing()
    with index.deriving:
        snapshot = index.snapshot()
        space = snapshot.spaces[column]
        if space.signs is not None:
            raise UsageError("vectors are kept as bits alone, which a search scans: there is no index to build")
        return _built(
            index, snapshot, column, target_overlap, queries, kind, centroids, memory_budget, threads, seed, progress
        )


def _built(
    index: Index,
    snapshot: IndexSnapshot,
    column: str,
    target_overlap: float,
    queries: Sequence[FloatArray] | None,
    kind: str,
    centroids: int | None,
    memory_budget: int,
    threads: int,
    seed: int,
    progress: Progress | None,
) -> LateIndex:
    space = snapshot.spaces[column]
    vectors = int(snapshot.lengths(column)[snapshot.alive].sum())
    plan = Plan.of(snapshot.head, column, vectors, space.dim, centroids, memory_budget, seed)
    folder = index.folder / LATE_FOLDER
    with disk_errors(folder, "write"):
        folder.mkdir(parents=True, exist_ok=True)
    given = [snapshot.checked(column, query) for query in queries or ()]
    manifest = build_lists(folder, snapshot, plan, given, threads, progress)
    if progress is not None:
        progress("tune", 0, 1)
    tell = progress or (lambda step, done, total: None)
    if not given:
        given, kind = pseudo_queries(snapshot, column, _SAMPLES, seed), "pseudo"
    late = LateIndex(folder, manifest)
    manifest = tuned(
        late, snapshot, column, given, target_overlap, kind=kind, threads=threads, tell=partial(tell, "tune")
    )
    now = index.snapshot()
    if _is_due(manifest, now, column):  # so much has come meanwhile that searches would score too much of it exactly
        manifest = _extended(LateIndex(folder, manifest), now, column, threads)
    late = finish(folder, manifest)
    if progress is not None:
        progress("tune", 1, 1)
    return late


def uncovered(rows: int, snapshot: IndexSnapshot, column: str) -> int:
    """Token vectors of live rows behind the first `rows`."""
    total = 0
    for segment in reversed(snapshot.segments):
        first = segment.record.first_row
        if first + len(segment) <= rows:
            break
        start = max(0, rows - first)
        lengths = np.diff(segment.offsets(column)[start:])
        total += int(lengths[snapshot.alive[first + start : first + len(segment)]].sum())
    return total


def is_outgrown(manifest: Manifest) -> bool:
    """Whether an index should be trained again: most of its vectors are new, or new ones are unlike the others."""
    grown = manifest.appended / max(1, manifest.trained)
    shrunk = manifest.vectors < manifest.trained / 2
    return shrunk or grown > _GROWN or (grown > _FEW and manifest.drift > _DRIFTED)


def extend_late(
    index: Index, column: str, *, least: int | None = None, threads: int = 1, training: bool = False
) -> LateIndex | None:
    """Let the late-interaction index cover what has come since, and leave out what has died; None if it needn't.

    Args:
        index: whose newest generation is covered; the write lock is taken.
        column: of token vectors.
        least: token vectors that aren't covered, from which on it is done; None for one part in 256 of all.
        threads: most threads to use; the result doesn't depend on it.
        training: this is called out of a `build_late`, whose files must stay.

    Raises:
        CorruptionError: the index or a vector is not what was written.
        StorageError: the disk refused; the index is as before.
    """
    index.start_writing()
    with index.deriving:
        folder = index.folder / LATE_FOLDER
        late = LateIndex.of(folder, index.catalogue)
        snapshot = index.snapshot()
        if late is None or not _is_due(late.manifest, snapshot, column, least):
            return None
        extended = _extended(late, snapshot, column, threads)
        return finish(folder, extended, late.manifest.file if training else "")


def _is_due(manifest: Manifest, snapshot: IndexSnapshot, column: str, least: int | None = None) -> bool:
    if manifest.generation == snapshot.generation:
        return False
    wanted = max(_LEAST_TAIL, int(manifest.vectors * _TAIL)) if least is None else least
    if uncovered(manifest.rows, snapshot, column) >= wanted:
        return True
    return int(np.count_nonzero(snapshot.alive[: manifest.rows])) < _LIVE * manifest.passages


def _extended(late: LateIndex, snapshot: IndexSnapshot, column: str, threads: int) -> Manifest:
    """A file over all rows, written; its manifest, not written yet."""
    before, file, rows = late.manifest, late.file, len(late)
    book = codebook_in(file)
    alive = snapshot.alive[:rows]
    old_counts, numbers = _kept(file, "numbers", "number_offsets", alive)
    old_lengths, signs = _kept(file, "signs", "offsets", alive)
    counts, lengths = [old_counts], [old_lengths]
    appended, distance = before.appended, before.appended * before.appended_residual
    for segment in snapshot.segments:
        first = segment.record.first_row
        if first + len(segment) <= rows:
            continue
        vectors, living = live_part(segment, snapshot, column, max(0, rows - first))
        assigned = book.assign(vectors, threads)
        part = lists_of(vectors, living, assigned, book)
        counts.append(part["counts"])
        lengths.append(part["lengths"])
        numbers.append(part["numbers"])
        signs.append(part["signs"])
        appended += len(assigned)
        distance += book.residual_of(vectors, assigned) * len(assigned)
    all_counts, all_lengths = np.concatenate(counts), np.concatenate(lengths)
    path = free_path(file.path.parent, snapshot.generation)
    seal = write_late(path, book, np.concatenate(numbers), all_counts, all_lengths, Pieces(signs), questions_in(file))
    return replace(
        before,
        file=path.name,
        bytes=seal.bytes,
        header_crc=seal.header_crc,
        generation=snapshot.generation,
        crc=snapshot.head.crc,
        rows=len(all_counts),
        vectors=int(all_lengths.sum()),
        passages=len(snapshot.live_rows),
        appended=appended,
        appended_residual=distance / appended if appended else 0.0,
    )


def _kept(
    file: SegmentFile, name: str, offsets_name: str, alive: npt.NDArray[np.bool_]
) -> tuple[IntArray, list[Array]]:
    """Of each row how much it has of an array, and the array, both without what has died."""
    offsets, array = file.read(offsets_name), file.read(name)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], alive, [False]]).astype(np.int8)))
    spans = offsets[edges].reshape(-1, 2).tolist()
    lengths: IntArray = np.where(alive, np.diff(offsets), 0)
    return lengths, [array[:0], *(array[a:b] for a, b in spans if b > a)]


def questions_in(file: SegmentFile) -> list[FloatArray]:
    """The questions that an index was tuned on; none where they were made of its vectors."""
    if "questions" not in file:
        return []
    values, cuts = file.read("questions"), file.read("question_offsets").tolist()
    return [values[a:b] for a, b in itertools.pairwise(cuts)]


class LateUpkeep:
    """A task of `latewood.index.upkeep.Upkeep`: extends the index of a column, and trains it again.

    Args:
        index: that is being written.
        column: of token vectors.
        trains: train again when the index is outgrown; else that is left to `latewood build`.
        first: with `trains`, token vectors from which on a first index is trained, for runs of them; 0 for never.
    """

    def __init__(self, index: Index, column: str, *, trains: bool = False, first: int = 0) -> None:
        """Nothing is looked at yet."""
        self.trains = trains
        self.first = first
        self._index = index
        self._column = column
        self._looked = 0.0

    def is_due(self) -> bool:
        """Whether there is something to do."""
        if not self._is_indexed():
            return False
        manifest = self._manifest()
        if manifest is None:
            snapshot = self._index.snapshot()
            return self.trains and 0 < self.first <= uncovered(0, snapshot, self._column)
        return self._is_outgrown(manifest) or _is_due(manifest, self._index.snapshot(), self._column)

    def do(self, check: Callable[[], None]) -> bool:
        """Extend, or train. A training that is told to end keeps what it has finished for the next one."""
        manifest = self._manifest()
        if manifest is not None and not self._is_outgrown(manifest):
            return extend_late(self._index, self._column) is not None
        check()
        late = LateIndex.of(self._index.folder / LATE_FOLDER, self._index.catalogue)
        build_late(
            self._index,
            self._column,
            target_overlap=manifest.target if manifest else _TARGET,
            queries=questions_in(late.file) if late else None,
            kind=manifest.queries if manifest else "pseudo",
            progress=lambda step, done, total: self._meanwhile(check),
        )
        return True

    def _meanwhile(self, check: Callable[[], None]) -> None:
        """Now and then while it trains: what streams in must not be left to exact scoring for minutes."""
        check()
        if time.monotonic() - self._looked < _LOOK:
            return
        manifest = self._manifest()
        if manifest is not None and _is_due(manifest, self._index.snapshot(), self._column):
            extend_late(self._index, self._column, training=True)
        self._looked = time.monotonic()

    def _is_indexed(self) -> bool:
        space = self._index.snapshot().spaces.get(self._column)
        return (
            space is not None and space.signs is None and f"{self._column}.signs" not in self._index.snapshot().spaces
        )

    def _is_outgrown(self, manifest: Manifest) -> bool:
        return self.trains and is_outgrown(manifest)

    def _manifest(self) -> Manifest | None:
        manifest = Manifest.read(self._index.folder / LATE_FOLDER)
        ours = manifest is not None and self._index.catalogue.crc_at(manifest.generation) == manifest.crc
        return manifest if ours else None
