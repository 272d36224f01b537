"""`latewood search`: one question, its passages."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from latewood.cli.marking import explanation, snippet
from latewood.cli.options import CollectionArgument, JsonOption, ModelOption, WhereOption
from latewood.cli.output import console, emit_json, remark, remarks_from_warnings
from latewood.collection import Collection
from latewood.stores.conditions import read_where
from latewood.types import Ranking

__all__ = ["command"]


def command(
    collection: CollectionArgument,
    query: Annotated[str, typer.Argument(help="The question.")],
    k: Annotated[int | None, typer.Option("-k", min=1, help="Results; the pipeline's own number by default.")] = None,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", help="What to run; dense:50 >> late, where there are both.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show which tokens matched.")] = False,
    where: WhereOption = None,
    collapse: Annotated[bool, typer.Option("--collapse", help="Of near-duplicates show only the best.")] = False,
    group_by: Annotated[
        Literal["source"] | None, typer.Option("--group-by", help="Of each document show only the best passage.")
    ] = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Search a collection."""
    conditions = None if where is None else read_where(where)
    with remarks_from_warnings(), Collection.open(collection, model) as kb:
        ranking = kb.search(query, k, pipeline, explain=explain, where=conditions, collapse=collapse, group_by=group_by)
    if ranking.cut:
        remark(f"note: {ranking.cut} tokens at the end of the question are beyond the model's limit and were left out")
    if as_json:
        emit_json(ranking.to_json())
    else:
        _print(ranking)
    return 0


def _print(ranking: Ranking) -> None:
    if not ranking.hits:
        console.print("nothing found")
    for hit in ranking.hits:
        console.print(f"{hit.rank:>3}  {hit.score:.4f}  {hit.id}", style="bold", markup=False)
        console.print("     ", snippet(hit, console), sep="")
        if hit.folded:
            more = f" and {len(hit.folded) - 3} more" if len(hit.folded) > 3 else ""
            console.print(f"     also {', '.join(hit.folded[:3])}{more}", style="dim", markup=False)
        if hit.matches is not None:
            console.print(f"     {explanation(hit.matches)}", style="dim", markup=False)
    spent = ", ".join(f"{timing.stage} {timing.ms:.1f} ms" for timing in ranking.timings)
    exact = "exact" if ranking.exact else "approximate"
    remark(f"{ranking.pipeline} · {exact} · {spent}")
    if ranking.unscored:
        remark(f"note: {ranking.unscored} passages have no vectors and could not be scored")
