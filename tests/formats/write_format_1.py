"""Writes the folder `format_1`: run once, with latewood as of 083119c (0.1.0, format 1).

    PYTHONPATH=CHECKOUT_OF_083119c/src python tests/formats/write_format_1.py tests/formats/format_1

A collection that has seen adds, replacements and deletes, with a late-interaction index and BM25's files; an index of
vectors alone that projects to fewer dimensions; and what each was asked and answered.
"""

import json
import sys
from pathlib import Path

import numpy as np

from latewood.index import MultiVectorIndex
from latewood.stores.embedded import EmbeddedStore
from latewood.types import EncodedPassages, EncoderSpec, MultiVectors, Passage

SPEC = EncoderSpec("none", "0" * 64, dim=16, dense_dim=8, max_length=32, overlap=8, libraries={"torch": "2.13.0"})
WORDS = ["river", "stone", "ladder", "copper", "meadow", "signal", "harbour", "winter", "engine", "paper", "violet"]
QUESTION = "copper harbour of winter"


def passages(rng, first, count, version):
    return [
        Passage(
            f"d{i}",
            " ".join(rng.choice(WORDS, rng.integers(0, 30))),
            source_id=f"s{i // 3}",
            title=f"Nº {i}" if i % 2 else "",
            source="somewhere/über.txt",
            metadata={"version": version, "n": i, "tags": ["a", i % 5]},
        )
        for i in range(first, first + count)
    ]


def encoded(rng, many):
    tokens = [rng.standard_normal((len(one.text.split()), SPEC.dim), dtype=np.float32) for one in many]
    dense = [rng.standard_normal((1 + i % 2, SPEC.dense_dim), dtype=np.float32) for i in range(len(many))]
    return EncodedPassages(MultiVectors.of(tokens), MultiVectors.of(dense))


def collection(path):
    rng = np.random.default_rng(1)
    store = EmbeddedStore.create(path, SPEC, golden=np.eye(4, dtype=np.float32))
    for first, count, version in (0, 80, 1), (80, 40, 1):
        many = passages(rng, first, count, version)
        store.add(many, encoded(rng, many))
    store.build_late(target_overlap=0.3, centroids=16)
    many = passages(rng, 20, 9, 2)
    store.add(many, encoded(rng, many))
    store.delete([f"d{i}" for i in range(3, 110, 11)])
    snapshot = store.snapshot()
    query, vector = rng.standard_normal((4, 16), dtype=np.float32), rng.standard_normal(8, dtype=np.float32)
    found = {
        "late": snapshot.late(query, 12, depths={"n_full_scores": 12, "n_refined": 40, "n_probe": 0}),
        "exact": snapshot.late(query, 200, exact=True),
        "dense": snapshot.dense(vector, 200),
        "bm25": snapshot.bm25(QUESTION, 200),
    }
    told = {
        "generation": snapshot.generation,
        "query": query.tolist(),
        "vector": vector.tolist(),
        "ids": snapshot.ids(snapshot.live_rows),
        "texts": [one.text for one in snapshot.passages(snapshot.live_rows)],
        "metadata": [dict(one.metadata) for one in snapshot.passages(snapshot.live_rows)],
        "rankings": {
            name: {"ids": snapshot.ids(c.rows), "scores": c.scores.tolist(), "exact": c.exact, "unscored": c.unscored}
            for name, c in found.items()
        },
    }
    store.close()
    return told


def vectors(path):
    rng = np.random.default_rng(2)
    documents = [rng.standard_normal((int(rng.integers(0, 9)), 24), dtype=np.float32) for _ in range(60)]
    query = rng.standard_normal((3, 24), dtype=np.float32)
    with MultiVectorIndex.build(path, documents, ids=[f"v{i}" for i in range(60)], dim=16) as index:
        ids, scores = index.search(query, 20, exact=True)
    return {"query": query.tolist(), "ids": ids, "scores": scores.tolist()}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    told = {"collection": collection(folder / "collection"), "vectors": vectors(folder / "vectors")}
    (folder / "answers.json").write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
