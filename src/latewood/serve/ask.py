"""`/v1/ask`: a question, an answer with citations, as it is written."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from latewood.answers import Event, stream_answer
from latewood.answers import answer as answer_at_once
from latewood.endpoints import ChatModel
from latewood.errors import LatewoodError
from latewood.serve.problems import PROBLEMS, Refusal, answer, status_of
from latewood.serve.rerank import check_tokens
from latewood.serve.service import Service, about, service_of, wheres_of
from latewood.types import Passage

__all__ = ["router"]

router = APIRouter(tags=["ask"], responses=PROBLEMS)

EVENTS = "text/event-stream"

log = logging.getLogger("latewood.serve")


class AskBody(BaseModel):
    """A question to a collection and the service's chat model."""

    question: str
    collection: str | None = Field(None, description="May be left out where there is one.")
    pipeline: str | None = Field(None, description="What finds the passages; the collection's default when absent.")
    k: Annotated[int, Field(ge=1, le=100)] = Field(5, description="Passages that the answer is written from.")
    where: dict[str, Any] | None = Field(None, description="Conditions that the passages must meet.")
    stream: bool = Field(True, description="Server-sent events: token, citation, done, or error. Else one object.")


class CitationBody(BaseModel):
    """What a number in brackets stands for."""

    number: int
    id: str
    source_id: str
    source: str
    page: int | None
    span: list[int] | None
    title: str


class AskAnswer(BaseModel):
    """The answer at once; the last event of a stream has the same, and `type`."""

    question: str
    answer: str
    outcome: str
    finish: str
    citations: list[CitationBody]
    unknown_citations: list[int]
    model: str
    cached: bool


@router.post(
    "/v1/ask",
    response_model=AskAnswer,
    responses={200: {"content": {EVENTS: {"schema": {"type": "string"}}}, "description": "Events, or the answer."}},
)
async def ask(request: Request, body: AskBody) -> Response:
    """An answer from a collection's passages, with numbered citations."""
    service = service_of(request)
    chat = service.chat
    if chat is None:
        raise Refusal(403, "this service answers no questions: it was started without --llm")
    if not body.question.strip():
        raise Refusal(422, "question must not be empty", "question")
    check_tokens(service, [body.question])
    passages = await _passages(service, request, body)
    if not body.stream:
        return answer(await service.run(request, lambda _: answer_at_once(body.question, passages, chat).to_json()))
    return await _stream(service, body.question, passages, chat)


async def _passages(service: Service, request: Request, body: AskBody) -> list[Passage]:
    shelf = service.shelves.get(body.collection)
    wheres = wheres_of(request, body.where)
    pipeline = body.pipeline if body.pipeline is not None else shelf.default_pipeline
    about(request, collection=shelf.name, pipeline=pipeline[:200], query=body.question[:200])

    def find(cancelled: threading.Event) -> list[Passage]:
        bound = shelf.bind(pipeline, cancelled, wheres, depth=service.settings.limits.documents)
        ranking = bound.rank(body.question, body.k, texts=True)
        service.metrics.timed(ranking.timings)
        return [hit.passage for hit in ranking.hits if hit.passage is not None]

    return await service.run(request, find)


async def _stream(service: Service, question: str, passages: list[Passage], chat: ChatModel) -> Response:
    """Events as they come. What goes wrong before the first is a status of HTTP, afterwards an event "error"."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Event | Exception | None] = asyncio.Queue()

    def write(cancelled: threading.Event) -> None:
        try:
            for event in stream_answer(question, passages, chat):
                if cancelled.is_set():
                    return
                loop.call_soon_threadsafe(queue.put_nowait, event)
        except Exception as error:
            if not isinstance(error, LatewoodError):
                log.exception("a fault while answering a question")
            loop.call_soon_threadsafe(queue.put_nowait, error)
        finally:
            loop.call_soon_threadsafe(queue.put_nowait, None)

    _, cancelled = service.work.start(write)
    try:
        first = await asyncio.wait_for(queue.get(), service.settings.limits.seconds)
    except asyncio.TimeoutError:
        cancelled.set()
        raise Refusal(408, "the chat model took longer to begin than a request may take: try again") from None
    if isinstance(first, Exception):
        raise first
    return StreamingResponse(_lines(queue, first, cancelled), media_type=EVENTS, headers={"Cache-Control": "no-store"})


async def _lines(
    queue: asyncio.Queue[Event | Exception | None], event: Event | Exception | None, cancelled: threading.Event
) -> AsyncIterator[str]:
    try:
        while event is not None:
            yield _line(event)
            event = await queue.get()
    finally:
        cancelled.set()  # nobody reads on: the writing thread stops at its next piece


def _line(event: Event | Exception) -> str:
    if isinstance(event, Exception):
        known = isinstance(event, LatewoodError)
        message = str(event) if known else "a fault of the service; its log has more"
        status = status_of(event) if isinstance(event, LatewoodError) else 500
        value: dict[str, Any] = {"type": "error", "message": message, "code": status}
    else:
        value = event.to_json()
    return f"event: {value['type']}\ndata: {json.dumps(value, ensure_ascii=True)}\n\n"
