"""A first pass of bits over pages of 1,024 vectors, beside our exact passes over them, in the same run.

    python benchmarks/pages.py [--pages 1000] [--queries 8 16 20 24 32] [--turns 15] [--json] [--save]

Pages are as many vectors as ColPali gives a page (32 x 32 patches, D 128), here random directions of length 1: what a
pass takes doesn't depend on what the vectors say, and nothing is claimed about what it finds (docs/quantisation.md has
that, for real text vectors). All passes take turns; a figure is the median over turns of the thread's processor time,
which waiting for others isn't part of. "pairs" are bits of the means of two neighbouring patches, "row means" of the 32
of a row (`latewood.pages.tile_means`, `row_means`). "two stages" is the first pass and the scores of the best hundred
in float16, as `--bits 1+16` searches. The load of the machine is printed with the result: on a busy one the caches and
the memory are shared, and passes that read more bytes lose more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from latewood import maxsim
from latewood.pages import PageGrid, row_means, tile_means
from latewood.types import MultiVectors

HERE = Path(__file__).resolve().parent
ROWS = COLUMNS = 32
DIM = 128
LIST = 100


def pages_of(count: int, rng: np.random.Generator) -> MultiVectors:
    """Random directions; as many pages, of 1,024 vectors each."""
    tokens = rng.standard_normal((count * ROWS * COLUMNS, DIM), dtype=np.float32)
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    return MultiVectors(tokens, np.arange(count + 1, dtype=np.int64) * ROWS * COLUMNS)


def means_of(pages: MultiVectors) -> tuple[MultiVectors, MultiVectors]:
    """The means of pairs of neighbours, and of rows."""
    grid = PageGrid.patches(ROWS, COLUMNS)
    pairs = [tile_means(pages[i], grid, 1, 2)[0] for i in range(len(pages))]
    return MultiVectors.of(pairs), MultiVectors.of([row_means(pages[i], grid)[0] for i in range(len(pages))])


def passes(pages: MultiVectors) -> tuple[dict[str, Callable[[Any], Any]], dict[str, int]]:
    """What each pass does with a query [Q, D], and the bytes that it reads."""
    float16 = MultiVectors(pages.tokens.astype(np.float16), pages.offsets)
    int8, bits = maxsim.quantize(pages), maxsim.binarize(pages)
    pairs, means = map(maxsim.binarize, means_of(pages))
    assert int8.scales is not None

    def two_stages(query: Any) -> Any:
        rows, _ = maxsim.top_k(query, bits, LIST)
        return maxsim.top_k(query, float16, 10, np.sort(rows))

    return {
        "float16": lambda query: maxsim.scores(query, float16),
        "int8": lambda query: maxsim.scores(query, int8),
        "bits": lambda query: maxsim.scores(query, bits),
        "bits, 1-bit query": lambda query: maxsim.scores(maxsim.signs(query), bits),
        "pairs, bits": lambda query: maxsim.scores(query, pairs),
        "row means, bits": lambda query: maxsim.scores(query, means),
        "two stages": two_stages,
    }, {
        "float32": pages.tokens.nbytes,
        "float16": float16.tokens.nbytes,
        "int8": int8.tokens.nbytes + int8.scales.nbytes,
        "bits": bits.codes.nbytes,
        "pairs, bits": pairs.codes.nbytes,
        "row means, bits": means.codes.nbytes,
    }


def measure(every: dict[str, Callable[[Any], Any]], query: Any, turns: int) -> dict[str, float]:
    """Median seconds of each pass; they take turns."""
    taken: dict[str, list[float]] = {name: [] for name in every}
    for turn in range(turns + 1):
        for name, work in every.items():
            started = time.thread_time()
            work(query)
            if turn:  # the first one warms up
                taken[name].append(time.thread_time() - started)
    return {name: float(np.median(seconds)) for name, seconds in taken.items()}


def run(count: int, queries: list[int], turns: int) -> dict[str, Any]:
    """All figures."""
    rng = np.random.default_rng(0)
    pages = pages_of(count, rng)
    every, sizes = passes(pages)
    rows = []
    for vectors in queries:
        query = np.ascontiguousarray(pages.tokens[rng.choice(len(pages.tokens), vectors, replace=False)])
        seconds = measure(every, query, turns)
        rows.append(
            {
                "queries": vectors,
                "ms": {name: value * 1e3 for name, value in seconds.items()},
                "ns_per_vector": {name: value * 1e9 / len(pages.tokens) for name, value in seconds.items()},
                "times_float16": {name: seconds["float16"] / value for name, value in seconds.items()},
            }
        )
    return {
        "pages": count,
        "vectors": ROWS * COLUMNS,
        "dim": DIM,
        "isa": maxsim.isa(),
        "load": os.getloadavg()[0],
        "turns": turns,
        "bytes_per_page": {name: size / count for name, size in sizes.items()},
        "rows": rows,
    }


def table(result: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"{result['pages']:,} pages of {result['vectors']:,} vectors, D {result['dim']}, {result['isa']}, one thread, "
        f"load {result['load']:.1f}",
        "bytes a page: " + ", ".join(f"{name} {size:,.0f}" for name, size in result["bytes_per_page"].items()),
    ]
    for row in result["rows"]:
        told = [
            f"{name} {row['ms'][name]:.1f} ms ({row['times_float16'][name]:.1f}x)" for name in row["ms"]
        ]  # against float16
        lines.append(f"Q {row['queries']:>3}: " + ", ".join(told))
    return "\n".join(lines)


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=1000)
    parser.add_argument("--queries", type=int, nargs="+", default=[8, 16, 20, 24, 32])
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/pages.json")
    options = parser.parse_args()
    result = run(options.pages, options.queries, options.turns)
    print(json.dumps(result, indent=1) if options.json else table(result))
    if options.save:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, check=True, stdout=subprocess.PIPE, text=True)
        saved = {**result, "commit": commit.stdout.strip()[:12], "machine": platform.processor() or platform.machine()}
        (HERE / "results" / "pages.json").write_text(json.dumps(saved, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
