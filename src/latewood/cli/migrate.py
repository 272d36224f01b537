"""`latewood migrate`: a Qdrant collection into a new one that has token vectors too."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from latewood import migrate as moving
from latewood.cli.options import BatchSizeOption, DeviceOption, DownloadOption, JsonOption
from latewood.cli.output import console, emit_json, progress_bar, remark, remarks_from_warnings
from latewood.cli.qdrant_options import (
    HomeArgument,
    LateModelOption,
    QueryModelOption,
    SourceFieldOption,
    TextFieldOption,
    VectorOption,
)
from latewood.cli.sidecar import say_agreement
from latewood.collection import Collection
from latewood.encode import Placement
from latewood.qdrant import QdrantCollection
from latewood.stores.homes import QdrantAddress, is_qdrant, parse_home
from latewood.stores.qdrant_points import Storage

__all__ = ["command"]

PoolFactorOption = Annotated[
    float | None, typer.Option("--pool-factor", min=1, help="Of a folder: means to search first; for pages.")
]
InMemoryOption = Annotated[bool, typer.Option("--in-memory", help="Keep token vectors in memory, not on disk.")]
SwitchOption = Annotated[
    str | None, typer.Option("--switch", metavar="ALIAS", help="Then have this alias stand for the new collection.")
]
Quantization = Literal["none", "scalar", "binary", "turbo4", "turbo2", "turbo1"]


def command(
    home: HomeArgument,
    to: Annotated[
        str, typer.Option("--to", metavar="NAME", help="The new collection's name; of a folder, its address.")
    ],
    text_field: TextFieldOption = None,
    source_field: SourceFieldOption = None,
    vector: VectorOption = None,
    query_model: QueryModelOption = None,
    model: LateModelOption = None,
    datatype: Annotated[
        Literal["float32", "float16"], typer.Option("--datatype", help="Of the token vectors as they are kept.")
    ] = "float16",
    quantize: Annotated[
        Quantization,
        typer.Option("--quantize", help="The copy that is searched: int8, 1 bit, or TurboQuant."),
    ] = "none",
    pool_factor: PoolFactorOption = None,
    in_memory: InMemoryOption = False,
    switch: SwitchOption = None,
    device: DeviceOption = "auto",
    batch_size: BatchSizeOption = None,
    download: DownloadOption = False,
    as_json: JsonOption = False,
) -> int:
    """Copy a Qdrant collection into one with token vectors, or a folder to a Qdrant; again, it goes on, or updates."""
    placement = Placement(device, "float32", batch_size)
    if not is_qdrant(home):
        return _publish(home, to, Storage(datatype, quantize, not in_memory, pool_factor), as_json)
    text = tuple(text_field or ())
    with remarks_from_warnings():
        with QdrantCollection.open(
            home, query_model, text=text, source=source_field, dense=vector, placement=placement
        ) as theirs:
            total = len(theirs.snapshot)
            if theirs.store.layout.dense is not None and text_field:
                say_agreement(theirs.agreement(), query_model or "minilm")
        with progress_bar(f"copying into {to}", total, quiet=as_json) as advance:
            done = moving.migrate(
                home,
                to,
                text=text,
                source=source_field,
                vector=vector,
                query_model=query_model or "minilm",
                model=model or "minilm",
                storage=Storage(datatype, quantize, not in_memory),
                placement=placement,
                download=download,
                progress=advance,
            )
        address = parse_home(home)
        assert isinstance(address, QdrantAddress)
        new = str(address.sibling(to))
        before = moving.switch(new, switch) if switch else None
    if as_json:
        emit_json({"collection": new, **asdict(done), "alias": switch, "alias_before": before})
        return 0
    _print(done, new, switch, before)
    console.print(f'latewood search {shlex.quote(new)} "your question" --pipeline "dense:50 >> late:5"')
    return 0


def _publish(folder: str, to: str, storage: Storage, as_json: bool) -> int:
    """A collection in a folder, with the vectors that it has."""
    with Collection.open(folder) as kb:
        total = len(kb.snapshot)
    with progress_bar(f"copying to {to}", total, quiet=as_json) as advance:
        done = moving.publish(folder, to, storage=storage, progress=advance)
    if as_json:
        emit_json({"collection": to, **asdict(done), "alias": None, "alias_before": None})
        return 0
    _print(done, to, None, None)
    console.print(f'latewood search {shlex.quote(to)} "your question"')
    return 0


def _print(done: moving.Migrated, new: str, switch: str | None, before: str | None) -> None:
    console.print(
        f"{done.points:,} points: {done.written:,} written, of which {done.encoded:,} encoded, {done.unchanged:,} were "
        f"there, {done.removed:,} removed; counts agree",
        markup=False,
    )
    if done.without_text:
        remark(f"note: {len(done.without_text):,} points have no text, such as {', '.join(done.without_text[:3])}")
    if switch:
        console.print(f"{switch} stands for {new} now" + (f", and stood for {before}" if before else ""), markup=False)
