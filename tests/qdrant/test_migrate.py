"""A collection copied into one with token vectors: everything kept, resumable, counted, switched to by alias."""

from __future__ import annotations

import json

import numpy as np
import pytest
import theirs

pytest.importorskip("qdrant_client")

from latewood.cli import main
from latewood.collection import Collection
from latewood.errors import CountMismatch, InputError, UsageError
from latewood.migrate import migrate, publish, switch
from latewood.qdrant import QdrantCollection
from latewood.stores.qdrant_client_door import ClientPoints
from latewood.stores.qdrant_points import Storage
from latewood.types import Passage

READ = {"text": ["body"], "source": "doc"}
QUERY = "which part of a ring is dense?"


@pytest.fixture
def docs(tmp_path, minilm):
    return theirs.make(tmp_path / "q", minilm)


def state(folder, name):
    """id → payload, vectors of a collection."""
    client = theirs.client_at(folder)
    records, _ = client.scroll(name, limit=1000, with_payload=True, with_vectors=True)
    client.close()
    return {record.id: (record.payload, record.vector) for record in records}


def same(one, other):
    assert list(one) == list(other)
    for key, (payload, vectors) in one.items():
        assert payload == other[key][0]
        assert set(vectors) == set(other[key][1])
        for name, vector in vectors.items():
            np.testing.assert_allclose(vector, other[key][1][name], atol=1e-6)


def test_everything_is_taken_over_and_late_interaction_added(tmp_path, docs, minilm):
    before = theirs.digest(tmp_path / "q")
    done = migrate(docs, "docs_late", **READ, model=minilm, storage=Storage("float16", "turbo4"))
    assert (done.points, done.written, done.encoded, done.unchanged, done.removed) == (10, 10, 10, 0, 0)
    assert theirs.digest(tmp_path / "q") == before
    old, new = state(tmp_path / "q", "docs"), state(tmp_path / "q", "docs_late")
    for key, (payload, vector) in old.items():
        assert new[key][0] == payload
        np.testing.assert_allclose(new[key][1][""], vector, atol=1e-6)
        expected = minilm.encode_passages([payload["body"]]).tokens[0]
        np.testing.assert_allclose(new[key][1]["late"], expected, atol=1e-5)
    with QdrantCollection.open(docs.replace("#docs", "#docs_late"), minilm) as kb:
        assert kb.default_pipeline == "dense:50 >> late"
        one_query = kb.search(QUERY, pipeline="dense:4 >> late:2", explain=True)
        staged = kb.bind("dense:4 >> late:2").rank(QUERY)
        assert [hit.id for hit in one_query.hits] == [hit.id for hit in staged.hits]
        assert one_query.hits[0].matches
        assert [timing.stage for timing in one_query.timings] == ["encode", "dense:4 >> late:2"]
        assert one_query.hits[0].source_id == f"d{one_query.hits[0].id}"
        assert kb.search(QUERY, pipeline="dense:4", where={"doc": "d3"}).hits[0].id == "3"


def test_another_run_brings_it_up_to_date(tmp_path, docs, minilm):
    migrate(docs, "docs_late", **READ, model=minilm)
    again = migrate(docs, "docs_late", **READ, model=minilm)
    assert (again.written, again.encoded, again.unchanged) == (0, 0, 10)
    client = theirs.client_at(tmp_path / "q")
    from qdrant_client import models

    theirs.put(client, minilm, {3: "Dense late wood planes badly.", 77: "Yew is poisonous.", 78: " "})
    client.set_payload("docs", {"lang": "de"}, models.PointIdsList(points=[4]))
    client.delete("docs", models.PointIdsList(points=[0]))
    client.close()
    done = migrate(docs, "docs_late", **READ, model=minilm)
    assert (done.points, done.written, done.encoded, done.removed) == (11, 4, 2, 1)
    assert done.without_text == ["78"]
    new = state(tmp_path / "q", "docs_late")
    assert new[4][0]["lang"] == "de"
    assert "late" not in new[78][1]
    assert 0 not in new


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_interrupted_anywhere_it_ends_in_the_same_state(tmp_path, docs, minilm, monkeypatch, after, written):
    monkeypatch.setattr("latewood.migrate._AT_ONCE", 3)
    migrate(docs, "whole", **READ, model=minilm)
    real, calls = ClientPoints.upsert, []

    def failing(self, points):
        calls.append(len(points))
        if len(calls) > after:
            if written:
                real(self, points)
            raise Interrupted
        real(self, points)

    monkeypatch.setattr(ClientPoints, "upsert", failing)
    with pytest.raises(Interrupted):
        migrate(docs, "part", **READ, model=minilm)
    monkeypatch.setattr(ClientPoints, "upsert", real)
    done = migrate(docs, "part", **READ, model=minilm)
    assert done.unchanged == min(10, 3 * (after + written))
    same(state(tmp_path / "q", "whole"), state(tmp_path / "q", "part"))


