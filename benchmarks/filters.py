"""What a filter costs: the first search that names a field, and the later ones, by the share that it allows."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from latewood.stores.embedded import EmbeddedStore
from latewood.stores.filtered import filtered
from latewood.types import EncodedPassages, EncoderSpec, MultiVectors, Passage

N, DIM, T = 64_000, 32, 8
SPEC = EncoderSpec("none", "0" * 64, dim=DIM, dense_dim=DIM, max_length=32, overlap=8)


def milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def main() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(5000)]
    weights = 1 / np.arange(1, 5001)
    weights /= weights.sum()
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedStore.create(Path(folder) / "kb.lw", SPEC, {"analyzer": "plain"})
        for start in range(0, N, 8000):
            passages = [
                Passage(f"p{i}", " ".join(rng.choice(words, 40, p=weights)), metadata={"percent": i % 100, "n": i})
                for i in range(start, start + 8000)
            ]
            tokens = MultiVectors(rng.standard_normal((8000 * T, DIM), dtype=np.float32), np.arange(8001) * T)
            dense = MultiVectors(rng.standard_normal((8000, DIM), dtype=np.float32), np.arange(8001))
            store.add(passages, EncodedPassages(tokens, dense))
        whole = store.snapshot()
        whole.bm25("w0", 1)
        found = {"passages": N, "first_ms": milliseconds(lambda: filtered(whole, {"percent": 0, "n": {"gte": 0}}))}
        query, vector = rng.standard_normal((16, DIM), dtype=np.float32), rng.standard_normal(DIM, dtype=np.float32)
        question = "w0 w3 w40 w200 w900 w1"
        for below in (1, 20, 50, 100):
            where = {"percent": {"lt": below}}
            filtered(whole, where)
            seen = filtered(whole, where)
            timed = {
                "filter": lambda where=where: filtered(whole, where),
                "bm25": lambda seen=seen: seen.bm25(question, 50),
                "dense": lambda seen=seen: seen.dense(vector, 50),
                "late": lambda seen=seen: seen.late(query, 50),
            }
            found[f"{below} %"] = {
                name: round(float(np.median([milliseconds(work) for _ in range(9)])), 2) for name, work in timed.items()
            }
        unfiltered = {
            "bm25": lambda: whole.bm25(question, 50),
            "dense": lambda: whole.dense(vector, 50),
            "late": lambda: whole.late(query, 50),
        }
        found["no filter"] = {
            name: round(float(np.median([milliseconds(work) for _ in range(9)])), 2)
            for name, work in unfiltered.items()
        }
        store.close()
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
