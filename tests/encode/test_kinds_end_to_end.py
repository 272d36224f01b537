"""Collections of each kind of model, and a cross-encoder behind them, through the commands that people type."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_checkpoints as tiny

from latewood import encode
from latewood.cli import main
from latewood.collection import Collection
from latewood.errors import PipelineError
from latewood.types import EncodedPassages, EncodedQuery, MultiVectors

WOODS = ["oak", "ash", "beech", "pine", "larch", "elm", "maple", "birch", "yew", "alder", "cherry", "walnut"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Twelve passages, and a question for each."""
    folder = tmp_path_factory.mktemp("files")
    corpus = [{"_id": wood, "title": wood, "text": f"{wood} has rings, and late wood in it"} for wood in WOODS]
    queries = [{"_id": f"q{i}", "text": f"rings of {wood}?"} for i, wood in enumerate(WOODS)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    qrels = "".join(f"q{i}\t{wood}\t1\n" for i, wood in enumerate(WOODS))
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + qrels)
    return folder


@pytest.fixture(scope="module")
def cross(tmp_path_factory):
    return str(tiny.cross(tmp_path_factory.mktemp("cross") / "model", limit=96))


@pytest.fixture
def latewood(capsys):
    def run(*arguments, code=0):
        with pytest.raises(SystemExit) as done:
            main([*map(str, arguments)])
        out, err = capsys.readouterr()
        assert (done.value.code or 0) == code, err
        return out, err

    return run


@pytest.fixture(scope="module")
def late_kb(files, tmp_path_factory):
    place = tmp_path_factory.mktemp("late")
    checkpoint = tiny.stanford(place / "colbert", doc_maxlen=48)
    with pytest.raises(SystemExit) as done:
        main(["index", "--jsonl", str(files / "corpus.jsonl"), "-c", str(place / "kb.lw"), "--model", str(checkpoint)])
    assert not done.value.code
    return place / "kb.lw"


def test_a_colbert_collection_from_index_to_audit(latewood, late_kb, files, cross):
    """Late interaction alone; what needs a single vector says so."""
    ranking = json.loads(latewood("search", late_kb, "rings of oak?", "--explain", "--json")[0])
    assert ranking["pipeline"] == "late"
    hit = ranking["hits"][0]
    assert sum(match["similarity"] for match in hit["matches"]) == pytest.approx(hit["score"], abs=1e-3)
    assert len(hit["matches"]) == 24
    assert {match["query_token"] for match in hit["matches"]} >= {"[MASK]", "[unused0]", "[CLS]"}
    assert all(hit["text"][slice(*m["span"])] == m["token"].removeprefix("##") for m in hit["matches"] if m["span"][1])

    stats = json.loads(latewood("stats", late_kb, "--json")[0])
    assert (stats["encoder"]["dim"], stats["encoder"]["dense_dim"], stats["bytes"]["dense_vectors"]) == (16, 0, 0)
    assert stats["vectors"] > 100
    latewood("check", late_kb)
    _, said = latewood("search", late_kb, "oak", "-p", "dense:5", code=2)
    assert "'dense:5'" in said
    assert "has no single vectors" in said

    given = ["-q", files / "queries.jsonl", "-r", files / "qrels.tsv"]
    stage = f'bm25:8 >> cross(model="{cross}"):5'
    pipelines = ["--pipeline", "late:5", "--pipeline", stage]
    compared = json.loads(latewood("compare", late_kb, *given, *pipelines, "--json")[0])
    assert [row["pipeline"] for row in compared["pipelines"]] == ["late:5", stage]
    audited = json.loads(latewood("audit", late_kb, *given, "--cross", cross, "-k", 2, "--pool", 8, "--json")[0])
    assert audited["system"] == "late"
    assert audited["lift"]["cross"]["questions"] == 12
    assert "cross" not in audited["lift_missing"]


