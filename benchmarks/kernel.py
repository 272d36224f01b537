"""How fast the kernel is, against the machine's peak and against other libraries.

In one run and on the same data: the peak of fused multiply-adds on registers (peak.cpp, compiled here), our formats,
and whatever of maxsim-cpu, NumKong, NumPy and torch is installed. Documents are random (seed 0), 180 vectors each, or
1,030 as a page of an image model has; "cache" means 250 kB of them scored again and again, "memory" 200 MB scored piece
by piece. Only useful operations count: 2 * Q * T * D.

All contestants of a shape take turns, some milliseconds each, so that whatever else the machine does falls on all of
them; figures are medians over the turns. With one thread the clock is the process's processor time, with more it is
the wall's.

    python benchmarks/kernel.py [--quick] [--json] [--threads 1 2] [--save]

--save writes the rows to benchmarks/results/kernel.json, with commit and machine. Rivals: pip install maxsim-cpu
numkong torch, in an environment of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Threads of these libraries go on spinning for tens of milliseconds after a call, on the core that the second thread of
# the next contestant wants.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from peak import limits

HERE = Path(__file__).resolve().parent
FORMATS = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "bits": 1 / 8, "hamming": 1 / 8}  # bytes per dimension
CACHE_BYTES, MEMORY_BYTES = 250_000, 200_000_000
TURN_OPERATIONS = 5e8  # about six milliseconds

Turn = Callable[[int], float]  # number of the turn -> operations that it did


@dataclass(frozen=True)
class Shape:
    """Q query vectors, D dimensions, T vectors per document; in "cache" or from "memory"."""

    Q: int
    D: int
    T: int
    where: str

    def documents(self, bytes_per_dim: float) -> int:
        """N: how many documents make the set."""
        total = CACHE_BYTES if self.where == "cache" else MEMORY_BYTES
        return max(2, int(total / (self.T * self.D * bytes_per_dim)))

    def per_turn(self, documents: int, bytes_per_dim: float = 4.0) -> int:
        """How many documents one turn scores; of bits more, since they go faster."""
        operations = TURN_OPERATIONS * (1 if bytes_per_dim >= 1 else 6)
        wanted = max(1, int(operations / (2 * self.Q * self.T * self.D)))
        return wanted if self.where == "cache" else min(wanted, documents)


def shapes(quick: bool) -> list[Shape]:
    """The shapes of a run: the quick ones, or all."""
    if quick:
        few = [Shape(Q, D, 180, "cache") for Q, D in ((8, 48), (10, 128), (19, 384), (32, 128))]
        return [*few, Shape(32, 128, 180, "memory"), Shape(19, 384, 180, "memory")]
    grid = [(Q, D) for Q in (8, 10, 19, 24, 32) for D in (48, 96, 128, 384)]
    return [
        *(Shape(Q, D, 180, where) for where in ("cache", "memory") for Q, D in grid),
        *(Shape(Q, 128, 1030, "memory") for Q in (19, 32)),
    ]


def repeated(block: Any, rows: int) -> Any:
    """`rows` rows made of copies of a random block: speed doesn't depend on the values, and making them takes long."""
    import numpy as np

    return np.ascontiguousarray(np.tile(block, (-(-rows // len(block)), 1))[:rows])


def our_turn(form: str, shape: Shape, threads: int) -> Turn:
    """Turns of our kernel over documents of one format."""
    import numpy as np

    from latewood import maxsim
    from latewood.types import BitVectors, MultiVectors

    rng = np.random.default_rng(0)
    count = shape.documents(FORMATS[form])
    offsets = np.arange(count + 1, dtype=np.int64) * shape.T
    query: Any = rng.standard_normal((shape.Q, shape.D), dtype=np.float32)
    block = rng.standard_normal((5000, shape.D), dtype=np.float32)
    documents: MultiVectors | BitVectors
    if form in ("bits", "hamming"):
        documents = BitVectors(repeated(maxsim.signs(block), count * shape.T), offsets, shape.D)
        query = maxsim.signs(query) if form == "hamming" else query
    elif form == "int8":
        small = maxsim.quantize(MultiVectors(block, np.array([0, len(block)])))
        scales = np.full(count * shape.T, 0.01, np.float32)
        documents = MultiVectors(repeated(small.tokens, count * shape.T), offsets, scales)
    else:
        documents = MultiVectors(repeated(block.astype(form), count * shape.T), offsets)
    taken = shape.per_turn(count, FORMATS[form])

    def turn(number: int) -> float:
        rows = (np.arange(taken, dtype=np.int64) + number * taken) % count
        maxsim.scores(query, documents, rows, threads=threads)
        return 2.0 * shape.Q * shape.D * shape.T * taken

    return turn


def rival_turn(name: str, shape: Shape) -> Turn:
    """Turns of a rival over float32 documents; in the cache it gets all of them at each call."""
    import numpy as np

    from kernel_rivals import RIVALS

    rng = np.random.default_rng(0)
    count = shape.documents(FORMATS["float32"])
    query = rng.standard_normal((shape.Q, shape.D), dtype=np.float32)
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    block = rng.standard_normal((5000, shape.D), dtype=np.float32)
    block /= np.linalg.norm(block, axis=1, keepdims=True)
    documents = repeated(block, count * shape.T).reshape(count, shape.T, shape.D)
    scoring = RIVALS[name](query, documents)
    taken = min(shape.per_turn(count), count)
    calls = max(1, shape.per_turn(count) // taken)

    def turn(number: int) -> float:
        first = number * taken % (count - taken + 1)
        for _ in range(calls):
            scoring(first, first + taken)
        return 2.0 * shape.Q * shape.D * shape.T * taken * calls

    return turn


def contestants(shape: Shape, threads: int, missing: set[str]) -> Iterator[tuple[str, Turn]]:
    """Everybody who can run this shape; rivals that aren't installed go to `missing`."""
    from kernel_rivals import RIVALS

    for form in FORMATS:
        yield form, our_turn(form, shape, threads)
    for name in RIVALS:
        try:
            yield name, rival_turn(name, shape)
        except ImportError:  # noqa: PERF203 (four of them, outside of what is measured)
            missing.add(name)


def measure(shape: Shape, threads: int, turns: int, peak: Callable[[], float], missing: set[str]) -> dict[str, Any]:
    """Let all contestants of a shape take turns; the peak in between, and their rows."""
    clock = time.process_time if threads == 1 else time.perf_counter
    runners = list(contestants(shape, threads, missing))
    speeds: dict[str, list[float]] = {name: [] for name, _ in runners}
    peaks = []
    for number in range(-1, turns):  # the first turn warms up
        reached = peak()
        for name, turn in runners:
            start = clock()
            operations = turn(max(number, 0))
            if number >= 0:
                speeds[name].append(operations / (clock() - start) * 1e-9)
        if number >= 0:
            peaks.append(reached)
    middle = statistics.median(peaks)
    rows = []
    for name, values in speeds.items():
        gflops = statistics.median(values)
        count = shape.documents(FORMATS.get(name, 4.0))
        rows.append(
            {
                "name": name,
                "shape": {"Q": shape.Q, "D": shape.D, "T": shape.T, "N": count},
                "where": shape.where,
                "threads": threads,
                "gflops": round(gflops, 2),
                "of_peak": round(gflops / middle, 3),
                "ns_per_token": round(2.0 * shape.Q * shape.D / gflops, 2),
            }
        )
    return {"peak": middle, "rows": rows}


def run(quick: bool, threads: int) -> dict[str, Any]:
    """All shapes with so many threads, in this process."""
    library = limits()
    missing: set[str] = set()
    found = [
        measure(s, threads, 15 if quick else 40, lambda: library.fma_peak(100_000), missing) for s in shapes(quick)
    ]
    from latewood import maxsim

    return {
        "peak_gflops": round(statistics.median(part["peak"] for part in found), 1),
        "isa": maxsim.isa(),
        "missing": sorted(missing),
        "rows": [row for part in found for row in part["rows"]],
    }


def run_apart(quick: bool, threads: int) -> dict[str, Any]:
    """The same in a process of its own, whose libraries are told the number of threads before they load."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    command = [sys.executable, __file__, "--here", str(threads), *(["--quick"] if quick else [])]
    ran = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(ran.stdout)
    return result


def table(result: dict[str, Any]) -> str:
    """Rows of shapes, columns of names; parts of the peak, with one thread the only fair unit."""
    names = list(dict.fromkeys(row["name"] for row in result["rows"]))
    lines = [f"peak {result['peak_gflops']} GFLOP/s, {result['isa']}; figures are multiples of the peak of one thread"]
    lines.append(f"{'Q x D x T':>16} {'where':>7} {'threads':>7} " + " ".join(f"{name:>10}" for name in names))
    by_shape: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in result["rows"]:
        shape = row["shape"]
        key = (f"{shape['Q']} x {shape['D']} x {shape['T']}", row["where"], row["threads"])
        by_shape.setdefault(key, {})[row["name"]] = row["of_peak"]
    for (label, where, threads), figures in by_shape.items():
        cells = " ".join(f"{figures[name]:>10.2f}" if name in figures else " " * 10 for name in names)
        lines.append(f"{label:>16} {where:>7} {threads:>7} {cells}")
    if result["missing"]:
        lines.append(f"not installed: {', '.join(result['missing'])}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few shapes, under 40 seconds")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--threads", type=int, nargs="+", help="numbers of threads (default: 1 and all; quick: 1)")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/kernel.json")
    parser.add_argument("--here", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(run(options.quick, options.here)))
        return
    threads = options.threads or ([1] if options.quick else sorted({1, os.cpu_count() or 1}))
    parts = [run_apart(options.quick, number) for number in threads]
    result = {"schema": 1, **parts[0], "rows": [row for part in parts for row in part["rows"]]}
    if options.save:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, check=True, stdout=subprocess.PIPE, text=True)
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        saved = {**result, "commit": commit.stdout.strip()[:12], "machine": machine}
        (HERE / "results" / "kernel.json").write_text(json.dumps(saved, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result) if options.json else table(result))


if __name__ == "__main__":
    main()
