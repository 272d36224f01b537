"""The life of a late-interaction index: built, extended while its collection grows, trained again when need be.

Rows that came after those that an index covers are scored exactly. That is cheap while they are few; before it isn't,
they are given to the centroids that there are, and a further file covers them: an extension. A small extension is
written again with the next one, as segments are merged, so that there are few. The centroids were trained for other
vectors, though: when most vectors are new, or when new ones lie further from their centroids than those of the
training, all is trained again, from the stored vectors and, if questions were given, with these. No model is needed.
`late_upkeep` does all of this beside a writer's commits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood.errors import UsageError
from latewood.index.certify import pseudo_queries
from latewood.index.codebook import Codebook
from latewood.index.disk import disk_errors, remove_unused
from latewood.index.format import Array, Pieces, SegmentFile
from latewood.index.late import LateIndex
from latewood.index.late_build import (
    MEMORY_BUDGET,
    Plan,
    build_lists,
    codebook_in,
    finish,
    lists_of,
    live_part,
    new_path,
    settings_of,
    sweep,
    write_extension,
    write_late,
)
from latewood.index.late_manifest import Extension, Manifest
from latewood.index.live import Index
from latewood.index.snapshot import IndexSnapshot
from latewood.index.tuning import tuned
from latewood.types import FloatArray, IntArray, MultiVectors

__all__ = [
    "LATE_FOLDER",
    "TARGET",
    "build_late",
    "extend_late",
    "is_due",
    "is_outgrown",
    "late_stats",
    "questions_in",
    "uncovered",
]

LATE_FOLDER = "derived/late"

TARGET = 0.99
_SAMPLES = 256

_TAIL, _LEAST_TAIL = 1 / 256, 1 << 14
"""Vectors that may be scored exactly behind an index: as a share of it, and at least."""
_CATCHING_UP = 4  # times that a trained index is extended before it takes its place: each time less has come
_TOGETHER = 1 << 16  # vectors that are given to centroids together
_MERGED = 3  # times what comes, up to which an extension is written again with it
_LIVE = 0.8  # share of the covered passages below which the lists of the dead are left out
_GROWN, _DRIFTED = 1.0, 1.1  # appended vectors for each of the training; `Manifest.drift`
_FEW = 0.2
"""Appended vectors for each of the training from which on drift counts: trained at each twentieth, an index of texts
that come topic by topic would be in training all the time."""

Progress = Callable[[str, int, int], None]


def build_late(
    index: Index,
    column: str,
    *,
    target_overlap: float = TARGET,
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
    late = LateIndex(folder, manifest, late)
    for _ in range(_CATCHING_UP):  # of what has come meanwhile a search would score too much exactly
        now = index.snapshot()
        if not is_due(manifest, now, column):
            break
        manifest, written = _extended(late, now, column, threads)
        late = LateIndex(folder, manifest, late, written=[written])
    with index.publishing:
        built = finish(folder, manifest, late)
    if progress is not None:
        progress("tune", 1, 1)
    return built


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
    index: Index,
    column: str,
    *,
    least: int | None = None,
    whole: bool = False,
    threads: int = 1,
    known: LateIndex | None = None,
    tell: Callable[[LateIndex], None] = lambda late: None,
) -> LateIndex | None:
    """Let the late-interaction index cover what has come since, and leave out what has died; None if it needn't.

    May be called while `build_late` runs on another thread: the index that is in use is extended meanwhile.

    Args:
        index: whose newest generation is covered; the write lock is taken.
        column: of token vectors.
        least: token vectors that aren't covered, from which on it is done; None for one part in 256 of all.
        whole: leave one file that covers everything, without what has died.
        threads: most threads to use; the result doesn't depend on it.
        known: the index as it was opened before.
        tell: called with the extended index just before others see it, so that they need open nothing.

    Raises:
        CorruptionError: the index or a vector is not what was written.
        StorageError: the disk refused; the index is as before.
    """
    index.start_writing()
    with index.publishing:
        folder = index.folder / LATE_FOLDER
        late = LateIndex.of(folder, index.catalogue, known)
        snapshot = index.snapshot()
        if late is None or not (is_due(late.manifest, snapshot, column, least) or (whole and late.manifest.extensions)):
            return None
        extended, written = _extended(late, snapshot, column, threads, whole=whole)
        opened = LateIndex(folder, extended, late, written=[written])
        tell(opened)
        extended.write(folder)
        # Files of a training that goes on must stay; what a killed one left is removed another time.
        if index.deriving.acquire(blocking=False):
            try:
                sweep(folder, extended)
            finally:
                index.deriving.release()
        else:
            for name in set(late.manifest.files) - set(extended.files):
                remove_unused(folder / name)
        return opened


def is_due(manifest: Manifest, snapshot: IndexSnapshot, column: str, least: int | None = None) -> bool:
    """Whether so much isn't covered, or so much is dead, that the index should be extended."""
    if manifest.generation == snapshot.generation:
        return False
    wanted = max(_LEAST_TAIL, int(manifest.vectors * _TAIL)) if least is None else least
    return uncovered(manifest.rows, snapshot, column) >= wanted or _is_dead(manifest, snapshot)


def _is_dead(manifest: Manifest, snapshot: IndexSnapshot) -> bool:
    return int(np.count_nonzero(snapshot.alive[: manifest.rows])) < _LIVE * manifest.passages


def late_stats(manifest: Manifest, snapshot: IndexSnapshot, column: str) -> dict[str, Any]:
    """What `stats` says of an index beside a generation: JSON-ready."""
    return {
        **settings_of(manifest),
        "uncovered_vectors": uncovered(manifest.rows, snapshot, column),
        "dead_passages": manifest.passages - int(np.count_nonzero(snapshot.alive[: manifest.rows])),
        "outgrown": is_outgrown(manifest),
    }


