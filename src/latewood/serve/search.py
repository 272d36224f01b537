"""`/v1/search`: a question, its passages, and why."""

from __future__ import annotations

import threading
from pathlib import PurePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from latewood.distinct import Distinct
from latewood.pages import ranking_as_json
from latewood.serve.problems import PROBLEMS, Refusal, answer
from latewood.serve.rerank import check_tokens
from latewood.serve.service import about, service_of, wheres_of
from latewood.types import Ranking

__all__ = ["SearchBody", "ranking_json", "router"]

router = APIRouter(tags=["search"], responses=PROBLEMS)


class SearchBody(BaseModel):
    """A question to a collection."""

    query: str
    collection: str | None = Field(None, description="May be left out where there is one.")
    pipeline: str | None = Field(None, description="Such as dense:50 >> late:5; the collection's default when absent.")
    k: Annotated[int, Field(ge=1)] | None = Field(None, description="Results; the pipeline's own number when absent.")
    where: dict[str, Any] | None = Field(None, description='Conditions on metadata: {"year": {"gte": 2024}}.')
    collapse: bool = Field(False, description="Of near-duplicates only the best.")
    group_by: Literal["source"] | None = Field(None, description="Of each document only the best passage.")
    explain: bool = Field(False, description="Say what matched; the pipeline must end in late.")


class MatchBody(BaseModel):
    """One vector of the query, and the passage's vector that was nearest."""

    query_token: str
    token: str
    span: list[int]
    similarity: float


class RegionBody(BaseModel):
    """A place on a page that some of the question matched best."""

    box: list[float]
    shown: list[float]
    text: str
    query_tokens: list[str]
    similarity: float
    modality: str


class PlaceBody(BaseModel):
    """Where a hit is that is a page: see docs/pages.md."""

    file: str = Field(description="Its name, without the folder.")
    number: int
    size: list[float]
    regions: list[RegionBody]
    shares: dict[str, float]


class HitBody(BaseModel):
    """One passage."""

    id: str
    source_id: str
    score: float
    rank: int
    source: str
    text: str
    metadata: dict[str, Any]
    matches: list[MatchBody] | None = None
    folded: list[str] | None = None
    page: PlaceBody | None = None


class TimingBody(BaseModel):
    """One stage."""

    stage: str
    ms: float
    candidates: int


class SearchAnswer(BaseModel):
    """As `latewood search --json` prints it, with what served it."""

    query: str
    pipeline: str
    exact: bool
    unscored: int
    hits: list[HitBody]
    collection: str
    generation: int
    cut: int
    timings: list[TimingBody]


@router.post("/v1/search", response_model=SearchAnswer)
async def search(request: Request, body: SearchBody) -> Response:
    """The best passages for a question."""
    service = service_of(request)
    shelf = service.shelves.get(body.collection)
    limits = service.settings.limits
    if not body.query.strip():
        raise Refusal(422, "query must not be empty", "query")
    check_tokens(service, [body.query])
    if body.k is not None and body.k > limits.documents:
        raise Refusal(422, f"k: got {body.k}, this service gives {limits.documents} at most", "k")
    wheres = wheres_of(request, body.where)
    pipeline = body.pipeline if body.pipeline is not None else shelf.default_pipeline
    about(request, collection=shelf.name, pipeline=pipeline[:200], query=body.query[:200])

    def work(cancelled: threading.Event) -> Response:
        distinct = Distinct(body.collapse, body.group_by)
        bound = shelf.bind(pipeline, cancelled, wheres, distinct=distinct, depth=limits.documents)
        ranking = bound.rank(body.query, body.k, texts=True, explain=body.explain)
        service.metrics.timed(ranking.timings)
        service.live.consider(shelf.name, bound, ranking)
        about(request, stages={timing.stage: round(timing.ms, 1) for timing in ranking.timings})
        return answer(ranking_json(ranking, shelf.name, bound.snapshot.generation))

    return await service.run(request, work)


def ranking_json(ranking: Ranking, collection: str, generation: int) -> dict[str, Any]:
    """A ranking as it is answered; of the files of pages the names alone, as their folders are nobody's business."""
    told = ranking_as_json(ranking)
    for hit in told["hits"]:
        if "page" in hit:
            hit["page"]["file"] = PurePath(hit["page"]["file"]).name
    timings = [{"stage": t.stage, "ms": round(t.ms, 3), "candidates": t.candidates} for t in ranking.timings]
    return {
        **told,
        "collection": collection,
        "generation": generation,
        "cut": ranking.cut,
        "timings": timings,
    }
