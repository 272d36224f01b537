"""What is published for the bundled model on scifact, and the kernel against NumPy on the same real vectors.

Published for all-MiniLM-L6-v2, texts cut at 256 tokens: nDCG@10 of 0.645 as a bi-encoder, 0.703 with its top 50
reranked by MaxSim over its token vectors, 0.707 with MaxSim over everything.
"""

from __future__ import annotations

import numpy as np
import pytest

from latewood import encode, maxsim
from latewood.collection import Collection
from latewood.evaluate import read_qrels, read_queries
from latewood.ingest import read_jsonl
from latewood.types import MultiVectors

PUBLISHED = {"dense": 0.645, "dense:50 >> late:50": 0.703, "late:50": 0.707}
TOLERANCE = 0.007


class Recording:
    """The bundled model, keeping the float32 token vectors that it gave."""

    def __init__(self) -> None:
        self.model = encode.load("minilm", truncate=True)
        self.spec, self.label, self.encode_query = self.model.spec, self.model.label, self.model.encode_query
        self.kept: list[MultiVectors] = []

    def encode_passages(self, texts, progress=None):
        encoded = self.model.encode_passages(texts, progress)
        self.kept.append(encoded.tokens)
        return encoded


@pytest.fixture(scope="module")
def scifact(data, tmp_path_factory):
    """(collection, queries, qrels, float32 token vectors in the order of its rows)."""
    folder = data("scifact")
    encoder = Recording()
    with Collection.create(tmp_path_factory.mktemp("scifact") / "kb.lw", encoder) as kb:
        encoder.kept.clear()  # the golden texts
        kb.add(read_jsonl(folder / "corpus.jsonl"))
        arrays = [vectors[i] for vectors in encoder.kept for i in range(len(vectors))]
        yield (
            kb,
            read_queries(folder / "queries.jsonl"),
            read_qrels(folder / "qrels" / "test.tsv"),
            MultiVectors.of(arrays),
        )


@pytest.mark.long
def test_published_figures(scifact):
    kb, queries, qrels, _ = scifact
    found = kb.compare([*PUBLISHED, "bm25"], queries, qrels)
    for pipeline, published in PUBLISHED.items():
        assert found[pipeline].metrics["nDCG@10"] == pytest.approx(published, abs=TOLERANCE)
    assert found["bm25"].metrics["nDCG@10"] >= 0.66


@pytest.mark.long
def test_the_kernel_ranks_real_float32_vectors_as_numpy_does(scifact):
    kb, queries, _, vectors = scifact
    stored = maxsim.quantize(vectors)
    starts = vectors.offsets[:-1]
    agreeing, overlap = 0, []
    for text in queries.values():
        tokens = kb.encoder.encode_query(text).tokens
        scores = np.maximum.reduceat(vectors.tokens @ tokens.T, starts, axis=0).sum(axis=1)
        wanted = np.lexsort((np.arange(len(scores)), -scores))[:10]
        found, _ = maxsim.top_k(tokens, vectors, 10)
        agreeing += found.tolist() == wanted.tolist()
        # A document that int8 returns counts if its exact score is that of the tenth, to rounding.
        by_int8, _ = maxsim.top_k(tokens, stored, 10)
        overlap.append((scores[by_int8] >= scores[wanted[-1]] - 1e-4).mean())
    assert agreeing == len(queries) == 300
    assert np.mean(overlap) >= 0.995
