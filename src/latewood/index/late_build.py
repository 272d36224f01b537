"""Building the late-interaction index: codebook, lists and signs, segment by segment, resumable after a kill.

Every step's result is a file of its own in the folder `building`; a builder that starts again finds those of the same
commit and settings, and goes on behind them. Vectors are read from the exact tier, so neither the model nor the
caller's iterator is needed, and what it holds in memory is one segment's work and the sample.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood import maxsim
from latewood.errors import CorruptionError, InputError, UsageError
from latewood.index.catalogue import Head
from latewood.index.codebook import Codebook, centroid_count, floats, sample_size, take, train
from latewood.index.depths import Depths
from latewood.index.disk import disk_errors, publish, remove_unused, write_all
from latewood.index.format import Array, Pieces, SegmentFile, SegmentSeal, write_segment
from latewood.index.late import LateIndex
from latewood.index.late_manifest import Manifest
from latewood.index.segment import Segment
from latewood.index.snapshot import IndexSnapshot
from latewood.types import FloatArray, IntArray, MultiVectors

__all__ = [
    "BUILDING",
    "LISTED",
    "MEMORY_BUDGET",
    "Plan",
    "build_lists",
    "codebook_in",
    "finish",
    "lists_of",
    "live_part",
    "new_path",
    "settings_of",
    "sweep",
    "write_extension",
    "write_late",
]

BUILDING = "building"
MEMORY_BUDGET = 2 << 30
"""Bytes beyond the output."""

LISTED = 1 << 12
"""Rows from which on an extension has postings. Fewer are all looked at by the second step: that takes less time than
to look up the centroids in reach in one more file."""

_SEALS = "seals.json"
_SIGN_ROWS = 1 << 15

Progress = Callable[[str, int, int], None]
"""Called with the step ("train", "assign", "write", "tune"), units done and units in all."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is built; a half-built index of another plan is thrown away.

    Args:
        column: the token vectors, int8 with scales.
        generation, crc: the commit whose rows are covered.
        centroids: K, 1 to 65,536.
        sample: vectors that the codebook is trained on.
        seed: of the sample and the first centroids.
    """

    column: str
    generation: int
    crc: int
    centroids: int
    sample: int
    seed: int

    @classmethod
    def of(
        cls, head: Head, column: str, vectors: int, dim: int, centroids: int | None, memory_budget: int, seed: int
    ) -> Plan:
        """The plan for T vectors of D dimensions that keeps within a budget of bytes.

        Raises:
            UsageError: no vectors, or a budget that not even a small sample fits.
        """
        if not vectors:
            raise UsageError("no token vectors to build an index over: add passages first")
        count = centroid_count(vectors) if centroids is None else centroids
        if not 1 <= count <= 1 << 16:
            raise UsageError(f"centroids: got {count}, expected 1 to 65536")
        # A sampled vector is held as int8, and a cell's share of them as floats while it is trained: 2 D + 8 bytes
        # on the average. The other half of the budget is a segment's work.
        most = memory_budget // 2 // (2 * dim + 8)
        if most < count:
            needed = (count * 2 * (2 * dim + 8)) >> 20
            raise UsageError(
                f"memory_budget: {count} centroids need {needed} MB at least, got {memory_budget >> 20} MB"
            )
        return cls(column, head.generation, head.crc, count, min(vectors, sample_size(count), most), seed)


def build_lists(
    folder: Path,
    snapshot: IndexSnapshot,
    plan: Plan,
    questions: Sequence[FloatArray] = (),
    threads: int = 1,
    progress: Progress | None = None,
) -> Manifest:
    """Build the index over a snapshot's rows; the manifest, not written yet, with depths that look at everything.

    Args:
        folder: where the file shall be; the same plan and vectors give the same file, byte for byte.
        snapshot: its rows; those that are dead get no lists.
        plan: made for this snapshot.
        questions: [Q, D] float32 each, kept for the next training.
        threads: most threads to use.
        progress: see `Progress`.

    Raises:
        StorageError: the disk refused. What was finished is kept for the next try.
    """
    parts = _Parts(folder / BUILDING, plan)
    tell = progress or (lambda step, done, total: None)
    book = _codebook(parts, snapshot, plan, threads, tell)
    total = sum(_vectors_of(segment, plan.column) for segment in snapshot.segments)
    done = 0
    for segment in snapshot.segments:
        name = f"segment-{segment.record.number:06d}"
        if name not in parts:
            vectors, alive = live_part(segment, snapshot, plan.column)
            parts.write(name, lists_of(vectors, alive, book.assign(vectors, threads), book))
        done += _vectors_of(segment, plan.column)
        tell("assign", done, total)
    tell("write", 0, 1)
    manifest = _join(folder, parts, snapshot, plan, book, questions)
    tell("write", 1, 1)
    return manifest


class _Parts:
    """The results of finished steps: segment files with a list of their seals."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self._plan = asdict(plan)
        self._seals: dict[str, tuple[int, int]] = {}
        with disk_errors(folder, "write"):
            if not self._resume():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                self._note()

    def _resume(self) -> bool:
        try:
            content = json.loads((self.folder / _SEALS).read_bytes())
            if content["plan"] != self._plan:
                return False
            self._seals = {name: (int(a), int(b)) for name, (a, b) in content["seals"].items()}
            for name in self._seals:
                self.open(name)
        except (FileNotFoundError, ValueError, KeyError, TypeError, CorruptionError, InputError):
            self._seals = {}
            return False
        return True

    def _note(self) -> None:
        with publish(self.folder / _SEALS) as descriptor:
            write_all(descriptor, json.dumps({"plan": self._plan, "seals": self._seals}).encode())

    def __contains__(self, name: str) -> bool:
        return name in self._seals

    def write(self, name: str, arrays: dict[str, Array]) -> None:
        seal = write_segment(self.folder / name, arrays)
        self._seals[name] = seal.bytes, seal.header_crc
        with disk_errors(self.folder, "write"):
            self._note()

    def open(self, name: str) -> SegmentFile:
        return SegmentFile(self.folder / name, SegmentSeal(*self._seals[name]))


