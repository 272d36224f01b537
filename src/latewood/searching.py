"""What can be asked of a collection, wherever it lives: search, pipelines bound to it, comparison."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from latewood import encode
from latewood.binding import BoundPipeline
from latewood.distinct import Distinct
from latewood.encode import Placement
from latewood.errors import EncoderMismatch, PipelineError, UsageError
from latewood.evaluate import Comparison, Qrels, Queries, System, compare
from latewood.page_search import PageSide
from latewood.pipeline import FirstStage, Pipeline, Stage, parse
from latewood.protocols import Encoder, PairScorer, Snapshot
from latewood.stores.conditions import Where
from latewood.types import EncodedQuery, EncoderSpec, FloatArray, Passage, Ranking

__all__ = ["DEFAULT_PIPELINE", "Progress", "Searching", "differences", "load_for", "load_matching"]

DEFAULT_PIPELINE = "dense:50 >> late"
"""The stage that wins the recall back, over what a team has today."""

Progress = Callable[[int], None]


class Searching:
    """The reading half of a collection. Who inherits it says where its passages are: name, snapshot, spec, encoder."""

    def __init__(self, home: str, placement: Placement | None = None) -> None:
        """`home` is what messages call the collection: its folder, or its address."""
        self.home = home
        self._placement = placement or Placement()
        self._scorers: dict[Stage, PairScorer] = {}

    @property
    def snapshot(self) -> Snapshot:
        """What it searches."""
        raise NotImplementedError

    def seen(self, where: Where | Sequence[Where] | None) -> Snapshot:
        """What it searches, with what of it meets conditions on metadata.

        Raises:
            UsageError: these are no conditions, or there are some and it takes none.
        """
        if where:
            raise UsageError(f"{self.home}: conditions on metadata (where) are not taken here; leave them out")
        return self.snapshot

    @property
    def spec(self) -> EncoderSpec:
        """The encoder that made the stored vectors."""
        raise NotImplementedError

    @property
    def encoder(self) -> Encoder:
        """The encoder, loaded at first use."""
        raise NotImplementedError

    def search(
        self,
        query: str,
        k: int | None = None,
        pipeline: str | Pipeline | None = None,
        *,
        explain: bool = False,
        where: Where | None = None,
        collapse: bool = False,
        group_by: str | None = None,
    ) -> Ranking:
        """The best passages for a question, with their texts.

        Args:
            query: the question.
            k: how many; None for the pipeline's own number.
            pipeline: see `latewood.pipeline`; None for `default_pipeline`.
            explain: mark in each hit what matched; the pipeline must end in `late`.
            where: conditions that the passages' metadata must meet (docs/filters.md).
            collapse: of near-duplicates only the best (`latewood.distinct`).
            group_by: "source": of each document only the best passage.
        """
        bound = replace(self.bind(pipeline or self.default_pipeline, where, Distinct(collapse, group_by)), whole=True)
        return bound.rank(query, k, texts=True, explain=explain)

    @property
    def default_pipeline(self) -> str:
        """`DEFAULT_PIPELINE`, or as much of it as the encoder's vectors allow."""
        if self.spec.dim and self.spec.dense_dim:
            return DEFAULT_PIPELINE
        return "late" if self.spec.dim else "dense"

    def bind(
        self,
        pipeline: str | Pipeline,
        where: Where | Sequence[Where] | None = None,
        distinct: Distinct | None = None,
    ) -> BoundPipeline:
        """The pipeline on this generation; its `rank(query, k)` gives ids and scores without reading texts.

        Args:
            pipeline: as `search` takes it.
            where: conditions, or several of them, that the passages' metadata must meet in every stage.
            distinct: in what results shall differ; None for in nothing.

        Raises:
            PipelineError: it can't be read, or it needs vectors that this collection doesn't have.
            UsageError: these are no conditions.
        """
        value = parse(pipeline) if isinstance(pipeline, str) else pipeline
        self._check_stages(value)
        return BoundPipeline(
            value,
            self.seen(where),
            lambda: self.encoder,
            self._scorer,
            distinct=distinct,
            first=self._first,
            pages=self._page_side,
        )

    def _check_stages(self, value: Pipeline) -> None:
        """Refuse a pipeline that needs what isn't here."""
        for stage, dim, vectors in ("late", self.spec.dim, "token"), ("dense", self.spec.dense_dim, "single"):
            if stage in value.needs and not dim:
                raise PipelineError(
                    f"'{value}': {self.home} has no {vectors} vectors, since '{self.spec.name}' gives none: "
                    f"leave {stage} out, or index with another model"
                )

    def _scorer(self, stage: Stage) -> PairScorer:
        key = replace(stage, k=None)
        if key not in self._scorers:
            self._scorers[key] = load_for(stage, self._placement)
        return self._scorers[key]

    def _page_side(self) -> PageSide:
        """Where a `pages` stage searches: nowhere, unless a collection has an encoding that reads page images."""
        raise PipelineError(f"{self.home} has no encoding that reads page images: leave pages out")

    def _first(self, stage: Stage) -> FirstStage:
        """What a `first` stage calls that a text names: nothing, unless a collection knows one."""
        raise PipelineError(
            f"'{stage}' is a function of Python, which a text can't carry: wrap it, lw.wrap(search) >> lw.Late(5)"
        )

    def compare(
        self,
        pipelines: Sequence[str | Pipeline],
        queries: Queries,
        qrels: Qrels,
        *,
        group: str = "auto",
        where: Where | None = None,
        progress: Progress | None = None,
    ) -> Comparison:
        """Judge pipelines on labelled questions; the first is the baseline (see `latewood.evaluate.compare`)."""
        return compare(self.systems(pipelines, where=where), queries, qrels, None, group=group, progress=progress)

    def systems(self, pipelines: Sequence[str | Pipeline], name: str = "", where: Where | None = None) -> list[System]:
        """Pipelines as `latewood.evaluate.compare` takes them, beside those of other collections, or runs.

        Args:
            pipelines: their texts, which become their names; or values, which may hold functions (`wrap`).
            name: what tells this collection from others: "dense:50 @ name".
            where: conditions that the passages' metadata must meet; others can't be found.
        """
        memo: dict[str, tuple[EncodedQuery, float]] = {}  # a query is encoded once for all pipelines
        corpus = self.sources(where)
        bound = [replace(self.bind(each, where), memo=memo) for each in pipelines]
        return [self._system(one, str(each), name, corpus) for one, each in zip(bound, pipelines, strict=True)]

    def _system(self, bound: BoundPipeline, text: str, name: str, corpus: Mapping[str, str]) -> System:
        return System(
            f"{text} @ {name}" if name else text,
            bound,
            pool=bound.pipeline.depths()[-2] if len(bound.pipeline.steps) > 1 else 0,
            corpus=corpus,
            explain=lambda query, k: bound.rank(query, k, texts=True, explain=bound.ends_in_late),
        )

    def get(self, ids: Sequence[str]) -> list[Passage]:
        """Passages by id, in this order; an id that isn't there is an InputError that names it."""
        return self.snapshot.passages(self.snapshot.rows(ids))

    def sources(self, where: Where | None = None) -> dict[str, str]:
        """Passage id → id of the document that it comes from, of all passages, or of those that meet conditions."""
        seen = self.seen(where)
        return dict(zip(seen.ids(seen.live_rows), seen.source_ids(seen.live_rows), strict=True))


