"""Building the late-interaction index: codebook, lists and signs, segment by segment, resumable after a kill.

Every step's result is a file of its own in the folder `building`; a builder that starts again finds those of the same
commit and settings, and goes on behind them. Vectors are read from the exact tier, so neither the model nor the
caller's iterator is needed, and what it holds in memory is one segment's work and the sample.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latewood import maxsim
from latewood.errors import CorruptionError, InputError, UsageError
from latewood.index.catalogue import Head
from latewood.index.codebook import Codebook, centroid_count, floats, sample_size, take, train
from latewood.index.depths import Depths
from latewood.index.disk import disk_errors, publish, write_all
from latewood.index.format import Array, SegmentFile, SegmentSeal, write_segment
from latewood.index.late import LateIndex, Manifest
from latewood.index.segment import Segment
from latewood.index.snapshot import IndexSnapshot
from latewood.types import IntArray, MultiVectors

__all__ = ["BUILDING", "MEMORY_BUDGET", "Plan", "build_lists"]

BUILDING = "building"
MEMORY_BUDGET = 2 << 30
"""Bytes beyond the output."""

_SEALS = "seals.json"
_SIGN_ROWS = 1 << 15

Progress = Callable[[str, int, int], None]
"""Called with the step ("sample", "train", "assign", "write"), units done and units in all."""


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
    folder: Path, snapshot: IndexSnapshot, plan: Plan, threads: int = 1, progress: Progress | None = None
) -> Manifest:
    """Build the index over a snapshot's rows; the manifest, not written yet, with depths that look at everything.

    Args:
        folder: where the file shall be; the same plan and vectors give the same file, byte for byte.
        snapshot: its rows; those that are dead get no lists.
        plan: made for this snapshot.
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
            parts.write(name, _lists_of(segment, snapshot, plan.column, book, threads))
        done += _vectors_of(segment, plan.column)
        tell("assign", done, total)
    tell("write", 0, 1)
    manifest = _join(folder, parts, snapshot, plan, book)
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
        sample = _sample(snapshot.segments, plan)
        book = train(sample, plan.centroids, threads, plan.seed)
        parts.write("codebook", {name: np.asarray(value) for name, value in asdict(book).items()})
    tell("train", 1, 1)
    file = parts.open("codebook")
    arrays = {name: file.read(name) for name in ("centroids", "coarse", "cells", "mean")}
    return Codebook(**arrays, residual=float(file.read("residual")))


def _vectors_of(segment: Segment, column: str) -> int:
    return int(segment.offsets(column)[-1])


def _sample(segments: Sequence[Segment], plan: Plan) -> MultiVectors:
    """Token vectors drawn without replacement from all, in order; those of dead rows stand for themselves as well."""
    sizes = [_vectors_of(segment, plan.column) for segment in segments]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    rng = np.random.default_rng(plan.seed)
    drawn = np.sort(rng.choice(starts[-1], plan.sample, replace=False, shuffle=False))
    parts = []
    for segment, low, high in zip(segments, starts[:-1], starts[1:], strict=True):
        mine = drawn[np.searchsorted(drawn, low) : np.searchsorted(drawn, high)] - low
        segment.touch(plan.column)
        parts.append(take(segment.vectors(plan.column), mine))
    tokens = np.concatenate([part.tokens for part in parts])
    scales = [part.scales for part in parts if part.scales is not None]
    return MultiVectors(tokens, np.array([0, len(tokens)], np.int64), np.concatenate(scales) if scales else None)


def _lists_of(segment: Segment, snapshot: IndexSnapshot, column: str, book: Codebook, threads: int) -> dict[str, Array]:
    """Of one segment: each document's distinct centroids, its number of vectors, and their signs."""
    segment.touch(column)
    vectors = segment.vectors(column)
    alive = snapshot.alive[segment.record.first_row :][: len(segment)]
    lengths = np.diff(vectors.offsets)
    assigned = book.assign(vectors, threads)
    owners = np.repeat(np.arange(len(segment), dtype=np.int64), lengths)
    kept = alive[owners]
    keys = np.unique(owners[kept] << 16 | assigned[kept])
    counts = np.bincount(keys >> 16, minlength=len(segment))
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


def _join(folder: Path, parts: _Parts, snapshot: IndexSnapshot, plan: Plan, book: Codebook) -> Manifest:
    """One file of all parts; the large arrays pass through a map of a file, not through memory."""
    files = [parts.open(f"segment-{segment.record.number:06d}") for segment in snapshot.segments]
    counts, lengths = (np.concatenate([file.read(name) for file in files]) for name in ("counts", "lengths"))
    numbers: Array = np.concatenate([file.read("numbers") for file in files])
    postings, posting_offsets = _postings(numbers, counts, len(book.centroids))
    signs = _joined(parts.folder / "signs.tmp", [file.read("signs") for file in files])
    name = f"late-{plan.generation:08d}.seg"
    seal = write_segment(
        folder / name,
        {
            **{key: np.asarray(value) for key, value in asdict(book).items()},
            "numbers": numbers,
            "number_offsets": _offsets(counts),
            "postings": postings,
            "posting_offsets": posting_offsets,
            "offsets": _offsets(lengths),
            "signs": signs,
        },
    )
    everything = Depths(0, 0, max(1, len(counts)), max(1, len(counts)))
    return Manifest(
        name, seal.bytes, seal.header_crc, plan.generation, plan.crc, len(counts), int(lengths.sum()), everything,
        0.0, "", 0, book.residual,
    )  # fmt: skip


def _postings(numbers: Array, counts: IntArray, centroids: int) -> tuple[Array, IntArray]:
    """The documents of each centroid, ascending."""
    owners = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return owners[np.argsort(numbers, kind="stable")], _offsets(np.bincount(numbers, minlength=centroids))


def _offsets(counts: IntArray) -> IntArray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _joined(path: Path, arrays: Sequence[Array]) -> Array:
    shape = (sum(len(array) for array in arrays), arrays[0].shape[1])
    if not shape[0]:
        return np.zeros(shape, np.uint8)
    with disk_errors(path, "write"):
        joined = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        start = 0
        for array in arrays:
            joined[start : start + len(array)] = array
            start += len(array)
    return joined


def leftovers(folder: Path, current: str) -> Iterator[Path]:
    """Files of other builds."""
    for path in sorted(folder.glob("late-*")):
        if path.name != current:
            yield path


def finish(folder: Path, manifest: Manifest) -> LateIndex:
    """Make a build the index of its folder, and remove what it replaces."""
    manifest.write(folder)
    shutil.rmtree(folder / BUILDING, ignore_errors=True)
    for path in leftovers(folder, manifest.file):
        path.unlink(missing_ok=True)
    return LateIndex(folder, manifest)


def settings_of(manifest: Manifest) -> dict[str, Any]:
    """What `stats` says of an index."""
    return {
        "file": manifest.file,
        "generation": manifest.generation,
        "passages": manifest.rows,
        "vectors": manifest.vectors,
        "target_overlap": manifest.target,
        "tuned_on": f"{manifest.tuned_on} {manifest.queries} queries",
        "depths": asdict(manifest.depths),
    }
