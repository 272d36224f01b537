"""`/rerank`, in the words of whoever calls: Cohere, Jina, Voyage, Mixedbread, vLLM, Infinity, TEI.

One handler behind four addresses. The caller is known by its body: `texts` alone is Text Embeddings Inference, `top_k`
or `truncation` is Voyage, `input` is Mixedbread, everything else is what Cohere, Jina, vLLM and Infinity share.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from latewood import maxsim
from latewood.serve.lanes import Lane, LaneEncoder
from latewood.serve.models import Model
from latewood.serve.problems import PROBLEMS, Problem, Refusal, answer
from latewood.serve.service import Service, about, service_of, wheres_of
from latewood.types import EncodedPassages, EncodedQuery, FloatArray

__all__ = ["RerankBody", "router"]


class TextProblem(BaseModel):
    """An error, as callers of Text Embeddings Inference read it."""

    error: str
    error_type: str


router = APIRouter(
    tags=["rerank"], responses={code: {**said, "model": Problem | TextProblem} for code, said in PROBLEMS.items()}
)


class DocumentBody(BaseModel):
    """A candidate: a text, or the id of a passage in a collection."""

    model_config = ConfigDict(extra="allow")

    text: str | None = None
    id: str | None = None


class RerankBody(BaseModel):
    """What any of the callers sends. Texts are never cut, so what callers say of cutting changes nothing."""

    query: str
    model: str | None = Field(None, description="One of /v1/models; the first of them when absent.")
    documents: list[str | DocumentBody] | str | None = Field(None, description="Texts, {text} or {id}.")
    texts: list[str] | None = Field(None, description="Text Embeddings Inference's name for documents.")
    input: list[str | DocumentBody] | None = Field(None, description="Mixedbread's name for documents.")
    ids: list[str] | None = Field(None, description="Passages of `collection`: their stored vectors are scored.")
    collection: str | None = Field(None, description="Where ids are; may be left out where there is one collection.")
    where: dict[str, Any] | None = Field(None, description="Conditions that the passages of ids must meet.")
    top_n: Annotated[int, Field(ge=0)] | None = Field(None, description="Best to return; absent, null and 0 mean all.")
    top_k: Annotated[int, Field(ge=0)] | None = Field(None, description="Voyage's name for top_n.")
    return_documents: bool | None = None
    return_text: bool | None = None
    return_input: bool | None = None
    raw_scores: bool | None = Field(None, description="Scores as the model gives them, instead of in [0, 1].")
    use_activation: bool | None = Field(None, description="vLLM: false means raw scores.")
    rank_fields: list[str] | None = Field(None, description="Cohere v1: fields of the documents to read.")
    truncation: bool | None = None


class RerankedDocument(BaseModel):
    """The candidate."""

    text: str | None = None
    id: str | None = None


class Reranked(BaseModel):
    """One candidate and its score."""

    index: int
    relevance_score: float
    document: RerankedDocument | str | None = None


class RerankAnswer(BaseModel):
    """What Cohere, Jina, Voyage, vLLM and Infinity callers read, best first."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: str
    model: str
    results: list[Reranked] | None = None
    data: list[dict[str, Any]] | None = None
    usage: dict[str, int]
    meta: dict[str, Any]


class RankedText(BaseModel):
    """One candidate and its score, as Text Embeddings Inference answers."""

    index: int
    score: float
    text: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """N candidates.

    Args:
        raw: [N] float64, as the model gives them.
        unit: [N] float64, the same in [0, 1], in the same order.
        tokens: that were read.
    """

    raw: np.ndarray[Any, np.dtype[np.float64]]
    unit: np.ndarray[Any, np.dtype[np.float64]]
    tokens: int


