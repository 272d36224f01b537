"""The late-interaction index against exhaustive scoring and against other engines: build, bytes, latency, overlap.

    python benchmarks/index.py prepare scifact --data FOLDER     # encode once (minutes), keep under --work
    python benchmarks/index.py run scifact --dim 128 --documents 5000 --cut 183 [--rival fast_plaid=PYTHON …] [--save]
    python benchmarks/index.py run cppdocs_scale --dim 384
    python benchmarks/index.py run cppdocs_scale --dim 128 --windows 64:8    # sliding windows as documents: a million

Vectors are those of the bundled model, int8 with scales as they are stored; D 128 is a projection on their main
directions, scaled to length 1, fitted here, so that every contestant gets the same 128 dimensions. Queries are those of
the collection, none of which tuned anything: depths come from pseudo-queries. `A` is the time that exhaustive float32
scoring would take at the peak of fused multiply-adds measured in the same run (peak.cpp), 2 * Q * T * D / peak.

A rival is a file in benchmarks/rivals, run by the Python that `--rival NAME=PYTHON` gives, in an environment of its
own; one that isn't given is said to be left out. Times are of one thread, one query after the other, the process's
other threads idle; queries a second are on all cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood import maxsim
from latewood.evaluate import read_qrels
from latewood.index import Depths, Estimate, MultiVectorIndex, overlap
from latewood.types import MultiVectors
from peak import limits

HERE = Path(__file__).resolve().parent
RIVALS = ("fast_plaid", "xtr_warp", "qdrant_edge", "lancedb")
K = 10

Floats = npt.NDArray[np.float32]


# -- vectors -----------------------------------------------------------------------------------------------------------


def prepare(name: str, data: Path, work: Path) -> None:
    """Encode a collection, and keep its vectors, those of its queries and the projection."""
    from latewood.collection import Collection
    from latewood.ingest import read_jsonl

    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "kb.lw"
    with Collection.open(path) if path.exists() else Collection.create(path) as kb:
        kb.add(read_jsonl(data / name / "corpus.jsonl"))
        rows = kb.snapshot.live_rows
        stored = kb.snapshot.vectors(rows)
        (folder / "ids.json").write_text(json.dumps(kb.snapshot.ids(rows)))
        queries = [json.loads(line) for line in (data / name / "queries.jsonl").read_text().splitlines()]
        (folder / "query_ids.json").write_text(json.dumps([query["_id"] for query in queries]))
        encoded = MultiVectors.of([kb.encoder.encode_query(query["text"]).tokens for query in queries])
    shutil.copy(data / name / "qrels" / "test.tsv", folder / "qrels.tsv")
    projection = _fitted(stored)
    for key, array in {
        "tokens-384": stored.tokens,
        "scales-384": stored.scales,
        "offsets": stored.offsets,
        "queries-384": encoded.tokens,
        "query-offsets": encoded.offsets,
        "projection": projection,
        "queries-128": _projected(encoded.tokens, projection),
    }.items():
        np.save(folder / f"{key}.npy", array)
    tokens, scales = np.empty((len(stored.tokens), 128), np.int8), np.empty(len(stored.tokens), np.float32)
    for start in range(0, len(tokens), 1 << 18):
        part = slice(start, start + (1 << 18))
        values = _projected(stored.tokens[part] * stored.scales[part, None], projection)
        small = maxsim.quantize(MultiVectors(values, np.array([0, len(values)], np.int64)))
        tokens[part], scales[part] = small.tokens, small.scales
    np.save(folder / "tokens-128.npy", tokens)
    np.save(folder / "scales-128.npy", scales)


def _fitted(stored: MultiVectors) -> Floats:
    drawn = np.sort(np.random.default_rng(0).permutation(len(stored.tokens))[:100_000])
    sample = stored.tokens[drawn] * stored.scales[drawn, None]
    _, directions = np.linalg.eigh(sample.T @ sample)
    return np.ascontiguousarray(directions[:, ::-1][:, :128], np.float32)


def _projected(values: Floats, projection: Floats) -> Floats:
    reduced = values @ projection
    return reduced / np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-9)


class Vectors:
    """Documents and queries of one run."""

    def __init__(self, work: Path, options: argparse.Namespace) -> None:
        folder, dim = work / options.name, options.dim
        load: Callable[[str], Any] = lambda key: np.load(folder / f"{key}.npy", mmap_mode="r")  # noqa: E731
        self.tokens, self.scales, self.offsets = load(f"tokens-{dim}"), load(f"scales-{dim}"), np.array(load("offsets"))
        starts, stops = self.offsets[:-1], self.offsets[1:]
        if options.cut:
            stops = np.minimum(stops, starts + options.cut)
        if options.windows:
            size, stride = map(int, options.windows.split(":"))
            starts = np.arange(0, len(self.tokens) - size, stride)
            stops = starts + size
        self.spans = np.stack([starts, stops], 1)[: options.documents]
        values, cuts = np.array(load(f"queries-{dim}")), load("query-offsets")
        self.queries = [np.ascontiguousarray(values[a:b]) for a, b in itertools.pairwise(cuts)]
        self.queries = self.queries[: options.queries]
        ids = (folder / "ids.json", folder / "query_ids.json")
        self.ids, self.query_ids = (json.loads(path.read_text()) for path in ids)
        self.qrels = read_qrels(folder / "qrels.tsv")

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def total(self) -> int:
        """T."""
        return int((self.spans[:, 1] - self.spans[:, 0]).sum())

    def __iter__(self) -> Iterator[Floats]:
        for start, stop in self.spans:
            yield self.tokens[start:stop] * self.scales[start:stop, None]

    def save(self, folder: Path) -> None:
        """As rivals take them."""
        arrays = list(self)
        np.save(folder / "tokens.npy", np.concatenate(arrays))
        np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum([len(array) for array in arrays])]))
        np.save(folder / "queries.npy", np.concatenate(self.queries))
        np.save(folder / "query_offsets.npy", np.concatenate([[0], np.cumsum([len(query) for query in self.queries])]))


# -- measuring ---------------------------------------------------------------------------------------------------------


def ndcg(vectors: Vectors, rankings: list[list[int]]) -> float | None:
    """nDCG@10, where documents are the collection's own."""
    if len(vectors) != len(vectors.ids):
        return None
    import ir_measures
    from ir_measures import nDCG

    asked = dict(enumerate(vectors.query_ids[: len(rankings)]))
    run = {
        asked[i]: {vectors.ids[row]: float(-rank) for rank, row in enumerate(rows)} for i, rows in enumerate(rankings)
    }
    wanted = {query: dict(judged) for query, judged in vectors.qrels.items() if query in run}
    return round(float(ir_measures.calc_aggregate([nDCG @ 10], wanted, run)[nDCG @ 10]), 4) if wanted else None


