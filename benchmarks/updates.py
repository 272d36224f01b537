"""A collection that changes: many small adds, and the index after a fifth of everything has come, gone or changed.

    python benchmarks/updates.py many cppdocs_scale --start 5000 --adds 10000 [--save]
    python benchmarks/updates.py exposing cppdocs_scale --dim 128 [--save]

Vectors are those that `index.py prepare` keeps. `many` adds documents one by one, each in a commit of its own, and
searches in between; p95 of a commit and p50 of a search are told by thousand, as ratios to those of the first thousand,
and at the end beside an index that was built in one go of the same documents. A search is told in wall time and in the
processor time of its thread: on a busy machine the former is mostly the wait for a core.

`exposing` builds an index, adds 20 %, deletes 20 % and replaces 10 % of what it was built of, in batches, while upkeep
does what it does, and then asks in a fresh process: overlap@10 with exhaustive scoring, memory, and the time of a
search beside an index that was built of what is left (queries in turn on both, so a busy machine slows both). The same
with one document in a hundred allowed. At last both are trained on the same documents: the rankings must be the same.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from index import Floats, K, Vectors
from latewood.index import Estimate, MultiVectorIndex, overlap
from latewood.index.late_life import build_late

HERE = Path(__file__).resolve().parent
BATCH = 256
SEED = 0


def arrays(vectors: Vectors, numbers: Sequence[int]) -> Iterator[Floats]:
    for number in numbers:
        start, stop = vectors.spans[number]
        yield vectors.tokens[start:stop] * vectors.scales[start:stop, None]


def p(values: Sequence[float], share: float) -> float:
    return round(float(np.percentile(values, share)), 3)


def memory() -> dict[str, int]:
    status = Path("/proc/self/status").read_text()
    return {key: int(status.split(f"{key}:")[1].split()[0]) >> 10 for key in ("VmRSS", "RssAnon", "RssFile")}


# -- many small adds ---------------------------------------------------------------------------------------------------


def searched(index: MultiVectorIndex, queries: Sequence[Floats]) -> list[float]:
    taken = []
    for query in queries:
        started = time.perf_counter()
        index.search(query, K)
        taken.append((time.perf_counter() - started) * 1e3)
    return taken


def many(options: argparse.Namespace, vectors: Vectors, scratch: Path) -> dict[str, Any]:
    queries = vectors.queries[:50]
    numbers = range(options.start)
    names = [str(number) for number in numbers]
    rows = []
    with MultiVectorIndex.build(scratch / "grown", arrays(vectors, numbers), ids=iter(names), threads=2) as index:
        for thousand in range(0, options.adds, 1000):
            commits, searches, worked, most = [], [], [], 0
            for number in range(options.start + thousand, options.start + thousand + 1000):
                document = list(arrays(vectors, [number]))
                started = time.perf_counter()
                index.add(document, ids=[str(number)])
                commits.append((time.perf_counter() - started) * 1e3)
                most = max(most, len(index._snapshot.segments))
                if number % 20 == 0:
                    started = time.thread_time()
                    searches += searched(index, [queries[number // 20 % len(queries)]])
                    worked.append((time.thread_time() - started) * 1e3)
            rows.append(
                {
                    "adds": thousand + 1000,
                    "commit_p50_ms": p(commits, 50),
                    "commit_p95_ms": p(commits, 95),
                    "commit_max_ms": p(commits, 100),
                    "search_p50_ms": p(searches, 50),
                    "search_cpu_p50_ms": p(worked, 50),
                    "most_segments": most,
                }
            )
            print(json.dumps(rows[-1]), flush=True)
        index.upkeep.wait()
        index.refresh()
        everything = range(options.start + options.adds)
        whole = MultiVectorIndex.build(scratch / "whole", arrays(vectors, everything), threads=2)
        with whole:
            grown_ms, whole_ms, ratios = in_turn(index, whole, vectors.queries)
        findings = index._index.findings()
    first = rows[0]
    result = {
        "benchmark": "many",
        "rows": rows,
        "commit_p95_ratio": round(max(row["commit_p95_ms"] for row in rows) / first["commit_p95_ms"], 2),
        "search_p50_ratio": round(max(row["search_p50_ms"] for row in rows) / first["search_p50_ms"], 2),
        "search_cpu_p50_ratio": round(max(row["search_cpu_p50_ms"] for row in rows) / first["search_cpu_p50_ms"], 2),
        "grown_p50_ms": grown_ms,
        "whole_p50_ms": whole_ms,
        "grown_to_whole": ratios,
        "findings": findings,
    }
    print(json.dumps({key: value for key, value in result.items() if key != "rows"}), flush=True)
    return result


def in_turn(one: MultiVectorIndex, other: MultiVectorIndex, queries: Sequence[Floats]) -> tuple[float, float, float]:
    """p50 of both, and that of the first as a multiple of the second's."""
    for query in queries:
        one.search(query, K)
        other.search(query, K)
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(3):
        for query in queries:
            for index, ms in zip((one, other), taken, strict=True):
                ms += searched(index, [query])
    return p(taken[0], 50), p(taken[1], 50), round(p(taken[0], 50) / p(taken[1], 50), 3)