def test_counts_that_differ_are_an_error(docs, minilm, monkeypatch):
    real = ClientPoints.count
    monkeypatch.setattr(ClientPoints, "count", lambda self, where=None: real(self, where) + (self._name == "docs"))
    with pytest.raises(CountMismatch, match="11 points"):
        migrate(docs, "docs_late", **READ, model=minilm)


def test_an_alias_is_switched_in_one_step_and_back(tmp_path, docs, minilm):
    late = docs.replace("#docs", "#docs_late")
    migrate(docs, "docs_late", **READ, model=minilm)
    assert switch(docs, "live") is None
    assert switch(late, "live") == "docs"
    with QdrantCollection.open(docs.replace("#docs", "#live"), minilm) as kb:
        assert kb.search(QUERY, pipeline="dense:4 >> late:2").hits
    assert switch(docs, "live") == "docs_late"
    with pytest.raises(UsageError, match="a collection has that name"):
        switch(late, "docs")


def test_what_is_in_the_way_is_said(tmp_path, docs, minilm):
    theirs_too = theirs.client_at(tmp_path / "q")
    from qdrant_client import models

    theirs_too.create_collection("other", vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT))
    theirs_too.close()
    with pytest.raises(InputError, match="no migration made it"):
        migrate(docs, "other", **READ, model=minilm)
    with pytest.raises(UsageError, match="name of its own"):
        migrate(docs, "docs", **READ, model=minilm)
    migrate(docs, "docs_late", **READ, model=minilm)
    with pytest.raises(InputError, match="choose another name"):
        migrate(docs, "docs_late", text=["doc"], model=minilm)
    with pytest.raises(UsageError, match="searched as it is"):
        migrate(docs.replace("#docs", "#docs_late"), "more", **READ, model=minilm)


def test_the_commands(tmp_path, docs, capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main([*map(str, arguments), "--json"])
        captured = capsys.readouterr()
        assert left.value.code == 0, captured.err
        return json.loads(captured.out), captured.err

    found, _ = run("migrate", docs, "--to", "docs_late", "--text-field", "body", "--switch", "live")
    assert (found["points"], found["encoded"], found["alias"], found["alias_before"]) == (10, 10, "live", None)
    late = docs.replace("#docs", "#live")
    found, _ = run("search", late, QUERY, "-p", "dense:4 >> late:2")
    assert [hit["rank"] for hit in found["hits"]] == [1, 2]
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q1", "text": QUERY}))
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\t0\t1\n")
    asked = ["-q", tmp_path / "queries.jsonl", "-r", tmp_path / "qrels.tsv"]
    found, said = run("compare", late, *asked, "-p", "dense:4", "-p", "dense:4 >> late")
    assert "stage by stage" in said
    assert len(found["pipelines"]) == 2
    found, _ = run("stats", late)
    assert found["points"] == 10


def test_a_folder_is_published_with_the_vectors_that_it_has(tmp_path, minilm, monkeypatch):
    (tmp_path / "q").mkdir()
    address = f"qdrant+local:{tmp_path / 'q'}#kb"
    with Collection.create(tmp_path / "kb.lw", minilm) as kb:
        kb.add([Passage(f"a/{i}.md#1", text, metadata={"n": i}) for i, text in enumerate(theirs.TEXTS)])
        before = kb.search(QUERY, pipeline="dense:5 >> late:3")
        real = ClientPoints.upsert

        def failing(self, points):
            raise Interrupted

        monkeypatch.setattr(ClientPoints, "upsert", failing)
        with pytest.raises(Interrupted):
            publish(tmp_path / "kb.lw", address)
        monkeypatch.setattr(ClientPoints, "upsert", real)
        assert publish(tmp_path / "kb.lw", address).written == 10
        with QdrantCollection.open(address, minilm) as there:
            assert there.check() == []
            again = there.search(QUERY, pipeline="dense:5 >> late:3")
        assert [hit.id for hit in again.hits] == [hit.id for hit in before.hits]
        assert [hit.passage for hit in again.hits] == [hit.passage for hit in before.hits]
        np.testing.assert_allclose([hit.score for hit in again.hits], [hit.score for hit in before.hits], atol=1e-4)
        kb.delete(["a/9.md#1"])
        kb.add([Passage("a/0.md#1", "Another text.")])
    done = publish(tmp_path / "kb.lw", address)
    assert (done.points, done.written, done.unchanged, done.removed) == (9, 1, 8, 1)
    with pytest.raises(UsageError, match="address"):
        publish(tmp_path / "kb.lw", "elsewhere.lw")
