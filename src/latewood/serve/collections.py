"""Collections over HTTP: make, fill, read, remove."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Query, Request, UploadFile
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from latewood.errors import InputError, LatewoodError
from latewood.serve.problems import PROBLEMS, Refusal, answer
from latewood.serve.service import Service, about, check_may_write, service_of, wheres_of
from latewood.serve.shelf import NAME, Shelf
from latewood.serve.uploads import Upload, chunker_of, kind_of, shown_name
from latewood.stores.analyzers import ANALYZERS

__all__ = ["router"]

router = APIRouter(prefix="/v1/collections", tags=["collections"], responses=PROBLEMS)

LINES = "application/x-ndjson"
_PIECE = 1 << 20


class NewCollection(BaseModel):
    """What a new collection is made with."""

    name: Annotated[str, Field(pattern=NAME)]
    model: str | None = Field(None, description="An encoder of /v1/models; the first when absent.")
    language: str = Field(ANALYZERS[0], description="How BM25 cuts words.")


class CollectionCard(BaseModel):
    """A collection, as a list shows it."""

    name: str
    passages: int
    generation: int
    model: str
    pipeline: str


class CollectionList(BaseModel):
    """All of them."""

    collections: list[CollectionCard]


class CollectionStats(BaseModel):
    """As `latewood stats --json` prints it. A key that sees a part is told of that part only."""

    name: str
    generation: int
    passages: int
    deleted: int | None = None
    vectors: int | None = None
    segments: int | None = None
    bytes: dict[str, int] | None = None
    settings: dict[str, Any] | None = None
    encoder: dict[str, Any] | None = None


class AddAnswer(BaseModel):
    """What was done, in passages. Once this is answered, it is on the disk."""

    collection: str
    added: int
    replaced: int
    unchanged: int
    duplicates: int
    cut: int
    removed: int
    generation: int


class EstimateBody(BaseModel):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


class CertificateAnswer(BaseModel):
    """How much of the exact top ten `late` keeps. Without an index it is exact, and there is nothing to measure."""

    collection: str
    generation: int
    exact: bool
    overlap: EstimateBody | None = None
    stored_vs_float32: EstimateBody | None = None
    certified: float | None = None
    samples: int | None = None
    queries: str | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    exhaustive_p50_ms: float | None = None


class DeleteBody(BaseModel):
    """Passages to delete."""

    ids: list[str]


class DeleteAnswer(BaseModel):
    """How many of them were there."""

    collection: str
    deleted: int
    generation: int


class PassageBody(BaseModel):
    """A passage as it is stored."""

    id: str
    source_id: str
    source: str
    title: str
    text: str
    metadata: dict[str, Any]


_DOCUMENT = {
    "type": "object",
    "required": ["_id"],
    "properties": {
        "_id": {"type": "string"},
        "title": {"type": "string"},
        "text": {"type": "string"},
        "metadata": {"type": "object"},
    },
    "additionalProperties": True,
}
_DOCUMENTS = {
    "requestBody": {
        "required": True,
        "description": "One JSON object per line, as it comes, or an array of them.",
        "content": {
            LINES: {"schema": {"type": "string"}},
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["documents"],
                    "properties": {"documents": {"type": "array", "items": _DOCUMENT}},
                }
            },
        },
    }
}


@router.get("", response_model=CollectionList)
async def listed(request: Request) -> Response:
    """The collections."""
    service = service_of(request)
    wheres = wheres_of(request, None)

    def work(_: threading.Event) -> Response:
        return answer({"collections": [_card(shelf, wheres) for shelf in service.shelves]})

    return await service.run(request, work)


@router.post("", response_model=CollectionCard, status_code=201)
async def create(request: Request, body: NewCollection) -> Response:
    """Make an empty collection."""
    check_may_write(request)
    service = service_of(request)

    def work(_: threading.Event) -> Response:
        shelf = service.shelves.create(body.name, body.model, language=body.language)
        return answer(_card(shelf, []), 201)

    return await service.run(request, work)


@router.get("/{name}", response_model=CollectionStats)
async def stats(request: Request, name: str) -> Response:
    """What a collection holds."""
    service = service_of(request)
    shelf = service.shelves.get(name)
    wheres = wheres_of(request, None)

    def work(_: threading.Event) -> Response:
        if wheres:
            snapshot = shelf.snapshot(wheres)
            return answer({"name": shelf.name, "generation": snapshot.generation, "passages": len(snapshot)})
        return answer(shelf.stats())

    return await service.run(request, work)


@router.get("/{name}/certificate", response_model=CertificateAnswer)
async def certificate(request: Request, name: str, samples: Annotated[int, Query(ge=1, le=200)] = 50) -> Response:
    """Measure now, on sentences of random passages, how much of the exact ranking the index keeps."""
    check_may_write(request)  # it measures over everything, which is not a part's to know
    service = service_of(request)
    shelf = service.shelves.get(name)
    return await service.writing.run(request, lambda cancelled: answer(shelf.certificate(samples, cancelled)))


@router.delete("/{name}", status_code=204)
async def remove(request: Request, name: str) -> Response:
    """Remove a collection that was made here, with all that is in it."""
    check_may_write(request)
    service = service_of(request)
    await service.run(request, lambda _: service.shelves.remove(name))
    return Response(status_code=204)


@router.post("/{name}/documents", response_model=AddAnswer, openapi_extra=_DOCUMENTS)
async def add(
    request: Request,
    name: str,
    chunk: Annotated[bool, Query(description="Cut long documents into passages.")] = False,
) -> Response:
    """Add documents, or replace those whose ids are there.

    All is read and checked before anything is changed. With `Accept: application/x-ndjson` the answer is a line for
    each step, {"done", "total"}, and the report, or {"error"}, as the last.
    """
    check_may_write(request)
    shelf = service_of(request).shelves.get(name)
    folder = Path(tempfile.mkdtemp(prefix="latewood-"))
    try:
        path = folder / "0"
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        await _spool(request, path)
        if kind == "application/json":
            await asyncio.to_thread(_as_lines, path)
        elif kind not in {LINES, "application/jsonl", "application/jsonlines"}:
            raise Refusal(415, f"got {kind[:60] or 'no content type'}, expected {LINES} or application/json")
        uploads = [Upload(path, "documents", "jsonl")]
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return await _index(request, shelf, folder, uploads, chunk=chunk)


@router.post("/{name}/files", response_model=AddAnswer)
async def upload(
    request: Request,
    name: str,
    files: Annotated[list[UploadFile], File(description="JSONL, Markdown, HTML or text; read by the end of the name.")],
    chunk: Annotated[bool, Query(description="Cut JSONL documents into passages, as other files are.")] = False,
) -> Response:
    """Add files. A file's name is its document's id; sent again, it replaces what it was. Answered as `documents`."""
    check_may_write(request)
    shelf = service_of(request).shelves.get(name)
    names = [shown_name(file.filename) for file in files]
    if len(set(names)) < len(names):
        raise Refusal(422, "two files of the same name: a name is the id of a document", "files")
    kinds = [kind_of(each) for each in names]
    folder = Path(tempfile.mkdtemp(prefix="latewood-"))
    try:
        uploads = [Upload(folder / str(i), each, kind) for i, (each, kind) in enumerate(zip(names, kinds, strict=True))]
        for file, one in zip(files, uploads, strict=True):
            await asyncio.to_thread(_copy, file, one.path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return await _index(request, shelf, folder, uploads, chunk=chunk)


@router.post("/{name}/documents/delete", response_model=DeleteAnswer)
async def delete(request: Request, name: str, body: DeleteBody) -> Response:
    """Delete passages in one commit."""
    check_may_write(request)
    return await _delete(request, name, body.ids, must=False)


@router.get("/{name}/documents/{id:path}", response_model=PassageBody)
async def read(request: Request, name: str, id: str) -> Response:
    """One passage."""
    service = service_of(request)
    shelf = service.shelves.get(name)
    wheres = wheres_of(request, None)

    def work(_: threading.Event) -> Response:
        snapshot = shelf.snapshot(wheres)
        found = snapshot.passages(snapshot.rows([id]))[0]
        fields = ("id", "source_id", "source", "title", "text")
        return answer({**{field: getattr(found, field) for field in fields}, "metadata": dict(found.metadata)})

    return await service.run(request, work)


@router.delete("/{name}/documents/{id:path}", response_model=DeleteAnswer)
async def delete_one(request: Request, name: str, id: str) -> Response:
    """Delete one passage."""
    check_may_write(request)
    return await _delete(request, name, [id], must=True)


# -- work ------------------------------------------------------------------------------------------------------------


def _card(shelf: Shelf, wheres: Sequence[Any]) -> dict[str, Any]:
    snapshot = shelf.snapshot(wheres)
    return {
        "name": shelf.name,
        "passages": len(snapshot),
        "generation": snapshot.generation,
        "model": Path(shelf.lane.spec.name).name,
        "pipeline": shelf.default_pipeline,
    }


async def _delete(request: Request, name: str, ids: Sequence[str], *, must: bool) -> Response:
    service = service_of(request)
    shelf = service.shelves.get(name)
    about(request, collection=name, ids=len(ids))

    def work(_: threading.Event) -> Response:
        gone, generation = shelf.delete(ids)
        if must and not gone:
            raise InputError(f"no passage '{ids[0]}' in this collection (generation {generation})")
        return answer({"collection": shelf.name, "deleted": gone, "generation": generation})

    return await service.writing.run(request, work, seconds=0)


async def _spool(request: Request, path: Path) -> None:
    with path.open("wb") as file:
        pieces: list[bytes] = []
        async for piece in request.stream():
            pieces.append(piece)
            if sum(map(len, pieces)) >= _PIECE:
                await asyncio.to_thread(file.writelines, pieces)
                pieces = []
        file.writelines(pieces)


def _copy(file: UploadFile, path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(file.file, target)


def _as_lines(path: Path) -> None:
    """A JSON body as the lines that `latewood.ingest` reads."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"not JSON: {error}") from None
    documents = found.get("documents") if isinstance(found, dict) else None
    if not isinstance(documents, list):
        raise Refusal(422, 'expected {"documents": [{"_id": …, "text": …}]}', "documents")
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(document) + "\n" for document in documents)


