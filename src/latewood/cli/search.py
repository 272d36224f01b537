"""`latewood search`: one question, its passages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from latewood.cli.marking import explanation, snippet
from latewood.cli.options import HomeArgument, JsonOption, ModelOption, WhereOption
from latewood.cli.output import console, emit_json, remark, remarks_from_warnings
from latewood.cli.qdrant_options import TextFieldOption, VectorOption
from latewood.collection import Collection
from latewood.errors import StorageError, UsageError
from latewood.page_view import PageView
from latewood.pages import cite, png_of, ranking_as_json
from latewood.qdrant import QdrantCollection, open_home
from latewood.stores.conditions import read_where
from latewood.types import Page, Ranking

__all__ = ["command"]


def command(
    collection: HomeArgument,
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
    heatmap: Annotated[
        Path | None, typer.Option("--heatmap", metavar="PNG", help="Draw the best page, with what matched on it.")
    ] = None,
    smooth: Annotated[
        bool,
        typer.Option("--smooth", help="With --heatmap: tint all that is near the question, not what scored alone."),
    ] = False,
    text_field: TextFieldOption = None,
    vector: VectorOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Search a collection."""
    conditions = None if where is None else read_where(where)
    text = tuple(text_field or ())
    with remarks_from_warnings(), open_home(collection, model, text=text, dense=vector) as kb:
        ranking = kb.search(query, k, pipeline, explain=explain, where=conditions, collapse=collapse, group_by=group_by)
        told = "" if heatmap is None else _draw(kb, ranking, heatmap, smooth)
    if ranking.cut:
        remark(f"note: {ranking.cut} tokens at the end of the question are beyond the model's limit and were left out")
    if as_json:
        emit_json(ranking_as_json(ranking))
    else:
        _print(ranking)
    if told:
        remark(told)
    return 0


def _draw(kb: Collection | QdrantCollection, ranking: Ranking, path: Path, smoothed: bool) -> str:
    """Draw the best hit that is a page; what to say of it."""
    best = next((hit for hit in ranking.hits if isinstance(hit.passage, Page)), None)
    if best is None:
        raise UsageError("--heatmap: none of the results is a page of a PDF or image file")
    if isinstance(kb, QdrantCollection):
        raise UsageError("--heatmap: pages are drawn of a collection in a folder")
    with PageView() as view:
        picture, _ = view.heatmap(kb, ranking.query, best.id, smoothed=smoothed)
    try:
        path.write_bytes(png_of(picture))
    except OSError as error:
        raise StorageError(f"can't write {path}: {error.strerror}") from None
    return f"{path}: {best.id}, {'all that is near the question' if smoothed else 'what each token matched best'}"


def _print(ranking: Ranking) -> None:
    if not ranking.hits:
        console.print("nothing found")
    for hit in ranking.hits:
        console.print(f"{hit.rank:>3}  {hit.score:.4f}  {hit.id}", style="bold", markup=False)
        console.print("     ", snippet(hit, console), sep="")
        if hit.folded:
            more = f" and {len(hit.folded) - 3} more" if len(hit.folded) > 3 else ""
            console.print(f"     also {', '.join(hit.folded[:3])}{more}", style="dim", markup=False)
        citation = cite(hit)
        if citation is not None:
            places = "; ".join(
                f"{r.text or r.modality} at {', '.join(f'{v:.0f}' for v in r.box)}" for r in citation.regions[:5]
            )
            told = f"page {citation.page} of {citation.file}" + (f": {places} (points)" if places else "")
            console.print(f"     {told}", style="dim", markup=False)
        if hit.matches is not None:
            console.print(f"     {explanation(hit.matches)}", style="dim", markup=False)
    spent = ", ".join(f"{timing.stage} {timing.ms:.1f} ms" for timing in ranking.timings)
    exact = "exact" if ranking.exact else "approximate"
    remark(f"{ranking.pipeline} · {exact} · {spent}")
    if ranking.unscored:
        remark(f"note: {ranking.unscored} passages have no vectors and could not be scored")
