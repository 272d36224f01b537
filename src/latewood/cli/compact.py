"""`latewood compact`: files without what is dead, and fewer of them."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from latewood.cli.options import CollectionArgument, JsonOption
from latewood.cli.output import console, emit_json
from latewood.collection import Collection
from latewood.index import KEEP_FOR

__all__ = ["command"]

KeepOption = Annotated[
    int,
    typer.Option("--keep-for", min=0, metavar="SECONDS", help="How long replaced files stay for those who read them."),
]


def command(collection: CollectionArgument, keep_for: KeepOption = KEEP_FOR, as_json: JsonOption = False) -> int:
    """Rewrite a collection without what was deleted or replaced. A writer does so by itself, bit by bit."""
    started = time.perf_counter()
    with Collection.open(collection) as kb:
        before = kb.stats()
        written = kb.compact(keep_for)
        after = kb.stats()
    seconds = time.perf_counter() - started
    if as_json:
        emit_json(
            {
                "collection": str(collection),
                "generation": after["generation"],
                "written": written,
                "segments": {"before": before["segments"], "after": after["segments"]},
                "bytes": {"before": before["bytes"]["total"], "after": after["bytes"]["total"]},
                "retired_bytes": after["bytes"]["retired"],
                "seconds": seconds,
            }
        )
        return 0
    console.print(
        f"{before['segments']:,} segments became {after['segments']:,}, {before['bytes']['total']:,} bytes "
        f"{after['bytes']['total']:,} in {seconds:.1f} s"
    )
    if after["bytes"]["retired"]:
        console.print(
            f"{after['bytes']['retired']:,} bytes of replaced files stay for readers; whoever writes after "
            f"{keep_for} s removes them"
        )
    return 0