def row(
    name: str, vectors: Vectors, exact: Any, rankings: list[list[int]], ms: list[float], **more: Any
) -> dict[str, Any]:
    kept = [overlap(np.array(rows, np.int64), *best) for rows, best in zip(rankings, exact, strict=True)]
    estimate = Estimate.of(kept)
    p50, p95 = np.percentile(ms, [50, 95])
    return {
        "name": name,
        "overlap@10": round(estimate.mean, 4),
        "low": round(estimate.low, 4),
        "high": round(estimate.high, 4),
        "ndcg@10": ndcg(vectors, rankings),
        "p50_ms": round(float(p50), 3),
        "p95_ms": round(float(p95), 3),
        **more,
    }


def timed(search: Callable[[Floats], list[int]], queries: list[Floats]) -> tuple[list[list[int]], list[float]]:
    for query in queries:  # once, so that every block that will be touched has been
        search(query)
    rankings, ms = [], []
    for query in queries:
        started = time.perf_counter()
        rankings.append(search(query))
        ms.append((time.perf_counter() - started) * 1e3)
    return rankings, ms


def ours(vectors: Vectors, folder: Path, threads: int, centroids: int | None) -> list[dict[str, Any]]:
    """The index and the exhaustive kernel; the exhaustive one's rankings are everybody's measure."""
    steps: dict[str, float] = {}
    started = last = time.perf_counter()

    def note(step: str, done: int, total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        steps[step], last = steps.get(step, 0.0) + now - last, now

    with Memory() as memory:
        built = MultiVectorIndex.build(
            folder / "latewood", iter(vectors), centroids=centroids, threads=threads, progress=note
        )
    with built as index:
        seconds = time.perf_counter() - started
        stats = index.stats()
        exact = []
        ms = []
        for query in vectors.queries:
            began = time.perf_counter()
            ids, scores = index.search(query, 2 * K, exact=True)
            ms.append((time.perf_counter() - began) * 1e3)
            exact.append((np.array(ids, np.int64), scores))
        vectors.exact = exact  # type: ignore[attr-defined]
        rows = [row("exhaustive int8", vectors, exact, [ids[:K].tolist() for ids, _ in exact], ms)]
        rankings, ms = timed(lambda query: [int(name) for name in index.search(query, K)[0]], vectors.queries)
        began = time.perf_counter()
        index.search_many(vectors.queries, K, threads=os.cpu_count() or 1)
        qps = len(vectors.queries) / (time.perf_counter() - began)
        more = {
            "build_s": round(seconds, 1),
            "steps_s": {step: round(value, 1) for step, value in steps.items()},
            "peak_mb": memory.peak_mb,
            "bytes_per_vector": round(stats["bytes"]["total"] / stats["vectors"], 1),
            "qps": round(qps, 1),
            "depths": stats["late_index"]["depths"],
        }
        rows.append(row("latewood", vectors, exact, rankings, ms, **more))
        depths = Depths(**stats["late_index"]["depths"])
        for factor in (0.75, 1.5):
            other = {
                name: min(1.0, value * factor) if "margin" in name else max(1, int(value * factor))
                for name, value in asdict(depths).items()
                if name != "n_probe"
            }
            rankings, ms = timed(
                lambda query, other=other: [int(name) for name in index.search(query, K, **other)[0]], vectors.queries
            )
            rows.append(row(f"latewood, depths x {factor:g}", vectors, exact, rankings, ms))
    return rows


class Memory:
    """The most anonymous memory that this process holds, sampled; pages of mapped files belong to the system."""

    def __init__(self) -> None:
        self.peak_mb = 0
        self._before = self._now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @staticmethod
    def _now() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) >> 10

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.peak_mb = max(self.peak_mb, self._now() - self._before)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def rival(name: str, python: str, vectors: Vectors, folder: Path) -> Any:
    """One of benchmarks/rivals, in its own environment."""
    command = [python, str(HERE / "rivals" / f"{name}_rival.py"), str(folder), str(folder / name)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"name": name, "left_out": (done.stderr.strip().splitlines() or ["no message"])[-1][:200]}
    found = json.loads(done.stdout.splitlines()[-1])
    return [
        row(
            f"{name} {found['version']}{setting['setting']}",
            vectors,
            vectors.exact,  # type: ignore[attr-defined]
            setting["rankings"],
            setting["ms"],
            build_s=round(found["build_s"], 1),
            peak_mb=found["peak_mb"],
            bytes_per_vector=round(found["bytes"] / vectors.total, 1) if found["bytes"] else None,
        )
        for setting in found["settings"]
    ]