def test_reranking_by_a_cross_encoder(latewood, files, cross, tmp_path, minilm):
    with Collection.create(tmp_path / "kb.lw", minilm) as kb:
        from latewood.ingest import read_jsonl

        kb.add(read_jsonl(files / "corpus.jsonl"))
        ranking = kb.search("which wood?", pipeline=f'dense:6 >> cross(model="{cross}"):4')
        pool = kb.get(ranking.pool)
        scores = encode.load_scorer(cross).score("which wood?", [passage.text for passage in pool])
        expected = sorted(zip(-scores, ranking.pool, strict=True))[:4]
        assert [hit.id for hit in ranking.hits] == [name for _, name in expected]
        np.testing.assert_allclose([hit.score for hit in ranking.hits], [-score for score, _ in expected], atol=1e-6)
        assert [timing.stage for timing in ranking.timings][1:] == ["dense:6", f'cross(model="{cross}"):4']
        with pytest.raises(PipelineError, match="explain shows what late interaction matched"):
            kb.search("which wood?", pipeline=f'dense:6 >> cross(model="{cross}"):4', explain=True)
    given = ["-q", files / "queries.jsonl", "-r", files / "qrels.tsv", "-k", 2, "--pool", 8, "--json"]
    audited = json.loads(latewood("audit", tmp_path / "kb.lw", *given, "--cross", f'cross(model="{cross}")')[0])
    lift = audited["lift"]["cross"]
    assert (lift["questions"], lift["latency_ms"]["p50"] > 0) == (12, True)
    # The same over a run and its texts, without a collection.
    run = "".join(
        f"q{i} Q0 {other} {rank} {-rank} r\n" for i in range(12) for rank, other in enumerate(sorted(WOODS)[:8], 1)
    )
    (tmp_path / "today.run").write_text(run)
    given += ["--corpus", files / "corpus.jsonl", "--run", f"today={tmp_path / 'today.run'}"]
    elsewhere = json.loads(latewood("audit", *given, "--cross", cross)[0])
    assert elsewhere["lift"]["cross"]["questions"] == 12
    # Without a scorer the field says why it is empty.
    silent = json.loads(latewood("audit", *given)[0])
    assert silent["lift"]["cross"] is None
    assert "none is bundled: --cross" in silent["lift_missing"]["cross"]
    _, said = latewood("search", tmp_path / "kb.lw", "oak", "-p", "dense >> cross", code=2)
    assert "none is bundled: give cross(model=" in said


class SingleVectors:
    """A model of single vectors alone, as embeddings endpoints give them: the letters of a text, counted."""

    def __init__(self):
        self.spec = encode_spec()

    def encode_passages(self, texts, progress=None):
        vectors = [self.letters(text)[None] for text in texts]
        if progress:
            progress(len(texts))
        return EncodedPassages(MultiVectors.none(len(texts)), MultiVectors.of(vectors, 26))

    def encode_query(self, text):
        return EncodedQuery(text, self.letters(text), np.zeros((0, 0), np.float32), ())

    def label(self, text):
        return []

    def count_tokens(self, text):
        return len(text.split()) + 2

    @staticmethod
    def letters(text):
        counts = np.array([text.lower().count(chr(97 + i)) + 0.01 for i in range(26)], np.float32)
        return counts / np.linalg.norm(counts)


def encode_spec():
    from latewood.types import EncoderSpec

    return EncoderSpec("letters", "0" * 64, dim=0, dense_dim=26, max_length=64, overlap=8)


def test_a_collection_of_single_vectors(files, tmp_path):
    from latewood.folders import index_paths
    from latewood.ingest import read_jsonl

    with Collection.create(tmp_path / "kb.lw", SingleVectors()) as kb:
        kb.add(read_jsonl(files / "corpus.jsonl"))
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "long.txt").write_text("\n\n".join(f"Paragraph {i} says nothing." for i in range(60)))
        assert index_paths(kb, [tmp_path / "docs"]).passages.added > 3
        assert kb.search("oak").pipeline == "dense"
        assert kb.search("pine pine", 1).hits[0].id == "pine"
        assert kb.stats()["vectors"] == 0
        assert kb.check() == []
        for pipeline in "late", "dense:5 >> late", "dense:5 >> late(encode=true)":
            with pytest.raises(PipelineError, match="has no token vectors, since 'letters' gives none"):
                kb.search("oak", pipeline=pipeline)
        snapshot = kb.bind("dense").snapshot
        with pytest.raises(PipelineError, match="this collection has no token vectors"):
            snapshot.late(np.ones((1, 4), np.float32), 3)
        with pytest.raises(PipelineError, match="this collection has no token vectors"):
            snapshot.vectors(np.arange(2))
    with Collection.open(tmp_path / "kb.lw", SingleVectors()) as again:
        assert again.search("larch", 1).hits[0].id == "larch"


def test_a_plan_for_a_model_without_single_vectors_asks_for_their_d(latewood, files, tmp_path):
    checkpoint = tiny.stanford(tmp_path / "colbert", doc_maxlen=48)
    given = ["plan", "--jsonl", files / "corpus.jsonl", "--model", checkpoint, "--seconds", 1]
    _, said = latewood(*given, code=2)
    assert "gives no single vector for the first stage: say D of the model that will, --dense-dim" in said
    planned = json.loads(latewood(*given, "--dense-dim", 32, "--json")[0])
    assert planned["schema"] == 1
