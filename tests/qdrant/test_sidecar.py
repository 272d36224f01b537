"""A collection that is there: audited, given a sidecar, kept in step, and never written."""

from __future__ import annotations

import json

import pytest
import theirs

pytest.importorskip("qdrant_client")

import latewood as lw
from latewood import sidecar
from latewood.cli import main
from latewood.collection import Collection
from latewood.errors import CountMismatch, EncoderMismatch, InputError, PipelineError, UsageError
from latewood.qdrant import QdrantCollection

READ = {"text": ["body"], "source": "doc"}


@pytest.fixture
def docs(tmp_path, minilm):
    return theirs.make(tmp_path / "q", minilm)


@pytest.fixture
def side(tmp_path, docs, minilm):
    assert sidecar.create(tmp_path / "side.lw", docs, **READ, model=minilm) > 0.999
    sidecar.sync(tmp_path / "side.lw", model=minilm)
    return tmp_path / "side.lw"


def contents(path):
    with Collection.open(path) as kb:
        rows = kb.snapshot.live_rows
        return {passage.id: passage for passage in kb.snapshot.passages(rows)}


def test_their_search_finds_the_pool_and_late_interaction_orders_it(tmp_path, side, docs, minilm):
    before = theirs.digest(tmp_path / "q")
    query = "which part of a ring is dense?"
    with Collection.open(side, minilm) as kb:
        assert kb.default_pipeline == "first:50 >> late"
        found = kb.search(query, pipeline="first:4 >> late:2", explain=True)
        alone = kb.search(query, pipeline="first:4")
        assert len(found.pool) == 4
        pool = kb.bind("late").snapshot
        best = pool.late(minilm.encode_query(query).tokens, 2, pool.rows([hit.id for hit in alone.hits]))
        assert [hit.id for hit in found.hits] == pool.ids(best.rows)
        assert found.hits[0].source_id == f"d{found.hits[0].id}"
        assert found.hits[0].passage.metadata["lang"] == "en"
        assert found.hits[0].matches
        assert not found.exact
    with QdrantCollection.open(docs, minilm, **READ) as kb:
        assert [hit.id for hit in kb.search(query, pipeline="dense:4").hits] == [hit.id for hit in alone.hits]
    assert theirs.digest(tmp_path / "q") == before


def test_sync_follows_what_was_added_changed_and_deleted(tmp_path, side, minilm):
    client = theirs.client_at(tmp_path / "q")
    theirs.put(client, minilm, {3: "Dense late wood planes badly.", 77: "Yew is poisonous.", 78: " "})
    from qdrant_client import models

    client.delete("docs", models.PointIdsList(points=[0, 5]))
    client.close()
    with Collection.open(side, minilm) as kb, pytest.raises(InputError, match="latewood sync"):
        kb.search("yew", pipeline="first:10 >> late:2")
    with Collection.open(side, minilm) as kb:
        skipped = kb.search("yew", pipeline='first(missing="skip"):10 >> late:2')
        assert skipped.unscored == 2
    done = sidecar.sync(side, model=minilm)
    assert (done.passages.added, done.passages.replaced, done.passages.unchanged, done.removed) == (1, 1, 7, 2)
    assert done.without_text == ("78",)
    held = contents(side)
    assert sorted(held, key=int) == ["1", "2", "3", "4", "6", "7", "8", "9", "77"]
    assert held["3"].text == "Dense late wood planes badly."
    again = sidecar.sync(side, model=minilm)
    assert (again.passages.unchanged, again.removed) == (9, 0)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_interrupted_anywhere_it_ends_in_the_same_state(tmp_path, docs, minilm, monkeypatch, after):
    monkeypatch.setattr("latewood.collection.BATCH", 3)
    whole, part = tmp_path / "whole.lw", tmp_path / "part.lw"
    for path in (whole, part):
        sidecar.create(path, docs, **READ, model=minilm)
    sidecar.sync(whole, model=minilm)
    real, calls = minilm.encode_passages, []

    def failing(texts, progress=None):
        calls.append(len(texts))
        if len(calls) > after:
            raise Interrupted
        return real(texts, progress)

    monkeypatch.setattr(minilm, "encode_passages", failing)
    with pytest.raises(Interrupted):
        sidecar.sync(part, model=minilm)
    monkeypatch.setattr(minilm, "encode_passages", real)
    assert len(contents(part)) == 3 * after
    sidecar.sync(part, model=minilm)
    assert contents(part) == contents(whole)
    with Collection.open(part, minilm) as one, Collection.open(whole, minilm) as other:
        for kb in (one, other):
            assert kb.check() == []
        query = "which wood is heavy?"
        found, wanted = (kb.search(query, pipeline="late").hits for kb in (one, other))
        assert [hit.id for hit in found] == [hit.id for hit in wanted]
        # An encoder's last bits may differ from call to call, and an int8 value round to the other side.
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in wanted], rel=1e-3)


