"""BM25 by tantivy: derived data, made from the texts of the live rows whenever the copy on disk isn't the reader's.

A copy is a folder `derived/bm25/GENERATION` that never changes: it is built beside the others and renamed. Its
manifest says which commit it stands at (number and checksum) and holds the CRC-32 of every file, so a copy that is
torn, altered, or of another collection is noticed and not used.

Tantivy counts deleted documents in its statistics until it happens to merge them away. Scores here shall depend on the
live passages alone, so a copy is brought forward only while nothing in it has died, and else made anew.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latewood.errors import LockedError, StorageError
from latewood.index import Catalogue, IndexSnapshot, WriteLock, best, disk_errors, file_bytes, flush_folder
from latewood.stores.analyzers import Analyzer, check_analyzer
from latewood.stores.analyzers import import_tantivy as _tantivy
from latewood.types import Candidates, FloatArray, IntArray

__all__ = ["Bm25"]

_MANIFEST = "manifest.json"
_BUILDING = "building"
_FORMAT = 2
"""In format 1 rows weren't indexed, so that a search couldn't be restricted to some of them."""
_HEAP = 64 << 20
_AT_ONCE = 4096
_FEW = 0.02
"""Up to this share of the passages a restriction is part of the query; beyond, hits that it excludes are left out."""
_ANALYZER = "latewood"


def _schema() -> Any:
    builder = _tantivy().SchemaBuilder()
    builder.add_integer_field("row", fast=True, indexed=True)
    builder.add_text_field("text", tokenizer_name=_ANALYZER, index_option="freq")
    return builder.build()


@dataclass(frozen=True, slots=True)
class _State:
    """What an index holds: the live rows of this commit."""

    generation: int
    crc: int
    rows: int
    live: int

    @classmethod
    def of(cls, snapshot: IndexSnapshot) -> _State:
        head = snapshot.head
        return cls(head.generation, head.crc, head.rows, len(snapshot.live_rows))

    def grows_into(self, snapshot: IndexSnapshot) -> bool:
        """Whether nothing that it holds has died since: its rows are still alive, all of them."""
        return self.generation <= snapshot.generation and self.live == int(
            np.count_nonzero(snapshot.alive[: self.rows])
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Built:
    """An index of tantivy's in one state; a searcher is itself a snapshot, unmoved by later additions."""

    state: _State
    index: Any
    searcher: Any
    in_memory: bool