def _codebook(parts: _Parts, snapshot: IndexSnapshot, plan: Plan, threads: int, tell: Progress) -> Codebook:
    if "codebook" not in parts:
        tell("train", 0, 1)
        sample = _sample(snapshot, plan)
        book = train(sample, plan.centroids, threads, plan.seed, partial(tell, "train"))
        parts.write("codebook", {name: np.asarray(value) for name, value in asdict(book).items()})
    tell("train", 1, 1)
    return codebook_in(parts.open("codebook"))


def codebook_in(file: SegmentFile) -> Codebook:
    """The codebook that a file holds."""
    arrays = {name: file.read(name) for name in ("centroids", "coarse", "cells", "mean")}
    return Codebook(**arrays, residual=float(file.read("residual")))


def _vectors_of(segment: Segment, column: str) -> int:
    return int(segment.offsets(column)[-1])


def _sample(snapshot: IndexSnapshot, plan: Plan) -> MultiVectors:
    """Token vectors drawn without replacement from those of all live rows, in order."""
    lengths = np.where(snapshot.alive, snapshot.lengths(plan.column), 0)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    rng = np.random.default_rng(plan.seed)
    drawn = np.sort(rng.choice(ends[-1], plan.sample, replace=False, shuffle=False))
    parts = []
    for segment in snapshot.segments:
        first, last = segment.record.first_row, segment.record.first_row + len(segment)
        low, high = ends[first], ends[last]
        mine = drawn[np.searchsorted(drawn, low) : np.searchsorted(drawn, high)] - low
        segment.touch(plan.column)
        alive = snapshot.alive[first:last]
        if not alive.all():
            mine = np.flatnonzero(np.repeat(alive, np.diff(segment.offsets(plan.column))))[mine]
        parts.append(take(segment.vectors(plan.column), mine))
    tokens = np.concatenate([part.tokens for part in parts])
    scales = [part.scales for part in parts if part.scales is not None]
    return MultiVectors(tokens, np.array([0, len(tokens)], np.int64), np.concatenate(scales) if scales else None)


