"""Options of the commands that read a Qdrant collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

__all__ = [
    "HomeArgument",
    "LateModelOption",
    "QueryModelOption",
    "SourceFieldOption",
    "TextFieldOption",
    "VectorOption",
    "read_options",
]

HomeArgument = Annotated[
    str, typer.Argument(metavar="QDRANT", help="Their collection: qdrant://HOST:6333/COLLECTION (docs/qdrant.md).")
]

TextFieldOption = Annotated[
    list[str] | None,
    typer.Option("--text-field", metavar="NAME", help="Payload field of a point's text; several are joined by lines."),
]

SourceFieldOption = Annotated[
    str | None,
    typer.Option("--source-field", metavar="NAME", help="Payload field of a point's document, as judgements name it."),
]

VectorOption = Annotated[
    str | None, typer.Option("--vector", metavar="NAME", help="Their search's vector, where there are several.")
]

QueryModelOption = Annotated[
    str | None,
    typer.Option("--query-model", metavar="NAME|FOLDER", help="What made their vectors; minilm by default."),
]

LateModelOption = Annotated[
    str | None, typer.Option("--model", metavar="NAME|FOLDER", help="What makes token vectors; minilm by default.")
]


def read_options(
    text: Sequence[str] | None, source: str | None, vector: str | None, query_model: str | None
) -> tuple[str, ...]:
    """How a collection is read, as it would be typed again."""
    given = [("--text-field", name) for name in text or ()]
    others = (("--source-field", source), ("--vector", vector), ("--query-model", query_model))
    given += [(option, value) for option, value in others if value is not None]
    return tuple(word for pair in given for word in pair)
