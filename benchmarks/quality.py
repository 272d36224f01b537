"""Quality of every pipeline on labelled collections, against the best of what teams run today.

What is measured: nDCG@10 and recall of dense, bm25, their fusion, reranking and late interaction alone, with the
bundled model. The yardstick is the best of the first three by nDCG@10 on the same collection, not the weakest; the
interval is a paired bootstrap over questions. Nothing is tuned on these judgements.

    python benchmarks/quality.py --data FOLDER scifact cranfield [--truncate | --chunk] [--save]

FOLDER holds BEIR collections: NAME/corpus.jsonl, NAME/queries.jsonl, NAME/qrels/test.tsv. Collections that are made are
kept under --work, so a second run only asks.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from latewood import __version__
from latewood.collection import Collection
from latewood.evaluate import Comparison, SystemResult, difference, read_qrels, read_queries
from latewood.folders import index_paths
from latewood.ingest import read_jsonl

HERE = Path(__file__).parent
TODAY = ("dense", "bm25", "dense + bm25")
PIPELINES = (*TODAY, "dense:50 >> late:50", "(dense + bm25):50 >> late:50", "late:50")
SHOWN = ("nDCG@10", "R@5", "R@50")


def measure(name: str, data: Path, work: Path, how: str) -> dict[str, Any]:
    """Index one collection if that was not done before, and ask all its questions of all pipelines."""
    path = work / f"{name}{'-' if how else ''}{how}.lw"
    kb = Collection.open(path) if path.exists() else Collection.create(path, truncate=how == "truncated")
    corpus = data / name / "corpus.jsonl"
    with kb:
        started = time.perf_counter()
        if how == "chunked":
            report = index_paths(kb, [corpus], chunk_jsonl=True, kind="jsonl").passages
        else:
            report = kb.add(read_jsonl(corpus))
        seconds = time.perf_counter() - started
        stats = kb.stats()
        comparison = kb.compare(
            PIPELINES, read_queries(data / name / "queries.jsonl"), read_qrels(data / name / "qrels" / "test.tsv")
        )
    best = max(TODAY, key=lambda pipeline: comparison[pipeline].metrics["nDCG@10"])
    return {
        "collection": name,
        "texts": how or "whole",
        "passages": stats["passages"],
        "questions": len(comparison.judged),
        "encoded": report.added,
        "encode_seconds": round(seconds, 1),
        "tokens_cut": report.cut,
        "best_today": best,
        "pipelines": [row(result, comparison, best) for result in comparison.results],
    }


def row(result: SystemResult, comparison: Comparison, best: str) -> dict[str, Any]:
    """Figures of one pipeline, and its difference against the best of today's."""
    against = {}
    for metric in SHOWN:
        mine, theirs = result.per_query[metric], comparison[best].per_query[metric]
        change = difference(list(mine.values()), list(theirs.values()))
        against[metric] = {
            "mean": change.mean,
            "interval": [change.interval.low, change.interval.high],
            "wins": change.wins,
            "losses": change.losses,
        }
    return {
        "pipeline": result.pipeline,
        "metrics": dict(result.metrics),
        "pool_recall": result.pool_recall,
        "against_best": against,
        "search_ms": {"p50": result.latency.search.p50, "p95": result.latency.search.p95} if result.latency else None,
    }


def markdown(found: dict[str, Any]) -> str:
    """One collection as a section of docs/quality.md."""
    how = {
        "truncated": "cut at the model's 256 tokens",
        "chunked": "in passages, by the default chunking",
        "whole": "whole, in windows",
    }[found["texts"]]
    lines = [
        f"### {found['collection']}, texts {how}",
        f"{found['passages']:,} passages, {found['questions']} questions. Best of today: `{found['best_today']}`.",
        "",
        "| pipeline | nDCG@10 | R@5 | R@50 | nDCG@10 against the best of today | won : lost | search p50 |",
        "|---|---|---|---|---|---|---|",
    ]
    for of in found["pipelines"]:
        figures = " | ".join(f"{of['metrics'][metric]:.3f}" for metric in SHOWN)
        change = of["against_best"]["nDCG@10"]
        low, high = change["interval"]
        same = of["pipeline"] == found["best_today"]
        text = "–" if same else f"{change['mean']:+.3f} ({low:+.3f} to {high:+.3f})"
        duel = "–" if same else f"{change['wins']} : {change['losses']}"
        lines.append(f"| `{of['pipeline']}` | {figures} | {text} | {duel} | {of['search_ms']['p50']:.1f} ms |")
    return "\n".join(lines) + "\n"


def machine() -> dict[str, Any]:
    """What the figures were made on."""
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, cwd=HERE)
    return {
        "commit": commit.stdout.strip() or "unknown",
        "latewood": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.platform(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", help="collections in the data folder")
    parser.add_argument("--data", type=Path, required=True, help="folder of BEIR collections")
    parser.add_argument("--work", type=Path, default=HERE / ".cache", help="where collections are kept")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--truncate", action="store_true", help="cut texts at the model's limit, as published figures do")
    form.add_argument("--chunk", action="store_true", help="cut texts into passages, as `latewood index --chunk` does")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/quality-NAME.json")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        how = "truncated" if arguments.truncate else "chunked" if arguments.chunk else ""
        found = measure(name, arguments.data, arguments.work, how)
        print(markdown(found))
        sys.stdout.flush()
        if arguments.save:
            suffix = f"-{how}" if how else ""
            target = HERE / "results" / f"quality-{name}{suffix}.json"
            target.write_text(json.dumps({**machine(), **found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