class Bm25:
    """BM25 over the live rows of whatever generation is asked for."""

    def __init__(
        self, folder: Path, catalogue: Catalogue, analyzer: str, texts: Callable[[IntArray], list[str]]
    ) -> None:
        """Nothing is opened or built yet.

        Args:
            folder: where copies live.
            catalogue: tells whether a copy stems from this collection.
            analyzer: one of `ANALYZERS`.
            texts: gives the texts of rows.
        """
        check_analyzer(analyzer)
        self._folder = folder
        self._catalogue = catalogue
        self._analyzer = analyzer
        self._texts = texts
        self._mutex = threading.Lock()
        self._built: _Built | None = None

    # -- searching -------------------------------------------------------------------------------------------------

    def search(self, text: str, k: int, snapshot: IndexSnapshot, rows: IntArray | None = None) -> Candidates:
        """The best k passages that share a term with the text; the text is words, never query syntax.

        Args:
            text: the question.
            k: how many at most.
            snapshot: the generation.
            rows: [n] int64, rising and live, only these; None for all. Scores don't depend on them.

        Raises:
            UsageError: k < 1.
            MissingExtra: tantivy isn't installed.
        """
        tantivy, schema = _tantivy(), _schema()
        words = text.encode(errors="replace").decode()  # tantivy takes no half of a surrogate pair
        terms = Analyzer.of(self._analyzer).terms(words)
        among = len(snapshot.live_rows) if rows is None else len(rows)
        if not terms or not among:
            return best(np.zeros(0, np.int64), np.zeros(0, np.float32), k, snapshot.ids)
        searcher = self._at(snapshot).searcher
        query = tantivy.Query.boolean_query(
            [(tantivy.Occur.Should, tantivy.Query.term_query(schema, "text", term, "freq")) for term in terms]
        )
        if rows is not None and among <= _FEW * searcher.num_docs:
            members = tantivy.Query.term_set_query(schema, "row", rows.tolist())
            # A score of nothing for being one of them: adding 0 leaves the others, bit for bit, as they are.
            parts = [(tantivy.Occur.Must, query), (tantivy.Occur.Must, tantivy.Query.const_score_query(members, 0.0))]
            query, rows = tantivy.Query.boolean_query(parts), None
        found, scores = _best_hits(searcher, query, k, rows)
        return best(found, scores, k, snapshot.ids)

    # -- bringing to a generation ----------------------------------------------------------------------------------

    def _at(self, snapshot: IndexSnapshot) -> _Built:
        with self._mutex:
            wanted = _State.of(snapshot)
            if self._built is None or self._built.state != wanted:
                self._built = self._on_disk(snapshot, wanted) or self._in_memory(snapshot, wanted)
            return self._built

    def _on_disk(self, snapshot: IndexSnapshot, wanted: _State) -> _Built | None:
        """The copy on disk, brought to this generation; None where that can't be."""
        try:
            stored = self._stored()
            if stored is None or stored[1].generation < wanted.generation:
                with self._building() as building:
                    stored = self._stored()  # once more: another process may have been at it until now
                    if stored is None or stored[1].generation < wanted.generation:
                        stored = self._publish(building, snapshot, wanted, stored), wanted
            return self._opened(*stored) if stored[1] == wanted else None
        except (LockedError, StorageError, OSError, ValueError):
            # Another process is at it, or the folder can't be written: an index in memory ranks the same.
            return None

    def _publish(
        self, building: Path, snapshot: IndexSnapshot, wanted: _State, stored: tuple[Path, _State] | None
    ) -> Path:
        rows = snapshot.live_rows
        if stored is not None and stored[1].grows_into(snapshot):
            _link_files(stored[0], building)
            index = _tantivy().Index.open(str(building))
            rows = rows[rows >= stored[1].rows]
        else:
            index = _tantivy().Index(_schema(), path=str(building))
        self._fill(index, rows)
        del index
        _write_manifest(building, wanted, self._analyzer)
        target = self._folder / str(wanted.generation)
        shutil.rmtree(target, ignore_errors=True)  # of this number, but torn or of another collection
        os.rename(building, target)  # noqa: PTH104 - the same call, and the one that the text above names
        flush_folder(self._folder)
        for other in self._copies():
            if other != target:
                shutil.rmtree(other, ignore_errors=True)  # open files stay readable to those who have them open
        return target

    def _in_memory(self, snapshot: IndexSnapshot, wanted: _State) -> _Built:
        rows, built = snapshot.live_rows, self._built
        if built is not None and built.in_memory and built.state.grows_into(snapshot):
            index, rows = built.index, rows[rows >= built.state.rows]
        else:
            index = _tantivy().Index(_schema())
        self._fill(index, rows)
        index.reload()
        return _Built(wanted, index, index.searcher(), in_memory=True)

    def _fill(self, index: Any, rows: IntArray) -> None:
        tantivy = _tantivy()
        analyzer = Analyzer.of(self._analyzer)
        index.register_tokenizer(_ANALYZER, analyzer.tokenizer)
        # One thread: documents lie in the order of their rows, and the same rows give the same files.
        writer = index.writer(heap_size=_HEAP, num_threads=1)
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            for row, text in zip(some.tolist(), self._texts(some), strict=True):
                writer.add_document(tantivy.Document(row=row, text=analyzer.prepared(text)))
        writer.commit()
        writer.wait_merging_threads()

    def _opened(self, folder: Path, state: _State) -> _Built:
        index = _tantivy().Index.open(str(folder))
        index.register_tokenizer(_ANALYZER, Analyzer.of(self._analyzer).tokenizer)
        return _Built(state, index, index.searcher(), in_memory=False)

    # -- copies ----------------------------------------------------------------------------------------------------

    def _copies(self) -> list[Path]:
        """Folders of copies, the newest last."""
        try:
            found = [path for path in self._folder.iterdir() if path.name.isdigit()]
        except OSError:
            return []
        return sorted(found, key=lambda path: int(path.name))

    def _stored(self) -> tuple[Path, _State] | None:
        """The newest copy, if it is whole and of this collection."""
        for folder in self._copies()[-1:]:
            with suppress(OSError, ValueError):
                state = _verified(folder, self._analyzer)
                return (folder, state) if self._is_ours(state) else None
        return None

    def _is_ours(self, state: _State) -> bool:
        return self._catalogue.crc_at(state.generation) == state.crc

    @contextmanager
    def _building(self) -> Iterator[Path]:
        """An empty folder to build in, while nobody else does."""
        with disk_errors(self._folder, "write"):
            self._folder.mkdir(parents=True, exist_ok=True)
        lock = WriteLock(self._folder.parent / "lock")
        lock.acquire()
        try:
            building = self._folder / _BUILDING
            with disk_errors(building, "write"):
                if building.exists():
                    shutil.rmtree(building)
                building.mkdir()
            try:
                yield building
            finally:
                shutil.rmtree(building, ignore_errors=True)
        finally:
            lock.release()

    def sweep(self) -> None:
        """Remove what an interrupted build has left."""
        if (self._folder / _BUILDING).exists():
            with suppress(LockedError, StorageError), self._building():
                pass

    def findings(self) -> list[str]:
        """A line if the newest copy is not what was written. It would be made anew by the next search."""
        copies = self._copies()
        try:
            if copies:
                _whole(copies[-1])
        except (OSError, ValueError) as error:
            return [f"{copies[-1]}: {error}; the next bm25 search makes it anew"]
        return []

    def bytes(self) -> int:
        """Bytes on disk of the newest copy."""
        return sum(file_bytes(path) for folder in self._copies()[-1:] for path in folder.glob("*"))