def load_for(stage: Stage, placement: Placement | None = None) -> PairScorer:
    """What a `cross` stage scores with, in float32: scores must not depend on what a collection was encoded in."""
    model, url, dialect = (str(stage.option(name) or "") for name in ("model", "url", "dialect"))
    return encode.load_scorer(
        model, url=url, dialect=dialect, placement=replace(placement or Placement(), dtype="float32")
    )


def differences(one: EncoderSpec, other: EncoderSpec) -> list[str]:
    """In what two encoders differ; the name by which each was found, and versions of libraries, don't count."""
    mine, theirs = asdict(one), asdict(other)
    return [key for key in mine if key not in ("name", "libraries") and mine[key] != theirs[key]]


def load_matching(
    home: str, wanted: EncoderSpec, golden: FloatArray, model: str | Path | Encoder, placement: Placement
) -> Encoder:
    """The encoder that made a collection's vectors.

    Args:
        home: the collection, for messages.
        wanted: what it remembers of its encoder.
        golden: the vectors that it recognises the encoder by.
        model: where the model is now, or an encoder.
        placement: where it runs; the dtype is the collection's.

    Raises:
        EncoderMismatch: its weights, tokenizer, lengths or prompts are not those that made the vectors.
    """
    if isinstance(model, str | Path):
        placement = replace(placement, dtype=wanted.dtype)
        encoder = encode.load(str(model), truncate=wanted.truncate, overlap=wanted.overlap, placement=placement)
    else:
        encoder = model
    found = encoder.spec
    differing = differences(wanted, found)
    if differing:
        raise EncoderMismatch(
            f"{home} was made by '{wanted.name}' and '{found.name}' differs in {', '.join(differing)}: "
            f"open it with the model that made it, or index the documents again in a new collection"
        )
    if dict(found.libraries) != dict(wanted.libraries):
        _check_golden(home, wanted, golden, encoder)
    return encoder


def _check_golden(home: str, wanted: EncoderSpec, golden: FloatArray, encoder: Encoder) -> None:
    """Other library versions are fine as long as sixteen known texts still get their vectors."""
    deviation = encode.golden_deviation(encoder, golden)
    made = ", ".join(f"{name} {version}" for name, version in sorted(wanted.libraries.items()))
    if deviation > encode.GOLDEN_TOLERANCE:
        raise EncoderMismatch(
            f"{home} was made with {made}; the versions installed here give other vectors "
            f"(by up to {deviation:.1e}, at most {encode.GOLDEN_TOLERANCE:.0e} expected): "
            f"install those versions, or index again"
        )
    warnings.warn(
        f"{home} was made with {made}; other versions are installed, and sixteen known texts still get "
        f"the same vectors (to {deviation:.0e})",
        RuntimeWarning,
        stacklevel=4,
    )
