"""`/v1/embeddings` as OpenAI has it, `/v1/multi-vector` as Jina has it, and the list of models."""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from latewood.serve.lanes import Lane, LaneEncoder
from latewood.serve.problems import PROBLEMS, Refusal, answer
from latewood.serve.rerank import check_tokens, count_tokens
from latewood.serve.service import Service, about, service_of
from latewood.types import FloatArray, MultiVectors

__all__ = ["router"]

router = APIRouter(tags=["vectors"], responses=PROBLEMS)

InputType = Literal["query", "document", "passage", "search_query", "search_document"]
_QUERY = {"query", "search_query"}


class EmbeddingsBody(BaseModel):
    """As OpenAI's and Voyage's clients send it."""

    input: str | list[str] | list[int] | list[list[int]]
    model: str | None = Field(None, description="One of /v1/models; the first of them when absent.")
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, description="The model's own, if it is given.")
    input_type: InputType | None = Field(None, description="Encoded as a document when absent.")
    user: str | None = None


class MultiVectorBody(BaseModel):
    """As Jina's callers send it."""

    input: str | list[str]
    model: str | None = None
    input_type: InputType | None = None
    embedding_type: Annotated[str, Field(pattern="^float$")] | None = None
    dimensions: int | None = None


class Usage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class Embedding(BaseModel):
    """One text's vector, as numbers or as base64 of little-endian float32."""

    object: str
    index: int
    embedding: list[float] | str


class EmbeddingsAnswer(BaseModel):
    """One vector per text, in the order of the texts."""

    object: str
    data: list[Embedding]
    model: str
    usage: Usage


class TokenEmbeddings(BaseModel):
    """One text's token vectors."""

    object: str
    index: int
    embeddings: list[list[float]]


class MultiVectorAnswer(BaseModel):
    """Token vectors per text, in the order of the texts."""

    object: str
    data: list[TokenEmbeddings]
    model: str
    usage: Usage


class ModelCard(BaseModel):
    """A model that was loaded at the start."""

    id: str
    object: str
    created: int
    owned_by: str
    kind: str
    dimensions: int | None
    token_dimensions: int | None
    max_length: int | None


class ModelList(BaseModel):
    """All of them; the first is used where a request names none."""

    object: str
    data: list[ModelCard]


@router.post("/v1/embeddings", response_model=EmbeddingsAnswer)
async def embeddings(request: Request, body: EmbeddingsBody) -> Response:
    """One vector per text. A text beyond the model's limit gets the mean of its windows' vectors, at unit length."""
    service = service_of(request)
    texts = _texts(service, body.input)
    lane = service.models.lane(body.model)
    _check_dimensions(body.dimensions, lane.spec.dense_dim, "single")
    about(request, model=body.model, texts=len(texts))

    def work(cancelled: threading.Event) -> Response:
        vectors = _dense(lane, texts, body.input_type in _QUERY, cancelled)
        as_text = body.encoding_format == "base64"
        data = [
            {"object": "embedding", "index": i, "embedding": _base64(vector) if as_text else vector.tolist()}
            for i, vector in enumerate(vectors)
        ]
        return answer({"object": "list", "data": data, **_tail(service, body.model, count_tokens(lane, texts))})

    return await service.run(request, work)


@router.post("/v1/multi-vector", response_model=MultiVectorAnswer)
async def multi_vector(request: Request, body: MultiVectorBody) -> Response:
    """The token vectors of each text: those of late interaction."""
    service = service_of(request)
    texts = _texts(service, body.input)
    lane = service.models.lane(body.model)
    _check_dimensions(body.dimensions, lane.spec.dim, "token")
    about(request, model=body.model, texts=len(texts))

    def work(cancelled: threading.Event) -> Response:
        if body.input_type in _QUERY:
            many = MultiVectors.of(
                [query.tokens for query in lane.encode_queries(texts, cancelled=cancelled)], lane.spec.dim
            )
        else:
            many = LaneEncoder(lane, cancelled=cancelled).encode_passages(texts).tokens
        data = [{"object": "embeddings", "index": i, "embeddings": many[i].tolist()} for i in range(len(many))]
        return answer({"object": "list", "data": data, **_tail(service, body.model, len(many.tokens))})

    return await service.run(request, work)


@router.get("/v1/models", response_model=ModelList)
async def models(request: Request) -> Response:
    """The models that requests may name."""
    service = service_of(request)
    data = []
    for model in service.models:
        spec = model.lane.spec if model.lane is not None else None
        data.append(
            {
                "id": model.name,
                "object": "model",
                "created": int(service.started),
                "owned_by": "latewood",
                "kind": "encoder" if spec is not None else "cross-encoder",
                "dimensions": spec.dense_dim or None if spec is not None else None,
                "token_dimensions": spec.dim or None if spec is not None else None,
                "max_length": spec.max_length if spec is not None else None,
            }
        )
    return answer({"object": "list", "data": data})


def _texts(service: Service, given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else list(given)
    if not texts:
        raise Refusal(422, "input must not be empty", "input")
    if not all(isinstance(text, str) for text in texts):
        raise Refusal(
            422,
            "input: got token ids, which are another tokenizer's: send texts "
            "(LangChain's OpenAIEmbeddings does with check_embedding_ctx_length=False)",
            "input",
        )
    limit = service.settings.limits.documents
    if len(texts) > limit:
        service.metrics.refused.labels("documents").inc()
        raise Refusal(413, f"{len(texts)} texts, this service takes {limit}: send them in parts", "input")
    check_tokens(service, texts)
    return texts


def _check_dimensions(given: int | None, dim: int, kind: str) -> None:
    if not dim:
        raise Refusal(422, f"this model has no {kind} vectors", "model")
    if given is not None and given != dim:
        raise Refusal(
            422, f"dimensions: this model has {dim}, and vectors that are cut short would mislead", "dimensions"
        )


def _dense(lane: Lane, texts: Sequence[str], as_query: bool, cancelled: threading.Event) -> list[FloatArray]:
    if as_query:
        return [query.dense for query in lane.encode_queries(texts, cancelled=cancelled) if query.dense is not None]
    many = LaneEncoder(lane, cancelled=cancelled).encode_passages(texts).dense
    return [_one(many[i]) for i in range(len(many))]


def _one(windows: FloatArray) -> FloatArray:
    mean: FloatArray = windows.mean(axis=0, dtype=np.float32)
    return mean if len(windows) == 1 else mean / np.float32(max(float(np.linalg.norm(mean)), 1e-12))


def _base64(vector: FloatArray) -> str:
    return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode("ascii")


def _tail(service: Service, model: str | None, tokens: int) -> dict[str, Any]:
    name = service.models.get(model).name
    return {"model": name, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
