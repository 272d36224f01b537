"""`latewood audit`: where today's recall is lost, what would win it back, and what to do next."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from latewood import encode
from latewood.binding import BoundPipeline
from latewood.cli.audit_options import (
    ChunksOption,
    CollectionOption,
    CorpusOption,
    CrossOption,
    EndpointOption,
    GoldOption,
    GroupOption,
    KOption,
    LatencyBudgetOption,
    LlmOption,
    LlmUrlOption,
    PipelineOption,
    PoolOption,
    QrelsOption,
    QueriesOption,
    QuestionsOption,
    RunOption,
    SampleOption,
    StoreOption,
)
from latewood.cli.audit_text import print_audit
from latewood.cli.options import JsonOption, ModelOption
from latewood.cli.output import print_json, progress_bar, remark, remarks_from_warnings
from latewood.cli.qdrant_options import (
    QueryModelOption,
    SourceFieldOption,
    TextFieldOption,
    VectorOption,
    read_options,
)
from latewood.cli.sidecar import say_agreement
from latewood.collection import Collection, load_for
from latewood.errors import InputError, UnavailableError, UsageError
from latewood.evaluate import Qrels, Queries, read_qrels, read_queries, select
from latewood.evaluate.audit import Audit, Contender, Questions, Stated, System, audit, by_excerpts, by_qrels
from latewood.evaluate.audit_adopt import Place
from latewood.evaluate.audit_corpus import Corpus
from latewood.evaluate.audit_gold import read_gold
from latewood.evaluate.audit_questions import from_documents, from_llm
from latewood.evaluate.audit_systems import HttpRetriever
from latewood.evaluate.lift import EncodedLate, ReadPairs
from latewood.evaluate.runs import Run, read_run
from latewood.ingest import read_jsonl
from latewood.pipeline import Late, Pipeline, Stage, Step, parse
from latewood.qdrant import QdrantCollection, open_home
from latewood.searching import Searching
from latewood.stores.homes import is_qdrant

__all__ = ["command"]

DEFAULT_POOL = 50
SAMPLE = 200
"""Questions that lifts are measured on where the vectors are there."""

SAMPLE_ENCODED = 50
"""The same where every pool's passages must be encoded first: about twenty a second."""

NO_CROSS = "no cross-encoder was given, and none is bundled: --cross FOLDER"


@dataclass(slots=True)
class Asked:
    """What the command line says, and what is made of it on the way."""

    k: int
    pool: int | None
    group: str
    queries: Path | None
    qrels: Path | None
    gold: Path | None
    questions: int
    llm: str | None
    llm_url: str | None
    sample: int | None
    model: str | None
    quiet: bool
    cross: Stage | None = None
    systems: dict[str, System] = field(default_factory=dict)
    contenders: dict[str, Contender | str] = field(default_factory=lambda: {"cross": NO_CROSS})
    place: Place = field(default_factory=Place)


