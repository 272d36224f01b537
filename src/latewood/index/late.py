"""The late-interaction index: a cascade from every passage to the few that are scored exactly.

It is derived data over the token vectors of a range of rows, from the first row on: one file of centroids, lists and
signs (`late_build` makes it), and files of lists and signs alone for rows that came later (`late_life`). Rows that came
after those are scored exactly, rows that died are passed over, so it stays right while the collection changes.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from latewood import _kernel, maxsim
from latewood.errors import CorruptionError
from latewood.index.catalogue import Catalogue
from latewood.index.depths import TUNED_K, Depths
from latewood.index.format import SegmentFile, SegmentSeal
from latewood.index.late_manifest import Manifest
from latewood.index.ranking import best
from latewood.index.snapshot import IndexSnapshot
from latewood.types import Candidates, FloatArray, IntArray, MultiVectors

__all__ = ["LateIndex"]

_EXACT_BELOW = 4
"""Allow-sets of up to so many times the documents that would be scored exactly are scored exactly, all of them."""

_EXACT_SHARE = 1 / 50
"""And so are those of up to this share of all documents, at about the time of a search: among few, the best stand less
far ahead of the others than the depths were tuned for (637 of 63,693 allowed: 0.9695 by the cascade)."""


class LateIndex:
    """An index that was built, over the rows of one commit.

    Its steps: centroids that name documents (PLAID, WARP), centroid interaction (PLAID), signs with an integer query
    (RaBitQ's estimate without its correction), exact scores. docs/index.md tells why each is there.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, *known: LateIndex | None, written: Collection[str] = ()
    ) -> None:
        """Open and verify the files.

        Args:
            folder: where they lie.
            manifest: names them.
            known: indexes that are open, whose files are not opened again.
            written: names of files that this process has just written, and needn't verify.

        Raises:
            CorruptionError: they are not what was written.
        """
        self.manifest = manifest
        opened = {part.key: part for one in known if one is not None for part in one.parts}
        first = (manifest.file, manifest.bytes, manifest.header_crc)
        keys = [first, *((each.file, each.bytes, each.header_crc) for each in manifest.extensions)]
        self.parts: list[_Part] = [opened.get(key) or _Part(folder, key, key[0] in written) for key in keys]
        self.cascade = _kernel.Cascade(self.parts[0].centroids, [part.lists for part in self.parts])

    @classmethod
    def of(cls, folder: Path, catalogue: Catalogue, *known: LateIndex | None) -> LateIndex | None:
        """The index in this folder, or None where none was built for this collection.

        Args:
            folder: where it lies.
            catalogue: of the collection.
            known: some that were opened before; one of them is given back if it is still the one.
        """
        manifest = Manifest.read(folder)
        for one in known:
            if one is not None and one.manifest == manifest:
                return one
        while manifest is not None and catalogue.crc_at(manifest.generation) == manifest.crc:
            try:
                return cls(folder, manifest, *known)
            except CorruptionError:  # noqa: PERF203 (twice at most)
                # A builder may have put another in its place between the two readings.
                manifest, before = Manifest.read(folder), manifest
                if manifest == before:
                    raise
        return None

    @classmethod
    def at(
        cls, folder: Path, catalogue: Catalogue, snapshot: IndexSnapshot, *known: LateIndex | None
    ) -> LateIndex | None:
        """The index for this generation: the newest, or one of `known` where that is of a commit which came after it.

        Args:
            folder: where it lies.
            catalogue: of the collection.
            snapshot: the generation.
            known: some that were opened before.
        """
        newest = cls.of(folder, catalogue, *known)
        if newest is None or newest.manifest.generation <= snapshot.generation:
            return newest
        usable = [one for one in known if one is not None and one.manifest.generation <= snapshot.generation]
        return max(usable, key=lambda one: one.manifest.generation, default=None)

    @property
    def file(self) -> SegmentFile:
        """The first file, with the centroids and the questions."""
        return self.parts[0].file

    def findings(self) -> list[str]:
        """One line for every block that is not what was written. Reads all."""
        return [line for part in self.parts for line in part.file.findings()]

    def __len__(self) -> int:
        """N, the number of rows that it covers."""
        return self.manifest.rows

    @property
    def depths(self) -> Depths:
        """How deep it is searched unless somebody says otherwise."""
        return self.manifest.depths

    @cached_property
    def shape(self) -> tuple[float, float]:
        """Centroids per document and documents per centroid, means."""
        numbers = sum(part.file.bytes_of("numbers") for part in self.parts) / 2
        centroids = self.file.bytes_of("posting_offsets") / 8 - 1
        return numbers / max(1, self.manifest.passages), numbers / max(1.0, centroids)

    # -- searching -------------------------------------------------------------------------------------------------

    def search(
        self,
        snapshot: IndexSnapshot,
        column: str,
        query: FloatArray,
        k: int,
        rows: IntArray | None = None,
        depths: Depths | None = None,
    ) -> Candidates:
        """The best k live rows by MaxSim, found by the cascade; their scores are exact.

        Args:
            snapshot: of the generation that the index was built at, or a later one.
            column: the token vectors.
            query: [Q, D] float32.
            k: how many at most.
            rows: only these; None for all. Never fewer than k come while so many of them live.
            depths: None for the tuned ones, made deeper for k beyond ten.

        Raises:
            ShapeError: the query's shape or content.
            CorruptionError: a block that the search touches is not what was written.
        """
        chosen = (depths or self.depths).at(k)
        query = snapshot.checked(column, query)
        rows = None if rows is None else snapshot.living(rows)
        allowed, count = self._allowed(snapshot, rows)
        few = 0 if rows is None else int(_EXACT_SHARE * self.manifest.passages)
        if count <= max(k, few, _EXACT_BELOW * chosen.n_full_scores):
            return snapshot.search(column, query, k, rows)
        found = self.ranked(query, chosen, k=k, allowed=allowed)[0]
        if len(found) < k:  # the centroids in reach named too few
            found = self.ranked(query, chosen.but({"n_probe": 0}), k=k, allowed=allowed)[0]
        later = snapshot.live_rows if rows is None else rows
        found = np.concatenate([np.sort(found), later[np.searchsorted(later, len(self)) :]])
        scores = snapshot.scores(column, query, found)
        return best(found, scores, k, snapshot.ids, exact=False)

    def ranked(
        self, query: FloatArray, depths: Depths, last: int = 3, *, k: int = TUNED_K, allowed: Any = None
    ) -> tuple[IntArray, FloatArray, int]:
        """Documents that leave a step, best first, their scores there, and how many the first one named.

        Args:
            query: [Q, D] float32, C-contiguous.
            depths: as they are.
            last: the step: 1 centroids, 2 centroid interaction, 3 signs.
            k: results that are wanted; margins are of the k-th score, the tenth at least.
            allowed: [N] uint8, 0 for rows that may not be found, or None.
        """
        found: tuple[IntArray, FloatArray, int] = self.cascade.candidates(
            query, depths.n_probe, depths.leaving, max(k, TUNED_K), last, allowed
        )
        return found

    def _allowed(self, snapshot: IndexSnapshot, rows: IntArray | None) -> tuple[Any, int]:
        """Which rows may be found, None for all, and how many they are, those that the index doesn't cover left out."""
        if rows is None:
            return self._living(snapshot, snapshot.alive[: len(self)])
        mask = np.zeros(len(self), np.uint8)
        mask[rows[rows < len(self)]] = 1
        return mask, int(np.count_nonzero(mask))

    def _living(self, snapshot: IndexSnapshot, alive: Any) -> tuple[Any, int]:
        if self._counted is None or self._counted[0] != snapshot.generation:
            count = int(np.count_nonzero(alive))
            mask = None if count == len(alive) else np.ascontiguousarray(alive).view(np.uint8)
            self._counted = (snapshot.generation, mask, count)
        return self._counted[1], self._counted[2]

    _counted: tuple[int, Any, int] | None = None


class _Part:
    """A file of the index, opened: the lists and signs of some rows, and the centroids if they are in it."""

    def __init__(self, folder: Path, key: tuple[str, int, int], written: bool) -> None:
        self.key = key
        self.file = SegmentFile(folder / key[0], SegmentSeal(*key[1:]), written=written)
        read, listed = self.file.read, "postings" in self.file
        self.lists = _kernel.Lists(
            read("numbers"),
            read("number_offsets"),
            read("postings") if listed else None,
            read("posting_offsets") if listed else None,
            read("signs"),
            read("offsets"),
        )

    def __len__(self) -> int:
        return int(self.file.map("offsets").shape[0]) - 1

    @cached_property
    def centroids(self) -> _kernel.Centroids:
        """Ready for the cascade; the first file has them."""
        centroids: FloatArray = self.file.read("centroids")
        table = maxsim.quantize(MultiVectors(centroids, np.array([0, len(centroids)], np.int64)))
        assert table.scales is not None
        return _kernel.Centroids(table.tokens, table.scales, float(np.linalg.norm(centroids, axis=1).max(initial=0)))