@router.post("/rerank", response_model=RerankAnswer | list[RankedText])
@router.post("/v1/rerank", response_model=RerankAnswer | list[RankedText])
@router.post("/v2/rerank", response_model=RerankAnswer | list[RankedText])
@router.post("/infinity/rerank", response_model=RerankAnswer | list[RankedText])
async def rerank(request: Request, body: RerankBody) -> Response:
    """Order candidates by how well they answer a query. All come back unless `top_n` says otherwise."""
    request.state.as_tei = body.texts is not None and body.documents is None
    service = service_of(request)
    texts, ids = _candidates(body)
    count = len(texts) if ids is None else len(ids)
    model = _model(service, body, by_id=ids is not None)
    about(request, model=model.name, documents=count, query=body.query[:200])
    wheres = wheres_of(request, body.where)
    _check_sizes(service, body, texts, count)

    def work(cancelled: threading.Event) -> Response:
        if ids is not None:
            scored = _score_ids(service, model, body, ids, wheres, cancelled)
        else:
            scored = score_texts(service, model, body.query, texts, cancelled)
        service.metrics.reranked.inc(count)
        shown = _Shown("text", texts) if ids is None else _Shown("id", ids)
        return answer(_answer(request, body, model.name, shown, scored))

    return await service.run(request, work)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What an answer that repeats its candidates calls them, and what they are."""

    kind: str
    candidates: Sequence[str]


def _model(service: Service, body: RerankBody, *, by_id: bool) -> Model:
    """The one that was asked for; for passages of a collection and no wish, the one that made its vectors."""
    if by_id and body.model is None:
        lane = service.shelves.get(body.collection).lane
        return next(model for model in service.models if model.lane is lane)
    return service.models.get(body.model)


# -- what is asked ---------------------------------------------------------------------------------------------------


def _candidates(body: RerankBody) -> tuple[list[str], list[str] | None]:
    """The texts, or the ids."""
    given = body.documents if body.documents is not None else body.texts if body.texts is not None else body.input
    if body.ids is not None:
        if given is not None:
            raise Refusal(422, "got texts and ids: expected one of documents and ids", "ids")
        if not body.ids:
            raise Refusal(422, "ids must not be empty", "ids")
        return [], body.ids
    if given is None:
        raise Refusal(
            422, "no documents: expected documents (or texts, or input), or ids with a collection", "documents"
        )
    documents = [given] if isinstance(given, str) else list(given)
    if not documents:
        raise Refusal(422, "documents must not be empty", "documents")
    names = [document.id for document in documents if isinstance(document, DocumentBody) and document.text is None]
    if names and len(names) == len(documents) and all(name is not None for name in names) and not body.rank_fields:
        return [], [str(name) for name in names]
    return [_text(document, i, body.rank_fields) for i, document in enumerate(documents)], None


def _text(document: str | DocumentBody, i: int, fields: Sequence[str] | None) -> str:
    if isinstance(document, str):
        return document
    if fields:
        values = {"text": document.text, "id": document.id, **(document.model_extra or {})}
        found = [str(values[field]) for field in fields if values.get(field) is not None]
        if found:
            return "\n".join(found)
        raise Refusal(422, f"documents[{i}] has none of the rank_fields {', '.join(fields)[:100]}", "documents")
    if document.text is None:
        raise Refusal(422, f"documents[{i}]: expected a text or {{text}}; ids can't be mixed with texts", "documents")
    return document.text


def _check_sizes(service: Service, body: RerankBody, texts: Sequence[str], count: int) -> None:
    limits = service.settings.limits
    if not body.query.strip():
        raise Refusal(422, "query must not be empty", "query")
    if count > limits.documents:
        service.metrics.refused.labels("documents").inc()
        raise Refusal(413, f"{count} documents, this service takes {limits.documents}: send them in parts", "documents")
    check_tokens(service, [body.query, *texts])


def check_tokens(service: Service, texts: Sequence[str]) -> None:
    """Refuse texts that are longer together than a request may be. A token is a character at least.

    Raises:
        Refusal: 413.
    """
    limit = service.settings.limits.tokens
    # Four characters a token is what English has; counting exactly would cost a part of what is refused.
    length = sum(map(len, texts))
    if length > 4 * limit:
        service.metrics.refused.labels("tokens").inc()
        raise Refusal(
            413, f"about {length // 4:,} tokens, this service takes {limit:,} in one request: send less", "documents"
        )


# -- scoring ---------------------------------------------------------------------------------------------------------


def score_texts(
    service: Service, model: Model, query: str, texts: Sequence[str], cancelled: threading.Event
) -> _Scored:
    """Score texts with a model: a cross-encoder's own scores, MaxSim, or the best window's inner product."""
    if model.scorer is not None:
        raw = model.scorer.score(query, texts, cancelled).astype(np.float64)
        unit = np.clip(raw, 0.0, 1.0) if model.scorer.bounded else 1 / (1 + np.exp(-raw))
        # No tokenizer of it is at hand: four characters a token.
        return _Scored(raw, unit, sum(len(query) + len(text) for text in texts) // 4 + 1)
    lane = model.lane
    assert lane is not None
    asked = lane.encode_query(query, cancelled=cancelled)
    encoded = LaneEncoder(lane, cancelled=cancelled).encode_passages(texts)
    if lane.spec.dim:
        scores = maxsim.scores(np.ascontiguousarray(asked.tokens), encoded.tokens)
        return _from_maxsim(scores, asked, len(asked.tokens) + len(encoded.tokens.tokens))
    return _from_cosine(service, lane, asked, encoded, [query, *texts])


def _score_ids(
    service: Service,
    model: Model,
    body: RerankBody,
    ids: Sequence[str],
    wheres: Sequence[Any],
    cancelled: threading.Event,
) -> _Scored:
    """Score passages of a collection by the vectors that it has."""
    shelf = service.shelves.get(body.collection)
    snapshot = shelf.snapshot(wheres)
    rows = snapshot.rows(ids)
    if model.lane is not shelf.lane or not shelf.lane.spec.dim:
        # The stored vectors are another model's, or there are none: the one that was asked for reads the texts.
        return score_texts(service, model, body.query, [p.text for p in snapshot.passages(rows)], cancelled)
    asked = shelf.lane.encode_query(body.query, cancelled=cancelled)
    scores = snapshot.scores(asked.tokens, rows)
    return _from_maxsim(scores, asked, len(asked.tokens))


def _from_maxsim(scores: FloatArray, asked: EncodedQuery, tokens: int) -> _Scored:
    """Vectors have unit length, so the mean similarity of a query's vectors is in [-1, 1]."""
    count = len(asked.tokens)
    raw = np.where(np.isfinite(scores), scores, -count).astype(np.float64)  # without vectors: as bad as can be
    return _Scored(raw, np.clip((1 + raw / count) / 2, 0.0, 1.0), tokens)