def _best_hits(searcher: Any, query: Any, k: int, rows: IntArray | None) -> tuple[IntArray, FloatArray]:
    """Rows and scores of the best k hits, and of all that tie with the k-th, for ids to decide.

    Hits that aren't among `rows` are passed over: as many more are fetched as it takes.
    """
    k, most = max(k, 1), searcher.num_docs
    share = 1.0 if rows is None else len(rows) / most
    limit = min(int((k + 16) / share), most)
    while True:
        hits = searcher.search(query, limit=limit, count=False).hits
        scores = np.array([score for score, _ in hits], np.float32)
        found = np.array(searcher.fast_field_values("row", [address for _, address in hits]), np.int64)
        kept = np.ones(len(found), bool) if rows is None else np.isin(found, rows, assume_unique=True)
        enough = np.count_nonzero(kept) >= k and scores[-1] < scores[kept][k - 1]
        if len(hits) < limit or limit == most or enough:
            return found[kept], scores[kept]
        limit = min(limit * 4, most)


def _link_files(source: Path, target: Path) -> None:
    """Bring a copy's files over. Tantivy never changes a file, except by renaming another over it."""
    for path in source.iterdir():
        if path.name != _MANIFEST:
            try:
                os.link(path, target / path.name)
            except OSError:
                shutil.copyfile(path, target / path.name)


def _file_crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


def _checked_files(folder: Path) -> dict[str, list[int]]:
    """Length and CRC-32 of each file but the manifest and tantivy's locks."""
    paths = (path for path in folder.iterdir() if path.name != _MANIFEST and not path.name.endswith(".lock"))
    return {path.name: [path.stat().st_size, _file_crc(path)] for path in sorted(paths)}


def _write_manifest(folder: Path, state: _State, analyzer: str) -> None:
    content = {
        "format": _FORMAT,
        "analyzer": analyzer,
        "state": [state.generation, state.crc, state.rows, state.live],
        "files": _checked_files(folder),
    }
    body = json.dumps(content, sort_keys=True)
    with (folder / _MANIFEST).open("w", encoding="ascii") as file:
        file.write(json.dumps({"crc": zlib.crc32(body.encode()), "content": content}, sort_keys=True))
        file.flush()
        os.fsync(file.fileno())
    flush_folder(folder)


def _verified(folder: Path, analyzer: str) -> _State:
    """The state of a copy; a ValueError or OSError says why it can't be used."""
    content = _whole(folder)
    if content["format"] != _FORMAT or content["analyzer"] != analyzer:
        raise ValueError("it has another format or analyzer")
    return _State(*content["state"])


def _whole(folder: Path) -> dict[str, Any]:
    """The manifest of a copy; a ValueError or OSError says what of the copy is not what was written."""
    stored = json.loads((folder / _MANIFEST).read_bytes())
    if not isinstance(stored, dict) or not isinstance(stored.get("content"), dict):
        raise ValueError("its manifest is not what was written")
    content: dict[str, Any] = stored["content"]
    if stored.get("crc") != zlib.crc32(json.dumps(content, sort_keys=True).encode()):
        raise ValueError("its manifest is not what was written")
    if content["files"] != _checked_files(folder):
        raise ValueError("its files are not what was written")
    return content
