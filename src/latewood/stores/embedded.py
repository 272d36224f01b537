"""A collection in a folder on this machine: the index, texts and metadata in its catalogue, BM25 beside it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from latewood.errors import CorruptionError, InputError, PipelineError, ShapeError, UsageError
from latewood.index import (
    DEFAULT_BITS,
    KEEP_FOR,
    LATE_FOLDER,
    LEVELS,
    Catalogue,
    Form,
    Index,
    IndexSnapshot,
    LateIndex,
    LateUpkeep,
    Manifest,
    Space,
    Stored,
    Upkeep,
    build_late,
    check_bits,
    compact,
    decide,
    disk_errors,
    extend_late,
    file_bytes,
    floats_of,
    is_outgrown,
    late_stats,
    record_crc,
    uncovered,
)
from latewood.index.live import CATALOGUE, noted
from latewood.pipeline import Pipeline
from latewood.protocols import Compiled
from latewood.stores.analyzers import ANALYZERS, check_analyzer
from latewood.stores.bm25 import Bm25
from latewood.stores.metadata import Metadata
from latewood.stores.snapshot import BOXES, DENSE, LAYOUTS, SOURCE_IDS, TOKENS, EmbeddedSnapshot
from latewood.stores.texts import TABLES, Record, Texts, content_digest, record_of
from latewood.stores.whole import appearing
from latewood.types import EncodedPassages, EncoderSpec, FloatArray, IntArray, MultiVectors, Page, Passage

__all__ = ["EmbeddedSnapshot", "EmbeddedStore"]

DEFAULTS: Mapping[str, Any] = {"analyzer": ANALYZERS[0], "bits": DEFAULT_BITS}

_FORM = "form"


class EmbeddedStore:
    """A collection in a folder: a `Store`. Any number of processes may read while one writes.

    The first change takes the write lock, `close` gives it back.
    """

    def __init__(self, index: Index, spec: EncoderSpec, settings: Mapping[str, Any]) -> None:
        """Use `create` or `open`."""
        self._index = index
        self._texts = Texts(index.catalogue, lambda row: bool(index.snapshot().dropped[row]))
        index.purging = self._texts.forget
        self.late_upkeep = LateUpkeep(index, TOKENS)
        self.upkeep = Upkeep(index, self.late_upkeep.tasks)
        self._bm25 = Bm25(index.folder / "derived" / "bm25", index.catalogue, settings["analyzer"], self._texts.texts)
        self._metadata = Metadata(self._texts.metadata)
        self._late: LateIndex | None = None
        self._form = _form_of(settings)
        self.path = index.folder
        self.spec = spec
        self.settings = settings

    # -- opening and closing ---------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: Path,
        spec: EncoderSpec,
        settings: Mapping[str, Any] | None = None,
        *,
        golden: FloatArray | None = None,
    ) -> EmbeddedStore:
        """Make an empty collection; the folder appears whole or not at all.

        Args:
            path: the folder; its parent must exist, it must not (or be empty).
            spec: the encoder that will fill it.
            settings: JSON object; `analyzer`, one of `ANALYZERS`, is how BM25 cuts words; `bits`, of a dimension of a
                stored token vector, is as in `latewood.index.Bits`; what "auto" is depends on the first passages.
            golden: vectors to recognise the encoder by, kept for `golden`.

        Raises:
            InputError: the folder is already something.
            UsageError: an analyser or a number of bits that there isn't.
            StorageError: the disk refused.
        """
        path = Path(path)
        chosen = {**DEFAULTS, **(settings or {})}
        chosen["bits"] = check_bits(chosen["bits"])
        check_analyzer(chosen["analyzer"])
        if chosen["bits"] != DEFAULT_BITS and not spec.dim:
            raise UsageError(f"bits: got {chosen['bits']}, but '{spec.name}' gives no token vectors: leave it out")
        meta = {
            "spec": json.dumps(asdict(spec), sort_keys=True).encode(),
            "settings": json.dumps(chosen, sort_keys=True).encode(),
            "golden": _array_bytes(np.zeros(0, np.float32) if golden is None else golden),
        }
        _refuse_used(path)
        with appearing(path, "creating") as building:
            Index.create(building, TABLES, meta)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path, *, write: bool = False) -> EmbeddedStore:
        """Open a collection.

        Args:
            path: the folder.
            write: take the write lock at once instead of at the first change.

        Raises:
            InputError: the folder isn't a collection, or a newer latewood made it.
            LockedError: to be written, but another process is at it.
            CorruptionError: it is not what was written.
        """
        path = Path(path)
        if not path.is_dir():
            raise InputError(f"{path} is not a collection: {'a file' if path.exists() else 'nothing'} is there")
        catalogue = Catalogue.open(path / CATALOGUE)
        try:
            spec = EncoderSpec(**json.loads(catalogue.get("spec")))
            settings = json.loads(catalogue.get("settings"))
            form = _form_of(settings)
            columns = {**(form or Form(32)).spaces(TOKENS, spec.dim), DENSE: Space(spec.dense_dim)}
            spaces = {name: space for name, space in columns.items() if space.dim}
            store = cls(Index(path, catalogue, spaces), spec, settings)
            store._newest()
            if write:
                store.start_writing()
        except BaseException:
            catalogue.close()
            raise
        return store

    def close(self) -> None:
        """Give files and the write lock back. Closing twice is fine."""
        self._index.close()

    @property
    def golden(self) -> FloatArray:
        """The vectors that `create` was given to recognise the encoder by; empty for none."""
        array: FloatArray = np.load(io.BytesIO(self._index.catalogue.get("golden")), allow_pickle=False)
        return array

    @property
    def form(self) -> Form | None:
        """How token vectors are stored; None while that is left to the first of them."""
        return self._form

    # -- reading ---------------------------------------------------------------------------------------------------

    def _newest(self) -> IndexSnapshot:
        snapshot = self._index.snapshot()
        if self._form is None and snapshot.generation:  # somebody has added the first vectors
            self._use(Form.from_bytes(self._index.catalogue.get(_FORM)))
            snapshot = self._index.snapshot()
        return snapshot

    def _use(self, form: Form) -> None:
        self._form = form
        self._index.keep(form.spaces(TOKENS, self.spec.dim))

    def snapshot(self) -> EmbeddedSnapshot:
        """The newest committed generation.

        Raises:
            CorruptionError: what is needed to know it is not what was written.
        """
        snapshot = self._newest()
        late: LateIndex | CorruptionError | None = None
        if TOKENS in snapshot.spaces:
            try:
                late = self._late = LateIndex.at(
                    self.path / LATE_FOLDER, self._index.catalogue, snapshot, self.late_upkeep.latest, self._late
                )
            except CorruptionError as error:
                # Derived from what is all there. Whoever asks for it is told, and everybody else gets on.
                late = error.advised("latewood build makes the index anew, late(exact=true) does without it")
        return EmbeddedSnapshot(snapshot, self._texts, self._bm25, self._metadata, late)

    def compile(self, pipeline: Pipeline) -> Compiled:
        """How many leading steps need nothing but what is stored here: all but those that read or encode texts."""
        for number, step in enumerate(pipeline.steps):
            for stage in step.stages:
                if stage.name not in ("dense", "bm25", "late") or stage.option("encode"):
                    return Compiled(number, f"{stage}: it needs more than what is stored")
        return Compiled(len(pipeline.steps))

    def digests(self, ids: Sequence[str]) -> dict[str, bytes]:
        """The content digests of those of these ids that are there, now."""
        snapshot = self._index.snapshot()
        rows = snapshot.find(ids)
        there = np.flatnonzero(rows >= 0).tolist()
        return dict(zip((ids[i] for i in there), self._texts.digests(rows[there]), strict=True))

    @staticmethod
    def digest(passage: Passage) -> bytes:
        """What `digests` would say of this passage.

        Raises:
            InputError: the passage can't be stored.
        """
        return content_digest(passage)

    # -- writing ---------------------------------------------------------------------------------------------------

    def start_writing(self) -> None:
        """Take the write lock and sweep what an interrupted writer has left.

        Raises:
            LockedError: another process is writing.
            StorageError: the folder can't be written.
        """
        if self._index.start_writing():
            self._bm25.sweep()

    def add(self, passages: Sequence[Passage], encoded: EncodedPassages) -> int:
        """Add or replace these passages in one commit; the new generation. Of one id twice, the last counts.

        Args:
            passages: N passages.
            encoded: their vectors, in the same order; token vectors may come as int8 with scales.

        Raises:
            ShapeError: not as many vectors as passages, or of another D than the collection's.
            InputError: a passage that can't be stored.
            LockedError: another process is writing.
            StorageError: the disk refused; the collection is as before.
        """
        self._check_shapes(passages, encoded)
        records = [record_of(passage) for passage in passages]
        last = {record[0]: i for i, record in enumerate(records)}
        if not last:
            return self._newest().generation
        kept = sorted(last.values())
        vectors: dict[str, Stored] = {}
        strings = {SOURCE_IDS: [records[i][1] for i in kept]}
        self.start_writing()
        self._newest()
        form = self._form
        if self.spec.dim:
            tokens = _only(encoded.tokens, kept)
            form = form or decide(self.settings["bits"], floats_of(tokens))
            vectors |= form.columns(TOKENS, tokens)
        if self.spec.dense_dim:
            vectors[DENSE] = _only(encoded.dense, kept)
        if any(isinstance(passages[i], Page) for i in kept):
            vectors[BOXES], strings[LAYOUTS] = _places([passages[i] for i in kept])
        return self._commit([records[i] for i in kept], vectors, strings, form if form is not self._form else None)

    def _commit(
        self,
        records: list[Record],
        vectors: Mapping[str, Stored],
        strings: Mapping[str, Sequence[str]],
        form: Form | None,
    ) -> int:
        """Commit passages, and how vectors are stored where these are the first."""

        def record(rows: IntArray) -> None:
            self._texts.write(rows, records)
            if form is not None:
                self._index.catalogue.put(_FORM, form.to_bytes())

        head = self._index.commit(
            [record[0] for record in records],
            vectors,
            strings,
            record_crc(*(record[-1] for record in records)),
            record,
        )
        if form is not None:
            self._use(form)
        return head.generation

    def _check_shapes(self, passages: Sequence[Passage], encoded: EncodedPassages) -> None:
        for name, many, dim in (
            ("token", encoded.tokens, self.spec.dim),
            ("dense", encoded.dense, self.spec.dense_dim),
        ):
            if len(many) != len(passages):
                raise ShapeError(f"{name} vectors of {len(many)} passages came with {len(passages)} passages")
            if many.dim != dim:
                raise ShapeError(f"{name} vectors: got D {many.dim}, {self.path} holds D {dim}; use its own encoder")

    def delete(self, ids: Sequence[str]) -> int:
        """Delete these ids in one commit; how many were there.

        Raises:
            LockedError: another process is writing.
            StorageError: the disk refused; the collection is as before.
        """
        self.start_writing()
        return self._index.bury(ids)

    def compact(self, keep_for: float = KEEP_FOR) -> int:
        """Rewrite segments without what is dead, merge small ones, and give space back; how many files were written.

        Args:
            keep_for: seconds that replaced files, and texts of dropped rows, stay for readers of older generations.

        Raises:
            LockedError: another process is writing.
            StorageError: the disk refused; the collection is as before.
        """
        self.start_writing()
        written = compact(self._index, keep_for)
        if TOKENS in self._index.snapshot().spaces:
            extend_late(self._index, TOKENS, least=1, whole=True)
        return written

    def build_late(self, **settings: Any) -> LateIndex:
        """Build the late-interaction index over what is there now, and tune it (`latewood.index.build_late`).

        Raises:
            PipelineError: the collection has no token vectors.
            LockedError: another process is writing.
            StorageError: the disk refused; what was finished is kept, and the next call goes on behind it.
        """
        if not self.spec.dim:
            raise PipelineError(
                "this collection has no token vectors, its encoder gives none: there is nothing to index"
            )
        self.start_writing()
        return build_late(self._index, TOKENS, **settings)

    def uncovered(self) -> tuple[int, int]:
        """Token vectors that the late-interaction index doesn't cover, and all of them."""
        late = self._covering()
        snapshot = self._index.snapshot()
        if TOKENS not in snapshot.spaces:
            return 0, 0
        total = uncovered(0, snapshot, TOKENS)
        if self._form is None or self._form.signs is not None:  # signs are scanned
            return 0, total
        return uncovered(len(late) if late else 0, snapshot, TOKENS), total

    def is_outgrown(self) -> bool:
        """Whether the late-interaction index should be built again: most vectors are new, or unlike the others."""
        late = self._covering()
        return late is not None and is_outgrown(late.manifest)

    def _covering(self) -> LateIndex | None:
        """The late-interaction index; None where there is none, or one that is damaged."""
        try:
            return self.snapshot().late_index
        except CorruptionError:
            return None

    # -- looking after ---------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Counts, bytes on disk by part, settings and encoder: JSON-ready."""
        snapshot = self._newest()
        files = [segment.file for segment in snapshot.segments]
        parts = {
            part: sum(file.bytes_of(name) for file in files for name in file.names if _part(name) == part)
            for part in ("token_vectors", "dense_vectors", "word_boxes", "ids")
        }
        catalogue = sum(file_bytes(path) for path in self.path.glob(f"{CATALOGUE}*"))
        segments = sum(segment.record.seal.bytes for segment in snapshot.segments)
        late = Manifest.read(self.path / LATE_FOLDER)
        return {
            "generation": snapshot.generation,
            "passages": len(snapshot.live_rows),
            "deleted": len(snapshot.alive) - len(snapshot.live_rows),
            "vectors": sum(
                int(segment.offsets(TOKENS)[-1]) for segment in snapshot.segments if TOKENS in snapshot.spaces
            ),
            "segments": len(files),
            "upkeep_error": str(self.upkeep.error) if self.upkeep.error else None,
            "bytes": {
                **parts,
                "catalogue": catalogue,
                "bm25": self._bm25.bytes(),
                "late_index": late.all_bytes if late else 0,
                "retired": sum(file_bytes(self.path / "segments" / one.file) for one in self._index.retired()),
                "total": segments + catalogue + self._bm25.bytes() + (late.all_bytes if late else 0),
            },
            "late_index": late_stats(late, snapshot, TOKENS) if late else None,
            "quantisation": self._form.told() if self._form else None,
            "settings": dict(self.settings),
            "encoder": asdict(self.spec),
        }

    def check(self) -> list[str]:
        """Verify every block, row and file; one line per finding, [] for a healthy collection. Reads all."""
        findings = self._index.findings()
        for look in (self._meta_findings, self._late_findings, self._text_findings, self.bm25_findings):
            findings += noted(look)
        return list(dict.fromkeys(findings))

    def bm25_findings(self) -> list[str]:
        """A line if BM25's files on disk are not what was written; the next search makes them anew."""
        return self._bm25.findings()

    def _meta_findings(self) -> list[str]:
        for key in ("format", "spec", "settings", "golden"):
            self._index.catalogue.get(key)
        if self._index.catalogue.has(_FORM):
            Form.from_bytes(self._index.catalogue.get(_FORM))
        return []

    def _late_findings(self) -> list[str]:
        late = LateIndex.of(self.path / LATE_FOLDER, self._index.catalogue)
        return late.findings() if late else []

    def _text_findings(self) -> list[str]:
        snapshot = self._index.snapshot()
        rows = np.flatnonzero(~snapshot.dropped)
        keys = zip(snapshot.ids(rows), snapshot.strings(SOURCE_IDS, rows), strict=True)
        return self._texts.findings(rows, keys)


