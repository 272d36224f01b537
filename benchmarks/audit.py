"""Audit labelled collections, and check what an audit promises: the ceiling, and the interval of the lift.

Today's system is the first five of `dense`, the pool its first fifty; the reranker is late interaction over the stored
vectors. For every collection the questions are split in random halves, 200 times: the interval that one half predicts
for the mean lift of the other is held against the lift that the other shows. The collections are those that
benchmarks/quality.py makes; nothing here is tuned on them.

    python benchmarks/audit.py --data FOLDER --work FOLDER scifact cranfield cosqa [--save]
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from latewood import __version__
from latewood.collection import Collection
from latewood.evaluate import read_qrels, read_queries
from latewood.evaluate.audit import Audit, audit, by_qrels
from latewood.evaluate.audit_corpus import Corpus
from latewood.evaluate.lift import predict
from latewood.evaluate.misses import CLASSES, capped_recall

HERE = Path(__file__).parent
HALVES = 200
K, POOL = 5, 50


def measure(name: str, data: Path, work: Path) -> dict[str, Any]:
    """Audit one collection with all of its questions, and split them."""
    with Collection.open(work / f"{name}.lw") as kb:
        snapshot = kb.bind("dense").snapshot
        corpus = Corpus(kb.sources(), lambda ids: snapshot.passages(snapshot.rows(ids)))
        queries = read_queries(data / name / "queries.jsonl")
        qrels = read_qrels(data / name / "qrels" / "test.tsv")
        questions = by_qrels(queries, qrels, corpus)
        found = audit({"dense": kb.bind("dense")}, questions, corpus, k=K, pool=POOL)
        late = kb.bind(f"dense:{POOL} >> late:{K}")
        shown = {
            query_id: questions.collapse([hit.id for hit in late.rank(text, POOL).hits])
            for query_id, text in questions.queries.items()
        }
    reranked = capped_recall(questions.golds, shown, K)
    lift = np.array([reranked[query_id] - found.recall[query_id] for query_id in reranked])
    return {"collection": name, **figures(found, qrels), "lift": float(lift.mean()), **halves(lift)}


def figures(found: Audit, qrels: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """The audit's figures; the classes must add up."""
    printed = found.to_json()
    assert sum(found.count(kind) for kind in CLASSES) == len(found.misses)
    assert found.pairs == sum(grade > 0 for query_id in found.recall for grade in qrels[query_id].values())
    kept = ("recall", "ceiling", "pairs", "missed", "unavoidable", "misses", "label_hole_flags")
    return {"questions": len(found.recall), **{key: printed[key] for key in kept}}


def halves(lift: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """How often the interval of one half holds the mean of the other, and its median width."""
    rng = np.random.default_rng(seed)
    held, widths = 0, []
    for _ in range(HALVES):
        order = rng.permutation(len(lift))
        one, other = lift[order[: len(lift) // 2]], lift[order[len(lift) // 2 :]]
        low, high = predict(one.tolist(), len(other))
        held += low <= other.mean() <= high
        widths.append(high - low)
    return {"halves": HALVES, "held": held / HALVES, "median_width": float(np.median(widths))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", help="collections in both folders")
    parser.add_argument("--data", type=Path, required=True, help="folder of BEIR collections")
    parser.add_argument("--work", type=Path, default=HERE / ".cache", help="where benchmarks/quality.py keeps NAME.lw")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/audit.json")
    arguments = parser.parse_args()
    found = []
    for name in arguments.names:
        found.append(measure(name, arguments.data, arguments.work))
        print(json.dumps(found[-1], indent=1), flush=True)
    if arguments.save:
        commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, cwd=HERE)
        made = {"commit": commit.stdout.strip(), "latewood": __version__, "python": platform.python_version()}
        target = HERE / "results" / "audit.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps({**made, "collections": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