async def _index(request: Request, shelf: Shelf, folder: Path, uploads: Sequence[Upload], *, chunk: bool) -> Response:
    """Read all, then index; answer at the end, or line by line as it goes on."""
    service = service_of(request)
    about(request, collection=shelf.name, uploads=len(uploads))
    if LINES not in request.headers.get("accept", ""):
        try:
            return await service.writing.run(
                request,
                lambda cancelled: answer(_work(service, shelf, uploads, chunk, cancelled, lambda done, total: None)),
                seconds=0,
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    loop = asyncio.get_running_loop()
    said: asyncio.Queue[dict[str, int]] = asyncio.Queue()

    def say(done: int, total: int) -> None:
        loop.call_soon_threadsafe(said.put_nowait, {"done": done, "total": total})

    work, cancelled = service.writing.start(lambda event: _work(service, shelf, uploads, chunk, event, say))
    work.add_done_callback(lambda _: shutil.rmtree(folder, ignore_errors=True))
    first = asyncio.ensure_future(said.get())  # the first line is said when all was read, and found to be right
    await asyncio.wait({work, first}, return_when=asyncio.FIRST_COMPLETED)
    if not first.done():
        first.cancel()
        work.result()
    return StreamingResponse(_lines(work, first, said, cancelled), media_type=LINES)


async def _lines(
    work: asyncio.Future[dict[str, Any]],
    first: asyncio.Future[dict[str, int]],
    said: asyncio.Queue[dict[str, int]],
    cancelled: threading.Event,
) -> AsyncIterator[bytes]:
    try:
        coming: asyncio.Future[dict[str, int]] = first
        while True:
            await asyncio.wait({work, coming}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                break
            yield json.dumps(coming.result()).encode() + b"\n"
            coming = asyncio.ensure_future(said.get())
        coming.cancel()
        try:
            yield json.dumps(work.result()).encode() + b"\n"
        except LatewoodError as error:
            yield json.dumps({"error": {"message": str(error), "type": type(error).__name__}}).encode() + b"\n"
    finally:
        cancelled.set()


def _work(
    service: Service,
    shelf: Shelf,
    uploads: Sequence[Upload],
    chunk: bool,
    cancelled: threading.Event,
    say: Callable[[int, int], None],
) -> dict[str, Any]:
    from latewood.serve.lanes import LaneEncoder

    chunker = chunker_of(LaneEncoder(shelf.lane, background=True, cancelled=cancelled))
    total = sum(one.count(chunker) for one in uploads)
    say(0, total)
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done += count
        say(done, max(total, done))

    seen: set[str] = set()

    def passages() -> Any:
        for one in uploads:
            for passage in one.passages(chunker, chunk=chunk):
                seen.add(passage.id)
                yield passage

    report, generation = shelf.add(passages(), progress, cancelled)
    service.metrics.added.inc(report.added + report.replaced)
    files = {one.name for one in uploads if one.kind != "jsonl"}
    surplus = (
        [name for name, source in shelf.sources().items() if source in files and name not in seen] if files else []
    )
    if surplus:
        _, generation = shelf.delete(surplus)
    return {"collection": shelf.name, **asdict(report), "removed": len(surplus), "generation": generation}
