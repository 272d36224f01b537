"""`latewood sidecar`, `latewood sync`: token vectors beside a Qdrant collection that stays as it is."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from latewood import sidecar
from latewood.cli.options import BatchSizeOption, CollectionArgument, DeviceOption, DownloadOption, JsonOption
from latewood.cli.output import console, emit_json, progress_bar, remark, remarks_from_warnings
from latewood.cli.qdrant_options import (
    HomeArgument,
    LateModelOption,
    QueryModelOption,
    SourceFieldOption,
    TextFieldOption,
    VectorOption,
)
from latewood.collection import Collection
from latewood.encode import Placement
from latewood.errors import UsageError
from latewood.qdrant import AGREES

__all__ = ["make", "sync"]

FolderOption = Annotated[
    Path, typer.Option("-c", "--collection", metavar="FOLDER", help="The new collection's folder.")
]
VectorsFromOption = Annotated[
    Path | None,
    typer.Option("--vectors-from", metavar="COLLECTION", help="Take vectors of equal texts from there."),
]


def make(
    home: HomeArgument,
    collection: FolderOption,
    text_field: TextFieldOption = None,
    source_field: SourceFieldOption = None,
    vector: VectorOption = None,
    query_model: QueryModelOption = None,
    model: LateModelOption = None,
    vectors_from: VectorsFromOption = None,
    device: DeviceOption = "auto",
    batch_size: BatchSizeOption = None,
    download: DownloadOption = False,
    as_json: JsonOption = False,
) -> int:
    """Put a collection of token vectors beside a Qdrant collection, which is only read; again, it goes on."""
    agreement = None
    with remarks_from_warnings():
        if _is_there(collection, home):
            remark(f"{collection} is there already: bringing it in step")
        else:
            agreement = sidecar.create(
                collection,
                home,
                text=text_field or (),
                source=source_field,
                vector=vector,
                query_model=query_model or "minilm",
                model=model or "minilm",
                placement=Placement(device, "float32", batch_size),
                download=download,
            )
            say_agreement(agreement, query_model or "minilm")
    return _sync(collection, vectors_from, Placement(device, "float32", batch_size), agreement, as_json, first=True)


def sync(
    collection: CollectionArgument,
    vectors_from: VectorsFromOption = None,
    device: DeviceOption = "auto",
    batch_size: BatchSizeOption = None,
    as_json: JsonOption = False,
) -> int:
    """Bring a sidecar in step with the Qdrant collection that it stands beside."""
    return _sync(collection, vectors_from, Placement(device, "float32", batch_size), None, as_json)


def _is_there(folder: Path, home: str) -> bool:
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    with Collection.open(folder) as kb:
        if kb.beside is None or kb.beside.home != home:
            what = "a collection by itself" if kb.beside is None else f"beside {kb.beside.home}"
            raise UsageError(f"{folder} is there already, {what}: give another folder")
    return True


def _sync(
    folder: Path,
    vectors_from: Path | None,
    placement: Placement,
    agreement: float | None,
    as_json: bool,
    *,
    first: bool = False,
) -> int:
    with Collection.open(folder) as kb:
        theirs = None if kb.beside is None else kb.beside.open()
        total = None if theirs is None else theirs.points.count()
        if theirs is not None:
            theirs.close()
    with remarks_from_warnings(), progress_bar(f"bringing {folder} in step", total, quiet=as_json) as advance:
        if vectors_from is None:
            done = sidecar.sync(folder, advance, placement=placement)
        else:
            with Collection.open(vectors_from) as known:
                done = sidecar.sync(folder, advance, placement=placement, vectors_from=known)
    if as_json:
        emit_json(_as_json(folder, done, agreement))
        return 0
    passages = done.passages
    console.print(
        f"{passages.added:,} passages added, {passages.replaced:,} replaced, {passages.unchanged:,} unchanged, "
        f"{done.removed:,} removed; {done.points:,} points, in step",
        markup=False,
    )
    if done.without_text:
        some = ", ".join(done.without_text[:3])
        remark(f"note: {len(done.without_text):,} points have no text and can't be reranked, such as {some}")
    if first:
        console.print(f'latewood search {shlex.quote(str(folder))} "your question" --pipeline "first:50 >> late:5"')
    return 0


def _as_json(folder: Path, done: sidecar.Synced, agreement: float | None) -> dict[str, Any]:
    return {
        "collection": str(folder),
        **asdict(done.passages),
        "removed": done.removed,
        "points": done.points,
        "without_text": list(done.without_text),
        "agreement": agreement,
    }


def say_agreement(agreement: float | None, model: str) -> None:
    """What the comparison of stored vectors with fresh ones says about the model at hand."""
    if agreement is None:
        remark(f"note: whether '{model}' made their vectors could not be checked: no point with both text and vector")
    elif agreement < AGREES:
        remark(
            f"note: their vectors and those of '{model}' agree to a cosine of {agreement:.3f} only: another prompt, "
            f"other fields of text, or texts cut elsewhere; --query-model and --text-field say what they were made of"
        )
