"""The late-interaction index: a cascade from every passage to the few that are scored exactly.

It is derived data over the token vectors of a range of rows, from the first row on: one file of centroids, lists and
signs (`late_build` makes it), opened here. Rows that came later are scored exactly, rows that died later are passed
over, so it stays right while the collection changes, and is made anew when too much has.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from latewood import _kernel, maxsim
from latewood.errors import CorruptionError, InputError
from latewood.index.catalogue import Catalogue
from latewood.index.depths import Depths
from latewood.index.disk import disk_errors, publish, write_all
from latewood.index.format import SegmentFile, SegmentSeal
from latewood.index.ranking import best
from latewood.index.snapshot import IndexSnapshot
from latewood.types import Candidates, FloatArray, IntArray, MultiVectors

__all__ = ["FORMAT", "MANIFEST", "LateIndex", "Manifest"]

MANIFEST = "manifest.json"
FORMAT = 2
"""Format 1 had none of the figures with which an index is extended: it counts as just trained."""

_EXACT_BELOW = 4
"""Allow-sets of up to so many times the documents that would be scored exactly are scored exactly, all of them."""

_EXACT_SHARE = 1 / 50
"""And so are those of up to this share of all documents, at about the time of a search: among few, the best stand less
far ahead of the others than the depths were tuned for (637 of 63,693 allowed: 0.9695 by the cascade)."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Which file is the index, of which commit, and how deep it is searched.

    Args:
        file: its name in the folder.
        bytes: its length.
        header_crc: CRC-32 of its header, which holds that of every block.
        generation: the commit whose rows it covers.
        crc: that commit's checksum.
        rows: it covers the rows 0 to rows - 1.
        vectors: T, the token vectors in it.
        depths: tuned.
        target: overlap@10 that they were tuned for.
        queries: what they were tuned on: "given" or "pseudo".
        tuned_on: how many of those.
        residual: mean distance of a training vector to its centroid.
        trained: the token vectors that there were when the codebook was trained.
        crowding: centroids for each vector of the sample that they are means of; 0 where that isn't known.
        passages: rows that were alive when the file was written.
        appended: token vectors that came since, and were given to the centroids that there are.
        appended_residual: their mean distance to them.
    """

    file: str
    bytes: int
    header_crc: int
    generation: int
    crc: int
    rows: int
    vectors: int
    depths: Depths
    target: float
    queries: str
    tuned_on: int
    residual: float
    trained: int
    crowding: float
    passages: int
    appended: int = 0
    appended_residual: float = 0.0

    @property
    def drift(self) -> float:
        """How much further from their centroids the appended vectors lie than was to be expected; 1 for as far.

        The mean of n vectors lies nearer to these than to others of their kind: squared distances are (n - 1) / n and
        (n + 1) / n of the variance.
        """
        if not self.appended or not self.residual:
            return 1.0
        crowding = min(self.crowding, 0.9)
        return self.appended_residual / (self.residual * float(np.sqrt((1 + crowding) / (1 - crowding))))

    def write(self, folder: Path) -> None:
        """Make this the manifest of the folder, in one step."""
        content = {"format": FORMAT, **asdict(self)}
        line = json.dumps({**content, "crc32": _crc(content)}, indent=1).encode()
        path = folder / MANIFEST
        with disk_errors(path, "write"), publish(path) as descriptor:
            write_all(descriptor, line)

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The folder's manifest; None where no index was built.

        Raises:
            CorruptionError: it is not what was written.
            InputError: a newer latewood wrote it.
        """
        path = folder / MANIFEST
        if not folder.is_dir():
            return None
        try:
            with disk_errors(path, "open"):
                content = json.loads(path.read_bytes())
            crc = content.pop("crc32")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, AttributeError, TypeError):
            raise CorruptionError(f"{path} is not what was written; build the index again: latewood build") from None
        if content.get("format") not in (1, FORMAT):
            raise InputError(
                f"{path} has format {content.get('format')}, this latewood reads up to {FORMAT}: upgrade latewood"
            )
        if crc != _crc(content):
            raise CorruptionError(f"{path} is not what was written; build the index again: latewood build")
        del content["format"]
        content = {"trained": content["vectors"], "crowding": 0.0, "passages": content["rows"], **content}
        return cls(**{**content, "depths": Depths(**content["depths"])})


