"""From names in a pipeline to calls on a snapshot and an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from latewood import first, maxsim
from latewood.distinct import DEEPEST, Distinct
from latewood.errors import EncoderMismatch, PipelineError, ShapeError
from latewood.page_search import PageSearch, PageSide, across
from latewood.pages import OVERVIEW, PATCH, PLACELESS, grid_of
from latewood.pipeline import DEFAULT_POOL, DEPTHS, FirstStage, Pipeline, Stage, Step
from latewood.protocols import Compiling, Encoder, PairScorer, Snapshot
from latewood.types import (
    Candidates,
    EncodedQuery,
    FloatArray,
    Hit,
    IntArray,
    Match,
    MultiVectors,
    Page,
    Passage,
    Ranking,
    StageTiming,
    TokenLabel,
)

__all__ = ["BoundPipeline"]

RRF_K = 60
"""Cormack, Clarke and Büttcher (2009): a ranking gives 1 / (60 + rank) to each of its documents."""


@dataclass(frozen=True, slots=True)
class BoundPipeline:
    """A pipeline on one snapshot.

    Args:
        pipeline: what to run.
        snapshot: what to run it on.
        encoder: gives the encoder when a stage needs vectors; not called for a pipeline that needs none.
        scorer: gives the scorer of a `cross` stage.
        memo: query text → its vectors and the milliseconds they took. Pipelines that share one encode each query
            once, and each reports that time as its own.
        distinct: in what results shall differ; None for in nothing.
        first: gives what a `first` stage calls, where the stage doesn't carry it.
        pages: gives the snapshot and the encoder of a `pages` stage: the same passages by a model that reads images.
        whole: let the store run what it can as one query. Faster, but then nobody sees the pool between its steps, and
            their time is one.
    """

    pipeline: Pipeline
    snapshot: Snapshot
    encoder: Callable[[], Encoder]
    scorer: Callable[[Stage], PairScorer] | None = None
    memo: dict[str, tuple[EncodedQuery, float]] | None = None
    distinct: Distinct | None = None
    first: Callable[[Stage], FirstStage] | None = None
    whole: bool = False
    pages: Callable[[], PageSide] | None = None

    def __post_init__(self) -> None:
        self.pipeline.check_whole()

    def rank(self, query: str, k: int | None = None, *, texts: bool = False, explain: bool = False) -> Ranking:
        """Rank passages for a query.

        Args:
            query: the question.
            k: results of the last step; None for the pipeline's own.
            texts: give each hit its passage.
            explain: give each hit the vectors that matched; the pipeline must end in `late`.

        Returns:
            The ranking. Its timings cover encoding and search, not the reading of texts.

        Raises:
            PipelineError: explain without a `late` step at the end.
        """
        if explain and not self.ends_in_late:
            raise PipelineError(
                f"explain shows what late interaction matched: '{self.pipeline}' doesn't end in late or pages"
            )
        memo = self.memo if self.memo is not None else {}
        run = _Run(self.snapshot, self.encoder, self.scorer, query, memo, self.first, self.pages)
        if self.pipeline.needs & {"dense", "late"}:
            run.encode()
        pool: Candidates | None = None
        steps = list(zip(self.pipeline.steps, self.pipeline.depths(k), strict=True))
        taken = self.taken
        if taken:
            pool = run.together(steps[:taken])
            if taken == len(steps):
                return self._ranking(run, pool, None, None, texts=texts, explain=explain)
        *earlier, last = steps[taken:]
        for step, depth in earlier:
            pool = run.step(step, depth, None if pool is None else pool.rows)
        found, folded = self._last(run, *last, None if pool is None else pool.rows)
        return self._ranking(run, found, pool, folded, texts=texts, explain=explain)

    def _last(
        self, run: _Run, step: Step, k: int, rows: IntArray | None
    ) -> tuple[Candidates, Sequence[Sequence[int]] | None]:
        """What the last step finds; where results shall differ, also the rows that each of them stands for."""
        if not self.distinct:
            return run.step(step, k, rows), None
        # What reranks or fuses gives all that it has, at once; a search goes deeper until k that differ are there.
        once = rows is not None or step.is_fusion
        before, depth = len(run.timings), k if once else 4 * k
        while True:
            found = run.step(step, depth, rows, whole=once)
            kept = self.distinct.kept(found, k, run.snapshot)
            if len(kept.places) == k or len(found) < depth or depth >= DEEPEST * k or once:
                break
            depth *= 4
        run.timings[before:] = _summed(run.timings[before:])
        places = list(kept.places)
        folded = [found.rows[list(others)].tolist() for others in kept.folded]
        return Candidates(found.rows[places], found.scores[places], found.exact, found.unscored), folded

    @property
    def taken(self) -> int:
        """How many leading steps the store runs as one query."""
        if not self.whole or not isinstance(self.snapshot, Compiling):
            return 0
        steps = self.snapshot.compile(self.pipeline).steps
        if self.distinct:  # in what results shall differ is found out here, by the last step
            steps = min(steps, len(self.pipeline.steps) - 1)
        return steps if steps > 1 else 0

    @property
    def ends_in_late(self) -> bool:
        """Whether its hits can be explained."""
        last = self.pipeline.steps[-1]
        return not last.is_fusion and last.stages[0].name in ("late", "pages")

    def _ranking(
        self,
        run: _Run,
        found: Candidates,
        pool: Candidates | None,
        folded: Sequence[Sequence[int]] | None,
        *,
        texts: bool,
        explain: bool,
    ) -> Ranking:
        snapshot = run.snapshot
        ids = snapshot.ids(found.rows)
        sources = snapshot.source_ids(found.rows)
        passages = snapshot.passages(found.rows) if texts or explain else [None] * len(ids)
        matches: Sequence[tuple[Match, ...] | None] = [None] * len(ids)
        if explain:
            read = [passage for passage in passages if passage is not None]
            matches = run.explain(self.pipeline.steps[-1].stages[0], found.rows, read)
        names: Sequence[tuple[str, ...] | None] = [None] * len(ids)
        if folded is not None:
            names = [tuple(snapshot.ids(np.array(others, np.int64))) for others in folded]
        return Ranking(
            query=run.text,
            pipeline=str(self.pipeline),
            hits=tuple(
                Hit(ids[i], sources[i], float(found.scores[i]), i + 1, passages[i], matches[i], names[i])
                for i in range(len(ids))
            ),
            exact=run.exact,
            unscored=run.unscored,
            pool=tuple(ids if pool is None else snapshot.ids(pool.rows)),
            timings=tuple(run.timings),
            cut=run.encoded.cut if run.encoded else 0,
        )


@dataclass(slots=True)
class _Run:
    """One query on its way through the steps."""

    snapshot: Snapshot
    load: Callable[[], Encoder]
    load_scorer: Callable[[Stage], PairScorer] | None
    text: str
    memo: dict[str, tuple[EncodedQuery, float]]
    load_first: Callable[[Stage], FirstStage] | None = None
    load_pages: Callable[[], PageSide] | None = None
    encoded: EncodedQuery | None = None
    exact: bool = True
    unscored: int = 0
    timings: list[StageTiming] = field(default_factory=list)

    def encode(self) -> None:
        if self.text not in self.memo:
            encoder = self.load()
            started = perf_counter()
            encoded = encoder.encode_query(self.text)
            self.memo[self.text] = encoded, (perf_counter() - started) * 1e3
        self.encoded, ms = self.memo[self.text]
        self.timings.append(StageTiming("encode", ms, 0))

    @property
    def query(self) -> EncodedQuery:
        if self.encoded is None:
            self.encode()
        assert self.encoded is not None
        return self.encoded

    def step(self, step: Step, k: int, rows: IntArray | None, *, whole: bool = False) -> Candidates:
        """The best k of a step; with `whole` all that it ranks, in the same order."""
        if not step.is_fusion:
            return self.stage(step.stages[0], max(k, len(rows)) if whole and rows is not None else k, rows)
        rankings = [self.stage(stage, stage.k or max(k, DEFAULT_POOL), rows) for stage in step.stages]
        started = perf_counter()
        union, sums = _reciprocal_ranks(rankings)
        fused = self.best(union, sums, len(union) if whole else k)
        self.timings.append(StageTiming("fuse", (perf_counter() - started) * 1e3, len(fused)))
        return fused

    def stage(self, stage: Stage, k: int, rows: IntArray | None) -> Candidates:
        scorer = self._scorer(stage) if stage.name == "cross" else None  # loading a model is no part of a search
        started = perf_counter()
        if stage.name == "first":
            found = self._ask_first(stage, k)
        elif stage.name == "pages":
            found = self._on_pages().late(k, rows, exact=bool(stage.option("exact")))
        elif stage.name == "bm25":
            found = self.snapshot.bm25(self.text, k)
        elif stage.name == "dense":
            found = self.snapshot.dense(self._dense_vector(), k, rows)
        elif scorer is not None:
            found = self._read_and_score(scorer, k, rows)
        elif stage.option("encode"):
            found = self._encode_and_score(k, rows)
        else:
            depths = {name: value for name, value in stage.options if name in DEPTHS and isinstance(value, int)}
            exact = bool(stage.option("exact"))
            found = self.snapshot.late(self._token_vectors(), k, rows, exact=exact, depths=depths)
        self.timings.append(StageTiming(str(stage), (perf_counter() - started) * 1e3, len(found)))
        self.exact = self.exact and found.exact
        self.unscored = max(self.unscored, found.unscored)
        return found

    def together(self, steps: Sequence[tuple[Step, int]]) -> Candidates:
        """Several steps as one query to the store."""
        assert isinstance(self.snapshot, Compiling)
        query = self.query
        started = perf_counter()
        found = self.snapshot.run_compiled([step for step, _ in steps], [depth for _, depth in steps], query)
        self.timings.append(
            StageTiming(" >> ".join(str(step) for step, _ in steps), (perf_counter() - started) * 1e3, len(found))
        )
        self.exact = self.exact and found.exact
        return found

    def best(self, rows: IntArray, scores: FloatArray, k: int) -> Candidates:
        """The best k of a few rows, in the public order."""
        ids = self.snapshot.ids(rows)
        order = sorted(range(len(ids)), key=lambda i: (-scores[i], ids[i]))[:k]
        return Candidates(rows[order], scores[order])

    def explain(self, stage: Stage, rows: IntArray, passages: list[Passage]) -> list[tuple[Match, ...]]:
        """For each row, what each query vector matched."""
        if stage.name == "pages":
            theirs = self._on_pages()
            rows, _ = across(self.snapshot, theirs.snapshot, rows)
            side = _Run(theirs.snapshot, theirs.load, None, self.text, theirs.memo)
            return side.explain(replace(stage, name="late", options=()), rows, theirs.snapshot.passages(rows))
        if stage.option("encode"):
            documents = self.load().encode_passages([passage.text for passage in passages]).tokens
            passages = [replace(p, layout="") if isinstance(p, Page) else p for p in passages]
        else:
            documents = self.snapshot.vectors(rows)
        return [self._matches(documents, i, passage) for i, passage in enumerate(passages)]

    def _matches(self, documents: MultiVectors, i: int, passage: Passage) -> tuple[Match, ...]:
        labels = self.load().label(passage.text)
        if isinstance(passage, Page):
            return self._matches_on(documents, i, passage, [] if passage.layout and not passage.text else labels)
        if len(labels) != len(documents[i]):
            raise EncoderMismatch(
                f"a passage has {len(documents[i])} stored vectors, the encoder at hand gives its text {len(labels)}: "
                f"index it again with this encoder"
            )
        positions, similarities = maxsim.argmax(self.query.tokens, documents, i)
        pairs = zip(self.query.labels, positions, similarities, strict=True)
        return tuple(
            Match(asked.token, labels[at].token, labels[at].start, labels[at].end, float(similarity))
            for asked, at, similarity in pairs
        )

    def _matches_on(
        self, documents: MultiVectors, i: int, page: Page, labels: Sequence[TokenLabel]
    ) -> tuple[Match, ...]:
        """The same on a page: with places, and with the vectors of its image behind those of its text."""
        grid = grid_of(page, labels, len(documents[i]))
        rows, columns = grid.rows_and_columns()
        names = {PATCH: "patch", OVERVIEW: "overview"}
        positions, similarities = maxsim.argmax(self.query.tokens, documents, i)
        matches = []
        for asked, at, similarity in zip(self.query.labels, positions.tolist(), similarities.tolist(), strict=True):
            kind = int(grid.kinds[at])
            left, top, right, bottom = grid.boxes[at].tolist()
            box = None if kind == PLACELESS else (left, top, right, bottom)
            if at < len(labels):
                label = labels[at]
                matches.append(Match(asked.token, label.token, label.start, label.end, similarity, "text", box))
            else:
                token = f"{names[kind]} {rows[at]},{columns[at]}" if kind in names else "image"
                matches.append(Match(asked.token, token, 0, 0, similarity, "image", box))
        return tuple(matches)

    def _on_pages(self) -> PageSearch:
        if self.load_pages is None:
            raise PipelineError("'pages' needs an encoding that reads page images, and this pipeline was bound without")
        return PageSearch(self.snapshot, *self.load_pages(), self.text, self.memo)

    def _ask_first(self, stage: Stage, k: int) -> Candidates:
        call = stage.call or (None if self.load_first is None else self.load_first(stage))
        if call is None:
            raise PipelineError(
                f"'{stage}' names a function, and this pipeline was bound without: BoundPipeline(first=…)"
            )
        vector = first.by_vector(call)  # encoded once for both
        found = call(self.text, k) if vector is None else vector(self._dense_vector(), k)
        if not stage.option("texts"):
            return first.candidates(stage, found, self.snapshot, k)
        self.snapshot, best = first.found_texts(stage, found, k)
        return best

    def _dense_vector(self) -> FloatArray:
        if self.query.dense is None:
            raise PipelineError("dense needs a single vector per query, and this encoder gives none: use bm25 or late")
        return self.query.dense

    def _token_vectors(self) -> FloatArray:
        if not self.query.tokens.shape[1]:
            raise PipelineError("late needs token vectors, and this encoder gives none: use dense, bm25 or cross")
        return self.query.tokens

    def _scorer(self, stage: Stage) -> PairScorer:
        if self.load_scorer is None:
            raise PipelineError(
                f"'{stage}' needs a scorer, and this pipeline was bound without: BoundPipeline(scorer=…)"
            )
        return self.load_scorer(stage)

    def _read_and_score(self, scorer: PairScorer, k: int, rows: IntArray | None) -> Candidates:
        if rows is None:
            raise PipelineError("cross needs candidates to read: put a stage before it, dense:50 >> cross(…)")
        if not len(rows):
            return Candidates(rows, np.zeros(0, np.float32))
        scores = np.asarray(scorer.score(self.text, [passage.text for passage in self.snapshot.passages(rows)]))
        if scores.shape != (len(rows),):
            raise ShapeError(f"{scorer.name}: got scores of shape {scores.shape}, expected one for each of {len(rows)}")
        if not bool(np.isfinite(scores).all()):
            raise ShapeError(
                f"{scorer.name}: got NaN or infinity among its scores, expected {len(rows)} finite numbers"
            )
        return self.best(rows, scores.astype(np.float32), k)

    def _encode_and_score(self, k: int, rows: IntArray | None) -> Candidates:
        if rows is None:
            raise PipelineError("late(encode=true) needs candidates to encode: put a stage before it, dense:50 >> …")
        if not len(rows):
            return Candidates(rows, np.zeros(0, np.float32))
        texts = [passage.text for passage in self.snapshot.passages(rows)]
        scores = maxsim.scores(self._token_vectors(), self.load().encode_passages(texts).tokens)
        scored = np.isfinite(scores)
        best = self.best(rows[scored], scores[scored], k)
        return Candidates(best.rows, best.scores, unscored=int((~scored).sum()))


def _summed(timings: Sequence[StageTiming]) -> list[StageTiming]:
    """One timing for each stage that ran several times, each time deeper."""
    found: dict[str, StageTiming] = {}
    for timing in timings:
        known = found.get(timing.stage)
        found[timing.stage] = timing if known is None else replace(timing, ms=timing.ms + known.ms)
    return list(found.values())


def _reciprocal_ranks(rankings: Sequence[Candidates]) -> tuple[IntArray, FloatArray]:
    """The union of the rankings' rows, and each row's sum of 1 / (RRF_K + rank)."""
    rows = np.unique(np.concatenate([ranking.rows for ranking in rankings]))
    scores = np.zeros(len(rows))
    for ranking in rankings:
        scores[np.searchsorted(rows, ranking.rows)] += 1.0 / (RRF_K + np.arange(1, len(ranking) + 1))
    return rows, scores.astype(np.float32)
