"""Pages as pictures over HTTP: as they are, small, or with what of them matches a question."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from latewood.page_view import DPI
from latewood.pages import png_of, shrunk
from latewood.protocols import Encoder, Snapshot
from latewood.serve.problems import PROBLEMS, Refusal
from latewood.serve.rerank import check_tokens
from latewood.serve.service import about, service_of, wheres_of
from latewood.types import Page

__all__ = ["router"]

router = APIRouter(tags=["pages"], responses=PROBLEMS)

_PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
}
_LARGEST = 2400


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a request may see of a collection, and what encodes its question."""

    snapshot: Snapshot
    encoder: Encoder


@router.get("/v1/collections/{name}/pages/{id:path}", response_class=Response, responses=_PNG)
async def picture(
    request: Request,
    name: str,
    id: str,
    longest: Annotated[int, Query(ge=16, le=_LARGEST, description="Pixels of the longer edge at most.")] = _LARGEST,
    query: Annotated[str, Query(max_length=2000, description="Tint what matches this question.")] = "",
    smooth: Annotated[bool, Query(description="Tint all that is near it, not only what scored.")] = False,
) -> Response:
    """A page of a PDF or image file as a PNG; drawn from the file that was indexed, by this service's own hand."""
    service = service_of(request)
    shelf = service.shelves.get(name)
    wheres = wheres_of(request, None)
    if query.strip():
        check_tokens(service, [query])
    about(request, collection=shelf.name, query=query[:200])

    def work(cancelled: threading.Event) -> Response:
        snapshot = shelf.snapshot(wheres)
        page = snapshot.passages(snapshot.rows([id]))[0]
        if not isinstance(page, Page):
            raise Refusal(404, f"'{id}' is a passage and no page of a PDF or image file: there is no picture of it")
        if query.strip():
            seen = _Seen(snapshot, shelf.encoder(cancelled))
            drawn, _ = service.view.heatmap(seen, query, id, smoothed=smooth, dpi=DPI)
            drawn = shrunk(drawn, longest)
        else:
            drawn = shrunk(service.view.picture(page, DPI if longest > 400 else DPI / 2), longest)
        return Response(png_of(drawn), media_type="image/png", headers={"cache-control": "private, max-age=60"})

    return await service.run(request, work)
