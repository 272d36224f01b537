"""The options of `latewood serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AllowHostOption",
    "BatchOption",
    "BodyOption",
    "CollectionsArgument",
    "CrossOption",
    "DocumentsOption",
    "DrainOption",
    "HostOption",
    "KeysOption",
    "LiveOption",
    "LlmOption",
    "LlmUrlOption",
    "ModelOption",
    "OpenOption",
    "PipelineOption",
    "PortOption",
    "ReportOption",
    "RootOption",
    "RunningOption",
    "SlowLogOption",
    "SlowOption",
    "ThreadsOption",
    "TimeoutOption",
    "TokensOption",
    "UploadOption",
    "WaitingOption",
]

CollectionsArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="[COLLECTION…]", help="Folders of collections; each is served by name.")
]
RootOption = Annotated[
    Path | None, typer.Option("--root", metavar="FOLDER", help="Where collections that clients make are kept.")
]
HostOption = Annotated[str, typer.Option("--host", help="Address to listen on; this machine alone by default.")]
PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 for any free one.")]
ModelOption = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="[NAME=]FOLDER", help="An encoder to rerank and embed with; may be given again."),
]
CrossOption = Annotated[
    list[str] | None,
    typer.Option("--cross", metavar="[NAME=]FOLDER", help="A cross-encoder to rerank with; may be given again."),
]
PipelineOption = Annotated[
    list[str] | None,
    typer.Option("--pipeline", "-p", help="Offered on the page, the first by default; may be given again."),
]
LlmOption = Annotated[
    str | None, typer.Option("--llm", metavar="MODEL", help="The chat model behind /v1/ask; without it, there is none.")
]
LlmUrlOption = Annotated[
    str | None, typer.Option("--llm-url", metavar="URL", help="Its OpenAI-compatible endpoint; else OPENAI_BASE_URL.")
]
KeysOption = Annotated[
    Path | None,
    typer.Option("--api-keys", metavar="FILE", help='JSON: [{"name": "…", "key": "…", "where": {…}}].'),
]
OpenOption = Annotated[bool, typer.Option("--without-keys", help="Listen beyond this machine and ask for no key.")]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="A Host header to answer to, besides this machine's names."),
]
ReportOption = Annotated[
    list[Path] | None,
    typer.Option("--report", metavar="FILE", help="A report of compare or audit, linked from the page."),
]
BatchOption = Annotated[
    int, typer.Option("--max-batch", min=1, metavar="N", help="Questions that are encoded together.")
]
DocumentsOption = Annotated[int, typer.Option("--max-documents", min=1, metavar="N", help="Texts of one request.")]
BodyOption = Annotated[int, typer.Option("--max-body", min=1024, metavar="BYTES", help="Of one request.")]
UploadOption = Annotated[int, typer.Option("--max-upload", min=1024, metavar="BYTES", help="Of one upload.")]
TokensOption = Annotated[int, typer.Option("--max-tokens", min=1, metavar="N", help="Tokens of one request.")]
RunningOption = Annotated[int, typer.Option("--max-running", min=1, metavar="N", help="Requests that run at once.")]
WaitingOption = Annotated[int, typer.Option("--max-waiting", min=0, metavar="N", help="Requests that wait for those.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="What a request may take.")]
DrainOption = Annotated[int, typer.Option("--drain", min=0, metavar="SECONDS", help="To finish in when stopped.")]
LiveOption = Annotated[
    float, typer.Option("--live-share", min=0, max=1, help="Share of approximate answers to compare with exact ones.")
]
SlowOption = Annotated[float, typer.Option("--slow-ms", min=0, metavar="MS", help="Slower requests are logged.")]
SlowLogOption = Annotated[
    Path | None, typer.Option("--slow-log", metavar="FILE", help="Where to; standard error by default.")
]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, metavar="N", help="Threads of the model.")]