# -- a fifth of everything ---------------------------------------------------------------------------------------------


class Story:
    """Which documents the index is built of, and what happens to it; `after` is what each id is at the end."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(SEED)
        self.first = int(count / 1.2)
        self.added = list(range(self.first, count))
        shuffled = rng.permutation(self.first)
        fifth, tenth = self.first // 5, self.first // 10
        self.deleted = sorted(shuffled[:fifth].tolist())
        replaced = sorted(shuffled[fifth : fifth + tenth].tolist())
        self.replaced = dict(zip(replaced, rng.permutation(self.deleted)[:tenth].tolist(), strict=True))


def batches(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), BATCH):
        yield numbers[start : start + BATCH]


def change(index: MultiVectorIndex, vectors: Vectors, story: Story) -> None:
    for some in batches(story.added):
        index.add(arrays(vectors, some), ids=map(str, some))
    for some in batches(story.deleted):
        index.delete(map(str, some))
    for some in batches(list(story.replaced)):
        index.add(arrays(vectors, [story.replaced[number] for number in some]), ids=map(str, some))


def what_is_left(index: MultiVectorIndex, story: Story) -> tuple[list[str], list[int]]:
    """Ids in the order of their rows, and the document that each is."""
    ids = index._snapshot.ids(index._snapshot.live_rows)
    return ids, [story.replaced.get(int(name), int(name)) for name in ids]


def exposing(options: argparse.Namespace, vectors: Vectors, scratch: Path) -> dict[str, Any]:
    story = Story(len(vectors))
    started = time.perf_counter()
    names = [str(number) for number in range(story.first)]
    changed, fresh = scratch / "changed", scratch / "fresh"
    with MultiVectorIndex.build(changed, arrays(vectors, range(story.first)), ids=iter(names), threads=2) as index:
        print(f"built in {time.perf_counter() - started:.0f} s", flush=True)
        started = time.perf_counter()
        change(index, vectors, story)
        print(f"changed in {time.perf_counter() - started:.0f} s", flush=True)
        index.upkeep.wait()
        index.refresh()
        print(f"upkeep done after {time.perf_counter() - started:.0f} s", flush=True)
        segments, manifest = len(index._snapshot.segments), index._late.manifest
        ids, documents = what_is_left(index, story)
    told = {"segments": segments, "appended": manifest.appended, "trained": manifest.trained, "drift": manifest.drift}
    print(json.dumps(told), flush=True)
    command = [sys.executable, __file__, "--work", str(options.work), "ask", options.name, "--dim", str(options.dim)]
    done = subprocess.run([*command, str(changed)], capture_output=True, text=True, check=True)
    asked = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(asked), flush=True)
    MultiVectorIndex.build(fresh, arrays(vectors, documents), ids=iter(ids), threads=2).close()
    with MultiVectorIndex.open(fresh) as whole, MultiVectorIndex.open(changed) as index:
        changed_ms, fresh_ms, ratio = in_turn(index, whole, vectors.queries)
        result = {"changed_p50_ms": changed_ms, "fresh_p50_ms": fresh_ms, "changed_to_fresh": ratio}
        print(json.dumps(result), flush=True)
        index.upkeep.paused = True
        index.compact(keep_for=0)
        late = build_late(index._index, "tokens", threads=2)
        index.refresh()
        same = all(
            index.search(query, K)[0] == whole.search(query, K)[0]
            and np.array_equal(index.search(query, K)[1], whole.search(query, K)[1])
            for query in vectors.queries
        )
        depths = late.manifest.depths == whole._late.manifest.depths
        findings = index._index.findings()
    again = {"same_rankings_when_rebuilt": same, "same_depths": depths, "findings": findings}
    print(json.dumps(again), flush=True)
    return {"benchmark": "exposing", "documents": len(documents), **told, **asked, **result, **again}


def ask(options: argparse.Namespace, vectors: Vectors) -> dict[str, Any]:
    """In a process of its own: the index's answers, its memory, and then how exact they were."""
    with MultiVectorIndex.open(options.folder) as index:
        opened = memory()
        found = [index.search(query, K)[0] for query in vectors.queries]
        after = memory()
        rows = index._snapshot.live_rows
        allowed = np.sort(np.random.default_rng(SEED).choice(rows, len(rows) // 100, replace=False))
        late, snapshot = index._late, index._snapshot
        few = [late.search(snapshot, "tokens", query, K, allowed) for query in vectors.queries]
        kept, kept_few = [], []
        for query, names, filtered in zip(vectors.queries, found, few, strict=True):
            exact = snapshot.search("tokens", query, 2 * K)
            kept.append(overlap(snapshot.rows(names), exact.rows, exact.scores))
            exact = snapshot.search("tokens", query, 2 * K, allowed)
            kept_few.append(overlap(filtered.rows, exact.rows, exact.scores))
    whole, part = Estimate.of(kept), Estimate.of(kept_few)
    return {
        "overlap@10": round(whole.mean, 4),
        "low": round(whole.low, 4),
        "high": round(whole.high, 4),
        "overlap@10_one_percent_allowed": round(part.mean, 4),
        "rss_opened_mb": opened,
        "rss_after_queries_mb": after,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "latewood" / "bench")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("many", "exposing", "ask"):
        one = commands.add_parser(name)
        one.add_argument("name")
        one.add_argument("--dim", type=int, choices=(128, 384), default=128)
        one.add_argument("--documents", type=int, default=None)
        one.add_argument("--queries", type=int, default=200)
        one.add_argument("--scratch", type=Path, default=None, help="where indexes are built")
        one.add_argument("--save", action="store_true", help="append to benchmarks/results/updates.json")
        one.add_argument("--windows", default="", help="size:stride, as in index.py")
        one.set_defaults(cut=0)
        if name == "many":
            one.add_argument("--start", type=int, default=5000)
            one.add_argument("--adds", type=int, default=10_000)
        if name == "ask":
            one.add_argument("folder", type=Path)
    options = parser.parse_args()
    vectors = Vectors(options.work, options)
    if options.command == "ask":
        print(json.dumps(ask(options, vectors)))
        return
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        result = {"many": many, "exposing": exposing}[options.command](options, vectors, Path(scratch))
    if options.save:
        path = HERE / "results" / "updates.json"
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE)
        result |= {"schema": 1, "data": options.name, "dim": options.dim, "commit": commit.stdout.strip()}
        result |= {"machine": platform.processor() or platform.machine()}
        before = json.loads(path.read_text()) if path.exists() else []
        path.write_text(json.dumps([*before, result], indent=1) + "\n")


if __name__ == "__main__":
    main()
