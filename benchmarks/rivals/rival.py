"""What the files beside this one share: read the vectors, build, search every query, print one line of JSON."""

from __future__ import annotations

import itertools
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

K = 10
Search = Callable[[Any, int], list[int]]


def main(build: Callable[[list[Any], str], dict[str, Search]], version: str) -> None:
    """Measure one engine.

    Args:
        build: (documents, folder) -> name of a setting, "" for the default -> search(query, k) giving row numbers.
        version: of the engine.
    """
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    documents = cut(data, "tokens", "offsets")
    queries = cut(data, "queries", "query_offsets")
    started = time.perf_counter()
    settings = build(documents, str(folder))
    build_s = time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    found = []
    for name, search in settings.items():
        for query in queries[:20]:
            search(query, K)
        rankings, ms = [], []
        for query in queries:
            began = time.perf_counter()
            rankings.append(search(query, K))
            ms.append((time.perf_counter() - began) * 1e3)
        found.append({"setting": name and f" {name}", "rankings": rankings, "ms": ms})
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    sys.stdout.write(
        "\n"
        + json.dumps({"version": version, "build_s": build_s, "peak_mb": peak_mb, "bytes": size, "settings": found})
    )


def cut(data: Path, name: str, offsets: str) -> list[Any]:
    """[T, D] float32 arrays."""
    values, starts = np.load(data / f"{name}.npy"), np.load(data / f"{offsets}.npy")
    return [np.ascontiguousarray(values[a:b], np.float32) for a, b in itertools.pairwise(starts)]
