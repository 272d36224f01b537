"""What fewer bits of a dimension keep of a ranking, and what they cost, on the token vectors of a collection.

    python benchmarks/quantisation.py prepare FOLDER --passages 2000 -c slice.lw     # a slice in float32, encoded once
    python benchmarks/quantisation.py run slice.lw -q FOLDER/queries.jsonl -r FOLDER/qrels/test.tsv [--pool 2 3]

`prepare` takes the passages that answer a question and then the first ones, to so many in all, and keeps float32.
`run` takes what a collection stores as the truth: float32 of a collection made with `--bits 32`, else int8, which keeps
0.998 of float32's top ten. Every level is made from that and ranks all passages for every question:
overlap@10 is the share of the exact top ten (ties within 1e-4 count) in the level's own top ten, in its best 20,
50 and 100, and after scoring those hundred as they are stored ("1+8"). --dim projects wide vectors on their main
directions first. Times are medians of one thread's processor time, one question after the other; the load of the
machine is printed with them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood import maxsim
from latewood.collection import Collection
from latewood.evaluate import read_qrels, read_queries
from latewood.evaluate.data import select
from latewood.evaluate.metrics import mean, measure, parse_metrics
from latewood.index import Estimate, Form, Signs, floats_of, overlap
from latewood.index.levels import SHORT_LIST, SHORT_LIST_OF_BITS
from latewood.index.pooling import pooled
from latewood.ingest import read_jsonl
from latewood.types import BitVectors, MultiVectors

K, LIST, LIST_OF_BITS = 10, SHORT_LIST, SHORT_LIST_OF_BITS
DEPTHS = (10, 20, 50, LIST)
CENTRE = 1024  # documents that centre and spread are fitted on: a collection's first batch

Floats = npt.NDArray[np.float32]


def prepare(folder: Path, passages: int, collection: Path) -> None:
    """Encode a slice of a collection in the BEIR layout, and keep it in float32."""
    gold = {doc for grades in read_qrels(folder / "qrels" / "test.tsv").values() for doc in grades}
    everything = list(read_jsonl(folder / "corpus.jsonl"))
    chosen = [passage for passage in everything if passage.id in gold]
    chosen += [passage for passage in everything if passage.id not in gold][: max(0, passages - len(chosen))]
    with Collection.create(collection, bits=32) as kb:
        kb.add(chosen)


class Data:
    """Vectors, ids, questions and judgements of one run."""

    def __init__(self, options: argparse.Namespace) -> None:
        with Collection.open(options.collection) as kb:
            rows = kb.snapshot.live_rows
            self.ids = kb.snapshot.ids(rows)
            stored = kb.snapshot.vectors(rows)
            self.truth = "float32" if stored.scales is None else "int8"
            self.vectors = floats_of(stored)
            judged = select(read_queries(options.queries), read_qrels(options.qrels))
            asked = dict(itertools.islice(judged.queries.items(), options.questions))
            self.judged = select(asked, judged.qrels)
            self.queries = {name: kb.encoder.encode_query(text).tokens for name, text in asked.items()}
        if options.dim:
            self._project(options.dim)
        if options.pool:
            self.pooled = {factor: self._pooled(factor) for factor in options.pool}
        else:
            self.pooled = {}

    def _project(self, dim: int) -> None:
        drawn = np.random.default_rng(0).permutation(len(self.vectors.tokens))[:100_000]
        sample = self.vectors.tokens[drawn].astype(np.float32)
        _, directions = np.linalg.eigh(sample.T @ sample)
        main = np.ascontiguousarray(directions[:, ::-1][:, :dim], np.float32)
        self.vectors = MultiVectors(_unit(self.vectors.tokens @ main), self.vectors.offsets)
        self.queries = {name: _unit(query @ main) for name, query in self.queries.items()}

    def _pooled(self, factor: float) -> MultiVectors:
        return MultiVectors.of(list(pooled((self.vectors[i] for i in range(len(self.vectors))), factor)))


def _unit(values: Floats) -> Floats:
    return np.ascontiguousarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9), np.float32)


Ranked = tuple[npt.NDArray[np.int64], Floats]


def ranked(scores: Floats) -> Ranked:
    """Documents by score, and their scores."""
    order = np.argsort(-scores, kind="stable")
    return order, scores[order]


class Judge:
    """Holds every ranking against the exact one and against the judgements."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.exact = {name: ranked(maxsim.scores(query, data.vectors)) for name, query in data.queries.items()}

    def row(self, name: str, size: float, rank: Callable[[Floats], npt.NDArray[np.int64]]) -> dict[str, Any]:
        """One line of the ladder.

        Args:
            name: of the level.
            size: bytes a vector of the model (of pooled ones the share that is left counts).
            rank: a question's vectors -> documents, best first.
        """
        kept: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
        rankings, taken = {}, []
        for question, query in self.data.queries.items():
            started = time.thread_time()
            found = rank(query)
            taken.append(time.thread_time() - started)
            rankings[question] = [self.data.ids[i] for i in found[:K]]
            for depth in DEPTHS:
                kept[depth].append(overlap(found[:depth], *self.exact[question]))
        scored = measure(self.data.judged, rankings, parse_metrics(["nDCG@10"]))
        interval = Estimate.of(kept[K])
        return {
            "level": name,
            "bytes_per_vector": round(size, 1),
            "overlap@10": round(interval.mean, 4),
            "interval": [round(interval.low, 4), round(interval.high, 4)],
            **{f"in_best_{depth}": round(float(np.mean(kept[depth])), 4) for depth in DEPTHS[1:]},
            "nDCG@10": round(mean(next(iter(scored.values()))), 4),
            "p50_ms": round(float(np.median(taken)) * 1e3, 2),
        }