def _crc(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


class LateIndex:
    """An index that was built, over the rows of one commit.

    Its steps: centroids that name documents (PLAID, WARP), centroid interaction (PLAID), signs with an integer query
    (RaBitQ's estimate without its correction), exact scores. docs/index.md tells why each is there.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Open and verify the file.

        Raises:
            CorruptionError: it is not what was written.
        """
        self.manifest = manifest
        self.file = SegmentFile(folder / manifest.file, SegmentSeal(manifest.bytes, manifest.header_crc))
        centroids: FloatArray = self.file.read("centroids")
        table = maxsim.quantize(MultiVectors(centroids, np.array([0, len(centroids)], np.int64)))
        assert table.scales is not None
        longest = float(np.linalg.norm(centroids, axis=1).max(initial=0))
        read = self.file.read
        self.cascade = _kernel.Cascade(
            table.tokens,
            table.scales,
            longest,
            read("numbers"),
            read("number_offsets"),
            read("postings"),
            read("posting_offsets"),
            read("signs"),
            read("offsets"),
        )

    @classmethod
    def of(cls, folder: Path, catalogue: Catalogue, known: LateIndex | None = None) -> LateIndex | None:
        """The index in this folder, or None where none was built for this collection.

        Args:
            folder: where it lies.
            catalogue: of the collection.
            known: one that was opened before; given back if it is still the one.
        """
        manifest = Manifest.read(folder)
        while manifest is not None and catalogue.crc_at(manifest.generation) == manifest.crc:
            if known is not None and known.manifest == manifest:
                return known
            try:
                return cls(folder, manifest)
            except CorruptionError:
                # A builder may have put another in its place between the two readings.
                manifest, before = Manifest.read(folder), manifest
                if manifest == before:
                    raise
        return None

    @classmethod
    def at(
        cls, folder: Path, catalogue: Catalogue, snapshot: IndexSnapshot, known: LateIndex | None = None
    ) -> LateIndex | None:
        """The index for this generation: the newest, or `known` where that is of a commit which came after it.

        Args:
            folder: where it lies.
            catalogue: of the collection.
            snapshot: the generation.
            known: one that was opened before.
        """
        newest = cls.of(folder, catalogue, known)
        if newest is None or newest.manifest.generation <= snapshot.generation:
            return newest
        return known if known is not None and known.manifest.generation <= snapshot.generation else None

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
        numbers = self.file.bytes_of("numbers") / 2
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
        found = self.candidates(query, chosen, allowed)
        if len(found) < k:  # the centroids in reach named too few
            found = self.candidates(query, chosen.but({"n_probe": 0}), allowed)
        later = snapshot.live_rows if rows is None else rows
        found = np.concatenate([np.sort(found), later[np.searchsorted(later, len(self)) :]])
        scores = snapshot.scores(column, query, found)
        return best(found, scores, k, snapshot.ids, exact=False)

    def candidates(self, query: FloatArray, depths: Depths, allowed: Any = None, last: int = 3) -> IntArray:
        """Documents that leave a step of the cascade, best first.

        Args:
            query: [Q, D] float32, C-contiguous.
            depths: as they are.
            allowed: [N] uint8, 0 for rows that may not be found, or None.
            last: the step: 1 centroids, 2 centroid interaction, 3 signs.
        """
        found: IntArray = self.cascade.candidates(
            query, depths.n_probe, depths.n_gathered, depths.n_refined, depths.n_full_scores, last, allowed
        )[0]
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
