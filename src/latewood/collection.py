"""A collection: passages, their vectors and their index in one folder. The composition root; start reading here.

with Collection.create("kb.lw") as kb:
kb.add(read_jsonl("corpus.jsonl"))
for hit in kb.search("who wrote it?", k=5).hits:
...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from latewood import encode
from latewood.beside import Beside, TheirSearch
from latewood.encode import Placement
from latewood.errors import EncoderMismatch, PipelineError, StorageError, UsageError
from latewood.index import DEFAULT_BITS, KEEP_FOR, Bits, Form, LateIndex
from latewood.page_search import PageSide
from latewood.pages import PageFiles, draw
from latewood.pipeline import FirstStage, Stage
from latewood.protocols import Encoder, Snapshot
from latewood.searching import DEFAULT_PIPELINE, Progress, Searching, differences, load_for, load_matching
from latewood.stores import encodings
from latewood.stores.conditions import Where
from latewood.stores.embedded import EmbeddedStore
from latewood.stores.encodings import current_names, folder_of, names
from latewood.stores.filtered import filtered
from latewood.stores.reuse import KnownVectors, encode_unknown
from latewood.stores.snapshot import EmbeddedSnapshot
from latewood.types import EncodedPassages, EncoderSpec, FloatArray, Passage

__all__ = ["BATCH", "DEFAULT_PIPELINE", "AddReport", "Collection", "Progress", "batches_of", "differences", "load_for"]

BATCH = 1024
"""Passages that are encoded and committed together: what an interruption can cost."""

PAGE_BATCH = 64
"""The same where page images are read, which have a thousand vectors each."""


@dataclass(frozen=True, slots=True)
class AddReport:
    """What `add` did, in passages; `cut` is in tokens, left out because the collection truncates.

    `reused` counts those of `added` and `replaced` whose text was encoded before, so that it wasn't again.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    duplicates: int = 0
    cut: int = 0
    reused: int = 0

    def __add__(self, other: AddReport) -> AddReport:
        mine, theirs = asdict(self), asdict(other)
        return AddReport(**{key: mine[key] + theirs[key] for key in mine})


