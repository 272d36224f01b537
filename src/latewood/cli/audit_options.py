"""Options of `latewood audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
    "ChunksOption",
    "CollectionOption",
    "CorpusOption",
    "CrossOption",
    "EndpointOption",
    "GoldOption",
    "GroupOption",
    "KOption",
    "LatencyBudgetOption",
    "LlmOption",
    "LlmUrlOption",
    "PipelineOption",
    "PoolOption",
    "QrelsOption",
    "QueriesOption",
    "QuestionsOption",
    "RunOption",
    "SampleOption",
    "StoreOption",
]

CollectionOption = Annotated[
    str | None,
    typer.Argument(metavar="[COLLECTION]", help="Today's system, with --pipeline: a folder, or a Qdrant collection."),
]

RunOption = Annotated[
    list[str] | None, typer.Option("--run", metavar="NAME=FILE", help="A TREC run of today's system; repeatable.")
]

EndpointOption = Annotated[
    str | None, typer.Option("--endpoint", metavar="URL", help="Today's system, asked by POST (docs/audit.md).")
]

CorpusOption = Annotated[
    Path | None, typer.Option("--corpus", metavar="FILE", help="JSONL of the chunks that a run or endpoint finds.")
]

QueriesOption = Annotated[Path | None, typer.Option("-q", "--queries", metavar="FILE", help="JSONL with _id and text.")]

QrelsOption = Annotated[
    Path | None, typer.Option("-r", "--qrels", metavar="FILE", help="Judgements, BEIR's TSV or TREC's.")
]

GoldOption = Annotated[
    Path | None, typer.Option("--gold", metavar="FILE", help="Answers by their words or spans, instead of -r.")
]

PipelineOption = Annotated[
    str | None, typer.Option("--pipeline", "-p", help="Today's pipeline on the collection; dense by default.")
]

KOption = Annotated[int, typer.Option("-k", min=1, help="Passages that a reader is shown.")]

PoolOption = Annotated[
    int | None, typer.Option("--pool", min=2, help="Candidates that a reranker would see; 50 by default.")
]

GroupOption = Annotated[Literal["auto", "passage", "source"], typer.Option("--group", help="What the judgements name.")]

QuestionsOption = Annotated[int, typer.Option("--questions", min=2, help="How many to make where none are given.")]

LlmOption = Annotated[str | None, typer.Option("--llm", metavar="MODEL", help="Writes questions; needs --llm-url.")]

LlmUrlOption = Annotated[
    str | None, typer.Option("--llm-url", metavar="URL", help="OpenAI-compatible; key from OPENAI_API_KEY.")
]

SampleOption = Annotated[int | None, typer.Option("--sample", min=2, help="Questions to measure rerankers on.")]

CrossOption = Annotated[
    str | None,
    typer.Option("--cross", metavar="MODEL|STAGE", help='A cross-encoder to measure: FOLDER, or cross(url="…", …).'),
]

LatencyBudgetOption = Annotated[
    float | None, typer.Option("--latency-budget", min=0, help="Hard limit for a question, in milliseconds.")
]

ChunksOption = Annotated[
    int | None, typer.Option("--chunks", min=1, help="Chunks in production, if more than are here.")
]

StoreOption = Annotated[str | None, typer.Option("--store", metavar="NAME", help="Today's store, e.g. pgvector.")]
