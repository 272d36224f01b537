"""BM25: the formula, its freshness, and that a query is words and nothing else."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from latewood.errors import MissingExtra, UsageError
from latewood.stores.embedded import EmbeddedStore
from latewood.types import EncodedPassages, EncoderSpec, MultiVectors, Passage

DATA = Path(os.environ.get("LATEWOOD_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
SPEC = EncoderSpec("none", "0" * 64, dim=8, dense_dim=8, max_length=32, overlap=8)


def add(store, texts):
    """Texts by id."""
    n = len(texts)
    ones = MultiVectors(np.ones((n, 8), np.float32), np.arange(n + 1))
    return store.add([Passage(key, text) for key, text in texts.items()], EncodedPassages(ones, ones))


def ranking(snapshot, query, k=100):
    found = snapshot.bm25(query, k)
    return list(zip(snapshot.ids(found.rows), found.scores.tolist(), strict=True))


@pytest.fixture
def store(tmp_path):
    made = EmbeddedStore.create(tmp_path / "kb.lw", SPEC, {"analyzer": "plain"})
    yield made
    made.close()


WORDS = "ash birch cedar elm fir larch oak pine".split()  # noqa: SIM905 - reads as what it is


def random_texts(count, seed, prefix="d"):
    rng = np.random.default_rng(seed)
    # Up to 39 words: tantivy keeps such lengths exactly, longer ones rounded.
    return {f"{prefix}{i}": " ".join(rng.choice(WORDS, rng.integers(0, 39))) for i in range(count)}


def formula(texts, query, k1=1.2, b=0.75):
    """Robertson's BM25 with Lucene's never negative idf, in plain Python."""
    counts = {key: Counter(text.split()) for key, text in texts.items()}
    n, mean = len(texts), sum(map(Counter.total, counts.values())) / len(texts)
    scores = {}
    for key, tf in counts.items():
        score = 0.0
        for word in query.split():
            df = sum(word in other for other in counts.values())
            if tf[word]:
                idf = math.log(1 + (n - df + 0.5) / (df + 0.5))
                score += idf * tf[word] * (k1 + 1) / (tf[word] + k1 * (1 - b + b * tf.total() / mean))
        if score:
            scores[key] = score
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Counter.total")
def test_scores_are_bm25_of_the_live_passages(store):
    texts = random_texts(60, seed=1)
    for part in range(0, 60, 20):
        add(store, dict(list(texts.items())[part : part + 20]))
        store.snapshot().bm25("oak", 1)  # brings the copy on disk forward, commit by commit
    for live in (texts, {key: text for i, (key, text) in enumerate(texts.items()) if i % 3}):
        store.delete([key for key in texts if key not in live])
        for query in "oak", "oak pine", "fir fir larch zzz":
            found, expected = ranking(store.snapshot(), query), formula(live, query)
            assert {key for key, _ in found} == {key for key, _ in expected}
            wanted = dict(expected)
            np.testing.assert_allclose([s for _, s in found], [wanted[key] for key, _ in found], rtol=1e-5)
            assert found == sorted(found, key=lambda hit: (-hit[1], hit[0]))
            assert ranking(store.snapshot(), query, 7) == found[:7]


def test_a_ranking_does_not_depend_on_how_the_collection_came_about(tmp_path, store):
    texts = random_texts(50, seed=2)
    for i, (key, text) in enumerate(texts.items()):
        add(store, {key: "first draft oak oak", f"x{i}": "pine oak larch"})
        store.delete([f"x{i}"])
        add(store, {key: text})
        if i % 10 == 0:
            store.snapshot().bm25("oak", 3)
    fresh = EmbeddedStore.create(tmp_path / "fresh.lw", SPEC, {"analyzer": "plain"})
    add(fresh, texts)
    for query in "oak", "oak pine elm", "birch cedar cedar":
        assert ranking(store.snapshot(), query) == ranking(fresh.snapshot(), query)
    fresh.close()


def test_an_older_snapshot_ranks_as_ever(store):
    texts = random_texts(20, seed=3)
    add(store, texts)
    old = store.snapshot()
    before = ranking(old, "oak fir")
    store.delete(list(texts)[:5])
    add(store, random_texts(30, seed=4, prefix="e"))
    assert ranking(store.snapshot(), "oak fir") != before
    assert ranking(old, "oak fir") == before
    # Another process that is still there, while the copy on disk has moved on: it builds its own in memory.
    assert [path.name for path in (store.path / "derived" / "bm25").iterdir()] == ["3"]


def test_it_is_the_same_in_memory_as_on_disk(store):
    texts = random_texts(40, seed=5)
    add(store, texts)
    on_disk = ranking(store.snapshot(), "oak fir elm")
    store.close()
    derived = store.path / "derived"
    shutil.rmtree(derived)
    derived.write_text("a file where the folder should be, so that nothing can be written there")
    grown: list[list[tuple[str, float]]] = []
    for blocked in (True, False):
        other = EmbeddedStore.open(store.path)
        assert ranking(other.snapshot(), "oak fir elm") == on_disk
        add(other, random_texts(5, seed=6, prefix="more"))  # brought forward
        grown.append(ranking(other.snapshot(), "oak fir elm"))
        other.delete([f"more{i}" for i in range(5)])
        assert ranking(other.snapshot(), "oak fir elm") == on_disk
        other.close()
        if blocked:
            derived.unlink()
    assert grown[0] == grown[1]


def test_a_copy_of_another_collection_is_not_used(tmp_path, store):
    add(store, {"a": "oak", "b": "oak pine"})
    other = EmbeddedStore.create(tmp_path / "other.lw", SPEC, {"analyzer": "plain"})
    add(other, {"a": "pine", "b": "pine"})
    expected = ranking(store.snapshot(), "oak")
    ranking(other.snapshot(), "pine")
    store.close()
    shutil.rmtree(store.path / "derived")
    shutil.copytree(other.path / "derived", store.path / "derived")
    again = EmbeddedStore.open(store.path)
    assert ranking(again.snapshot(), "oak") == expected
    again.close()
    other.close()
    (left,) = (store.path / "derived" / "bm25").iterdir()
    (foreign,) = (other.path / "derived" / "bm25").iterdir()
    assert (left / "manifest.json").read_bytes() != (foreign / "manifest.json").read_bytes()  # made anew, on disk


@pytest.mark.parametrize(
    "query",
    [
        "oak AND pine",
        "text:oak",
        '"oak',
        "oak)",
        "(oak",
        "oak~2^4",
        "-oak",
        "+oak",
        "[a TO b]",
        "*",
        "oak*",
        "\\",
        "/oak/",
    ],
)
def test_a_query_is_words_and_never_syntax(store, query):
    add(store, {"a": "oak and to", "b": "pine text a", "c": "elm b 2 4"})
    words = "".join(c if c.isalnum() else " " for c in query.lower()).split()
    expected = formula({"a": "oak and to", "b": "pine text a", "c": "elm b 2 4"}, " ".join(words))
    found = ranking(store.snapshot(), query)
    assert [key for key, _ in found] == [key for key, _ in expected]


@pytest.mark.parametrize("query", ["", "   ", "?!", "\0", "\ud800", "zzz"])
def test_a_query_without_known_words_finds_nothing(store, query):
    add(store, {"a": "oak"})
    assert ranking(store.snapshot(), query) == []


def test_k_is_at_least_one(store):
    add(store, {"a": "oak"})
    with pytest.raises(UsageError, match="k: got 0"):
        store.snapshot().bm25("oak", 0)


def test_a_thousand_ties_are_cut_by_id(store):
    add(store, {f"d{i:04}": "oak pine" for i in range(999, -1, -1)})
    for k in 1, 10, 17, 500:
        assert [key for key, _ in ranking(store.snapshot(), "oak", k)] == [f"d{i:04}" for i in range(k)]


@pytest.mark.parametrize(
    ("analyzer", "text", "query", "found"),
    [
        ("english", "The runners were running", "run", True),
        ("plain", "The runners were running", "run", False),
        ("plain", "The RUNNERS", "runners", True),
        ("ngram", "全文検索エンジン", "検索", True),
        ("english", "全文検索エンジン", "検索", False),
    ],
)
def test_analyzers_cut_words_as_they_say(tmp_path, analyzer, text, query, found):
    store = EmbeddedStore.create(tmp_path / "kb", SPEC, {"analyzer": analyzer})
    add(store, {"a": text, "b": "unrelated"})
    assert [key for key, _ in ranking(store.snapshot(), query)] == ["a"] * found
    store.close()


def test_tantivy_is_asked_for_by_name(store, monkeypatch):
    add(store, {"a": "oak"})
    monkeypatch.setitem(sys.modules, "tantivy", None)
    with pytest.raises(MissingExtra, match=r"pip install 'latewood\[bm25\]'"):
        store.snapshot().bm25("oak", 3)


def test_a_known_collection_is_ranked_as_published(tmp_path):
    folder = DATA / "scifact"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: set LATEWOOD_DATA to the folder of test collections")
    store = EmbeddedStore.create(tmp_path / "kb", SPEC)
    documents = [json.loads(line) for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    texts = {d["_id"]: f"{d['title']}\n{d['text']}" for d in documents}
    for start in range(0, len(texts), 1024):
        add(store, dict(list(texts.items())[start : start + 1024]))
    judged: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        judged.setdefault(query, {})[document] = int(grade)
    gains = []
    for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines():
        query = json.loads(line)
        if grades := judged.get(query["_id"]):
            hits = [grades.get(key, 0) for key, _ in ranking(store.snapshot(), query["text"], 10)]
            ideal = sorted(grades.values(), reverse=True)[:10]
            dcg, best = (sum(g / math.log2(i + 2) for i, g in enumerate(some)) for some in (hits, ideal))
            gains.append(dcg / best)
    assert len(gains) == 300
    assert sum(gains) / 300 >= 0.66
    store.close()
