"""Compaction: which segments are worth rewriting, and the rewriting. `Index.compact_once` makes it live.

Small segments are merged with their neighbours, sixteen at a time and in three tiers of size, so that a row is
rewritten about three times however many commits there are. A segment with a fifth of its rows dead is rewritten
without them.
What is copied is verified before, so damage isn't sealed with new checksums.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from latewood.errors import CorruptionError
from latewood.index.format import Array, Pieces, SegmentSeal, write_segment
from latewood.index.segment import ATTACHED, Segment
from latewood.index.snapshot import IndexSnapshot
from latewood.types import IntArray

__all__ = ["KEEP_FOR", "plan", "rewrite"]

KEEP_FOR = 15 * 60
"""Seconds for which a file that was replaced, and the texts of rows that were dropped, stay for older readers."""

_TIERS = 1 << 16, 1 << 20, 1 << 24
"""Bytes. A segment beyond the last tier is never rewritten for its size."""

_FAN = 16
_DEAD = 0.2
_MERGED_BYTES = 1 << 28  # where all is compacted: one file is closed when it has so many

Run = tuple[int, int]


def plan(snapshot: IndexSnapshot, *, everything: bool = False) -> Run | None:
    """The next run of neighbouring segments, first and behind the last, that is worth rewriting; None for none.

    Args:
        snapshot: the newest.
        everything: leave no row that is dead, and no small segment beside another.
    """
    sizes = [segment.record.seal.bytes for segment in snapshot.segments]
    dead = _dead_shares(snapshot)
    if everything:
        return _whole_run(sizes, dead)
    for i, (size, share) in enumerate(zip(sizes, dead, strict=True)):
        if share >= _DEAD and size >= _TIERS[0]:  # smaller ones lose their dead when they are merged
            return i, i + 1
    lowest = 0
    for limit in _TIERS:
        run = _tier_run(sizes, lowest, limit)
        if run is not None:
            return run
        lowest = limit
    return None


def _dead_shares(snapshot: IndexSnapshot) -> list[float]:
    """Of each segment's rows that still have vectors and ids: how many are dead."""
    shares = []
    for segment in snapshot.segments:
        first = segment.record.first_row
        alive = int(np.count_nonzero(snapshot.alive[first : first + len(segment)]))
        shares.append((segment.kept - alive) / max(1, segment.kept))
    return shares


def _tier_run(sizes: Sequence[int], lowest: int, limit: int) -> Run | None:
    """Neighbours below `limit`, sixteen of which are of this tier; smaller ones between them come along."""
    start = counted = 0
    for i, size in enumerate([*sizes, limit]):
        if size < limit:
            counted += size >= lowest
            continue
        if counted >= _FAN:
            return start, i
        start, counted = i + 1, 0
    return None


def _whole_run(sizes: Sequence[int], dead: Sequence[float]) -> Run | None:
    start = total = 0
    for i, size in enumerate([*sizes, _MERGED_BYTES]):
        if size < _TIERS[-1] and total + size <= _MERGED_BYTES:
            total += size
            continue
        if i - start > 1 or (i > start and dead[start] > 0):
            return start, i
        if i < len(sizes) and size >= _TIERS[-1] and dead[i] > 0:
            return i, i + 1
        start, total = (i, size) if size < _TIERS[-1] else (i + 1, 0)
    return None


def rewrite(path: Path, segments: Sequence[Segment], alive: npt.NDArray[np.bool_]) -> SegmentSeal:
    """Write one segment over the rows of several neighbours; a dead row keeps its number and nothing else.

    Args:
        path: the new file.
        segments: neighbours, in order.
        alive: [rows of all of them] bool.

    Raises:
        CorruptionError: a block of an old file is not what was written.
        StorageError: the disk refused.
    """
    names = _names(segments)
    arrays: dict[str, Array | Pieces] = {}
    cuts = np.cumsum([0, *(len(segment) for segment in segments)])
    parts = [alive[a:b] for a, b in itertools.pairwise(cuts)]
    for name in names:
        if name in ("ids.hashes", "ids.order"):
            continue
        if f"{name}.offsets" in names:
            arrays[f"{name}.offsets"], spans = _spans(segments, parts, f"{name}.offsets")
            for column in (name, f"{name}.scales"):
                if column in names:
                    arrays[column] = _kept(segments, spans, column)
        elif name not in arrays and not name.endswith(".scales") and not name.endswith(".offsets"):
            arrays[name] = Pieces([segment.file.read(name) for segment in segments])
    arrays["ids.hashes"], arrays["ids.order"] = _hashes(segments, parts, cuts)
    return write_segment(path, {name: arrays[name] for name in names})


def _names(segments: Sequence[Segment]) -> list[str]:
    """The arrays that the new file has: what all of them have, and what some have beside it."""
    common = [name for name in segments[0].file.names if not name.startswith(ATTACHED)]
    for segment in segments:
        own = [name for name in segment.file.names if not name.startswith(ATTACHED)]
        if own != common:
            raise CorruptionError(f"{segment.file.path}: its arrays {own} are not {common}, as its neighbours'")
    return common + sorted({n for segment in segments for n in segment.file.names if n.startswith(ATTACHED)})


def _spans(
    segments: Sequence[Segment], parts: Sequence[npt.NDArray[np.bool_]], name: str
) -> tuple[Array, list[list[tuple[int, int]]]]:
    """New offsets, and of each segment what is kept of the array that they cut: from where to where."""
    lengths, spans = [], []
    for segment, alive in zip(segments, parts, strict=True):
        there = name in segment.file
        offsets: IntArray = segment.file.read(name) if there else np.zeros(len(segment) + 1, np.int64)
        lengths.append(np.where(alive, np.diff(offsets), 0))
        edges = np.flatnonzero(np.diff(np.concatenate([[False], alive, [False]]).astype(np.int8)))
        bounds = offsets[edges].reshape(-1, 2)
        spans.append([(int(a), int(b)) for a, b in bounds if b > a])
    return np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64), spans


def _kept(segments: Sequence[Segment], spans: Sequence[Sequence[tuple[int, int]]], name: str) -> Pieces:
    having = [segment for segment in segments if name in segment.file]
    pieces: list[Array] = [having[0].file.map(name)[:0]]
    for segment, kept in zip(segments, spans, strict=True):
        if name not in segment.file:
            continue
        starts, stops = (np.array([span[i] for span in kept], np.int64) for i in (0, 1))
        segment.file.verify(name, starts, stops)
        array = segment.file.map(name)
        pieces += [array[a:b] for a, b in kept]
    return Pieces(pieces)


def _hashes(segments: Sequence[Segment], parts: Sequence[npt.NDArray[np.bool_]], cuts: IntArray) -> tuple[Array, Array]:
    found, rows = [], []
    for segment, alive, first in zip(segments, parts, cuts.tolist(), strict=False):
        hashes, order = segment.hashes()
        kept = alive[order]
        found.append(hashes[kept])
        rows.append(order[kept] + first)
    joined, owners = np.concatenate(found), np.concatenate(rows)
    order = np.argsort(joined, kind="stable")
    return joined[order], owners[order]
