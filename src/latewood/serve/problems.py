"""What goes wrong, as each kind of client can print it.

OpenAI's clients read `error.message`, Cohere's `message`, Voyage's `detail`: one body has all three. Text Embeddings
Inference has `error` as a text, so its callers, who are known by `texts` in their body, get a body of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from latewood.errors import (
    CorruptionError,
    InputError,
    LatewoodError,
    LockedError,
    StorageError,
    UnavailableError,
    UsageError,
)

__all__ = ["PROBLEMS", "Problem", "Refusal", "answer", "problem", "status_of"]


class ProblemDetails(BaseModel):
    """As OpenAI's clients read it."""

    message: str
    type: str
    param: str | None = None
    code: int | str | None = None


class Problem(BaseModel):
    """An error, in a form that every client can print."""

    error: ProblemDetails
    message: str
    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": text}
    for code, text in {
        400: "Not what HTTP or JSON is.",
        401: "No key, or not one of those.",
        403: "This key may not, or the service was not started for it.",
        404: "There is no such collection, model or passage.",
        405: "Not with this method.",
        408: "It took longer than a request may take.",
        409: "Somebody else is writing, or the name is taken.",
        413: "Larger than a request may be.",
        415: "Not a type of content that is read here.",
        422: "Understood, and not possible: the message says what was expected.",
        429: "Too many requests at once: try again.",
        500: "A fault of the service; its log has more.",
        503: "The service is stopping, or its disk refused.",
    }.items()
}

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_TEI_TYPES = {404: "backend", 413: "validation", 429: "overloaded", 500: "backend", 503: "unhealthy"}


class Refusal(HTTPException):
    """An answer that isn't what was asked for. One of Starlette's own, since FastAPI lets only those through.

    Args:
        status: of HTTP.
        message: what came, what was expected, what to do.
        param: the field that is at fault.
        headers: further ones.
    """

    def __init__(
        self, status: int, message: str, param: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, message, dict(headers) if headers else None)
        self.status = status
        self.message = message
        self.param = param


def problem(
    status: int,
    message: str,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    as_tei: bool = False,
) -> Response:
    """The answer."""
    message = message.encode("utf-8", "replace").decode()
    body: dict[str, Any]
    if as_tei:
        body = {"error": message, "error_type": _TEI_TYPES.get(status, "validation")}
    else:
        kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
        error = {"message": message, "type": kind, "param": param, "code": status}
        body = {"error": error, "message": message, "detail": message}
    return answer(body, status, headers)


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON; NaN in it is a bug, not an answer."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        content = text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair that a client sent comes back as it came, as an escape
        content = json.dumps(body, allow_nan=False).encode()
    return Response(content, status, headers, "application/json")


def status_of(error: LatewoodError) -> int:
    """The status of HTTP for an error of ours."""
    if isinstance(error, LockedError):
        return 409
    if isinstance(error, InputError) and str(error).startswith("no passage '"):
        return 404
    if isinstance(error, UsageError):
        return 422
    if isinstance(error, CorruptionError):
        return 500
    return 503 if isinstance(error, StorageError | UnavailableError) else 500


def response_to(request: Request, error: Exception) -> Response:
    """The answer to an error that a handler raised."""
    as_tei = bool(getattr(request.state, "as_tei", False))
    if isinstance(error, Refusal):
        return problem(error.status, error.message, error.param, error.headers, as_tei=as_tei)
    if isinstance(error, LatewoodError):
        return problem(status_of(error), str(error), as_tei=as_tei)
    if isinstance(error, RequestValidationError):
        return _invalid(request, error)
    if isinstance(error, HTTPException):
        return problem(error.status_code, str(error.detail), headers=error.headers, as_tei=as_tei)
    return problem(500, "a fault of the service; its log has more", as_tei=as_tei)


def _invalid(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part != "body"]
    status = 400 if first["type"] == "json_invalid" else 422
    where = ".".join(place)[:100]
    message = f"{where}: {first['msg']}" if where else str(first["msg"])
    body = error.body
    as_tei = isinstance(body, dict) and "texts" in body and "documents" not in body and "rerank" in request.url.path
    return problem(status, message, where or None, as_tei=as_tei)
