"""The page: rendered here, readable without a script, and quicker with one."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Request
from jinja2 import Environment, PackageLoader
from starlette.responses import HTMLResponse, RedirectResponse, Response

from latewood import __version__
from latewood.errors import LatewoodError
from latewood.serve.problems import Refusal, status_of
from latewood.serve.service import Service, about, key_of, service_of, wheres_of
from latewood.serve.sessions import COOKIE, SECONDS
from latewood.serve.settings import matching_key
from latewood.serve.shading import Shade, Word, query_words, shaded, unwrapped
from latewood.serve.shelf import Shelf
from latewood.types import Hit, Page, Ranking

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_TEMPLATES = Environment(
    loader=PackageLoader("latewood.serve"), autoescape=True, trim_blocks=True, lstrip_blocks=True, auto_reload=False
)
_PIPELINES = ("dense:50 >> late", "dense:50", "bm25:50", "(dense:50 + bm25:50):50 >> late", "late")
_MOST = 50


@dataclass(frozen=True, slots=True)
class _Shown:
    """One hit as the page has it."""

    hit: Hit
    title: str
    pieces: list[Shade]
    whole: list[Shade] | None
    move: str
    sign: str
    moved: str
    picture: str = ""


@dataclass(frozen=True, slots=True)
class _Column:
    """One pipeline's answer."""

    side: str
    ranking: Ranking
    hits: list[_Shown]
    words: list[Word]
    total_ms: float


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the address says."""

    query: str
    collection: str
    pipeline: str
    beside: str
    k: int
    where: Mapping[str, str]


@router.get("/")
async def search_page(request: Request) -> Response:
    """The search box, and the answer to what is in the address."""
    service = service_of(request)
    shelves = list(service.shelves)
    if not shelves:
        return _page("empty.html", request)
    asked = _asked(request, shelves)
    shown: dict[str, Any] = {"asked": asked, "shelves": shelves, "pipelines": _offered(service, asked)}
    try:
        shelf = service.shelves.get(asked.collection)
        shown |= {"shelf": shelf}
        wheres = [*wheres_of(request, None), *([_where(asked.where)] if asked.where else [])]
        about(request, collection=shelf.name, pipeline=asked.pipeline, query=asked.query[:200])

        def work(cancelled: threading.Event) -> dict[str, Any]:
            whole = shelf.snapshot(wheres_of(request, None))
            found = {"passages": len(whole), "facets": _facets(whole)}
            if not asked.query.strip():
                return found
            return found | {"columns": _columns(service, shelf, asked, wheres, cancelled)}

        shown |= await service.run(request, work)
    except Refusal as error:
        return _page("search.html", request, status=error.status, problem=error.message, **shown)
    except LatewoodError as error:
        return _page("search.html", request, status=status_of(error), problem=str(error), **shown)
    return _page("search.html", request, **shown)


@router.get("/stats")
async def stats_page(request: Request) -> Response:
    """What is served: collections, models, and how it does."""
    service = service_of(request)
    wheres = wheres_of(request, None)

    def work(_: threading.Event) -> list[dict[str, Any]]:
        if wheres:
            seen = [(shelf, shelf.snapshot(wheres)) for shelf in service.shelves]
            return [{"name": shelf.name, "passages": len(s), "generation": s.generation} for shelf, s in seen]
        return [dict(shelf.stats()) for shelf in service.shelves]

    collections = await service.run(request, work)
    return _page(
        "stats.html",
        request,
        collections=collections,
        models=list(service.models),
        uptime=time.time() - service.started,
        routes=_routes(service),
        reports=[path.name for path in service.settings.reports],
        live=_live(service),
    )


@router.get("/reports/{number}")
async def report(request: Request, number: int) -> Response:
    """A report that was named at the start. It is a page of its own, whose styles are inside."""
    paths = service_of(request).settings.reports
    if not 0 <= number < len(paths):
        raise Refusal(404, f"no report {number}: this service was started with {len(paths)}")
    if key_of(request) is not None and wheres_of(request, None):
        raise Refusal(403, "a report shows passages that this key may not see")
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    return HTMLResponse(paths[number].read_bytes(), headers={"content-security-policy": policy})


@router.get("/login")
async def login_page(request: Request, back: str = "/") -> Response:
    """Asks for a key."""
    return _page("login.html", request, back=back)


@router.post("/login")
async def login(request: Request, key: Annotated[str, Form()] = "", back: Annotated[str, Form()] = "/") -> Response:
    """Exchanges a key for a cookie."""
    found = matching_key(service_of(request).settings.keys, key.strip())
    if found is None:
        return _page("login.html", request, status=401, back=back, problem="This is none of the keys.")
    # Only back to a page of ours: "//elsewhere" and "https:…" are other hosts.
    inside = back.startswith("/") and not back.startswith(("//", "/\\"))
    response = RedirectResponse(back if inside else "/", 303)
    token = request.app.state.sessions.start(found)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, token, max_age=SECONDS, httponly=True, samesite="strict", secure=secure)
    return response


@router.get("/favicon.ico")
async def favicon() -> Response:
    """Its address is in the page; browsers ask for this one nevertheless."""
    return RedirectResponse("/static/icon.svg", 301)


# -- what is asked ---------------------------------------------------------------------------------------------------


def _asked(request: Request, shelves: Sequence[Shelf]) -> _Asked:
    given = request.query_params
    name = given.get("collection") or shelves[0].name
    first = next((shelf for shelf in shelves if shelf.name == name), shelves[0])
    offered = service_of(request).settings.pipelines
    k = given.get("k", "")
    where = {key[2:]: value for key, value in given.items() if key.startswith("w.") and value}
    return _Asked(
        query=given.get("q", "")[:2000],
        collection=name,
        pipeline=given.get("pipeline") or (offered[0] if offered else first.default_pipeline),
        beside=given.get("beside", ""),
        k=min(_MOST, int(k)) if k.isdecimal() and len(k) < 4 and int(k) > 0 else 10,
        where=where,
    )


def _offered(service: Service, asked: _Asked) -> list[str]:
    chosen = service.settings.pipelines or _PIPELINES
    return list(dict.fromkeys([*chosen, asked.pipeline, *([asked.beside] if asked.beside else [])]))


def _where(given: Mapping[str, str]) -> dict[str, Any]:
    """A choice from a list of values: texts and numbers look alike in an address, so either may be meant."""
    found: dict[str, Any] = {}
    for name, text in given.items():
        values: list[Any] = [text]
        if text in ("true", "false"):
            values.append(text == "true")
        with contextlib.suppress(ValueError):
            values.append(int(text) if text.lstrip("-").isdecimal() else float(text))
        found[name] = {"in": values}
    return found


def _facets(snapshot: Any) -> list[tuple[str, list[str]]]:
    """Fields of the metadata that have few values, from the first passages: what is worth a list to choose from."""
    seen: dict[str, set[str]] = {}
    for passage in snapshot.passages(snapshot.live_rows[:500]):
        for name, value in passage.metadata.items():
            if isinstance(value, str | int | float) and len(name) <= 40:
                text = str(value).lower() if isinstance(value, bool) else str(value)
                seen.setdefault(name, set()).add(text[:80])
    few = {name: values for name, values in seen.items() if 2 <= len(values) <= 30}
    return [(name, sorted(few[name])) for name in sorted(few)[:4]]


# -- what is shown ---------------------------------------------------------------------------------------------------


def _columns(
    service: Service, shelf: Shelf, asked: _Asked, wheres: Sequence[Any], cancelled: threading.Event
) -> list[_Column]:
    rankings = []
    memo: dict[str, Any] = {}
    for pipeline in [asked.pipeline, *([asked.beside] if asked.beside else [])]:
        bound = shelf.bind(pipeline, cancelled, wheres, depth=service.settings.limits.documents, memo=memo)
        ranking = bound.rank(asked.query, asked.k, texts=True, explain=bound.ends_in_late)
        service.metrics.timed(ranking.timings)
        rankings.append(ranking)
    columns: list[_Column] = []
    for side, ranking in zip("ab", rankings, strict=False):
        other = rankings[1 - len(columns)] if len(rankings) == 2 else None
        ranks = {hit.id: hit.rank for hit in other.hits} if other is not None else None
        hits = [_shown(hit, ranks, shelf.name, asked.query) for hit in ranking.hits]
        words = query_words(ranking.hits[0].matches) if ranking.hits and ranking.hits[0].matches else []
        columns.append(_Column(side, ranking, hits, words, sum(timing.ms for timing in ranking.timings)))
    return columns


def _shown(hit: Hit, others: Mapping[str, int] | None, collection: str, query: str) -> _Shown:
    passage = hit.passage
    assert passage is not None
    body = unwrapped(passage.text, len(passage.title))
    matches = hit.matches or ()
    pieces = shaded(body, matches)
    whole = shaded(body, matches, None) if len(body) > sum(len(piece.text) for piece in pieces) else None
    move, sign, moved = _move(hit.rank, others.get(hit.id)) if others is not None else ("", "", "")
    picture = ""
    if isinstance(passage, Page) and not passage.metadata.get("uploaded"):
        asked = f"?{urlencode({'query': query})}" if matches else ""
        picture = f"/v1/collections/{quote(collection)}/pages/{quote(hit.id)}{asked}"
    return _Shown(hit, passage.title, pieces, whole, move, sign, moved, picture)


def _move(rank: int, other: int | None) -> tuple[str, str, str]:
    """Kind, sign and words: where the other pipeline has this passage."""
    if other is None:
        return "new", "+ only here", "not in the other list"
    if other == rank:
        return "same", "= same place", "same place in the other list"
    kind, sign = ("up", "▲") if rank < other else ("down", "▼")
    return kind, f"{sign} {other} → {rank}", f"place {other} in the other list"


def _routes(service: Service) -> list[dict[str, Any]]:
    """Requests and mean milliseconds by route, from the figures that Prometheus reads."""
    sums: dict[str, dict[str, float]] = {}
    for metric in service.metrics.seconds.collect():
        for sample in metric.samples:
            if sample.name.endswith(("_count", "_sum")):
                sums.setdefault(sample.labels["route"], {})[sample.name.rpartition("_")[2]] = sample.value
    return [
        {"route": route, "count": int(values["count"]), "ms": values["sum"] / values["count"] * 1e3}
        for route, values in sorted(sums.items())
        if values.get("count") and route not in {"other", "/health", "/ready"}
    ]


def _live(service: Service) -> dict[str, tuple[float, int]]:
    """Mean overlap of the live certificate and how many answers it is of, by collection."""
    found: dict[str, dict[str, float]] = {}
    for metric in service.metrics.live.collect():
        for sample in metric.samples:
            found.setdefault(sample.labels["collection"], {})[sample.name.rpartition("_")[2]] = sample.value
    return {name: (of["sum"] / of["count"], int(of["count"])) for name, of in found.items() if of.get("count")}


def _page(template: str, request: Request, *, status: int = 200, **shown: Any) -> Response:
    service = service_of(request)
    content = _TEMPLATES.get_template(template).render(
        version=__version__,
        here=request.url.path,
        keyed=bool(service.settings.keys),
        **shown,
    )
    return HTMLResponse(content.encode("utf-8", "replace"), status, headers={"cache-control": "no-store"})


def _size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


_TEMPLATES.filters |= {"size": _size, "name": lambda path: Path(str(path)).name}
