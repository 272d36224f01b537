"""HTTP around a service, and the process that listens."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from latewood import __version__
from latewood.errors import LatewoodError
from latewood.serve import ask, collections, embeddings, health, page, pictures, rerank, search
from latewood.serve.guard import Guard
from latewood.serve.problems import response_to
from latewood.serve.service import Service
from latewood.serve.sessions import Sessions

__all__ = ["create_app", "listen"]

_SWITCH_SECONDS = 0.0005

STATIC = Path(__file__).parent / "static"

log = logging.getLogger("latewood.serve")


def create_app(service: Service) -> FastAPI:
    """The service as an ASGI application; it closes the service when it is shut down."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.draining = True
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="Latewood",
        version=__version__,
        summary="Late-interaction retrieval: rerank, search, embed.",
        docs_url=None,  # its page would load scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    sessions = Sessions()
    app.state.service = service
    app.state.sessions = sessions
    for kind in (LatewoodError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _handled)
    # A room of its own for each kind of client.
    for room in (rerank, embeddings, search, ask, pictures, collections, health, page):
        app.include_router(room.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(Guard, service=service, sessions=sessions)
    return app


async def _handled(request: Request, error: Exception) -> Response:
    response = response_to(request, error)
    if response.status_code >= 500:
        log.error("%s %s: %s", request.method, request.url.path, error)
    return response


def listen(
    service: Service,
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    drain_seconds: int = 30,
    started: Callable[[str], None] | None = None,
) -> None:
    """Listen until SIGTERM or Ctrl-C, then finish what is running.

    Args:
        service: loaded.
        host: an address of this machine.
        port: 0 for any that is free.
        drain_seconds: how long running requests may take to finish.
        started: told the address when it listens.

    Raises:
        OSError: the address can't be had.
    """
    # Requests' threads come back from the kernel and from torch all the time: at Python's 5 ms each waits for another.
    sys.setswitchinterval(_SWITCH_SECONDS)
    config = uvicorn.Config(
        create_app(service),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=drain_seconds,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=64 << 10,
        lifespan="on",
        ws="none",
    )
    server = _Server(config, service, started)
    listening = _bound(host, port)
    # uvicorn raises the signal once more when it is done; having finished is no reason to be killed.
    signal.signal(signal.SIGTERM, lambda *_: None)
    server.run([listening])


def _bound(host: str, port: int) -> socket.socket:
    """A socket at this address. asyncio sends small answers at once (TCP_NODELAY) only where the protocol is stated.

    Without that each answer waits 40 ms for the client's system to acknowledge its first half.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listening = socket.socket(family, kind, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except BaseException:
        listening.close()
        raise
    return listening


class _Server(uvicorn.Server):
    """uvicorn's, which says when it listens, and says so to /ready when it stops."""

    def __init__(self, config: uvicorn.Config, service: Service, started: Callable[[str], None] | None) -> None:
        super().__init__(config)
        self._service = service
        self._started = started

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started and self._started is not None:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._started(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._service.draining = True
        super().handle_exit(sig, frame)