def run(options: argparse.Namespace) -> dict[str, Any]:
    vectors = Vectors(options.work, options)
    peak = max(limits().fma_peak(5_000_000) for _ in range(5))
    mean = float(np.mean([len(query) for query in vectors.queries]))
    a_ms = 2 * mean * vectors.total * options.dim / peak / 1e6
    head = {
        "data": options.name,
        "documents": len(vectors),
        "vectors": vectors.total,
        "dim": options.dim,
        "windows": options.windows,
        "queries": len(vectors.queries),
        "mean_Q": round(mean, 1),
        "peak_gflops": round(peak, 1),
        "isa": maxsim.isa(),
        "A_ms": round(a_ms, 2),
    }
    print(json.dumps(head), flush=True)
    rivals = dict(pair.split("=", 1) for pair in options.rival)
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        folder = Path(scratch)
        rows = ours(vectors, folder, options.threads, options.centroids)
        for entry in rows:
            show(entry, a_ms)
        if rivals:
            vectors.save(folder)
        for name in RIVALS:
            given = (
                rival(name, rivals[name], vectors, folder)
                if name in rivals
                else {"name": name, "left_out": "not given"}
            )
            for entry in given if isinstance(given, list) else [given]:
                rows.append(entry)
                show(entry, a_ms)
    return {"schema": 1, **head, "rows": rows}


def show(entry: dict[str, Any], a_ms: float) -> None:
    if "left_out" in entry:
        print(f"{entry['name']:<28} left out: {entry['left_out']}", flush=True)
        return
    print(
        f"{entry['name']:<28} overlap@10 {entry['overlap@10']:.4f} [{entry['low']:.4f}, {entry['high']:.4f}]  "
        f"nDCG@10 {entry['ndcg@10']}  p50 {entry['p50_ms']:.2f} ms (A / {a_ms / entry['p50_ms']:.0f})  "
        f"p95 {entry['p95_ms']:.2f}  "
        + "  ".join(f"{key} {entry[key]}" for key in ("build_s", "peak_mb", "bytes_per_vector", "qps") if key in entry),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "latewood" / "bench")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("prepare")
    one.add_argument("name")
    one.add_argument("--data", type=Path, required=True, help="a folder of collections in BEIR layout")
    two = commands.add_parser("run")
    two.add_argument("name")
    two.add_argument("--dim", type=int, choices=(128, 384), default=128)
    two.add_argument("--documents", type=int, default=None)
    two.add_argument("--cut", type=int, default=0, help="vectors of a document at most")
    two.add_argument("--windows", default="", help="SIZE:STRIDE instead of the documents")
    two.add_argument("--queries", type=int, default=200)
    two.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of the build")
    two.add_argument("--centroids", type=int, default=None)
    two.add_argument("--rival", action="append", default=[], metavar="NAME=PYTHON")
    two.add_argument("--scratch", type=Path, default=None, help="where indexes are built")
    two.add_argument("--save", action="store_true", help="append to benchmarks/results/index.json")
    options = parser.parse_args()
    if options.command == "prepare":
        prepare(options.name, options.data, options.work)
        return
    result = run(options)
    if options.save:
        path = HERE / "results" / "index.json"
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE)
        result |= {"commit": commit.stdout.strip(), "machine": platform.processor() or platform.machine()}
        before = json.loads(path.read_text()) if path.exists() else []
        path.write_text(json.dumps([*before, result], indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
