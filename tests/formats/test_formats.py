"""Collections that older versions wrote: opened, searched, changed and checked, with the answers of then."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from write_format_1 import QUESTION, SPEC, encoded, passages

from latewood.index import MultiVectorIndex
from latewood.stores.backup import copy_collection
from latewood.stores.embedded import EmbeddedStore
from latewood.stores.filtered import filtered

STORED = Path(__file__).parent / "format_1"
TOLD = json.loads((STORED / "answers.json").read_text(encoding="utf-8"))


@pytest.fixture
def path(tmp_path):
    return Path(shutil.copytree(STORED / "collection", tmp_path / "kb.lw"))


def assert_answers(store, told=TOLD["collection"]):
    snapshot = store.snapshot()
    query, vector = np.array(told["query"], np.float32), np.array(told["vector"], np.float32)
    found = {
        "exact": snapshot.late(query, 200, exact=True),
        "dense": snapshot.dense(vector, 200),
        "bm25": snapshot.bm25(QUESTION, 200),
    }
    if snapshot.late_index is not None:
        found["late"] = snapshot.late(query, 12, depths={"n_full_scores": 12, "n_refined": 40, "n_probe": 0})
    for name, ranking in found.items():
        expected = told["rankings"][name]
        assert snapshot.ids(ranking.rows) == expected["ids"], name
        np.testing.assert_allclose(ranking.scores, expected["scores"], rtol=1e-5, atol=1e-6, err_msg=name)
        assert (ranking.exact, ranking.unscored) == (expected["exact"], expected["unscored"]), name
    rows = snapshot.rows(told["ids"])
    stored = snapshot.passages(rows)
    assert [one.text for one in stored] == told["texts"]
    assert [dict(one.metadata) for one in stored] == told["metadata"]
    return found


def test_format_1_answers_as_it_did(path):
    store = EmbeddedStore.open(path)
    assert store.check() == []
    assert store.snapshot().generation == TOLD["collection"]["generation"]
    assert set(assert_answers(store)) == {"exact", "dense", "bm25", "late"}
    assert store.spec == SPEC
    np.testing.assert_array_equal(store.golden, np.eye(4))
    assert len(filtered(store.snapshot(), {"version": 2})) > 0
    assert store.check() == []
    store.close()


def test_format_1_is_gone_on_with(path):
    store = EmbeddedStore.open(path)
    rng = np.random.default_rng(9)
    added = passages(rng, 200, 20, 3)
    store.add(added, encoded(rng, added))
    store.compact(keep_for=0)
    assert store.snapshot().passages(store.snapshot().rows(["d205"])) == [added[5]]
    assert store.check() == []
    store.delete([one.id for one in added])
    snapshot, told = store.snapshot(), TOLD["collection"]
    found = snapshot.late(np.array(told["query"], np.float32), 200, exact=True)
    assert snapshot.ids(found.rows) == told["rankings"]["exact"]["ids"]
    store.close()


def test_format_1_is_copied(path, tmp_path):
    copy_collection(path, tmp_path / "copy.lw")
    store = EmbeddedStore.open(tmp_path / "copy.lw")
    assert_answers(store)
    store.close()


def test_format_1_of_an_index_of_vectors_alone(tmp_path):
    shutil.copytree(STORED / "vectors", tmp_path / "v.lw")
    told = TOLD["vectors"]
    with MultiVectorIndex.open(tmp_path / "v.lw") as index:
        ids, scores = index.search(np.array(told["query"], np.float32), 20, exact=True)
        assert ids == told["ids"]
        np.testing.assert_allclose(scores, told["scores"], rtol=1e-5)
        assert len(index) == 60
