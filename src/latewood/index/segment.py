"""One segment: the vectors and strings of a run of rows, scored where they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood import maxsim
from latewood.index.catalogue import SegmentRecord
from latewood.index.format import Array, SegmentFile, SegmentSeal, write_segment
from latewood.index.strings import Hashes, Strings, hash_ids
from latewood.types import FloatArray, IntArray, MultiVectors

__all__ = ["Segment"]


class Segment:
    """A segment file as columns: vectors (`name`, `name.offsets`, `name.scales`), strings (`name`, `name.offsets`).

    Rows are counted from 0 inside a segment ("local"). Everything read is verified first; see `format`.
    """

    def __init__(self, folder: Path, record: SegmentRecord) -> None:
        """Map the file of a segment.

        Raises:
            CorruptionError: the file is missing or its header is not what was written.
        """
        self.record = record
        self.file = SegmentFile(folder / record.file, record.seal)
        self._vectors: dict[str, MultiVectors] = {}
        self._strings: dict[str, Strings] = {}

    @staticmethod
    def write(
        path: Path, vectors: Mapping[str, MultiVectors], ids: Sequence[str], strings: Mapping[str, Sequence[str]]
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
            if many.scales is not None:
                arrays[f"{name}.scales"] = many.scales
            arrays[name] = many.tokens
        return write_segment(path, {name: np.ascontiguousarray(array) for name, array in arrays.items()})

    def __len__(self) -> int:
        """N, the number of rows."""
        return self.record.rows

    def strings(self, name: str) -> Strings:
        """A column of strings."""
        if name not in self._strings:
            self._strings[name] = Strings(self.file.read(name), self.file.read(f"{name}.offsets"))
        return self._strings[name]

    def hashes(self) -> tuple[Hashes, IntArray]:
        """The hashes of the ids, ascending, and the local row of each."""
        return self.file.read("ids.hashes"), self.file.read("ids.order")

    def scores(self, name: str, query: FloatArray, local: IntArray | None = None) -> FloatArray:
        """MaxSim of a query [Q, D] with a column of vectors.

        Args:
            name: the column.
            query: [Q, D] float32.
            local: [n] rows; None for all.

        Returns:
            [n] float32, -inf for rows without vectors.
        """
        many = self._multi(name)
        if local is None:
            self.file.verify(name)
        else:
            self.file.verify(name, many.offsets[local], many.offsets[local + 1])
        return maxsim.scores(query, many, local)

    def vectors(self, name: str, local: IntArray) -> tuple[list[npt.NDArray[Any]], list[FloatArray]]:
        """The stored vectors [T_i, D] of these rows, and their scales [T_i] if they have any."""
        many = self._multi(name)
        self.file.verify(name, many.offsets[local], many.offsets[local + 1])
        spans = [slice(many.offsets[i], many.offsets[i + 1]) for i in local]
        return [many.tokens[s] for s in spans], [] if many.scales is None else [many.scales[s] for s in spans]

    def vector_count(self, name: str) -> int:
        """T, the vectors of a column."""
        return len(self._multi(name).tokens)

    def _multi(self, name: str) -> MultiVectors:
        if name not in self._vectors:
            offsets = self.file.read(f"{name}.offsets")
            scales = self.file.read(f"{name}.scales") if f"{name}.scales" in self.file else None
            # Floats are looked through for NaN when they become MultiVectors, so they must be verified before.
            tokens = self.file.map(name) if scales is not None else self.file.read(name)
            self._vectors[name] = MultiVectors(tokens, offsets, scales)
        return self._vectors[name]