def _bytes(stored: MultiVectors | BitVectors) -> int:
    if isinstance(stored, BitVectors):
        return stored.codes.nbytes
    return stored.tokens.nbytes + (0 if stored.scales is None else stored.scales.nbytes)


def ladder(data: Data) -> list[dict[str, Any]]:
    """All levels, the two stages and pooled vectors."""
    judge = Judge(data)
    whole = len(data.vectors.tokens)
    rows = []
    for bits in (32, 16, 8):
        stored = Form(bits).store(data.vectors)
        rows.append(judge.row(f"{bits}", _bytes(stored) / whole, _exhaustive(stored)))
    rows += _sign_rows(judge, data.vectors, "")
    for factor, vectors in data.pooled.items():
        int8 = Form(8).store(vectors)
        rows.append(judge.row(f"8, pooled by {factor:g}", _bytes(int8) / whole, _exhaustive(int8)))
        rows += _sign_rows(judge, vectors, f", pooled by {factor:g}")[:1]
    return rows


def _exhaustive(stored: Any) -> Callable[[Floats], npt.NDArray[np.int64]]:
    return lambda query: ranked(maxsim.scores(query, stored))[0]


def _sign_rows(judge: Judge, vectors: MultiVectors, suffix: str) -> list[dict[str, Any]]:
    """By signs: an integer query, a query of one bit, without a centre, and with a second stage."""
    whole = len(judge.data.vectors.tokens)
    signs = Signs.fit(vectors.tokens[: vectors.offsets[min(len(vectors), CENTRE)]])
    codes, plain = signs.encode(vectors), maxsim.binarize(vectors)
    size = _bytes(codes) / whole
    int8 = Form(8).store(vectors)
    assert isinstance(int8, MultiVectors)

    def rescored(query: Floats, most: int, of: Callable[[Any], Floats]) -> npt.NDArray[np.int64]:
        rows = np.sort(ranked(signs.estimates(query, codes))[0][:most])
        scores = of(rows)
        return rows[np.argsort(-scores, kind="stable")]

    def of_rows(rows: npt.NDArray[np.int64]) -> BitVectors:
        parts = [codes[i] for i in rows.tolist()]
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        return BitVectors(np.concatenate(parts), offsets, codes.dim, codes.center)

    ranks: dict[str, tuple[float, Callable[[Floats], npt.NDArray[np.int64]]]] = {
        "signs": (size, lambda query: ranked(signs.estimates(query, codes))[0]),
        "signs, 1-bit query": (
            size,
            lambda query: ranked(maxsim.scores(maxsim.signs(query, signs.center), codes))[0],
        ),
        "signs, no centre": (size, lambda query: ranked(maxsim.scores(query, plain))[0]),
        "1": (
            size,
            lambda query: rescored(query, LIST_OF_BITS, lambda rows: signs.scores(query, of_rows(rows))),
        ),
        "1+8": (
            size + _bytes(int8) / whole,
            lambda query: rescored(query, LIST, lambda rows: maxsim.scores(query, int8, rows)),
        ),
    }
    return [judge.row(f"{name}{suffix}", bytes_, rank) for name, (bytes_, rank) in ranks.items()]


def table(result: dict[str, Any]) -> str:
    """As docs/quantisation.md has it."""
    lines = [
        f"{result['collection']}: {result['documents']:,} passages, {result['vectors']:,} vectors, D {result['dim']}, "
        f"{result['questions']} questions, against {result['truth']}, load {result['load']:.1f}",
        "| level | bytes a vector | overlap@10 | in the best 20 / 50 / 100 | nDCG@10 | p50 ms |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        low, high = row["interval"]
        listed = " / ".join(f"{row[f'in_best_{depth}']:.3f}" for depth in DEPTHS[1:])
        kept = f"{row['overlap@10']:.3f} [{low:.3f}, {high:.3f}] | {listed}"
        size, time_taken = f"{row['bytes_per_vector']:g}", f"{row['p50_ms']:.1f}"
        lines.append(f"| {row['level']} | {size} | {kept} | {row['nDCG@10']:.3f} | {time_taken} |")
    return "\n".join(lines)


def main(given: Sequence[str] | None = None) -> None:
    """Prepare, or measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    preparing = commands.add_parser("prepare")
    preparing.add_argument("folder", type=Path)
    preparing.add_argument("--passages", type=int, default=2000)
    preparing.add_argument("-c", "--collection", type=Path, required=True)
    running = commands.add_parser("run")
    running.add_argument("collection", type=Path)
    running.add_argument("-q", "--queries", type=Path, required=True)
    running.add_argument("-r", "--qrels", type=Path, required=True)
    running.add_argument("--questions", type=int, default=300)
    running.add_argument("--dim", type=int)
    running.add_argument("--pool", type=float, nargs="*", default=[])
    running.add_argument("--json", action="store_true")
    options = parser.parse_args(given)
    if options.command == "prepare":
        prepare(options.folder, options.passages, options.collection)
        return
    data = Data(options)
    result = {
        "collection": options.collection.name,
        "documents": len(data.ids),
        "vectors": len(data.vectors.tokens),
        "dim": data.vectors.dim,
        "questions": len(data.queries),
        "truth": data.truth,
        "rows": ladder(data),
        "load": os.getloadavg()[0],
    }
    print(json.dumps(result, indent=1) if options.json else table(result))


if __name__ == "__main__":
    main()
