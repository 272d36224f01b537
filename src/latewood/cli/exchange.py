"""`latewood import` and `latewood export`: token vectors from other tools, and for them."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from latewood.cli.options import JsonOption
from latewood.cli.output import console, emit_json, progress_bar, steps_bar
from latewood.collection import Collection
from latewood.errors import UsageError
from latewood.exchange import (
    PASSAGES,
    export_vectors,
    import_collection,
    import_index,
    open_vectors,
    read_passages,
)
from latewood.ingest.jsonl import read_jsonl

__all__ = ["bring", "export"]

SourceArgument = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="A folder of fast-plaid or next-plaid, one of npy files, or a .npy.")
]
DestinationOption = Annotated[Path, typer.Option("-c", "--to", metavar="FOLDER", help="What to make.")]
LengthsOption = Annotated[
    Path | None, typer.Option("--lengths", metavar="FILE", help="A .npy of each document's number of vectors.")
]
IdsOption = Annotated[Path | None, typer.Option("--ids", metavar="FILE", help="One id per line; else 0, 1, …")]
JsonlOption = Annotated[
    Path | None,
    typer.Option("--jsonl", metavar="FILE", help="The texts, in the same order: makes a collection, with --model."),
]
NewModelOption = Annotated[
    str | None, typer.Option("--model", metavar="NAME|FOLDER", help="The model that made the vectors.")
]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, metavar="N", help="All cores if not given.")]


def bring(
    source: SourceArgument,
    to: DestinationOption,
    lengths: LengthsOption = None,
    ids: IdsOption = None,
    jsonl: JsonlOption = None,
    model: NewModelOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> int:
    """Bring token vectors in, without encoding anything."""
    vectors = open_vectors(source, lengths, ids)
    own = source / PASSAGES
    if model is not None and (jsonl is not None or own.is_file()):
        passages = read_passages(own) if jsonl is None else read_jsonl(jsonl)
        with (
            Collection.create(to, model) as kb,
            progress_bar("importing", vectors.count, quiet=as_json) as advance,
        ):
            import_collection(vectors, passages, kb, advance)
        kind, dim = "collection", kb.spec.dim
    elif model is not None or jsonl is not None:
        raise UsageError("a collection needs texts and the model: give both --jsonl and --model, or neither")
    else:
        with ExitStack() as stack:
            progress = stack.enter_context(steps_bar("importing", quiet=as_json))
            index = stack.enter_context(
                import_index(vectors, to, threads=threads or os.cpu_count() or 1, progress=progress)
            )
            kind, dim = "index", int(index.stats()["dim"])
    if as_json:
        emit_json({"made": str(to), "kind": kind, "documents": vectors.count, "dim": dim})
    else:
        console.print(f"{to}: {kind} of {vectors.count:,} documents, D {dim}", markup=False)
    return 0


def export(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A collection, or an index of vectors alone.")],
    destination: Annotated[Path, typer.Argument(metavar="FOLDER", help="What to make.")],
    layout: Annotated[
        Literal["plaid", "npy"], typer.Option("--layout", help="For fast-plaid and next-plaid, or plain arrays.")
    ] = "plaid",
    nbits: Annotated[int, typer.Option("--nbits", help="Of plaid: 1, 2, 4 or 8 bits a dimension.")] = 4,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> int:
    """Write token vectors, ids and texts as other tools read them."""
    found = export_vectors(source, destination, layout=layout, nbits=nbits, threads=threads or os.cpu_count() or 1)
    if as_json:
        written = {"documents": found.documents, "vectors": found.vectors, "dim": found.dim}
        emit_json({"made": str(destination), "layout": layout, **written})
    else:
        console.print(
            f"{destination}: {found.vectors:,} vectors of {found.documents:,} documents, D {found.dim}", markup=False
        )
    return 0
