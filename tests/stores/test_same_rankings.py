"""The same vectors in a folder, in Qdrant's local mode and in Edge: the same rankings, on a real collection.

All keep float32 (`bits` 32 in the folder), so that they hold the same. In int8 the folder rounds queries, too, to
integers of at most 8191, and a score of 18 differs by 1e-4.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from store_homes import Home, store_at

from latewood.binding import BoundPipeline
from latewood.ingest import read_jsonl
from latewood.pipeline import parse
from latewood.types import EncodedPassages, MultiVectors

TOLERANCE = 1e-4


def queries_of(folder, count):
    lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines[:count]]


def rankings_agree(folder, tmp_path, minilm, passages_count, queries_count, pool):
    passages = list(itertools.islice(read_jsonl(folder / "corpus.jsonl"), passages_count))
    encoded = minilm.encode_passages([passage.text for passage in passages])
    held = encoded.tokens
    memo = {}
    found = {}
    for kind in ("embedded", "local", "edge"):
        (tmp_path / kind).mkdir()
        with store_at(Home(kind, tmp_path / kind, minilm.spec, {"bits": "32"})) as store:
            for start in range(0, len(passages), 200):
                some = range(start, min(start + 200, len(passages)))
                store.add(
                    [passages[i] for i in some],
                    EncodedPassages(
                        MultiVectors.of([held[i] for i in some]), MultiVectors.of([encoded.dense[i] for i in some])
                    ),
                )
            snapshot = store.snapshot()
            found[kind] = []
            for query in queries_of(folder, queries_count):
                late = BoundPipeline(parse("late(exact=true):10"), snapshot, lambda: minilm, memo=memo).rank(query)
                both = BoundPipeline(parse(f"dense:{pool} >> late:5"), snapshot, lambda: minilm, memo=memo)
                found[kind].append((late, both.rank(query), replace(both, whole=True).rank(query)))
    for kind in ("local", "edge"):
        for mine, theirs in zip(found["embedded"], found[kind], strict=True):
            for one, other in zip(mine, theirs, strict=True):
                same_order(one, other)


def same_order(one, other):
    """The same ids in the same order; where scores are nearer than the tolerance, either order is right."""
    scores = {hit.id: hit.score for hit in one.hits}
    np.testing.assert_allclose([hit.score for hit in other.hits], [hit.score for hit in one.hits], atol=TOLERANCE)
    for mine, theirs in zip(one.hits, other.hits, strict=True):
        assert mine.id == theirs.id or abs(scores.get(theirs.id, mine.score) - mine.score) < TOLERANCE


def test_rankings_of_a_part_of_cranfield_agree(data, tmp_path, minilm):
    rankings_agree(data("cranfield"), tmp_path, minilm, 30, 12, pool=10)


@pytest.mark.long
def test_rankings_of_cranfield_agree(data, tmp_path, minilm):
    rankings_agree(data("cranfield"), tmp_path, minilm, 1400, 225, pool=50)
