"""The options of `latewood compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
    "BaselineOption",
    "CorpusOption",
    "FirstCollection",
    "Group",
    "GroupOption",
    "HtmlOption",
    "MetricsOption",
    "OthersOption",
    "PipelinesOption",
    "QrelsOption",
    "QueriesOption",
    "RunsOption",
    "SaveRunsOption",
]

Group = Literal["auto", "passage", "source"]

QueriesOption = Annotated[Path, typer.Option("-q", "--queries", metavar="FILE", help="JSONL with _id and text.")]
QrelsOption = Annotated[Path, typer.Option("-r", "--qrels", metavar="FILE", help="Judgements, BEIR's TSV or TREC's.")]
FirstCollection = Annotated[
    str | None,
    typer.Argument(metavar="COLLECTION", help="Its folder, or its address in a Qdrant; not needed with --run."),
]
OthersOption = Annotated[
    list[str] | None,
    typer.Option("-c", "--collection", metavar="FOLDER", help="Another one; every pipeline runs on each."),
]
PipelinesOption = Annotated[
    list[str] | None, typer.Option("--pipeline", "-p", help="Give it several times; the first is the baseline.")
]
RunsOption = Annotated[
    list[str] | None, typer.Option("--run", metavar="NAME=FILE", help="A TREC run of another system.")
]
BaselineOption = Annotated[
    str | None, typer.Option("--baseline", metavar="NAME", help="What the others are measured against.")
]
MetricsOption = Annotated[
    list[str] | None, typer.Option("--metric", "-m", help="ir-measures' name; the first decides the verdict.")
]
CorpusOption = Annotated[
    Path | None, typer.Option("--corpus", metavar="FILE", help="JSONL documents: what runs could find.")
]
GroupOption = Annotated[Group, typer.Option("--group", help="What the judgements name.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a report, one file.")]
SaveRunsOption = Annotated[
    Path | None, typer.Option("--save-runs", metavar="FOLDER", help="Write each ranking as a TREC run.")
]
