"""One segment: the vectors and strings of a run of rows, used where they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from latewood.index.catalogue import SegmentRecord
from latewood.index.format import Array, SegmentFile, SegmentSeal, write_segment
from latewood.index.levels import Stored
from latewood.index.strings import Hashes, Strings, hash_ids
from latewood.types import BitVectors, IntArray, MultiVectors

__all__ = ["ATTACHED", "Segment"]

ATTACHED = "+"
"""Begins the name of a column that not every segment has; in the others its rows are empty."""


class Segment:
    """A segment file as columns: vectors (`name`, `name.offsets`, `name.scales`), strings (`name`, `name.offsets`).

    Vectors of one bit a dimension are codes (`name`, `name.offsets`); what they stand for is the collection's.

    Rows are counted from 0 inside a segment ("local"). Strings are verified here; vectors by `touch`, before their use.
    """

    def __init__(self, folder: Path, record: SegmentRecord, *, written: bool = False) -> None:
        """Map the file of a segment.

        Args:
            folder: where it lies.
            record: what the catalogue says of it.
            written: by this process, just now (`SegmentFile`).

        Raises:
            CorruptionError: the file is missing or its header is not what was written.
        """
        self.record = record
        self.file = SegmentFile(folder / record.file, record.seal, written=written)
        self._vectors: dict[str, MultiVectors] = {}
        self._codes: dict[str, BitVectors] = {}
        self._strings: dict[str, Strings] = {}

    @staticmethod
    def write(
        path: Path, vectors: Mapping[str, Stored], ids: Sequence[str], strings: Mapping[str, Sequence[str]]
    ) -> SegmentSeal:
        """Write the columns of N rows; strings must be encodable.

        Raises:
            StorageError: the disk refused.
        """
        arrays: dict[str, Array] = {}
        for name, values in {"ids": ids, **strings}.items():
            column = Strings.of(values)
            arrays[name], arrays[f"{name}.offsets"] = column.content, column.offsets
        hashes = hash_ids(ids)
        order = np.argsort(hashes, kind="stable")
        arrays["ids.hashes"], arrays["ids.order"] = hashes[order], order
        for name, many in vectors.items():
            arrays[f"{name}.offsets"] = many.offsets
            if isinstance(many, BitVectors):
                arrays[name] = many.codes
                continue
            if many.scales is not None:
                arrays[f"{name}.scales"] = many.scales
            arrays[name] = many.tokens
        return write_segment(path, {name: np.ascontiguousarray(array) for name, array in arrays.items()})

    def __len__(self) -> int:
        """N, the number of rows."""
        return self.record.rows

    @property
    def kept(self) -> int:
        """How many of its rows have an id here: compaction drops those that are dead (`latewood.index.compaction`)."""
        return self.file.bytes_of("ids.order") // 8

    def strings(self, name: str) -> Strings:
        """A column of strings."""
        if name not in self._strings:
            self._strings[name] = Strings(self.file.read(name), self.file.read(f"{name}.offsets"))
        return self._strings[name]

    def hashes(self) -> tuple[Hashes, IntArray]:
        """The hashes of the ids, ascending, and the local row of each, dropped rows left out."""
        return self.file.read("ids.hashes"), self.file.read("ids.order")

    def touch(self, name: str, local: IntArray | None = None) -> None:
        """Verify the vectors of these rows, or all; to be done before they are used.

        Raises:
            CorruptionError: naming file, array and block.
        """
        if local is None:
            self.file.verify(name)
        else:
            offsets = self.offsets(name)
            self.file.verify(name, offsets[local], offsets[local + 1])

    def vectors(self, name: str) -> MultiVectors:
        """A column of vectors of N rows, where they lie; `touch` what is used of it."""
        if name not in self._vectors:
            offsets = self.file.read(f"{name}.offsets")
            scales = self.file.read(f"{name}.scales") if f"{name}.scales" in self.file else None
            # Floats are looked through for NaN when they become MultiVectors, so they must be verified before.
            tokens = self.file.map(name) if scales is not None else self.file.read(name)
            self._vectors[name] = MultiVectors(tokens, offsets, scales)
        return self._vectors[name]

    def codes(self, name: str, dim: int) -> BitVectors:
        """A column of vectors of one bit a dimension, of N rows, where they lie; `touch` what is used of it."""
        if name not in self._codes:
            self._codes[name] = BitVectors(self.file.map(name), self.offsets(name), dim)
        return self._codes[name]

    def offsets(self, name: str) -> IntArray:
        """[N + 1] int64: row i has the vectors offsets[i] to offsets[i + 1] of a column."""
        offsets: IntArray = self.file.read(f"{name}.offsets")
        return offsets
