"""`latewood index`: documents into a collection."""

from __future__ import annotations

import time
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from latewood.cli.options import JsonOption
from latewood.cli.output import console, emit_json, progress_bar, remark, remarks_from_warnings
from latewood.collection import AddReport, Collection
from latewood.errors import UsageError
from latewood.ingest import count_jsonl, read_jsonl

__all__ = ["command"]


def command(
    collection: Annotated[Path, typer.Option("-c", "--collection", metavar="FOLDER", help="Made if it isn't there.")],
    jsonl: Annotated[
        list[Path], typer.Option("--jsonl", metavar="FILE", help="Records with _id, title, text; may be given again.")
    ],
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME|FOLDER", help="minilm, or a sentence-transformers folder.")
    ] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut texts at the model's limit, as published figures do.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Encode documents and add them; what is there already and unchanged costs nothing."""
    total = sum(count_jsonl(path) for path in jsonl)  # a broken line anywhere is found before anything is changed
    started = time.perf_counter()
    with remarks_from_warnings(), _open_or_create(collection, model, truncate) as kb:
        with progress_bar(f"indexing into {collection}", total, quiet=as_json) as advance:
            report = kb.add(chain.from_iterable(read_jsonl(path) for path in jsonl), advance)
        generation = kb.refresh()
    seconds = time.perf_counter() - started
    if as_json:
        emit_json({"collection": str(collection), **asdict(report), "generation": generation, "seconds": seconds})
    else:
        _print(report, seconds)
    return 0


def _open_or_create(path: Path, model: str | None, truncate: bool) -> Collection:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return Collection.create(path, model or "minilm", truncate=truncate)
    kb = Collection.open(path, model)
    if truncate and not kb.spec.truncate:
        kb.close()
        raise UsageError(f"{path} keeps long texts whole; --truncate is chosen when a collection is made: make another")
    return kb


def _print(report: AddReport, seconds: float) -> None:
    done = report.added + report.replaced
    console.print(
        f"added {report.added:,}, replaced {report.replaced:,}, unchanged {report.unchanged:,} "
        f"in {seconds:.1f} s" + (f" ({done / seconds:.1f} passages/s)" if done else "")
    )
    if report.duplicates:
        remark(f"note: {report.duplicates:,} records came again under an id of the same batch; the last one counts")
    if report.cut:
        remark(f"note: --truncate left out {report.cut:,} tokens beyond the model's limit")
