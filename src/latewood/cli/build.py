"""`latewood build` and `latewood certify`: the late-interaction index, and how far it can be trusted."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from latewood.cli.options import CollectionArgument, JsonOption, ModelOption
from latewood.cli.output import console, emit_json, steps_bar
from latewood.collection import Collection
from latewood.errors import UsageError
from latewood.evaluate import read_queries
from latewood.index import MEMORY_BUDGET, Estimate
from latewood.late_index import SAMPLES, Certificate
from latewood.late_index import build as build_index
from latewood.late_index import certify as measure_certificate

__all__ = ["build", "certify"]

QueriesOption = Annotated[
    Path | None,
    typer.Option("-q", "--queries", metavar="FILE", help="Questions like those asked; else sentences of the passages."),
]
SamplesOption = Annotated[int, typer.Option("--samples", min=10, metavar="N", help="Questions that are drawn.")]
TargetOption = Annotated[
    float, typer.Option("--target-overlap", metavar="X", help="Share of the exact top ten to keep, below 1.")
]
CentroidsOption = Annotated[
    int | None, typer.Option("--centroids", metavar="K", help="Instead of 8 times the root of the number of vectors.")
]
BudgetOption = Annotated[int, typer.Option("--memory-budget", metavar="MB", help="Memory beyond the output.")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, metavar="N", help="All cores if not given.")]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="Of what is drawn; not that of the build.")]


def build(
    collection: CollectionArgument,
    queries: QueriesOption = None,
    target_overlap: TargetOption = 0.99,
    samples: SamplesOption = SAMPLES,
    centroids: CentroidsOption = None,
    memory_budget: BudgetOption = MEMORY_BUDGET >> 20,
    threads: ThreadsOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Build the late-interaction index, and tune it to keep a share of the exact top ten."""
    started = time.perf_counter()
    questions = None if queries is None else list(read_queries(queries).values())
    with Collection.open(collection, model) as kb, steps_bar("building the index", quiet=as_json) as progress:
        late = build_index(
            kb,
            questions,
            target_overlap=target_overlap,
            samples=samples,
            centroids=centroids,
            memory_budget=memory_budget << 20,
            threads=threads or os.cpu_count() or 1,
            progress=progress,
        )
    manifest, seconds = late.manifest, time.perf_counter() - started
    if as_json:
        emit_json(
            {
                "collection": str(collection),
                "passages": manifest.rows,
                "vectors": manifest.vectors,
                "bytes": manifest.bytes,
                "depths": asdict(manifest.depths),
                "target_overlap": manifest.target,
                "tuned_on": manifest.tuned_on,
                "queries": manifest.queries,
                "seconds": seconds,
            }
        )
    else:
        depths = ", ".join(f"{name} {value:,}" for name, value in asdict(manifest.depths).items())
        console.print(
            f"indexed {manifest.vectors:,} token vectors of {manifest.rows:,} passages in {seconds:.1f} s, "
            f"{manifest.bytes / max(1, manifest.vectors):.1f} bytes a vector beside the stored ones"
        )
        console.print(f"tuned to {manifest.target} on {manifest.tuned_on} {manifest.queries} queries: {depths}")
    return 0


def certify(
    collection: CollectionArgument,
    queries: QueriesOption = None,
    samples: SamplesOption = SAMPLES,
    seed: SeedOption = 1,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> int:
    """Measure how much of the exact ranking the late-interaction index keeps, on fresh questions."""
    questions = None if queries is None else list(read_queries(queries).values())
    with Collection.open(collection, model) as kb:
        if not kb.snapshot.chooses:
            raise UsageError(f"{collection} has no late-interaction index, so late is exact: latewood build makes one")
        found = measure_certificate(kb, questions, samples=samples, seed=seed)
    if as_json:
        emit_json(_as_json(found))
    else:
        _print(found)
    return 0


def _as_json(found: Certificate) -> dict[str, object]:
    return {
        "overlap@10": asdict(found.overlap),
        "stored_vs_float32": asdict(found.stored_vs_float32),
        "certified": found.certified,
        "samples": found.samples,
        "queries": found.queries,
        "pseudo": None if found.pseudo is None else asdict(found.pseudo),
        "p50_ms": found.p50_ms,
        "p95_ms": found.p95_ms,
        "exhaustive_p50_ms": found.exhaustive_p50_ms,
    }


def _print(found: Certificate) -> None:
    console.print(f"index against exhaustive scoring   overlap@10 {_shown(found.overlap)}")
    console.print(f"stored against float32 vectors     overlap@10 {_shown(found.stored_vs_float32)}")
    console.print(f"certified                          {found.certified:.4f}, the product of the two")
    kind = "given questions" if found.queries == "given" else "pseudo-queries, sentences of the passages"
    console.print(f"on {found.samples} {kind}; 95 % intervals by bootstrap")
    if found.pseudo is not None:
        console.print(f"on pseudo-queries it would have been {_shown(found.pseudo)}")
    console.print(
        f"late takes {found.p50_ms:.1f} ms at the median, {found.p95_ms:.1f} at the 95th percentile; "
        f"exhaustive {found.exhaustive_p50_ms:.1f} (one thread, encoding not counted)"
    )


def _shown(estimate: Estimate) -> str:
    return f"{estimate.mean:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"
