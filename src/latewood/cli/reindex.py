"""`latewood reindex`: another encoder for a collection, beside the one in use; compared, switched to, and back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from latewood import reindex
from latewood.cli.compare import print_comparison
from latewood.cli.options import (
    BatchSizeOption,
    CollectionArgument,
    DeviceOption,
    DownloadOption,
    DtypeOption,
    JsonOption,
)
from latewood.cli.output import console, emit_json, progress_bar, remark, remarks_from_warnings
from latewood.collection import Collection
from latewood.encode import Placement
from latewood.errors import UsageError
from latewood.evaluate import Comparison, Qrels, Queries, compare, read_qrels, read_queries
from latewood.evaluate.audit_corpus import Corpus
from latewood.evaluate.audit_questions import from_documents
from latewood.stores.encodings import current_names

__all__ = ["command"]


def command(
    collection: CollectionArgument,
    encoder: Annotated[
        str | None, typer.Option("--encoder", metavar="NAME|FOLDER", help="What to encode with, as --model of index.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option("-q", "--queries", metavar="FILE", help="Questions to compare on.")
    ] = None,
    qrels: Annotated[Path | None, typer.Option("-r", "--qrels", metavar="FILE", help="Their judgements.")] = None,
    questions: Annotated[
        int, typer.Option("--questions", min=0, help="How many to draw where none are given; 0 compares nothing.")
    ] = 100,
    switch: Annotated[bool, typer.Option("--switch", help="Put the new encoding in use.")] = False,
    back: Annotated[bool, typer.Option("--back", help="Put the encoding before in use again.")] = False,
    drop: Annotated[str | None, typer.Option("--drop", metavar="NAME", help="Remove one that isn't in use.")] = None,
    truncate: Annotated[bool, typer.Option("--truncate", help="Cut texts at the model's limit.")] = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    batch_size: BatchSizeOption = None,
    download: DownloadOption = False,
    as_json: JsonOption = False,
) -> int:
    """Encode a collection with another model beside the one in use, compare both, and switch when told."""
    if (encoder is not None) + back + (drop is not None) > 1 or (switch and encoder is None):
        raise UsageError("one thing at a time: --encoder X [--switch], --back, or --drop NAME")
    if (queries is None) != (qrels is None):
        raise UsageError("questions and judgements go together: give -q and -r, or none of them")
    brought: reindex.Brought | None = None
    compared: Comparison | None = None
    with remarks_from_warnings():
        if drop is not None:
            reindex.drop(collection, drop)
        elif back:
            with progress_bar("bringing up to date", None, as_json) as advance:
                brought = reindex.back(collection, advance)
        elif encoder is not None:
            placement = Placement(device, dtype or "float32", batch_size)
            brought = _build(collection, encoder, placement, truncate=truncate, download=download, quiet=as_json)
            given = None if queries is None or qrels is None else (read_queries(queries), read_qrels(qrels))
            if given is not None or questions:
                compared = _compare(collection, brought.name, given, questions, quiet=as_json)
            if switch:
                reindex.switch(collection, brought.name)
    found = reindex.encodings(collection)
    if as_json:
        emit_json(
            {
                "collection": str(collection),
                "encodings": [asdict(one) for one in found],
                "built": None if brought is None else _brought(brought),
                "compared": None if compared is None else compared.to_json(),
            }
        )
    else:
        _print(found, brought, compared)
    return 0


def _build(
    path: Path, encoder: str, placement: Placement, *, truncate: bool, download: bool, quiet: bool
) -> reindex.Brought:
    with Collection.open(path) as kb:
        total = len(kb.snapshot)
    with progress_bar(f"encoding {path} again", total, quiet) as advance:
        return reindex.build(path, encoder, truncate=truncate, placement=placement, download=download, progress=advance)


def _compare(path: Path, name: str, given: tuple[Queries, Qrels] | None, count: int, *, quiet: bool) -> Comparison:
    """The encoding in use against the new one, each by its own default pipeline."""
    current, _ = current_names(path)
    with Collection.open(path) as now, Collection.open(path, encoding=name) as new:
        if given is None:
            made = from_documents(Corpus(now.sources(), now.get), count)
            given = made.queries, made.qrels
            remark(f"note: {len(made.queries)} questions {made.by}: good for telling models apart, not for recall")
        systems = [*now.systems([now.default_pipeline], current), *new.systems([new.default_pipeline], name)]
        with progress_bar("asking", len(systems) * len(given[0]), quiet) as advance:
            return compare(systems, *given, None, progress=advance)


def _brought(brought: reindex.Brought) -> dict[str, Any]:
    return {"name": brought.name, **asdict(brought.passages), "removed": brought.removed}


def _print(found: list[reindex.Encoding], brought: reindex.Brought | None, compared: Comparison | None) -> None:
    if compared is not None:
        print_comparison(compared)
    if brought is not None:
        done = brought.passages
        console.print(
            f"{brought.name}: {done.added + done.replaced:,} passages encoded, {done.unchanged:,} were there, "
            f"{brought.removed:,} removed",
            markup=False,
        )
    for one in found:
        mark = "in use" if one.current else ""
        line = f"{one.name:<50} {one.passages:>9,} passages  {one.bytes / 1e6:>8,.1f} MB  {mark}"
        console.print(line, style="bold" if one.current else "", markup=False)
        console.print(f"    {one.encoder}", style="dim", markup=False)
    if brought is not None and not next(one.current for one in found if one.name == brought.name):
        remark("not in use yet: the same command with --switch, and --back to return")
