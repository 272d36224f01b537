"""A late-interaction index by itself: token vectors and ids, no texts, no model."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood.errors import CorruptionError, InputError, ShapeError, UsageError
from latewood.index.catalogue import Catalogue
from latewood.index.certify import Measured, measure, pseudo_queries
from latewood.index.compaction import KEEP_FOR
from latewood.index.disk import disk_errors, flush_folder
from latewood.index.ladder import decide
from latewood.index.late import LateIndex
from latewood.index.late_build import MEMORY_BUDGET, settings_of
from latewood.index.late_life import LATE_FOLDER, build_late, extend_late
from latewood.index.late_upkeep import LateUpkeep
from latewood.index.levels import DEFAULT_BITS, Bits, Form, check_bits
from latewood.index.live import CATALOGUE, Index
from latewood.index.pooling import pooled
from latewood.index.snapshot import IndexSnapshot
from latewood.index.upkeep import Upkeep, compact
from latewood.types import Candidates, FloatArray, IntArray, MultiVectors

__all__ = ["MultiVectorIndex"]

_COLUMN = "tokens"
_SEGMENT_BYTES = 128 << 20  # of float32: what is held of the iterator
_SAMPLES = 200

Progress = Callable[[str, int, int], None]
Arrays = Iterable[npt.NDArray[Any]]


class MultiVectorIndex:
    """Documents of token vectors in a folder, searched by MaxSim.

    >>> index = MultiVectorIndex.build("vectors.lw", model.encode_document(texts))   # any iterable of [T, D] arrays
    >>> ids, scores = index.search(model.encode_query("what is late interaction?"), k=10)
    """

    def __init__(self, index: Index, form: Form, projection: FloatArray | None) -> None:
        """Use `build` or `open`."""
        self._index = index
        self._form = form
        self._projection = projection
        self._late: LateIndex | None = None
        self._late_upkeep = LateUpkeep(index, _COLUMN, trains=True)
        self.upkeep = Upkeep(index, self._late_upkeep.tasks)
        self.refresh()

    # -- building and opening --------------------------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        path: str | Path,
        documents: Arrays,
        *,
        ids: Iterable[str] | None = None,
        dim: int | None = None,
        pool_factor: float | None = None,
        bits: Bits = DEFAULT_BITS,
        target_overlap: float = 0.99,
        queries: Arrays | None = None,
        centroids: int | None = None,
        memory_budget: int = MEMORY_BUDGET,
        threads: int = 1,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> MultiVectorIndex:
        """Build an index in a folder. Interrupted, the same call goes on where it was.

        Args:
            path: the folder; new, or one that a build with the same arguments didn't finish.
            documents: [T, D] float32 or float16 each, T may be 0; read once. After an interruption they are expected
                to come in the same order, and those that are stored are passed over.
            ids: one per document, distinct; None for "0", "1", …
            dim: store this many dimensions instead of D: vectors are projected on the main directions of the first
                documents and scaled to length 1. Fitted here, stored, applied to queries. For wide models.
            pool_factor: keep about 1 / pool_factor of each document's vectors (`latewood.index.pooling`); None for all.
            bits: of a stored dimension, 1, 8, 16 or 32; "auto" measures on the first documents what each keeps of the
                exact top ten, and takes the fewest that keep 0.99; "1+8" keeps signs beside int8. With signs no
                centroids are trained: the signs of all documents are scanned (docs/quantisation.md).
            target_overlap: mean overlap@10 with exhaustive scoring that the depths are tuned for, below 1.
            queries: [Q, D] each, to tune and measure on; None for pseudo-queries, runs of the documents' own vectors.
            centroids: K; None for about 8 times the root of the number of vectors.
            memory_budget: bytes beyond the output.
            threads: most threads to use; the files don't depend on it.
            seed: of everything that is drawn.
            progress: called with the step, units done and units in all (0 where that isn't known).

        Raises:
            ShapeError: an array of another D or dtype, NaN or infinity.
            UsageError: no vectors, or a setting out of range.
            StorageError: the disk refused.
        """
        folder = Path(path)
        if pool_factor is not None:
            documents = pooled(documents, pool_factor)
        batches = _batches(documents, None if ids is None else iter(ids))
        first = next(batches, None)
        if first is None:
            raise UsageError("no documents to build an index from")
        width = first[1].dim
        if dim is not None and not 1 <= dim <= width:
            raise UsageError(f"dim: got {dim}, expected 1 to D = {width}")
        check_bits(bits)
        asked = None if queries is None else list(queries)
        if not (folder / CATALOGUE).exists():
            _create(folder, first[1], dim, bits, asked)
        built = cls._opened(folder)
        built.upkeep.paused = True
        try:
            built._store(first, batches, progress)
            if built._form.signs is None:
                build_late(
                    built._index, _COLUMN, target_overlap=target_overlap,
                    queries=None if asked is None else [built._query(query) for query in asked], centroids=centroids,
                    memory_budget=memory_budget, threads=threads, seed=seed, progress=progress,
                )  # fmt: skip
            built._end()
            built.refresh()
        except BaseException:
            built.close()
            raise
        built.upkeep.paused = False
        return built

    @classmethod
    def open(cls, path: str | Path) -> MultiVectorIndex:
        """Open an index that was built.

        Raises:
            InputError: the folder isn't one.
            CorruptionError: it is not what was written.
        """
        folder = Path(path)
        if not (folder / CATALOGUE).exists():
            raise InputError(f"{folder} is not an index: no {CATALOGUE} in it")
        opened = cls._opened(folder)
        if not opened._ended():
            opened.close()
            raise InputError(f"{folder} holds vectors, but its build didn't end: call build again to go on")
        return opened

    @classmethod
    def _opened(cls, folder: Path) -> MultiVectorIndex:
        catalogue = Catalogue.open(folder / CATALOGUE)
        try:
            projection = np.load(io.BytesIO(catalogue.get("projection")), allow_pickle=False)
            dim = int(catalogue.get("dim"))
            form = Form.from_bytes(catalogue.get("form")) if catalogue.has("form") else Form()
        except BaseException:
            catalogue.close()
            raise
        return cls(
            Index(folder, catalogue, form.spaces(_COLUMN, dim)),
            form,
            projection if projection.size else None,
        )

    def close(self) -> None:
        """Give files and the write lock back. Closing twice is fine."""
        self._index.close()

    def __enter__(self) -> MultiVectorIndex:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _end(self) -> None:
        """Note that all documents came, and are indexed if there is an index of their kind."""
        with self._index.catalogue.transaction():
            self._index.catalogue.put("ended", b"1")

    def _ended(self) -> bool:
        return self._late is not None or self._index.catalogue.has("ended")

    def refresh(self) -> None:
        """Move on to the newest committed generation."""
        self._snapshot: IndexSnapshot = self._index.snapshot()
        folder, known = self._index.folder / LATE_FOLDER, (self._late_upkeep.latest, self._late)
        try:
            self._late = LateIndex.at(folder, self._index.catalogue, self._snapshot, *known)
        except CorruptionError as error:
            raise error.advised(f"the vectors aren't in it: remove {folder}, and every search is exact") from error

    def _store(
        self,
        first: tuple[list[str], MultiVectors],
        others: Iterator[tuple[list[str], MultiVectors]],
        progress: Progress | None,
    ) -> None:
        """Commit batches; those that an interrupted build has stored are passed over."""
        self._index.start_writing()
        stored = len(self._index.snapshot().alive)
        seen = 0
        for ids, vectors in _chain(first, others):
            seen += len(ids)
            if seen > stored:
                if seen - len(ids) < stored:
                    raise InputError(
                        f"{self._index.folder} holds {stored} documents of a build with other documents or another "
                        f"version: remove the folder and build again"
                    )
                reduced = _reduced(vectors, self._projection)
                self._index.commit(ids, self._form.columns(_COLUMN, reduced), {}, 0, lambda rows: None)
            if progress is not None:
                progress("store", seen, 0)
        if seen < stored:
            raise InputError(f"{self._index.folder} holds {stored} documents, but only {seen} came: use a new folder")
        self.refresh()

    # -- changing --------------------------------------------------------------------------------------------------

    def add(self, documents: Arrays, *, ids: Iterable[str] | None = None) -> list[str]:
        """Add documents, or replace those whose ids are there. Committed in batches of about 128 MB; searched at once.

        The index follows by itself, on a thread of this process (`latewood.index.late_life`).

        Args:
            documents: [T, D] float32 or float16 each, D as in `build`; T may be 0.
            ids: one per document; None for numbers from that of the documents ever added on.

        Returns:
            The ids.

        Raises:
            ShapeError: an array of another D or dtype, NaN or infinity.
            UsageError: an id that comes twice in a batch, or too few of them.
            LockedError: another process is writing.
            StorageError: the disk refused; batches that were committed stay.
        """
        first = len(self._index.snapshot().alive)
        added: list[str] = []
        width = self._snapshot.spaces[_COLUMN].dim if self._projection is None else len(self._projection)
        try:
            for names, vectors in _batches(documents, None if ids is None else iter(ids), first, width):
                if len(set(names)) < len(names):
                    twice = next(name for i, name in enumerate(names) if name in names[:i])
                    raise UsageError(f"ids: '{twice}' came twice")
                columns = self._form.columns(_COLUMN, _reduced(vectors, self._projection))
                self._index.commit(names, columns, {}, 0, lambda rows: None)
                added += names
        finally:
            self.refresh()
        return added

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents in one commit; how many there were.

        Raises:
            LockedError: another process is writing.
            StorageError: the disk refused; everything is as before.
        """
        try:
            return self._index.bury(list(ids))
        finally:
            self.refresh()

    def compact(self, keep_for: float = KEEP_FOR) -> int:
        """Leave out what is dead, merge small files, and let the index cover everything; how many files were written.

        Args:
            keep_for: seconds that replaced files stay, for those who still read them.
        """
        try:
            written = compact(self._index, keep_for)
            extend_late(self._index, _COLUMN, least=1, whole=True)
            return written
        finally:
            self.refresh()

    # -- searching -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """N, the number of documents."""
        return len(self._snapshot.live_rows)

    def ids(self) -> list[str]:
        """The ids of all documents, in the order in which they came."""
        return self._snapshot.ids(self._snapshot.live_rows)

    def batches(self, size: int = 1024) -> Iterator[MultiVectors]:
        """The stored vectors of all documents, in the order of `ids`, so many documents at a time."""
        rows = self._snapshot.live_rows
        for start in range(0, len(rows), size):
            yield self._snapshot.vectors(_COLUMN, rows[start : start + size])

    def search(
        self,
        query: npt.NDArray[Any],
        k: int = 10,
        *,
        exact: bool = False,
        among: Sequence[str] | None = None,
        **depths: float,
    ) -> tuple[list[str], FloatArray]:
        """The best k documents by MaxSim.

        Args:
            query: [Q, D] float32.
            k: how many at most.
            exact: score every document.
            among: ids of the documents that may be found; None for all. While k of them have vectors, k come.
            depths: `n_probe`, `n_gathered`, `n_refined`, `n_full_scores` or margins instead of the tuned
                ones (`latewood.index.Depths`).

        Returns:
            Ids and exact scores [<= k] float32, by score descending, then id ascending.

        Raises:
            ShapeError: another D, NaN or infinity.
            UsageError: a depth that there isn't.
            InputError: an id of `among` that isn't there.
        """
        rows = None if among is None else self._snapshot.rows(among)
        found = self._found(self._query(query), k, exact, rows, depths)
        return self._snapshot.ids(found.rows), found.scores

    def search_many(
        self,
        queries: Sequence[npt.NDArray[Any]],
        k: int = 10,
        *,
        exact: bool = False,
        among: Sequence[str] | None = None,
        threads: int = 1,
        **depths: float,
    ) -> list[tuple[list[str], FloatArray]]:
        """`search` for each of these queries, some at a time; the results don't depend on `threads`."""
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda query: self.search(query, k, exact=exact, among=among, **depths), queries))

    def _found(
        self, query: FloatArray, k: int, exact: bool, rows: IntArray | None, depths: Mapping[str, float]
    ) -> Candidates:
        if exact or self._late is None:
            return self._snapshot.search(_COLUMN, query, k, rows, exact=exact)
        chosen = self._late.depths.but(depths) if depths else None
        return self._late.search(self._snapshot, _COLUMN, query, k, rows, chosen)

    def _query(self, query: npt.NDArray[Any]) -> FloatArray:
        return _lowered(query, self._projection)

    # -- trust -----------------------------------------------------------------------------------------------------

    def certify(self, queries: Arrays | None = None, *, samples: int = _SAMPLES, seed: int = 1) -> Measured:
        """Search sampled queries by the index and exhaustively, and compare.

        Args:
            queries: [Q, D] each, unlike those that the index was tuned on; None for pseudo-queries.
            samples: how many at most.
            seed: of the draw.
        """
        if queries is None:
            chosen = pseudo_queries(self._snapshot, _COLUMN, samples, seed)
        else:
            chosen = [self._query(query) for query in islice(queries, samples)]
        return measure(self._late, self._snapshot, _COLUMN, chosen)

    def stats(self) -> dict[str, Any]:
        """Documents, vectors, bytes and depths, JSON-ready."""
        segments = sum(segment.record.seal.bytes for segment in self._snapshot.segments)
        late = self._late.manifest if self._late else None
        vectors = sum(int(segment.offsets(_COLUMN)[-1]) for segment in self._snapshot.segments)
        return {
            "documents": len(self),
            "vectors": late.vectors if late else vectors,
            "dim": self._snapshot.spaces[_COLUMN].dim,
            "bytes": {
                "vectors": segments,
                "late_index": late.all_bytes if late else 0,
                "total": segments + (late.all_bytes if late else 0),
            },
            "quantisation": self._form.told(),
            "late_index": settings_of(late) if late else None,
        }


