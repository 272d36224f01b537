"""`latewood compare`: several pipelines, one set of labelled questions, one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from latewood.cli.options import CollectionArgument, JsonOption, ModelOption
from latewood.cli.output import console, print_json, progress_bar, remark, remarks_from_warnings
from latewood.collection import Collection
from latewood.evaluate import Comparison, read_qrels, read_queries, select, tables

__all__ = ["command", "print_comparison"]

Group = Literal["auto", "passage", "source"]


def command(
    collection: CollectionArgument,
    queries: Annotated[Path, typer.Option("-q", "--queries", metavar="FILE", help="JSONL with _id and text.")],
    qrels: Annotated[Path, typer.Option("-r", "--qrels", metavar="FILE", help="Judgements, BEIR's TSV or TREC's.")],
    pipeline: Annotated[
        list[str], typer.Option("--pipeline", "-p", help="Give it several times; the first is the baseline.")
    ],
    group: Annotated[Group, typer.Option("--group", help="What the judgements name.")] = "auto",
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Compare pipelines on labelled questions; exit code 1 when a question could not be answered."""
    asked, judged = read_queries(queries), read_qrels(qrels)
    with (
        remarks_from_warnings(),
        Collection.open(collection, model) as kb,
        progress_bar("asking", len(pipeline) * len(select(asked, judged)), quiet=as_json) as advance,
    ):
        comparison = kb.compare(pipeline, asked, judged, group=group, progress=advance)
    if as_json:
        print_json(comparison.to_json())
    else:
        print_comparison(comparison)
    for result in comparison.results:
        for failure in result.failed:
            remark(f"failed: '{result.pipeline}' on question {failure.query_id}: {failure.error}")
    return 1 if comparison.failed else 0


def print_comparison(comparison: Comparison, metrics: tuple[str, ...] | None = None) -> None:
    """Print what is found, whether it is luck and what it takes, each with what it can't tell."""
    for laid_out in tables(comparison, metrics):
        console.print(f"\n{laid_out.title}", style="bold", markup=False)
        grid = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
        for i, heading in enumerate(laid_out.columns):
            text = i == 0 or heading == "of which"
            grid.add_column(heading, justify="left" if text else "right", no_wrap=heading != "of which")
        for row in laid_out.rows:
            grid.add_row(*map(escape, row))
        console.print(grid)
        for note in laid_out.notes:
            console.print(note, style="dim", markup=False)