def command(
    collection: CollectionOption = None,
    run: RunOption = None,
    endpoint: EndpointOption = None,
    corpus: CorpusOption = None,
    queries: QueriesOption = None,
    qrels: QrelsOption = None,
    gold: GoldOption = None,
    pipeline: PipelineOption = None,
    k: KOption = 5,
    pool: PoolOption = None,
    group: GroupOption = "auto",
    questions: QuestionsOption = 100,
    llm: LlmOption = None,
    llm_url: LlmUrlOption = None,
    sample: SampleOption = None,
    cross: CrossOption = None,
    latency_budget: LatencyBudgetOption = None,
    chunks: ChunksOption = None,
    store: StoreOption = None,
    text_field: TextFieldOption = None,
    source_field: SourceFieldOption = None,
    vector: VectorOption = None,
    query_model: QueryModelOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Find where recall is lost, measure what a reranker wins, and say what to do; exit 1 if a question failed."""
    scorer = None if cross is None else _stage(cross)
    asked = Asked(k, pool, group, queries, qrels, gold, questions, llm, llm_url, sample, model, as_json, scorer)
    stated = Stated(latency_budget, chunks, store)
    runs = _runs(run or [])
    _check(asked, collection, endpoint, runs)
    with remarks_from_warnings(), ExitStack() as open_things:
        if collection is not None:
            kb = open_home(
                collection,
                query_model if is_qdrant(collection) else model,
                text=tuple(text_field or ()),
                source=source_field,
                dense=vector,
            )
            open_things.callback(kb.close)
            searched: Corpus | None
            if isinstance(kb, QdrantCollection):
                given = read_options(text_field, source_field, vector, query_model)
                searched = _from_qdrant(asked, kb, pipeline, given)
            else:
                today = pipeline or ("dense" if kb.spec.dense_dim else "late")
                searched = _from_collection(asked, kb, today, collection)
        else:
            searched = _from_elsewhere(asked, endpoint, corpus, open_things)
        asked.systems |= runs
        found = _audit(asked, searched, runs, stated)
    if as_json:
        print_json(found.to_json())
    else:
        print_audit(found)
    for failure in found.failed:
        remark(f"failed: '{found.system}' on question {failure.query_id}: {failure.error}")
    return 1 if found.failed else 0


def _check(asked: Asked, collection: str | None, endpoint: str | None, runs: dict[str, Run]) -> None:
    if collection is None and endpoint is None and not runs:
        raise UsageError("nothing to audit: give a collection, --run NAME=FILE or --endpoint URL")
    if collection is not None and endpoint is not None:
        raise UsageError("a collection and --endpoint are two systems: give one, and the other's answers as --run")
    if asked.qrels is not None and asked.gold is not None:
        raise UsageError("--qrels and --gold both say what the answers are: give one")
    labels = asked.qrels or asked.gold
    if (asked.queries is None) != (labels is None):
        raise UsageError("questions and answers go together: give --queries with --qrels or --gold, or none of them")
    if labels is None and collection is None and endpoint is None:
        raise UsageError("a run holds answers to its own questions only: give --queries, and --qrels or --gold")
    if (asked.llm is None) != (asked.llm_url is None):
        raise UsageError("--llm and --llm-url go together: the model, and the base URL that serves it")
    if asked.llm is not None and labels is not None:
        raise UsageError("--llm writes questions, and --queries gives them: choose one")


def _runs(given: Sequence[str]) -> dict[str, Run]:
    runs: dict[str, Run] = {}
    for text in given:
        name, _, path = text.partition("=")
        if not name or not path:
            raise UsageError(f"--run {text!r}: expected NAME=FILE, such as --run today=bm25.run")
        if name in runs:
            raise UsageError(f"--run: '{name}' was given twice; give each system its own name")
        runs[name] = read_run(path)
    return runs


def _from_collection(asked: Asked, kb: Collection, text: str, path: str) -> Corpus:
    today = parse(text)
    stated = today.steps[-1].k or 0
    if asked.pool is None:
        asked.pool = stated if len(today.steps) == 1 and stated > asked.k else DEFAULT_POOL
    asked.systems[text] = kb.bind(today)
    asked.sample = asked.sample or SAMPLE
    snapshot = kb.bind("bm25").snapshot
    reranked = ""
    none = f"the collection has no token vectors, since '{kb.spec.name}' gives none"
    if asked.cross is not None:
        asked.contenders["cross"] = _searching(kb, today.top(asked.pool) >> _last(asked.cross, asked.k), asked.pool)
    if today.steps[-1].stages[0].name == "late":
        asked.contenders["late"] = "today's pipeline ends in late interaction already"
    elif not kb.spec.dim:
        asked.contenders["late"] = none
    else:
        behind = today.top(asked.pool) >> Late(asked.k)
        reranked = str(behind)
        asked.contenders["late"] = _searching(kb, behind, asked.pool)
    if today.needs == {"late"}:
        asked.contenders["late_only"] = "today's pipeline is late interaction alone already"
    elif not kb.spec.dim:
        asked.contenders["late_only"] = none
    else:
        asked.contenders["late_only"] = _searching(kb, Late(asked.pool), asked.pool)
    asked.place = Place(
        collection=str(path),
        pipeline=text,
        reranked=reranked,
        cross="" if asked.cross is None else str(today.top(asked.pool) >> _last(asked.cross, asked.k)),
        queries=str(asked.queries) if asked.queries else None,
        qrels=str(asked.qrels) if asked.qrels else None,
    )
    return Corpus(kb.sources(), lambda ids: snapshot.passages(snapshot.rows(ids)))


def _from_qdrant(asked: Asked, kb: QdrantCollection, text: str | None, options: tuple[str, ...]) -> Corpus:
    """Their collection as it is; nothing is written to it."""
    today = parse(text or kb.default_pipeline)
    asked.pool = asked.pool or DEFAULT_POOL
    if "dense" in today.needs:
        say_agreement(kb.agreement(), kb.encoder.spec.name)
    asked.systems[str(today)] = kb.bind(today)
    corpus = kb.corpus()
    if kb.store.layout.late is None:
        asked.sample = asked.sample or SAMPLE_ENCODED
        asked.contenders["late"] = _encoding(asked, corpus)
        asked.contenders["late_only"] = "needs the token vectors of all points: latewood sidecar makes them"
    elif today.steps[-1].stages[0].name == "late":
        asked.contenders |= dict.fromkeys(("late", "late_only"), "today's pipeline ends in late interaction already")
    else:
        asked.contenders["late"] = _searching(kb, today.top(asked.pool) >> Late(asked.k), asked.pool)
        asked.contenders["late_only"] = _searching(kb, Late(asked.pool), asked.pool)
    asked.sample = asked.sample or SAMPLE
    if asked.cross is not None:
        asked.contenders["cross"] = _reading(asked.cross, corpus)
    asked.place = Place(
        qdrant=kb.home,
        pipeline=str(today),
        fields=options,
        queries=str(asked.queries) if asked.queries else None,
        qrels=str(asked.qrels) if asked.qrels else None,
    )
    return corpus


def _searching(kb: Searching, pipeline: Pipeline, depth: int) -> Contender:
    bound: BoundPipeline = kb.bind(pipeline)
    return Contender(lambda _: lambda query, __: [hit.id for hit in bound.rank(query, depth).hits])


def _from_elsewhere(asked: Asked, endpoint: str | None, corpus: Path | None, open_things: ExitStack) -> Corpus | None:
    if endpoint is not None:
        retriever = HttpRetriever(endpoint, os.environ.get("LATEWOOD_ENDPOINT_KEY"))
        open_things.callback(retriever.close)
        asked.systems[endpoint] = retriever
    searched = None if corpus is None else Corpus.of(read_jsonl(corpus))
    asked.pool = asked.pool or DEFAULT_POOL
    asked.sample = asked.sample or SAMPLE_ENCODED
    asked.contenders["late"] = _encoding(asked, searched)
    if asked.cross is not None:
        asked.contenders["cross"] = _reading(asked.cross, searched)
    asked.contenders["late_only"] = "needs the whole corpus encoded: index it, and audit the collection"
    asked.place = Place(corpus=None if corpus is None else str(corpus))
    return searched


def _stage(text: str) -> Stage:
    """The `cross` stage that an option names: its text, or a model alone."""
    if text.startswith("cross("):
        stage = parse(f"bm25 >> {text}").steps[-1].stages[0]
    else:
        stage = Stage("cross", options=(("model", text),))
    if stage.name != "cross" or not stage.options:
        raise UsageError(f'--cross {text!r}: expected a folder, or cross(url="http://…", dialect="…")')
    return stage


def _last(stage: Stage, k: int) -> Pipeline:
    return Pipeline((Step((replace(stage, k=k),)),))


def _reading(stage: Stage, corpus: Corpus | None) -> Contender | str:
    """A cross-encoder over the texts of the pools."""
    if corpus is None:
        return "needs the texts of the pool: give --corpus"
    scorer = load_for(stage)
    return Contender(lambda ids: ReadPairs(scorer, _texts(corpus, ids)))


def _texts(corpus: Corpus, ids: Sequence[str]) -> dict[str, str]:
    missing = [passage_id for passage_id in ids if passage_id not in corpus.sources]
    if missing:
        raise InputError(
            f"today's system found {missing[0]!r}, which the corpus doesn't have: give the chunks that it searches"
        )
    return {passage.id: passage.text for passage in corpus.read(ids)}


def _encoding(asked: Asked, corpus: Corpus | None) -> Contender | str:
    """Late interaction over the texts of the pools, where there is no collection with their vectors."""
    if corpus is None:
        return "needs the texts of the pool: give --corpus"
    try:
        encoder = encode.load(asked.model or "minilm")
    except UnavailableError as err:
        return str(err)
    if not encoder.spec.dim:
        return f"'{encoder.spec.name}' gives no token vectors"

    def make(ids: Sequence[str]) -> EncodedLate:
        texts = _texts(corpus, ids)
        with progress_bar("encoding the pools", len(texts), asked.quiet) as advance:
            return EncodedLate(encoder, texts, advance)

    return Contender(make, timed=False)


def _questions(asked: Asked, corpus: Corpus | None, runs: dict[str, Run]) -> Questions | None:
    """The questions; None where only the answers can tell what the judgements name."""
    if asked.queries is not None:
        queries = read_queries(asked.queries)
        if asked.gold is not None:
            if corpus is None:
                raise UsageError("--gold looks answers up in the chunks: give --corpus")
            return by_excerpts(queries, read_gold(asked.gold), corpus)
        assert asked.qrels is not None
        if corpus is None and not runs:
            return None
        found = sorted(set().union(*(run.documents for run in runs.values()))) if runs else []
        return by_qrels(queries, read_qrels(asked.qrels), corpus, asked.group, found=found)
    if corpus is None:
        raise UsageError("questions are made from the chunks: give --corpus, or --queries with --qrels")
    if asked.llm is not None and asked.llm_url is not None:
        with progress_bar("writing questions", asked.questions, asked.quiet) as advance:
            made = from_llm(
                corpus, asked.questions, asked.llm, asked.llm_url, os.environ.get("OPENAI_API_KEY"), progress=advance
            )
    else:
        made = from_documents(corpus, asked.questions)
    if made.failed:
        remark(f"note: {made.failed} sampled chunks gave no question")
    return by_qrels(made.queries, made.qrels, corpus, "passage", generated=made.by, copied=made.copied)


def _audit(asked: Asked, corpus: Corpus | None, runs: dict[str, Run], stated: Stated) -> Audit:
    assert asked.pool is not None
    questions = _questions(asked, corpus, runs)
    given: Questions | tuple[Queries, Qrels]
    if questions is not None:
        given, count = questions, len(questions.queries)
    else:
        assert asked.queries is not None
        assert asked.qrels is not None
        given = read_queries(asked.queries), read_qrels(asked.qrels)
        count = len(select(*given).queries)
    total = len(asked.systems) * count + sum(
        min(asked.sample or count, count) for c in asked.contenders.values() if isinstance(c, Contender)
    )
    with progress_bar("asking", total, asked.quiet) as advance:
        return audit(
            asked.systems,
            given,
            corpus,
            k=asked.k,
            pool=asked.pool,
            contenders=asked.contenders,
            sample=asked.sample,
            stated=stated,
            place=asked.place,
            progress=advance,
        )