def live_part(
    segment: Segment, snapshot: IndexSnapshot, column: str, first: int = 0
) -> tuple[MultiVectors, npt.NDArray[np.bool_]]:
    """A segment's vectors from this local row on, verified, and which of its rows from there live."""
    alive = snapshot.alive[segment.record.first_row :][first : len(segment)]
    vectors = segment.vectors(column)
    if not first:
        segment.touch(column)
        return vectors, alive
    segment.touch(column, np.arange(first, len(segment)))
    start = int(vectors.offsets[first])
    scales = None if vectors.scales is None else vectors.scales[start:]
    return MultiVectors(vectors.tokens[start:], vectors.offsets[first:] - start, scales), alive


def lists_of(
    vectors: MultiVectors, alive: npt.NDArray[np.bool_], assigned: npt.NDArray[np.uint16], book: Codebook
) -> dict[str, Array]:
    """Each document's distinct centroids, its number of vectors, and their signs; nothing of the dead.

    Args:
        vectors: of N documents.
        alive: [N] bool.
        assigned: [T] the centroid of each token vector.
        book: theirs.
    """
    lengths = np.diff(vectors.offsets)
    owners = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    kept = alive[owners]
    keys = np.unique(owners[kept] << 16 | assigned[kept])
    counts = np.bincount(keys >> 16, minlength=len(lengths))
    return {
        "numbers": (keys & 0xFFFF).astype(np.uint16),
        "counts": counts.astype(np.int64),
        "lengths": np.where(alive, lengths, 0).astype(np.int64),
        "signs": _signs(vectors, None if alive.all() else np.flatnonzero(kept), book),
    }