def _chain(first: Any, others: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from others


def _batches(
    documents: Arrays, ids: Iterator[str] | None, first: int = 0, width: int | None = None
) -> Iterator[tuple[list[str], MultiVectors]]:
    """Documents in batches of about 128 MB; how they fall depends on the documents alone.

    The next batch overwrites the one before: memory that was never touched costs more than what is done with it.
    """
    held: list[npt.NDArray[Any]] = []
    names: list[str] = []
    size = 0
    buffer = np.empty((0, 0), np.float32)

    def joined() -> MultiVectors:
        nonlocal buffer
        offsets = np.cumsum([0, *(len(each) for each in held)], dtype=np.int64)
        if not buffer.shape[1] or len(buffer) < offsets[-1]:
            buffer = np.empty((offsets[-1], held[0].shape[1]), np.float32)
        return MultiVectors(np.concatenate(held, out=buffer[: offsets[-1]]), offsets)

    for number, document in enumerate(documents, first):
        array = np.asarray(document)
        width = held[0].shape[1] if held else width
        if (
            array.ndim != 2
            or array.dtype not in (np.float32, np.float16)
            or array.shape[1] != (width or array.shape[1])
        ):
            expected = f"[T, {width}]" if width else "[T, D]"
            raise ShapeError(
                f"document {number}: got shape {array.shape} {array.dtype}, expected {expected} float32 or float16"
            )
        names.append(str(number) if ids is None else _next_id(ids, number))
        held.append(array.astype(np.float32, copy=False))
        size += array.size * 4
        if size >= _SEGMENT_BYTES:
            yield names, joined()
            held, names, size = [], [], 0
    if held:
        yield names, joined()


def _next_id(ids: Iterator[str], number: int) -> str:
    try:
        return next(ids)
    except StopIteration:
        raise UsageError(f"ids: there are {number}, fewer than documents") from None


def _create(
    folder: Path, sample: MultiVectors, dim: int | None, bits: Bits, queries: Sequence[npt.NDArray[Any]] | None
) -> None:
    projection = None if dim is None or dim == sample.dim else _fit(sample, dim)
    asked = None if queries is None else [_lowered(query, projection) for query in queries]
    form = decide(bits, _reduced(sample, projection), queries=asked)
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((0, 0), np.float32) if projection is None else projection, allow_pickle=False)
    stored = sample.dim if projection is None else projection.shape[1]
    with disk_errors(folder, "create"):
        folder.mkdir(exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"{folder} is not empty and not an index: choose another folder")
    meta = {"dim": str(stored).encode(), "projection": buffer.getvalue(), "form": form.to_bytes()}
    Index.create(folder, "", meta)
    flush_folder(folder.parent)


