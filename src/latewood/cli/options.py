"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "BatchSizeOption",
    "CollectionArgument",
    "DeviceOption",
    "DownloadOption",
    "DtypeOption",
    "HomeArgument",
    "JsonOption",
    "ModelOption",
    "WhereOption",
]

HomeArgument = Annotated[str, typer.Argument(metavar="COLLECTION", help="Its folder, or its address in a Qdrant.")]

CollectionArgument = Annotated[Path, typer.Argument(metavar="COLLECTION", help="The collection's folder.")]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON (docs/json.md) instead of text.")]

ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME|FOLDER", help="Where the model is now, if not where it was at indexing."),
]

WhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="JSON", help='Conditions on metadata: {"lang": "en", "year": {"gte": 2024}}.'),
]

DeviceOption = Annotated[
    str,
    typer.Option("--device", metavar="NAME", help="Where the model runs: auto (a GPU if there is one), cpu, cuda …"),
]

DtypeOption = Annotated[
    str | None,
    typer.Option("--dtype", metavar="TYPE", help="What it computes in: float32 (default), bfloat16 or float16."),
]

BatchSizeOption = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Windows of one pass; goes by their tokens by default.")
]

DownloadOption = Annotated[
    bool, typer.Option("--download", help="Fetch a model of the hub that isn't on this machine.")
]
