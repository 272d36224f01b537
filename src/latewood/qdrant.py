"""A collection in a Qdrant: searched, compared and audited as one in a folder; written where latewood made it.

with QdrantCollection.open("qdrant://localhost:6333/docs", text=["text"]) as kb:
kb.search("who wrote it?", pipeline="dense:50 >> late(encode=true):5")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from latewood import encode
from latewood.collection import AddReport, Collection, batches_of
from latewood.encode import Joined, Placement
from latewood.errors import EncoderMismatch, PipelineError, UsageError
from latewood.evaluate.audit_corpus import Corpus
from latewood.pipeline import Pipeline
from latewood.protocols import Encoder
from latewood.searching import DEFAULT_PIPELINE, Progress, Searching, load_matching
from latewood.stores.conditions import Where, check_where
from latewood.stores.homes import QdrantAddress, parse_home
from latewood.stores.qdrant import QdrantStore
from latewood.stores.qdrant_points import Storage
from latewood.stores.qdrant_snapshot import QdrantSnapshot
from latewood.types import EncoderSpec, Passage

__all__ = ["QdrantCollection", "open_home"]

AGREES = 0.98
"""Mean cosine of stored and fresh vectors from which on one model made both; rounding and templates cost little."""

DIFFERS = 0.5
"""Below it the vectors come from another model: texts about different things are no less alike."""

_SAMPLE = 8


class QdrantCollection(Searching):
    """One collection of a Qdrant server, of a local folder, or of Qdrant Edge.

    A collection that somebody else made is only ever read.
    """

    def __init__(
        self,
        address: QdrantAddress,
        store: QdrantStore,
        dense: str | Path | Encoder | None,
        late: str | Path | Encoder | None,
        placement: Placement | None,
    ) -> None:
        """Use `create` or `open`."""
        super().__init__(str(address), placement)
        self.address = address
        self.store = store
        self._dense_model, self._late_model = dense, late
        self._encoder: Encoder | None = None
        self._snapshot = store.snapshot()

    @classmethod
    def create(
        cls,
        home: str | QdrantAddress,
        model: str | Path | Encoder = "minilm",
        *,
        truncate: bool = False,
        storage: Storage | None = None,
        exact: bool = False,
        placement: Placement | None = None,
        download: bool = False,
    ) -> QdrantCollection:
        """Make an empty collection.

        Args:
            home: its address; nothing of that name may be there.
            model: as `latewood.encode.load` takes it, or an Encoder.
            truncate: cut texts at the model's limit instead of encoding them in windows.
            storage: how the token vectors are kept.
            exact: as for `open`.
            placement: the model's device, dtype and batch size.
            download: fetch a model of the hub that isn't on this machine.

        Raises:
            InputError: the collection is there already.
            EndpointError: the server can't be reached, refuses, or is too old.
        """
        address = _address(home)
        encoder: Encoder
        if isinstance(model, str | Path):
            encoder = encode.load(str(model), truncate=truncate, placement=placement, download=download)
        else:
            encoder = model
        golden = encode.golden_vectors(encoder)
        store = QdrantStore.create(address, encoder.spec, golden=golden, storage=storage, exact=exact)
        made = cls(address, store, None, encoder, placement)
        made._encoder = encoder
        return made

    @classmethod
    def open(
        cls,
        home: str | QdrantAddress,
        model: str | Path | Encoder | None = None,
        *,
        late_model: str | Path | Encoder | None = None,
        text: Sequence[str] = (),
        source: str | None = None,
        dense: str | None = None,
        late: str | None = None,
        exact: bool = False,
        placement: Placement | None = None,
    ) -> QdrantCollection:
        """Open a collection that is there. Models are loaded when something needs them first.

        Args:
            home: its address.
            model: what made the vectors of the first stage, "minilm" by default; for a collection that latewood made,
                where its model is now.
            late_model: what late interaction uses; `model` by default, where that gives token vectors.
            text: fields of the payload that hold a point's text, of a collection that somebody else made.
            source: the field that names a point's document; None where each point is one.
            dense: which vector the first stage searches; None for the only one.
            late: which multivector MaxSim compares; None for the only one, if there is one.
            exact: search without an approximate index, and by the original vectors.
            placement: where models run.

        Raises:
            InputError: there is no such collection.
            EndpointError: the server can't be reached, refuses, or is too old.
            UsageError: a vector that isn't there.
        """
        address = _address(home)
        store = QdrantStore.open(address, text=text, source=source, dense=dense, late=late, exact=exact)
        return cls(address, store, model, late_model, placement)

    def close(self) -> None:
        """Give files and connections back. Closing twice is fine."""
        self.store.close()

    def __enter__(self) -> QdrantCollection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -- writing ---------------------------------------------------------------------------------------------------

    def add(self, passages: Iterable[Passage], progress: Progress | None = None) -> AddReport:
        """Add passages; an id that is there is replaced, one whose content is the same is left alone.

        Written in batches; an interruption leaves whole passages, and adding the same ones again goes on from there.

        Raises:
            UsageError: somebody else made the collection.
        """
        self.store.start_writing()
        report = AddReport()
        for batch in batches_of(passages):
            latest = {passage.id: passage for passage in batch}
            stored = self.store.digests(list(latest))
            changed = [p for p in latest.values() if stored.get(p.id) != self.store.digest(p)]
            cut = 0
            if progress is not None:
                progress(len(batch) - len(changed))
            if changed:
                encoded = self.encoder.encode_passages([passage.text for passage in changed], progress)
                self.store.add(changed, encoded)
                cut = encoded.cut
            replaced = sum(passage.id in stored for passage in changed)
            report += AddReport(
                added=len(changed) - replaced,
                replaced=replaced,
                unchanged=len(latest) - len(changed),
                duplicates=len(batch) - len(latest),
                cut=cut,
            )
        self.refresh()
        return report

    def delete(self, ids: Iterable[str]) -> int:
        """Delete passages by id; how many were there."""
        deleted = self.store.delete(list(ids))
        self.refresh()
        return deleted

    # -- reading ---------------------------------------------------------------------------------------------------

    @property
    def snapshot(self) -> QdrantSnapshot:
        """The collection as it is when it is asked."""
        return self._snapshot

    def refresh(self) -> None:
        """Forget what was counted."""
        self._snapshot = self.store.snapshot()

    @property
    def default_pipeline(self) -> str:
        """Late interaction behind the first stage where there are token vectors, else the first stage."""
        layout = self.store.layout
        if layout.late is None:
            return "dense"
        return DEFAULT_PIPELINE if layout.dense is not None else "late"

    def seen(self, where: Where | Sequence[Where] | None) -> QdrantSnapshot:
        """What it searches, with what of it meets conditions on metadata, which Qdrant checks.

        Raises:
            UsageError: these are no conditions, or Qdrant can't check them.
        """
        snapshot = self._snapshot
        for each in where if isinstance(where, list | tuple) else [] if where is None else [where]:
            snapshot = snapshot.restricted(check_where(each))
        return snapshot

    def _check_stages(self, value: Pipeline) -> None:
        for stage in (stage for step in value.steps for stage in step.stages):
            refused = stage.name in ("dense", "bm25", "late") and not stage.option("encode")
            reason = self._snapshot.refusal(stage) if refused else ""
            if reason:
                raise PipelineError(f"'{stage}': {reason}")

    def corpus(self) -> Corpus:
        """What an audit needs to know of the points: ids, documents, texts.

        Raises:
            UsageError: nobody said which fields hold the text.
        """
        if not self.store.layout.own and not self.store.layout.text:
            raise UsageError(f"{self.home}: which field of the payload holds the text? Give --text-field NAME")
        return Corpus(self.sources(), self.get)

    def stats(self) -> Mapping[str, Any]:
        """Counts, vectors and encoder, as documented in docs/json.md."""
        return {"path": self.home, **self.store.stats()}

    def check(self) -> list[str]:
        """Read every point; one line per finding."""
        return self.store.check()

    # -- models ----------------------------------------------------------------------------------------------------

    @property
    def spec(self) -> EncoderSpec:
        """The encoder that filled it; for a collection of somebody else's, of the models that were named."""
        return self.store.spec if self.store.layout.own else self.encoder.spec

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded at first use.

        Raises:
            EncoderMismatch: it isn't the one that made the vectors.
        """
        if self._encoder is None:
            self._encoder = self._own_encoder() if self.store.layout.own else self._their_encoder()
        return self._encoder

    def _own_encoder(self) -> Encoder:
        model = self._late_model or self._dense_model or self.store.spec.name
        return load_matching(self.home, self.store.spec, self.store.golden, model, self._placement)

    def _their_encoder(self) -> Encoder:
        """Their model for their vectors, and the one that made the token vectors, where there are any."""
        noted = self.store.noted
        theirs = self._dense_model or self.store.settings.get("dense_model") or "minilm"
        dense = self._load(theirs)
        if noted:
            late = self._late_model or self.store.spec.name
            model = dense if late == theirs else late
            return Joined(dense, load_matching(self.home, self.store.spec, self.store.golden, model, self._placement))
        if self._late_model is not None and self._late_model != theirs:
            return Joined(dense, self._load(self._late_model))
        return dense

    def _load(self, model: str | Path | Encoder) -> Encoder:
        return encode.load(str(model), placement=self._placement) if isinstance(model, str | Path) else model

    def agreement(self) -> float | None:
        """Mean cosine of stored first-stage vectors with fresh ones of the same texts, on a few points.

        Returns:
            About 1 where the model at hand made the vectors. None where nothing can be compared: no text, no vector.

        Raises:
            EncoderMismatch: below `DIFFERS`, or of another D.
        """
        layout, found = self.store.layout, self.store.found
        if layout.dense is None or not layout.text:
            return None
        size, dim = found.vectors[layout.dense].size, self.encoder.spec.dense_dim
        if size != dim:
            raise EncoderMismatch(
                f"{self.home}: its vectors have D {size}, and those of '{self.encoder.spec.name}' D {dim}: name the "
                f"model that made them"
            )
        some = next(self.store.points.scroll(True, [layout.dense], _SAMPLE), [])
        some = [point for point in some if layout.has_text(point) and layout.dense in point.vectors]
        if not some:
            return None
        texts = [layout.passage(point).text for point in some]
        fresh = self.encoder.encode_passages(texts).dense
        cosines = [_cosine(point.vectors[layout.dense], fresh[i]) for i, point in enumerate(some)]
        mean = float(np.mean(cosines))
        if mean < DIFFERS:
            raise EncoderMismatch(
                f"{self.home}: '{self.encoder.spec.name}' didn't make its vectors: on {len(some)} texts they agree to "
                f"a cosine of {mean:.2f}; name the model that did, and the fields that it read"
            )
        return mean


def _cosine(stored: Any, fresh: Any) -> float:
    """The best of any window with any window."""
    one, other = np.atleast_2d(stored).astype(np.float64), np.atleast_2d(fresh).astype(np.float64)
    one /= np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-12)
    other /= np.maximum(np.linalg.norm(other, axis=1, keepdims=True), 1e-12)
    return float((one @ other.T).max())


def _address(home: str | QdrantAddress) -> QdrantAddress:
    found = home if isinstance(home, QdrantAddress) else parse_home(home)
    if isinstance(found, Path):
        raise UsageError(f"{home} is a folder: Collection.open opens it")
    return found


def open_home(
    home: str | Path,
    model: str | Path | Encoder | None = None,
    *,
    placement: Placement | None = None,
    **of_qdrant: Any,
) -> Collection | QdrantCollection:
    """Open a collection wherever it lives: a folder, or an address of Qdrant.

    Args:
        home: `kb.lw`, `qdrant://HOST:6333/COLLECTION`, `qdrant+local:FOLDER#COLLECTION`, `qdrant+edge:FOLDER`.
        model: as each of them takes it.
        placement: where the model runs.
        of_qdrant: further arguments of `QdrantCollection.open`.

    Raises:
        UsageError: arguments of Qdrant for a folder.
    """
    address = parse_home(home)
    if isinstance(address, QdrantAddress):
        return QdrantCollection.open(address, model, placement=placement, **of_qdrant)
    given = [name for name, value in of_qdrant.items() if value not in (None, (), [], False)]
    if given:
        raise UsageError(f"{home} is a folder, and {', '.join(given)} is about collections of Qdrant: leave it out")
    return Collection.open(address, model, placement)