def _extended(
    late: LateIndex, snapshot: IndexSnapshot, column: str, threads: int, *, whole: bool = False
) -> tuple[Manifest, str]:
    """An index over all rows, of which one file was written; its manifest, not written yet, and that file's name."""
    before, book = late.manifest, codebook_in(late.file)
    later, appended, distance = _later(snapshot, column, len(late), book, threads)
    appended += before.appended
    distance += before.appended * before.appended_residual
    path = new_path(late.file.path.parent, snapshot.generation)
    if whole or _is_dead(before, snapshot):
        rows = _joined([*_kept(late, snapshot, 0), later])
        signs = Pieces(rows.signs)
        seal = write_late(path, book, rows.numbers, rows.counts, rows.lengths, signs, questions_in(late.file))
        after = replace(before, file=path.name, bytes=seal.bytes, header_crc=seal.header_crc, extensions=())
        vectors, passages = rows.vectors, rows.passages
    else:
        kept = _merged_from(before.extensions, later.vectors)
        merged = before.extensions[kept:]
        rows = _joined([*_kept(late, snapshot, 1 + kept), later])
        signs = Pieces(rows.signs)
        seal = write_extension(path, rows.numbers, rows.counts, rows.lengths, signs, len(book.centroids))
        new = Extension(path.name, seal.bytes, seal.header_crc, len(rows.counts), rows.vectors, rows.passages)
        after = replace(before, extensions=(*before.extensions[:kept], new))
        vectors = before.vectors + rows.vectors - sum(each.vectors for each in merged)
        passages = before.passages + rows.passages - sum(each.passages for each in merged)
    after = replace(
        after,
        generation=snapshot.generation,
        crc=snapshot.head.crc,
        rows=len(snapshot.alive),
        vectors=vectors,
        passages=passages,
        appended=appended,
        appended_residual=distance / appended if appended else 0.0,
    )
    return after, path.name


def _merged_from(extensions: Sequence[Extension], vectors: int) -> int:
    """How many extensions stay as they are; those behind them are written anew, with so many vectors that came.

    One is kept if it is more than three times as large as what is written behind it. So there are few of them, however
    many adds there were, and a vector is written again only some times.
    """
    kept = len(extensions)
    while kept and extensions[kept - 1].vectors <= _MERGED * vectors:
        kept -= 1
        vectors += extensions[kept].vectors
    return kept


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """What a file keeps of N rows: counts [N] and the numbers of their centroids, lengths [N] and their signs."""

    counts: IntArray
    numbers: Array
    lengths: IntArray
    signs: list[Array]
    passages: int

    @property
    def vectors(self) -> int:
        return int(self.lengths.sum())


def _joined(rows: Sequence[_Rows]) -> _Rows:
    return _Rows(
        np.concatenate([each.counts for each in rows]),
        np.concatenate([each.numbers for each in rows]),
        np.concatenate([each.lengths for each in rows]),
        [array for each in rows for array in each.signs],
        sum(each.passages for each in rows),
    )


def _kept(late: LateIndex, snapshot: IndexSnapshot, first: int) -> list[_Rows]:
    """What the index has of the rows of its parts from this one on, without what has died."""
    found, row = [], 0
    for number, part in enumerate(late.parts):
        alive = snapshot.alive[row : row + len(part)]
        row += len(part)
        if number >= first:
            counts, numbers = _cut(part.file, "numbers", "number_offsets", alive)
            lengths, signs = _cut(part.file, "signs", "offsets", alive)
            found.append(_Rows(counts, np.concatenate(numbers), lengths, signs, int(np.count_nonzero(alive))))
    return found


def _later(snapshot: IndexSnapshot, column: str, first: int, book: Codebook, threads: int) -> tuple[_Rows, int, float]:
    """The rows from this one on, given to the centroids; how many vectors, and the sum of their distances."""
    width = (snapshot.spaces[column].dim + 7) // 8
    none = np.zeros(0, np.int64)
    found = [_Rows(none, np.zeros(0, np.uint16), none, [np.zeros((0, width), np.uint8)], 0)]
    total, distance = 0, 0.0
    for vectors, living in _in_batches(snapshot, column, first):
        assigned = book.assign(vectors, threads)
        part = lists_of(vectors, living, assigned, book)
        found.append(_Rows(part["counts"], part["numbers"], part["lengths"], [part["signs"]], int(living.sum())))
        total += len(assigned)
        distance += book.residual_of(vectors, assigned) * len(assigned)
    return _joined(found), total, distance


def _in_batches(
    snapshot: IndexSnapshot, column: str, first: int
) -> Iterator[tuple[MultiVectors, npt.NDArray[np.bool_]]]:
    """Vectors of the rows from this one on, and which of them live.

    Small segments come together: to give one document's vectors to the centroids costs nearly as much as a hundred's.
    """
    held: list[tuple[MultiVectors, npt.NDArray[np.bool_]]] = []
    later = [one for one in snapshot.segments if one.record.first_row + len(one) > first]
    for segment in later:
        held.append(live_part(segment, snapshot, column, max(0, first - segment.record.first_row)))
        if segment is later[-1] or sum(len(part.tokens) for part, _ in held) >= _TOGETHER:
            yield MultiVectors.joined([part for part, _ in held]), np.concatenate([living for _, living in held])
            held = []


def _cut(file: SegmentFile, name: str, offsets_name: str, alive: npt.NDArray[np.bool_]) -> tuple[IntArray, list[Array]]:
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