def _form_of(settings: Mapping[str, Any]) -> Form | None:
    """How token vectors are stored, as far as settings say; what one bit stands for depends on the first vectors."""
    bits = settings.get("bits", DEFAULT_BITS)  # collections of format 1 that were made before had 8
    return Form(bits) if bits in LEVELS[1:] else None


def _part(array: str) -> str:
    column = array.split(".")[0]
    return {TOKENS: "token_vectors", DENSE: "dense_vectors", BOXES: "word_boxes"}.get(column, "ids")


def _places(passages: Sequence[Passage]) -> tuple[MultiVectors, list[str]]:
    """The word boxes and layouts of N passages; none for those that are no pages."""
    none = np.zeros((0, 4), np.float32)
    boxes = MultiVectors.of([p.boxes if isinstance(p, Page) else none for p in passages], 4)
    return boxes, [f"page {p.layout}".strip() if isinstance(p, Page) else "" for p in passages]


def _array_bytes(array: FloatArray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array, np.float32), allow_pickle=False)
    return buffer.getvalue()


def _only(many: MultiVectors, kept: Sequence[int]) -> MultiVectors:
    if len(kept) == len(many):
        return many
    offsets = np.concatenate([[0], np.cumsum([len(many[i]) for i in kept])]).astype(np.int64)
    spans = [slice(many.offsets[i], many.offsets[i + 1]) for i in kept]
    scales = None if many.scales is None else np.concatenate([many.scales[span] for span in spans])
    return MultiVectors(np.concatenate([many.tokens[span] for span in spans]), offsets, scales)


def _refuse_used(path: Path) -> None:
    if not path.parent.is_dir():
        raise InputError(f"can't create {path}: its parent {path.parent} is not a folder")
    with disk_errors(path, "read"):
        if path.is_dir() and not any(path.iterdir()):
            return
    if path.exists():
        kind = "a collection" if (path / CATALOGUE).exists() else "something else"
        raise InputError(f"can't create {path}: {kind} is already there; choose another folder or open it")