def test_a_collection_that_is_written_meanwhile_is_a_mismatch(tmp_path, docs, minilm, monkeypatch):
    sidecar.create(tmp_path / "side.lw", docs, **READ, model=minilm)
    from latewood.stores.qdrant_client_door import ClientPoints

    real = ClientPoints.count
    counts = iter([0, 1])
    monkeypatch.setattr(ClientPoints, "count", lambda self, where=None: real(self, where) + next(counts))
    with pytest.raises(CountMismatch, match="11 points"):
        sidecar.sync(tmp_path / "side.lw", model=minilm)


def test_what_can_t_be_a_sidecar_is_refused_with_the_reason(tmp_path, docs, minilm):
    with pytest.raises(UsageError, match="--text-field"):
        sidecar.create(tmp_path / "a.lw", docs, text=[])
    with pytest.raises(InputError, match="body, doc, lang"):
        sidecar.create(tmp_path / "a.lw", docs, text=["text"], query_model=minilm)
    with pytest.raises(EncoderMismatch, match="D 384"):
        sidecar.create(tmp_path / "a.lw", docs, **READ, query_model=Narrow(minilm))
    assert not (tmp_path / "a.lw").exists()
    with Collection.create(tmp_path / "b.lw", minilm):
        pass
    with pytest.raises(InputError, match="beside no other"):
        sidecar.sync(tmp_path / "b.lw")


class Narrow:
    """A model of another width."""

    def __init__(self, encoder):
        self.encoder = encoder
        from dataclasses import replace

        self.spec = replace(encoder.spec, dense_dim=12)


def test_their_collection_can_be_reranked_without_a_sidecar(docs, minilm):
    with lw.open(docs, minilm, **READ) as kb:
        found = kb.search("which part of a ring is dense?", pipeline="dense:4 >> late(encode=true):2")
        assert [hit.rank for hit in found.hits] == [1, 2]
        with pytest.raises(PipelineError, match="latewood sidecar"):
            kb.search("x", pipeline="dense:4 >> late:2")
        with pytest.raises(UsageError, match="only reads it"):
            kb.add([lw.Passage("1", "x")])


@pytest.fixture
def run(capsys):
    """Run a command, and give what it prints."""

    def command(*arguments):
        with pytest.raises(SystemExit) as left:
            main([*map(str, arguments)])
        captured = capsys.readouterr()
        assert left.value.code == 0, captured.err
        return captured.out

    return command


def test_the_commands_from_audit_to_search(tmp_path, docs, run):
    before = theirs.digest(tmp_path / "q")
    questions = {"q1": "which part of a ring is dense?", "q2": "what burns slowly?", "q3": "who counts rings?"}
    lines = [json.dumps({"_id": name, "text": text}) for name, text in questions.items()]
    (tmp_path / "queries.jsonl").write_text("\n".join(lines))
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td0\t1\nq2\td5\t1\nq3\td7\t1\n")
    asked = ["-q", tmp_path / "queries.jsonl", "-r", tmp_path / "qrels.tsv"]
    read = ["--text-field", "body", "--source-field", "doc"]
    found = json.loads(run("audit", docs, *asked, *read, "-k", 1, "--pool", 5, "--json"))
    assert found["pairs"] == 3
    assert found["lift"]["late"]["questions"] == 3
    assert theirs.digest(tmp_path / "q") == before
    side = tmp_path / "side.lw"
    made = json.loads(run("sidecar", docs, "-c", side, *read, "--json"))
    assert made["added"] == made["points"] == 10
    assert made["agreement"] > 0.999
    assert json.loads(run("sync", side, "--json"))["unchanged"] == 10
    compared = json.loads(run("compare", side, *asked, "-p", "first:5", "-p", "first:5 >> late:5", "--json"))
    assert [system["pipeline"] for system in compared["pipelines"]] == ["first:5", "first:5 >> late:5"]
    assert theirs.digest(tmp_path / "q") == before
