"""The planner against what it planned: plan a collection, measure it, in turns, so that both see the same machine.

What is measured: whole queries of `dense:50 >> late:50` on a real collection, its files opened and warm, by wall clock
around `rank`; the planner is given the collection's own texts and the same questions, never its files. Bytes are
those of all its files. Judgements are not read. `--times 10` also builds a collection ten times larger, of the same
vectors stored again under new ids, straight through the store without encoding, measures it, and deletes it.

    python benchmarks/planner.py collection kb.lw --jsonl corpus.jsonl --queries queries.jsonl [--times 10] [--save]
    python benchmarks/planner.py qdrant [--work FOLDER]

The second prints what Qdrant Edge (pip install qdrant-edge-py==0.9.0) takes on disk for float32 multivectors.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from latewood import MultiVectors, encode
from latewood.collection import BATCH, Collection
from latewood.evaluate import read_queries
from latewood.evaluate.plan import Plan, make_plan
from latewood.evaluate.plan_sample import Sample, workload_of
from latewood.evaluate.plan_speeds import MAIN_DEPTH, measure_speeds
from latewood.ingest import read_jsonl
from latewood.protocols import Encoder
from latewood.stores.embedded import EmbeddedStore
from latewood.stores.texts import record_of
from latewood.types import Passage

HERE = Path(__file__).parent
ROUNDS = 5
QUERIES = 100
PIPELINE = f"dense:{MAIN_DEPTH} >> late:{MAIN_DEPTH}"


def compared(path: Path, corpus: Path, queries: list[str], encoder: Encoder, seconds: float) -> dict[str, Any]:
    """One collection: five rounds, each a plan and then a measurement; medians of five of both."""
    sample = Sample.of(read_jsonl(corpus))
    plans: list[Plan] = []
    measured: list[tuple[float, float]] = []
    stages: list[tuple[float, ...]] = []
    with Collection.open(path, encoder) as kb:
        chunks = kb.stats()["passages"]
        bound = kb.bind(PIPELINE)
        for query in queries:  # warm: every block that these queries touch is verified and mapped
            bound.rank(query)
        workload = workload_of(sample, encoder, chunks=chunks)
        for turn in range(ROUNDS):
            plans.append(make_plan(workload, measure_speeds(workload, queries, encoder, [], seconds=seconds)))
            spent, parts = [], []
            for query in queries:
                started = time.perf_counter()
                ranking = bound.rank(query)
                spent.append((time.perf_counter() - started) * 1e3)
                parts.append([stage.ms for stage in ranking.timings])
            measured.append((float(np.percentile(spent, 50)), float(np.percentile(spent, 95))))
            stages.append(tuple(np.percentile(parts, 50, axis=0)))
            ms = plans[-1]["int8"].ms
            said = f"planned {ms.p50:.1f} / {ms.p95:.1f}" if ms else "nothing planned"
            print(f"  round {turn + 1}: {said}, measured {measured[-1][0]:.1f} / {measured[-1][1]:.1f} ms", flush=True)
    return judged(path, chunks, plans, measured, stages)


def judged(
    path: Path, chunks: int, plans: list[Plan], measured: list[tuple[float, float]], stages: list[tuple[float, ...]]
) -> dict[str, Any]:
    """Planned against measured."""
    planned = np.median([(row.ms.p50, row.ms.p95) for row in (plan["int8"] for plan in plans) if row.ms], axis=0)
    found = np.median(measured, axis=0)
    on_disk = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    size = plans[0]["int8"].size.bytes
    return {
        "passages": chunks,
        "bytes": {"planned": size, "measured": on_disk, "off": size / on_disk - 1},
        "p50": {"planned": planned[0], "measured": found[0], "off": planned[0] / found[0] - 1},
        "p95": {"planned": planned[1], "measured": found[1], "off": planned[1] / found[1] - 1},
        "rounds_off": [
            [row.ms.p50 / p50 - 1, row.ms.p95 / p95 - 1]
            for row, (p50, p95) in zip((plan["int8"] for plan in plans), measured, strict=True)
            if row.ms
        ],
        "stages_planned": np.median(
            [
                [np.median(times) for times in (plan.speeds.encode, plan.speeds.dense, plan.speeds.late[MAIN_DEPTH])]
                for plan in plans
            ],
            axis=0,
        ).tolist(),
        "stages_measured": np.median(stages, axis=0).tolist(),
    }


def enlarged(path: Path, times: int, work: Path) -> Path:
    """A collection of the same texts and vectors, each `times` over under new ids."""
    target = work / f"{path.stem}-x{times}.lw"
    source = EmbeddedStore.open(path)
    store = EmbeddedStore.create(target, source.spec, golden=source.golden)
    try:
        snapshot = source.snapshot()
        for again in range(times):
            for passages, tokens, dense in _batches(snapshot, again):
                # What `add` does behind quantising: these vectors are int8 already.
                store._commit([record_of(passage) for passage in passages], tokens, dense)
            print(f"  stored {len(store.snapshot()):,} passages", flush=True)
        store.snapshot().bm25("the", 1)
    finally:
        store.close()
        source.close()
    return target


def _batches(snapshot: Any, again: int) -> Iterator[tuple[list[Passage], MultiVectors, MultiVectors]]:
    rows = snapshot.live_rows
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        passages = [
            Passage(f"{p.id}-{again}", p.text, title=p.title, source=p.source, metadata=p.metadata)
            for p in snapshot.passages(some)
        ]
        yield passages, snapshot.vectors(some), snapshot._index.vectors("dense", some)


def qdrant(work: Path) -> None:
    """Bytes on disk of shards of multivectors, by part."""
    import qdrant_edge as edge

    for count, tokens, dim in ((1000, 150, 128), (4000, 150, 128), (1000, 300, 384), (3000, 300, 384)):
        folder = Path(tempfile.mkdtemp(dir=work))
        rng = np.random.default_rng(0)
        several = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim)
        late = edge.EdgeVectorParams(dim, edge.Distance.Dot, multivector_config=several)
        shard = edge.EdgeShard.create(str(folder), edge.EdgeConfig(vectors={"late": late}))
        for start in range(0, count, 250):
            points = [
                edge.Point(i, {"late": rng.random((tokens, dim), np.float32).tolist()}, {"id": str(i)})
                for i in range(start, start + 250)
            ]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.flush()
        parts: dict[str, int] = {}
        for file in folder.rglob("*"):
            if file.is_file():
                part = "wal" if "wal" in file.parts else "vectors" if file.parent.name == "vectors" else "rest"
                parts[part] = parts.get(part, 0) + file.stat().st_blocks * 512
        print(f"{count} x {tokens} x {dim}: float32 {count * tokens * dim * 4:,} bytes; on disk {parts}", flush=True)
        del shard
        shutil.rmtree(folder)


def machine() -> dict[str, Any]:
    """What the figures were made on."""
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, cwd=HERE)
    return {
        "commit": commit.stdout.strip() or "unknown",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.platform(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    against = commands.add_parser("collection", help="plan against measurement")
    against.add_argument("path", type=Path, help="a collection; it is only read")
    against.add_argument("--jsonl", type=Path, required=True, help="what it was made of")
    against.add_argument("--queries", type=Path, required=True)
    against.add_argument("--times", type=int, default=1, help="also measure one so many times larger")
    against.add_argument("--asked", type=int, default=QUERIES, help="of the questions, the first so many")
    against.add_argument("--seconds", type=float, default=20.0, help="of each micro-benchmark")
    against.add_argument("--save", action="store_true", help="write benchmarks/results/planner-NAME.json")
    disk = commands.add_parser("qdrant", help="Qdrant Edge's bytes on disk")
    for command in (against, disk):
        command.add_argument("--work", type=Path, default=None, help="where large files go")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="planner-", dir=arguments.work))
    try:
        if arguments.command == "qdrant":
            qdrant(work)
        else:
            against_collection(arguments, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def against_collection(arguments: argparse.Namespace, work: Path) -> None:
    queries = list(read_queries(arguments.queries).values())[: arguments.asked]
    encoder = encode.load("minilm")
    found = {**machine(), "pipeline": PIPELINE, "queries": len(queries), "collections": []}
    paths = [arguments.path]
    if arguments.times > 1:
        paths.append(enlarged(arguments.path, arguments.times, work))
    for path in paths:
        print(path.name, flush=True)
        figures = compared(path, arguments.jsonl, queries, encoder, arguments.seconds)
        found["collections"].append(figures)
        print(json.dumps(figures, indent=1), flush=True)
    if arguments.save:
        target = HERE / "results" / f"planner-{arguments.path.stem}.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
