"""`dense:50 >> late:5`, embedded beside Qdrant Edge: the same vectors, the same questions, one run.

    latewood index --jsonl ../shared/data/scifact/corpus.jsonl -c scifact.lw
    python benchmarks/stores.py scifact.lw ../shared/data/scifact/queries.jsonl --passages 5183

Each question is asked of every store in turn, so that what else the machine does falls on all of them alike. Times are
of the search, without the encoding of the question. Edge is measured as it is built (float32), and with an int8 copy in
memory, both after its optimiser ran. Needs the extras `edge`, `encode`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from latewood.binding import BoundPipeline
from latewood.collection import Collection
from latewood.pipeline import parse
from latewood.stores.embedded import EmbeddedStore
from latewood.stores.homes import parse_home
from latewood.stores.qdrant import QdrantStore, as_float
from latewood.stores.qdrant_points import Storage
from latewood.types import EncodedPassages, EncodedQuery, MultiVectors

PIPELINE = "dense:50 >> late:5"
BATCH = 256


def parts(kb: Collection, count: int) -> Sequence[tuple[list[Any], EncodedPassages]]:
    """Passages with their stored vectors; token vectors as float32, so that no store rounds them again."""
    rows = kb.snapshot.live_rows[:count]
    found = []
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        tokens, dense = kb.snapshot.stored(some)
        floats = MultiVectors.of([as_float(tokens, i) for i in range(len(tokens))])
        found.append((kb.snapshot.passages(some), EncodedPassages(floats, dense)))
    return found


def asked(kb: Collection, path: Path, count: int) -> list[EncodedQuery]:
    texts = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()[:count]]
    return [kb.encoder.encode_query(text) for text in texts]


def size(folder: Path) -> int:
    """Bytes that the files take on disk, holes not counted."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


Data = Sequence[tuple[list[Any], EncodedPassages]]


def edge(folder: Path, kb: Collection, data: Data, storage: Storage) -> QdrantStore:
    store = QdrantStore.create(parse_home(f"qdrant+edge:{folder}"), kb.spec, storage=storage)
    for passages, encoded in data:
        store.add(passages, encoded)
    store.points.shard.optimize()
    store.points.shard.flush()
    return store


def searcher(store: EmbeddedStore | QdrantStore, queries: Sequence[EncodedQuery]) -> Callable[[int], list[str]]:
    memo = {query.text: (query, 0.0) for query in queries}

    def encoder() -> Any:
        raise AssertionError("every question is encoded beforehand")

    bound = BoundPipeline(parse(PIPELINE), store.snapshot(), encoder, memo=memo, whole=True)
    return lambda i: [hit.id for hit in bound.rank(queries[i].text).hits]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--passages", type=int, default=5183)
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Collection.open(given.collection) as kb:
        folder = Path(name)
        data, queries = parts(kb, given.passages), asked(kb, given.queries, given.questions)
        embedded = EmbeddedStore.create(folder / "embedded", kb.spec)
        for passages, encoded in data:
            embedded.add(passages, encoded)
        stores: dict[str, EmbeddedStore | QdrantStore] = {
            "embedded": embedded,
            "edge": edge(folder / "edge", kb, data, Storage("float32", "none", on_disk=False)),
            "edge int8": edge(folder / "edge-int8", kb, data, Storage("float16", "scalar", on_disk=False)),
        }
        searches = {name: searcher(store, queries) for name, store in stores.items()}
        ms: dict[str, list[float]] = {name: [] for name in stores}
        top = {name: [search(i) for i in range(len(queries))] for name, search in searches.items()}
        for _ in range(given.repeats):
            for i in range(len(queries)):
                for name, search in searches.items():
                    started = time.perf_counter()
                    search(i)
                    ms[name].append((time.perf_counter() - started) * 1e3)
        found = {
            "benchmark": "stores",
            "pipeline": PIPELINE,
            "data": given.collection.stem,
            "passages": sum(len(passages) for passages, _ in data),
            "token_vectors": sum(int(encoded.tokens.offsets[-1]) for _, encoded in data),
            "dim": kb.spec.dim,
            "questions": len(queries),
            "stores": {
                name: {
                    "p50_ms": round(float(np.median(ms[name])), 2),
                    "p95_ms": round(float(np.percentile(ms[name], 95)), 2),
                    "bytes": size(folder / name.replace(" ", "-")),
                    "top5_shared_with_embedded": round(shared(top[name], top["embedded"]), 4),
                }
                for name in stores
            },
            **about(),
        }
        for store in stores.values():
            store.close()
    text = json.dumps(found, indent=2)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")


def shared(one: list[list[str]], other: list[list[str]]) -> float:
    return float(np.mean([len(set(a) & set(b)) / max(1, len(b)) for a, b in zip(one, other, strict=True)]))


def about() -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "load": [round(load, 2) for load in os.getloadavg()],
        "commit": commit.stdout.strip(),
        "cpu": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "edge": version("qdrant-edge-py"),
    }


if __name__ == "__main__":
    main()
