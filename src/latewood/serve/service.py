"""All that requests share: models, collections, threads, figures, and the list of slow requests."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request

from latewood.endpoints import ChatModel
from latewood.page_view import PageView
from latewood.serve.live import LiveCertificate
from latewood.serve.metrics import Metrics
from latewood.serve.models import Models
from latewood.serve.problems import Refusal
from latewood.serve.settings import ApiKey, Settings
from latewood.serve.shelf import Shelves
from latewood.serve.work import Work
from latewood.stores.conditions import check_where

__all__ = ["Service", "key_of", "service_of"]

T = TypeVar("T")

_WRITERS = 4
_WAITING_WRITERS = 32


class Service:
    """Loaded, and ready to be asked. `create_app` puts HTTP around it.

    Args:
        settings: what it was told.
        collections: folders to serve.
        root: where collections that clients create are kept; None for none.
        models: (name, folder) of encoders.
        scorers: (name, folder) of cross-encoders.

    Raises:
        LatewoodError: a collection or a model isn't there, or isn't what it should be.
    """

    def __init__(
        self,
        settings: Settings,
        collections: Sequence[Path] = (),
        root: Path | None = None,
        models: Sequence[tuple[str, str]] = (),
        scorers: Sequence[tuple[str, str]] = (),
    ) -> None:
        limits = settings.limits
        self.settings = settings
        self.started = time.time()
        self.draining = False
        self.chat: ChatModel | None = None  # answers questions; clients can't choose another
        self.metrics = Metrics()
        self.live = LiveCertificate(settings.live_share, self.metrics)
        self.work = Work(limits, self.metrics)
        self.writing = Work(replace(limits, running=_WRITERS, waiting=_WAITING_WRITERS), Metrics())
        self.models = Models(limits.batch, lambda size: self.metrics.batches.observe(size))
        for name, folder in models:
            self.models.load(name, folder)
        for name, folder in scorers:
            self.models.load_scorer(name, folder)
        for pipeline in settings.pipelines:
            self.models.allow(pipeline)
        if settings.threads is not None:
            import torch

            torch.set_num_threads(settings.threads)
        self.shelves = Shelves(root, self.models.lane_for, self.models.lane, self.models.scorer)
        for path in collections:
            self.shelves.open(path)
        self.shelves.open_root()
        self.view = PageView()
        self._slow = threading.Lock()

    def close(self) -> None:
        """Stop: what hasn't begun is refused, files are given back."""
        self.work.close()
        self.writing.close()
        self.models.close()
        self.live.close()
        self.view.close()
        self.shelves.close()

    def note_slow(self, seconds: float, about: Mapping[str, Any]) -> None:
        """Write a request to the slow-query log, if it was: one line of JSON."""
        if seconds * 1e3 < self.settings.slow_ms:
            return
        self.metrics.slow.inc()
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"at": now, "ms": round(seconds * 1e3, 1), **about}, ensure_ascii=True) + "\n"
        with self._slow:
            if self.settings.slow_log is None:
                sys.stderr.write(line)
                return
            with self.settings.slow_log.open("a", encoding="utf-8") as file:
                file.write(line)

    def update_gauges(self) -> None:
        """Say how large the collections are."""
        for shelf in self.shelves:
            snapshot = shelf.snapshot()
            self.metrics.passages.labels(shelf.name).set(len(snapshot))
            self.metrics.generation.labels(shelf.name).set(snapshot.generation)

    async def run(self, request: Request, function: Callable[[threading.Event], T]) -> T:
        """Run what a request asks for in a thread: see `Work.run`."""
        return await self.work.run(request, function)


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service


def key_of(request: Request) -> ApiKey | None:
    """The key that a request came with; None where none is needed."""
    key: ApiKey | None = getattr(request.state, "key", None)
    return key


def wheres_of(request: Request, where: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """What a request may see: the conditions of its key, and its own."""
    key = key_of(request)
    found = [key.where] if key is not None and key.where is not None else []
    return [*found, check_where(where)] if where is not None else found


def check_may_write(request: Request) -> None:
    """Refuse a key that sees a part only: it could replace or remove what it can't see.

    Raises:
        Refusal: 403.
    """
    key = key_of(request)
    if key is not None and key.where is not None:
        raise Refusal(403, f"the key '{key.name}' sees a part of the collections, and only reads")


def about(request: Request, **more: Any) -> None:
    """Say what a request was about, for the slow-query log."""
    known: dict[str, Any] = getattr(request.state, "about", {})
    request.state.about = {**known, **more}