def _fit(sample: MultiVectors, dim: int) -> FloatArray:
    """[D, dim]: the directions in which the vectors are longest, not centred, as dot products are to be kept."""
    values = sample.tokens.astype(np.float64)
    _, directions = np.linalg.eigh(values.T @ values)
    return np.ascontiguousarray(directions[:, ::-1][:, :dim], np.float32)


def _lowered(query: npt.NDArray[Any], projection: FloatArray | None) -> FloatArray:
    """A query in the stored dimensions."""
    values = np.ascontiguousarray(query, np.float32)
    if projection is None:
        return values
    if values.ndim != 2 or values.shape[1] != len(projection):
        raise ShapeError(f"query: got shape {values.shape}, expected [Q, {len(projection)}]")
    return _projected(values, projection)


def _reduced(vectors: MultiVectors, projection: FloatArray | None) -> MultiVectors:
    """Documents in the stored dimensions."""
    if projection is None:
        return vectors
    return MultiVectors(_projected(vectors.tokens.astype(np.float32), projection), vectors.offsets)


def _projected(values: FloatArray, projection: FloatArray) -> FloatArray:
    reduced = values @ projection
    lengths = np.linalg.norm(reduced, axis=1, keepdims=True)
    return np.ascontiguousarray(reduced / np.where(lengths > 0, lengths, 1), np.float32)
