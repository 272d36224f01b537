"""`latewood serve`: collections and models over HTTP."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latewood.cli.output import remark, remarks_from_warnings
from latewood.cli.serve_options import (
    AllowHostOption,
    BatchOption,
    BodyOption,
    CollectionsArgument,
    CrossOption,
    DocumentsOption,
    DrainOption,
    HostOption,
    KeysOption,
    LiveOption,
    LlmOption,
    LlmUrlOption,
    ModelOption,
    OpenOption,
    PipelineOption,
    PortOption,
    ReportOption,
    RootOption,
    RunningOption,
    SlowLogOption,
    SlowOption,
    ThreadsOption,
    TimeoutOption,
    TokensOption,
    UploadOption,
    WaitingOption,
)
from latewood.endpoints import load_chat
from latewood.errors import StorageError, UsageError

if TYPE_CHECKING:
    from latewood.serve import ApiKey

__all__ = ["command"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def command(
    collections: CollectionsArgument = None,
    root: RootOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8080,
    model: ModelOption = None,
    cross: CrossOption = None,
    pipeline: PipelineOption = None,
    llm: LlmOption = None,
    llm_url: LlmUrlOption = None,
    api_keys: KeysOption = None,
    without_keys: OpenOption = False,
    allow_host: AllowHostOption = None,
    report: ReportOption = None,
    max_batch: BatchOption = 32,
    max_documents: DocumentsOption = 2000,
    max_body: BodyOption = 16 << 20,
    max_upload: UploadOption = 1 << 30,
    max_tokens: TokensOption = 1_000_000,
    max_running: RunningOption = 32,
    max_waiting: WaitingOption = 256,
    timeout: TimeoutOption = 120.0,
    drain: DrainOption = 30,
    slow_ms: SlowOption = 1000.0,
    slow_log: SlowLogOption = None,
    threads: ThreadsOption = None,
    live_share: LiveOption = 0.01,
) -> int:
    """Serve collections and models over HTTP: rerank, search, embeddings, and a page."""
    _let_threads_sleep()
    from latewood.serve import Limits, Service, Settings, listen, read_keys
    from latewood.serve.models import DEFAULT_MODEL

    keys = read_keys(api_keys) if api_keys is not None else _key_of_environment()
    _check(host, asked=bool(keys) or without_keys, root=root, reports=report or ())
    hosts = (*(_LOOPBACK if host in _LOOPBACK else ()), *(allow_host or ()))
    limits = Limits(
        body=max_body, upload=max_upload, documents=max_documents, tokens=max_tokens, seconds=timeout,
        running=max_running, waiting=max_waiting, batch=max_batch,
    )  # fmt: skip
    settings = Settings(
        limits=limits, keys=keys, hosts=hosts, pipelines=tuple(pipeline or ()), slow_ms=slow_ms, slow_log=slow_log,
        threads=threads, live_share=live_share, reports=tuple(report or ()),
    )  # fmt: skip
    models = [_named(text) for text in model or ()]
    if not models and (not collections or root is not None):
        models = [(DEFAULT_MODEL, DEFAULT_MODEL)]
    with remarks_from_warnings():
        service = Service(settings, collections or (), root, models, [_named(text) for text in cross or ()])
        service.chat = load_chat(llm, url=llm_url) if llm else None
    shelves = ", ".join(shelf.name for shelf in service.shelves) or "no collection"
    names = ", ".join(service.models.names())
    try:
        listen(
            service, host, port, drain_seconds=drain,
            started=lambda address: remark(f"serving {shelves} with {names} at {address}"),
        )  # fmt: skip
    except OSError as error:
        raise StorageError(f"can't listen on {host}:{port}: {error.strerror or error}") from error
    remark("stopped")
    return 0


def _let_threads_sleep() -> None:
    """Have OpenMP's threads sleep while they wait for each other. To be done before torch is loaded.

    By default they spin, which is best where a process has all cores to itself. A service hasn't: its own requests'
    threads want the core that one spins on, and a question takes several times as long (docs/serving.md).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _check(host: str, *, asked: bool, root: Path | None, reports: Sequence[Path]) -> None:
    if host not in _LOOPBACK and not asked:
        raise UsageError(
            f"--host {host} opens the service to others: give --api-keys FILE, "
            f"or --without-keys if something in front of it asks who they are"
        )
    for path in reports:
        if not path.is_file():
            raise UsageError(f"--report {path}: no such file; latewood compare --html makes one")
    if root is not None and not root.is_dir():
        raise UsageError(f"--root {root}: no such folder; make it first")


def _named(text: str) -> tuple[str, str]:
    """NAME=FOLDER, or a folder that goes by its last part."""
    name, equals, folder = text.partition("=")
    if equals and name and "/" not in name:
        return name, folder
    return Path(text).name or text, text


def _key_of_environment() -> tuple[ApiKey, ...]:
    """One key in LATEWOOD_API_KEY, for containers."""
    from latewood.serve import ApiKey
    from latewood.serve.settings import digest_of

    key = os.environ.get("LATEWOOD_API_KEY", "")
    if not key:
        return ()
    if len(key) < 8:
        raise UsageError("LATEWOOD_API_KEY has fewer than 8 characters; give a longer one")
    return (ApiKey("LATEWOOD_API_KEY", digest_of(key)),)
