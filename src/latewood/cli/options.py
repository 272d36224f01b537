"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["CollectionArgument", "JsonOption", "ModelOption"]

CollectionArgument = Annotated[Path, typer.Argument(metavar="COLLECTION", help="The collection's folder.")]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON (docs/json.md) instead of text.")]

ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME|FOLDER", help="Where the model is now, if not where it was at indexing."),
]