class Collection(Searching):
    """One folder on disk. Any number of processes may read it while one writes.

    Reading sees one generation until `refresh()`. The first `add` or `delete` takes the write lock, `close()` gives
    it back.
    """

    def __init__(
        self,
        path: Path,
        store: EmbeddedStore,
        encoder: Encoder | None = None,
        placement: Placement | None = None,
    ) -> None:
        """Use `create` or `open`."""
        super().__init__(str(path), placement)
        self.path = path
        self._store = store
        self._encoder = encoder
        self._any_encoding = False
        self._beside_pages: Collection | None = None
        self._their_search: TheirSearch | None = None
        self._snapshot = store.snapshot()

    # -- opening and closing ---------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | Path,
        model: str | Path | Encoder = "minilm",
        *,
        truncate: bool = False,
        language: str = "english",
        bits: Bits = DEFAULT_BITS,
        placement: Placement | None = None,
        download: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> Collection:
        """Make an empty collection in a new folder.

        Args:
            path: the folder; its parent must exist, it must not (or be empty).
            model: as `latewood.encode.load` takes it: "minilm", a folder, a name; or an Encoder.
            truncate: cut texts at the model's limit, as published figures do, instead of encoding them in windows.
            language: how BM25 cuts words, one of `latewood.stores.analyzers.ANALYZERS`; "auto" for a mix.
            bits: of a dimension of a stored token vector: 1, 8, 16 or 32. "auto" measures on the first batch what each
                keeps of the exact top ten, and takes the fewest that keep 0.99 (docs/quantisation.md).
            placement: the model's device, dtype and batch size. The dtype stays with the collection.
            download: fetch a model of the hub that isn't on this machine.
            settings: further settings to keep with it, JSON; `beside` says what it stands beside (`latewood.sidecar`).

        Raises:
            ModelError: the model isn't there.
            InputError: the folder is already something.
        """
        encoder: Encoder
        if isinstance(model, str | Path):
            encoder = encode.load(str(model), truncate=truncate, placement=placement, download=download)
        else:
            encoder = model
        golden = encode.golden_vectors(encoder)
        chosen = {**(settings or {}), "analyzer": language, "bits": bits}
        store = EmbeddedStore.create(Path(path), encoder.spec, chosen, golden=golden)
        return cls(Path(path), store, encoder, placement)

    @classmethod
    def open(
        cls,
        path: str | Path,
        model: str | Path | Encoder | None = None,
        placement: Placement | None = None,
        *,
        encoding: str | None = None,
    ) -> Collection:
        """Open a collection. The model is loaded when something needs it first.

        Args:
            path: the folder.
            model: where the model is now, when that isn't where it was.
            placement: the model's device and batch size; its dtype is the collection's.
            encoding: one of its encodings by name (`latewood.reindex`); None for the one in use.

        Raises:
            InputError: the folder isn't a collection.
            EncoderMismatch: the model isn't the one that made the vectors.
        """
        folder = folder_of(Path(path), encoding or current_names(Path(path))[0])
        collection = cls(Path(path), EmbeddedStore.open(folder), placement=placement)
        collection._any_encoding = encoding is not None
        if model is not None:
            try:
                collection._use(model)
            except BaseException:
                collection.close()
                raise
        return collection

    def close(self) -> None:
        """Give files and the write lock back. Closing twice is fine."""
        if self._their_search is not None:
            self._their_search.close()
        if self._beside_pages is not None:
            self._beside_pages.close()
            self._beside_pages = None
        self._store.close()

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -- writing ---------------------------------------------------------------------------------------------------

    def add(
        self, passages: Iterable[Passage], progress: Progress | None = None, *, vectors_from: Collection | None = None
    ) -> AddReport:
        """Add passages; an id that is there is replaced, one whose content is the same is left alone.

        Committed in batches of `BATCH`, in the order given: an interruption loses the running batch and nothing else,
        and adding the same passages again goes on from there.

        Args:
            passages: any iterable; only one batch of it is held.
            progress: called with the number of passages done since the last call.
            vectors_from: another collection of the same encoder, whose passages of the same text aren't encoded again.

        Returns:
            What was done. Visible to this collection's searches at once, to other readers after their `refresh()`.

        Raises:
            EncoderMismatch: `vectors_from` is of another encoder, or keeps fewer bits of a dimension.
        """
        self.start_writing()
        elsewhere = [] if vectors_from is None else [vectors_from.known_vectors(self.spec, self._store.form)]
        report = AddReport()
        try:
            for batch in batches_of(passages, PAGE_BATCH if self.spec.image_prompt else None):
                report += self._add_batch(batch, progress, elsewhere)
        finally:
            self.refresh()
        return report

    def add_encoded(self, passages: Sequence[Passage], encoded: EncodedPassages) -> int:
        """Add or replace passages whose vectors this collection's encoder made elsewhere, in one commit.

        Args:
            passages: N passages.
            encoded: their vectors, in the same order.

        Returns:
            The new generation.

        Raises:
            ShapeError: not as many vectors as passages, or of another D.
        """
        self.start_writing()
        try:
            return self._store.add(passages, encoded)
        finally:
            self.refresh()

    def start_writing(self) -> None:
        """Take the write lock, as the first change does.

        Raises:
            LockedError: another process is writing.
            StorageError: the folder can't be written, or the collection has another encoding in use by now.
        """
        self._store.start_writing()
        if not self._any_encoding and folder_of(self.path, current_names(self.path)[0]) != self._store.path:
            raise StorageError(f"{self.path} was switched to another encoding since it was opened; open it again")

    def known_vectors(self, wanted: EncoderSpec, form: Form | None = None) -> KnownVectors:
        """Its vectors by text, for a collection whose encoder is `wanted` and which stores them so.

        Raises:
            EncoderMismatch: that is another one, or vectors of fewer bits are kept here.
        """
        mine, theirs = self._store.form or Form(), form or Form()
        if mine.bits < theirs.bits:
            raise EncoderMismatch(
                f"the vectors of {self.path} are no use here: {mine.bits} bits of a dimension are kept there, "
                f"{theirs.bits} here; leave --vectors-from out"
            )
        differing = differences(wanted, self.spec)
        if differing:
            raise EncoderMismatch(
                f"the vectors of {self.path} are no use here: its encoder '{self.spec.name}' differs from "
                f"'{wanted.name}' in {', '.join(differing)}"
            )
        return KnownVectors(self._snapshot)

    def _add_batch(
        self, batch: list[Passage], progress: Progress | None, elsewhere: Sequence[KnownVectors]
    ) -> AddReport:
        latest = {passage.id: passage for passage in batch}
        stored = self._store.digests(list(latest))
        changed = [p for p in latest.values() if stored.get(p.id) != self._store.digest(p)]
        if progress is not None:
            progress(len(batch) - len(changed))
        cut = reused = 0
        if changed:
            changed, encoded, reused = self._encoded(changed, stored, progress, elsewhere)
            self._store.add(changed, encoded)
            cut = encoded.cut
        replaced = sum(passage.id in stored for passage in changed)
        return AddReport(
            added=len(changed) - replaced,
            replaced=replaced,
            unchanged=len(latest) - len(changed),
            duplicates=len(batch) - len(latest),
            cut=cut,
            reused=reused,
        )

    def _page_side(self) -> PageSide:
        """This encoding if it reads page images, else another one of the collection that does; kept open.

        Raises:
            PipelineError: none does.
        """
        if self.spec.image_prompt:
            return self.snapshot, lambda: self.encoder
        if self._beside_pages is None:
            for name in names(self.path):
                kb = Collection.open(self.path, placement=self._placement, encoding=name)
                if kb.spec.image_prompt:
                    self._beside_pages = kb
                    break
                kb.close()
        if self._beside_pages is None:
            raise PipelineError(
                f"{self.path} has no encoding that reads page images: make one beside it, "
                f"latewood reindex {self.path} --encoder vidore/colqwen2-v1.0-hf"
            )
        side = self._beside_pages
        return side.snapshot, lambda: side.encoder

    def _encoded(
        self,
        passages: list[Passage],
        stored: Mapping[str, bytes],
        progress: Progress | None,
        elsewhere: Sequence[KnownVectors],
    ) -> tuple[list[Passage], EncodedPassages, int]:
        """Passages as they are to be stored, their vectors, and how many of them weren't encoded again."""
        if self.spec.image_prompt:
            with PageFiles() as files:
                return *encode.encode_joint(self.encoder, passages, partial(draw, files), progress), 0
        before = self._store.snapshot()
        rows = before.rows([passage.id for passage in passages if passage.id in stored])
        known = [KnownVectors(before, rows), *elsewhere]
        encoded, reused = encode_unknown(
            [passage.text for passage in passages],
            known,
            lambda texts: self.encoder.encode_passages(texts, progress),
            int8=(self._store.form or Form(32)).bits == 8,
        )
        if progress is not None:
            progress(reused)
        return passages, encode.without_blank_pages(passages, encoded), reused

    def delete(self, ids: Iterable[str]) -> int:
        """Delete passages by id, in one commit; how many were there."""
        self.start_writing()
        try:
            return self._store.delete(list(ids))
        finally:
            self.refresh()

    def compact(self, keep_for: float = KEEP_FOR) -> int:
        """Rewrite the files without what is dead, merge small ones, and give space back; how many were written.

        A writer does so by itself, bit by bit; this does it all at once. Ids, generation and answers stay the same.

        Args:
            keep_for: seconds that replaced files, and the texts of passages that died, stay for readers of older
                generations. A reader that comes for them later gets a `StaleError`, and must `refresh()`.

        Raises:
            LockedError: another process is writing.
            StorageError: the disk refused; the collection is as before.
        """
        self.start_writing()
        try:
            return self._store.compact(keep_for)
        finally:
            self.refresh()

    def build_late(self, **settings: Any) -> LateIndex:
        """Build the late-interaction index over what is there now; `latewood.late_index.build` chooses settings."""
        try:
            return self._store.build_late(**settings)
        finally:
            self.refresh()

    def uncovered(self) -> tuple[int, int]:
        """Token vectors that the late-interaction index doesn't cover, and all of them."""
        return self._store.uncovered()

    def is_outgrown(self) -> bool:
        """Whether the late-interaction index should be built again: most vectors are new, or unlike the others."""
        return self._store.is_outgrown()

    def keep_late_index(self, worthwhile: int = 0) -> None:
        """Let this writer's upkeep train the late-interaction index again when it is outgrown, for a writer that stays.

        Args:
            worthwhile: token vectors from which on a first one is trained; 0 for never.
        """
        self._store.late_upkeep.trains = True
        self._store.late_upkeep.first = worthwhile

    def wait_for_upkeep(self) -> None:
        """Wait until this writer's upkeep has nothing left to do: files merged, the index extended.

        Raises:
            LatewoodError: what keeps it from that; what was committed is safe.
        """
        self._store.upkeep.wait()
        self.refresh()

    # -- reading ---------------------------------------------------------------------------------------------------

    @property
    def snapshot(self) -> EmbeddedSnapshot:
        """The generation that this collection searches."""
        return self._snapshot

    def refresh(self) -> int:
        """Move on to the newest committed generation; its number."""
        self._snapshot = self._store.snapshot()
        if self._beside_pages is not None:
            self._beside_pages.refresh()
        return self._snapshot.generation

    def seen(self, where: Where | Sequence[Where] | None) -> Snapshot:
        """The generation that this collection searches, with what of it meets conditions on metadata.

        Raises:
            UsageError: these are no conditions.
            CorruptionError: a row that had to be read is not what was written.
        """
        return filtered(self._snapshot, where)

    def stats(self) -> Mapping[str, Any]:
        """Counts, bytes, generation and encoder, as documented in docs/json.md."""
        return {"path": str(self.path), **self._store.stats()}

    def check(self) -> list[str]:
        """Verify every block, row and file of all encodings; one line per finding, none for a healthy collection."""
        return self._store.check() + ([] if self._any_encoding else encodings.findings(self.path, self._store.path))

    @property
    def beside(self) -> Beside | None:
        """The Qdrant collection that this one holds the token vectors of, None for a collection by itself."""
        return Beside.of(self._store.settings)

    @property
    def default_pipeline(self) -> str:
        """As for every collection; beside another one, late interaction behind that one's search."""
        return super().default_pipeline if self.beside is None else "first:50 >> late"

    def _first(self, stage: Stage) -> FirstStage:
        beside = self.beside
        if beside is None:
            return super()._first(stage)
        if self._their_search is None:
            self._their_search = TheirSearch(beside, self.spec.name, lambda: self.encoder)
        return self._their_search

    # -- the model -------------------------------------------------------------------------------------------------

    @property
    def spec(self) -> EncoderSpec:
        """The encoder that made the stored vectors."""
        return self._store.spec

    @property
    def golden(self) -> FloatArray:
        """The vectors of sixteen known texts, by which its encoder is recognised."""
        return self._store.golden

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded at first use.

        Raises:
            EncoderMismatch: its weights, tokenizer, lengths or prompts are not those that made the vectors.
        """
        if self._encoder is None:
            self._use(self.spec.name)
        assert self._encoder is not None
        return self._encoder

    def _use(self, model: str | Path | Encoder) -> None:
        self._encoder = load_matching(self.home, self.spec, self._store.golden, model, self._placement)


def batches_of(passages: Iterable[Passage], size: int | None = None) -> Iterator[list[Passage]]:
    """Passages in the windows that are encoded and committed together: of `size`, or of `BATCH`.

    Raises:
        UsageError: something that is no passage.
    """
    remaining = iter(passages)
    while batch := list(islice(remaining, size or BATCH)):
        for passage in batch:
            if not isinstance(passage, Passage):
                raise UsageError(f"add takes Passage values, got {type(passage).__name__}: Passage(id=…, text=…)")
        yield batch