def _from_cosine(
    service: Service, lane: Lane, asked: EncodedQuery, encoded: EncodedPassages, texts: Sequence[str]
) -> _Scored:
    assert asked.dense is not None
    raw = maxsim.scores(np.ascontiguousarray(asked.dense[None, :]), encoded.dense).astype(np.float64)
    return _Scored(raw, np.clip((1 + raw) / 2, 0.0, 1.0), count_tokens(lane, texts))


def count_tokens(lane: Lane, texts: Sequence[str]) -> int:
    """Tokens of texts, a few texts at a time, so that questions aren't kept waiting."""
    total = 0
    for start in range(0, len(texts), 32):
        some = texts[start : start + 32]
        total += lane.call(lambda encoder, some=some: sum(encoder.count_tokens(text) for text in some))  # type: ignore[misc]
    return total


# -- what is answered ------------------------------------------------------------------------------------------------


def _answer(request: Request, body: RerankBody, model: str, shown: _Shown, scored: _Scored) -> Any:
    candidates = shown.candidates
    wants_raw = bool(body.raw_scores) or body.use_activation is False
    scores = (scored.raw if wants_raw else scored.unit).tolist()
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    limit = body.top_n or body.top_k
    best = order[:limit] if limit else order
    echo = bool(body.return_documents or body.return_text or body.return_input)
    if request.state.as_tei:
        return [{"index": i, **({"text": candidates[i]} if echo else {}), "score": scores[i]} for i in best]
    usage = {"prompt_tokens": scored.tokens, "total_tokens": scored.tokens}
    version = "2" if request.url.path.startswith("/v2") else "1"
    meta = {
        "api_version": {"version": version},
        "billed_units": {"search_units": 1},
        "tokens": {"input_tokens": scored.tokens, "output_tokens": 0},
    }
    head = {"id": f"rerank-{uuid.uuid4().hex}", "object": "rerank", "model": model, "created": int(time.time())}
    # Infinity's own callers want a document as a plain text, and their bodies are those of vLLM's, who want an object:
    # they tell themselves apart by the address.
    plain = request.url.path.startswith("/infinity")
    results = [
        {"index": i, "relevance_score": scores[i]}
        | ({"document": candidates[i] if plain else {shown.kind: candidates[i]}} if echo else {})
        for i in best
    ]
    tail: dict[str, Any] = {"usage": usage, "meta": meta}
    if body.documents is None and body.input is not None:
        items = [{"index": i, "score": scores[i], **({"input": candidates[i]} if echo else {})} for i in best]
        return {**head, "object": "list", "data": items, "top_k": len(best), "return_input": echo, **tail}
    if "top_k" in body.model_fields_set or "truncation" in body.model_fields_set:
        items = [
            {"index": i, "relevance_score": scores[i], **({"document": candidates[i]} if echo else {})} for i in best
        ]
        return {**head, "object": "list", "data": items, "results": results, **tail}
    return {**head, "results": results, **tail}
