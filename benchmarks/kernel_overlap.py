"""What storing vectors as int8, float16 or bits costs a ranking, on real token vectors.

Encodes the first --documents passages of a collection in the BEIR layout (corpus.jsonl, queries.jsonl) with the
bundled model, ranks all of them for every query by exact float32 MaxSim, and counts how much of the top ten is still
the top ten of the stored form, or among the best 20, 50 and 100 of the bits.

    python benchmarks/kernel_overlap.py FOLDER [--documents 1000] [--json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from latewood import maxsim
from latewood.encode import load
from latewood.types import BitVectors, MultiVectors

K = 10


def texts(path: Path, limit: int | None = None) -> list[str]:
    """Title and text of the first records of a JSONL file."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:limit]]
    return ["\n".join(filter(None, (record.get("title", ""), record["text"]))) for record in records]


def overlap(queries: list[Any], exact: list[set[int]], stored: MultiVectors | BitVectors, depth: int) -> float:
    """The mean part of the exact top ten that is within the best `depth` of the stored form."""
    found = (set(maxsim.top_k(query, stored, depth)[0].tolist()) for query in queries)
    return round(float(np.mean([len(want & got) / len(want) for want, got in zip(exact, found, strict=True)])), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    encoder = load("minilm")
    vectors = encoder.encode_passages(texts(options.folder / "corpus.jsonl", options.documents)).tokens
    queries = [encoder.encode_query(text).tokens for text in texts(options.folder / "queries.jsonl")]
    exact = [set(maxsim.top_k(query, vectors, K)[0].tolist()) for query in queries]

    center = vectors.tokens.mean(axis=0)
    bits = maxsim.binarize(vectors, center)
    half = MultiVectors(vectors.tokens.astype(np.float16), vectors.offsets)
    figures = {
        "float16": overlap(queries, exact, half, K),
        "int8": overlap(queries, exact, maxsim.quantize(vectors), K),
        **{f"bits, best {depth}": overlap(queries, exact, bits, depth) for depth in (20, 50, 100)},
        **{
            f"bits of the query too, best {depth}": overlap(
                [maxsim.signs(q, center) for q in queries], exact, bits, depth
            )
            for depth in (20, 50, 100)
        },
    }
    size = {"documents": len(vectors), "vectors": len(vectors.tokens), "queries": len(queries)}
    if options.json:
        print(json.dumps({"schema": 1, **size, "overlap": figures}))
        return
    print(", ".join(f"{number} {name}" for name, number in size.items()))
    for name, value in figures.items():
        print(f"{name:>34} {value:.4f}")


if __name__ == "__main__":
    main()