def _signs(vectors: MultiVectors, kept: IntArray | None, book: Codebook) -> Array:
    count = len(vectors.tokens) if kept is None else len(kept)
    codes = np.empty((count, (vectors.dim + 7) // 8), np.uint8)
    for start in range(0, count, _SIGN_ROWS):
        rows = np.arange(start, min(count, start + _SIGN_ROWS)) if kept is None else kept[start : start + _SIGN_ROWS]
        codes[start : start + len(rows)] = maxsim.signs(floats(take(vectors, rows)), book.mean)
    return codes


def _join(
    folder: Path, parts: _Parts, snapshot: IndexSnapshot, plan: Plan, book: Codebook, questions: Sequence[FloatArray]
) -> Manifest:
    """One file of all parts; the large arrays are copied out of their files, not held in memory."""
    files = [parts.open(f"segment-{segment.record.number:06d}") for segment in snapshot.segments]
    counts, lengths, numbers = (
        np.concatenate([file.read(name) for file in files]) for name in ("counts", "lengths", "numbers")
    )
    signs = Pieces([file.read("signs") for file in files])
    path = new_path(folder, plan.generation)
    seal = write_late(path, book, numbers, counts, lengths, signs, questions)
    everything = Depths(0, 0, max(1, len(counts)), max(1, len(counts)))
    return Manifest(
        path.name, seal.bytes, seal.header_crc, plan.generation, plan.crc, len(counts), int(lengths.sum()), everything,
        0.0, "", 0, book.residual, int(lengths.sum()), len(book.centroids) / plan.sample, len(snapshot.live_rows),
    )  # fmt: skip


def new_path(folder: Path, generation: int) -> Path:
    """A name for a file of this generation that is nobody's: one that is in use is never written over.

    An empty file takes it at once, as a training and an extension may look for one at the same time.
    """
    for number in itertools.count():
        path = folder / (f"late-{generation:08d}-{number}.seg" if number else f"late-{generation:08d}.seg")
        with disk_errors(path, "write"):
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                continue
            return path
    raise AssertionError


def write_late(
    path: Path,
    book: Codebook,
    numbers: Array,
    counts: IntArray,
    lengths: IntArray,
    signs: Pieces,
    questions: Sequence[FloatArray] = (),
) -> SegmentSeal:
    """Write the first file of an index.

    Args:
        path: not there yet, or empty.
        book: the codebook.
        numbers: uint16, each document's centroids, one document's after the other's.
        counts: [N] how many of them each document has.
        lengths: [N] token vectors of each document.
        signs: [T, D / 8] uint8.
        questions: [Q, D] float32 each, to tune on after the next training.
    """
    arrays: dict[str, Array | Pieces] = {key: np.asarray(value) for key, value in asdict(book).items()}
    arrays |= _lists(numbers, counts, lengths, signs, len(book.centroids))
    if questions:
        arrays["questions"] = np.concatenate(questions)
        arrays["question_offsets"] = _offsets(np.array([len(question) for question in questions]))
    return write_segment(path, arrays)


def write_extension(
    path: Path, numbers: Array, counts: IntArray, lengths: IntArray, signs: Pieces, centroids: int
) -> SegmentSeal:
    """Write lists and signs of further rows, as `write_late` does; postings only where they pay (`LISTED`).

    Args:
        path: not there yet, or empty.
        numbers: as there, as are the next three.
        counts: [N].
        lengths: [N].
        signs: [T, D / 8].
        centroids: K.
    """
    return write_segment(path, _lists(numbers, counts, lengths, signs, centroids if len(counts) >= LISTED else 0))


def _lists(
    numbers: Array, counts: IntArray, lengths: IntArray, signs: Pieces, centroids: int
) -> dict[str, Array | Pieces]:
    """The arrays of a file but for the codebook; with postings if `centroids` is not 0."""
    arrays: dict[str, Array | Pieces] = {"numbers": numbers, "number_offsets": _offsets(counts)}
    if centroids:
        arrays["postings"], arrays["posting_offsets"] = _postings(numbers, counts, centroids)
    return arrays | {"offsets": _offsets(lengths), "signs": signs}


def _postings(numbers: Array, counts: IntArray, centroids: int) -> tuple[Array, IntArray]:
    """The documents of each centroid, ascending."""
    owners = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return owners[np.argsort(numbers, kind="stable")], _offsets(np.bincount(numbers, minlength=centroids))


def _offsets(counts: IntArray) -> IntArray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def finish(folder: Path, manifest: Manifest, *known: LateIndex | None) -> LateIndex:
    """Make a build the index of its folder, and remove everything else there.

    Args:
        folder: of the index.
        manifest: of the build.
        known: indexes that are open.
    """
    manifest.write(folder)
    shutil.rmtree(folder / BUILDING, ignore_errors=True)
    sweep(folder, manifest)
    return LateIndex(folder, manifest, *known)


def sweep(folder: Path, manifest: Manifest) -> None:
    """Remove files that are no part of the index: replaced ones, and those of builds that were killed."""
    for path in sorted(folder.glob("late-*")):
        if path.name not in manifest.files:
            remove_unused(path)


def settings_of(manifest: Manifest) -> dict[str, Any]:
    """What `stats` says of an index."""
    return {
        "file": manifest.file,
        "extensions": len(manifest.extensions),
        "generation": manifest.generation,
        "passages": manifest.rows,
        "vectors": manifest.vectors,
        "target_overlap": manifest.target,
        "tuned_on": f"{manifest.tuned_on} {manifest.queries} queries",
        "depths": asdict(manifest.depths),
        "trained_vectors": manifest.trained,
        "appended_vectors": manifest.appended,
        "drift": round(manifest.drift, 4),
    }
