"""What every request meets first: who asks, from where, how much, how slowly. Plain ASGI: it buffers nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from latewood.serve.health import OPEN
from latewood.serve.problems import Refusal, problem
from latewood.serve.service import Service
from latewood.serve.sessions import COOKIE, Sessions
from latewood.serve.settings import ApiKey, matching_key
from latewood.serve.work import GONE

__all__ = ["Guard"]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_UPLOADS = ("/documents", "/files")
_PAGES = frozenset({"/", "/stats"})
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
]
log = logging.getLogger("latewood.serve")


class Guard:
    """Lets a request through, or answers it.

    Args:
        app: what is behind it.
        service: its keys, limits and figures.
        sessions: of browsers that have shown a key.
    """

    def __init__(self, app: ASGIApp, service: Service, sessions: Sessions) -> None:
        self._app = app
        self._service = service
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
                return
            await self._app(scope, receive, send)
            return
        call = _Call(scope, receive, send, self._service)
        try:
            self._admit(scope)
        except Refusal as refused:
            await self._refuse(scope, receive, call.send, refused)
            call.finish()
            return
        try:
            call.check_length()
            await self._app(scope, call.receive, call.send)
        except Refusal as refused:
            await call.refuse(refused)
        except Exception:
            log.exception("a fault while answering %s %s", scope["method"], scope["path"])
            await call.refuse(Refusal(500, "a fault of the service; its log has more"))
        finally:
            call.finish()

    def _admit(self, scope: Scope) -> None:
        """Who asks, and from where.

        Raises:
            Refusal: 400, 401, 403.
        """
        headers, settings = Headers(scope=scope), self._service.settings
        host = headers.get("host", "")
        if settings.hosts and _name(host) not in settings.hosts:
            # A page of another site may have its name lead to this machine, and so speak with a service on loopback.
            raise Refusal(400, f"Host: got '{host[:80]}', expected one of {', '.join(settings.hosts)} (--allow-host)")
        origin = headers.get("origin")
        if scope["method"] not in _SAFE and origin is not None and urlsplit(origin).netloc != host:
            raise Refusal(403, "a page of another site can't change anything here")
        scope.setdefault("state", {})["key"] = None
        path = scope["path"]
        if not settings.keys or path in OPEN or path == "/login" or path.startswith("/static/"):
            return
        found = self._key(headers, scope["method"])
        if found is None:
            kind = "no key came" if "authorization" not in headers else "this is none of the keys"
            raise Refusal(401, f"{kind}: expected Authorization: Bearer KEY", headers={"WWW-Authenticate": "Bearer"})
        scope["state"]["key"] = found

    def _key(self, headers: Headers, method: str) -> ApiKey | None:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return matching_key(self._service.settings.keys, given.strip())
        for name in ("x-api-key", "api-key"):
            if name in headers:
                return matching_key(self._service.settings.keys, headers[name])
        if method not in _SAFE:
            return None  # a cookie is sent by the browser, whoever wrote the page that asks
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return None
        return self._sessions.key(cookie.value) if cookie is not None else None

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, refused: Refusal) -> None:
        if refused.status == 401 and scope["path"] in _PAGES and scope["method"] == "GET":
            query = scope.get("query_string", b"").decode("latin-1")
            back = quote(scope["path"] + (f"?{query}" if query else ""), safe="")
            headers = [(b"location", f"/login?back={back}".encode("ascii")), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 303, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        response = problem(refused.status, refused.message, refused.param, refused.headers)
        await response(scope, receive, send)


class _Call:
    """One request: what has come in, and whether anything went out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, service: Service) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._service = service
        limits = service.settings.limits
        self._limit = limits.upload if scope["path"].endswith(_UPLOADS) else limits.body
        self._came = 0
        self._whole = False
        self._status = 0
        self._started = time.perf_counter()

    def check_length(self) -> None:
        """Refuse a body whose stated length is too much, before it is sent."""
        stated = Headers(scope=self._scope).get("content-length", "0")
        if stated.isdecimal() and int(stated[:20]) > self._limit:
            raise self._too_large()

    async def receive(self) -> Message:
        """The next piece of the body, if it isn't too much and comes in time."""
        if self._whole:
            return await self._receive()
        seconds = self._service.settings.limits.body_seconds
        try:
            message = await asyncio.wait_for(self._receive(), seconds)
        except asyncio.TimeoutError:
            self._service.metrics.refused.labels("body_seconds").inc()
            raise Refusal(408, f"nothing of the body came for {seconds:g} s", headers={"Connection": "close"}) from None
        self._came += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._came > self._limit:
            raise self._too_large()
        return message

    async def send(self, message: Message) -> None:
        """Pass an answer on, with the headers that all have."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            there = {name.lower() for name, _ in message.get("headers", [])}
            more = [(name, value) for name, value in _HEADERS if name not in there]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await self._send(message)

    async def refuse(self, refused: Refusal) -> None:
        """Answer with a refusal, unless an answer has begun."""
        if not self._status:
            as_tei = bool(self._scope.get("state", {}).get("as_tei", False))
            response = problem(refused.status, refused.message, refused.param, refused.headers, as_tei=as_tei)
            await response(self._scope, self._receive, self.send)

    def finish(self) -> None:
        """Count it."""
        scope, metrics = self._scope, self._service.metrics
        seconds = time.perf_counter() - self._started
        route = getattr(scope.get("route"), "path", "other")
        metrics.requests.labels(route, scope["method"], str(self._status or GONE)).inc()
        metrics.seconds.labels(route).observe(seconds)
        state: dict[str, Any] = scope.get("state", {})
        key: ApiKey | None = state.get("key")
        who = {"key": key.name} if key is not None else {}
        said = {"route": route, "status": self._status or GONE, **who, **state.get("about", {})}
        self._service.note_slow(seconds, said)

    def _too_large(self) -> Refusal:
        self._service.metrics.refused.labels("body").inc()
        return Refusal(
            413, f"the body has more than {self._limit:,} bytes, the limit here: send it in parts",
            headers={"Connection": "close"},
        )  # fmt: skip


def _name(host: str) -> str:
    """A Host header without its port."""
    return host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0].lower()
