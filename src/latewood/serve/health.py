"""Whether it lives, whether it may be asked, and how it does."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from latewood import __version__
from latewood.serve.metrics import CONTENT_TYPE
from latewood.serve.problems import PROBLEMS, Refusal, answer
from latewood.serve.service import service_of

__all__ = ["OPEN", "router"]

router = APIRouter(tags=["health"], responses={code: PROBLEMS[code] for code in (400, 401, 405, 503)})

OPEN = frozenset({"/health", "/ready"})
"""Answered without a key: they say nothing of what is served."""


class Health(BaseModel):
    """It lives."""

    status: str
    version: str


@router.get("/health", response_model=Health)
async def health() -> Response:
    """The process lives and its loop turns."""
    return answer({"status": "ok", "version": __version__})


@router.get("/ready", response_model=Health)
async def ready(request: Request) -> Response:
    """Models are loaded, collections are open, and it isn't stopping."""
    if service_of(request).draining:
        raise Refusal(503, "the service is stopping")
    return answer({"status": "ready", "version": __version__})


@router.get("/metrics", responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    service = service_of(request)
    await asyncio.to_thread(service.update_gauges)
    return Response(service.metrics.text(), headers={"content-type": CONTENT_TYPE})
