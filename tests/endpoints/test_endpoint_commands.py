"""From the command line to the server and back: index, search, rerank, compare; what is sent is said, and limited."""

from __future__ import annotations

import json

import pytest

import latewood as lw
from latewood.cli import main
from latewood.errors import EncoderMismatch, EndpointError
from stand_in import Say

DOCUMENTS = {
    "ring": "A tree ring has pale early wood, and dense late wood.",
    "oak": "Oak is heavy and hard.",
    "birch": "Birch bark peels in thin sheets.",
    "pine": "Pine has resin in its heartwood.",
    "ash": "Ash bends well, so handles are made of it.",
    "elm": "Elm stands up to water.",
}
QUESTIONS = {"q1": "which wood is dense", "q2": "what peels in sheets", "q3": "what stands up to water"}
ANSWERS = {"q1": "ring", "q2": "birch", "q3": "elm"}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"_id": key, "text": text}) for key, text in DOCUMENTS.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in QUESTIONS.items())
    )
    (tmp_path / "qrels.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"{key}\t{gold}\t1\n" for key, gold in ANSWERS.items())
    )
    return tmp_path


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return left.value.code, said.out, said.err


def index(capsys, *more, model="openai:small"):
    return run(capsys, "index", "--jsonl", "corpus.jsonl", "-c", "kb.lw", "--model", model, *more)


def test_index_search_rerank_and_compare(server, files, capsys):
    code, out, err = index(capsys, "--price", "20", "--json")
    assert code == 0
    assert "to an endpoint: at most 6 documents to embed, about" in err
    assert "at 20 a million" in err
    counted = json.loads(out)["endpoint"]
    assert counted["requests"] == len(server.asked) == 3  # a probe, sixteen golden texts, the documents
    assert counted["cached"] == 0

    cross = f'dense:3 >> cross(url="{server.url}", dialect="tei"):2'
    server.asked.clear()
    code, out, err = run(capsys, "search", "kb.lw", QUESTIONS["q2"], "-p", cross, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["hits"][0]["id"] == "birch"
    assert found["hits"][0]["score"] == pytest.approx(10 * 3 / 4 - 5)
    assert found["pipeline"] == f'dense:3 >> cross(dialect="tei", url="{server.url}"):2'
    assert [asked.path for asked in server.asked] == ["/v1/embeddings", "/rerank"]  # the probe came from the disk

    pipelines = ["--pipeline", "dense:3", "--pipeline", cross]
    arguments = ["compare", "kb.lw", "-q", "queries.jsonl", "-r", "qrels.tsv", *pipelines]
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 0, err
    assert "at most 9 passages to rerank" in err
    judged = json.loads(out)
    assert [of["metrics"]["Success@5"] for of in judged["pipelines"]] == [1.0, 1.0]
    assert judged["pipelines"][1]["pool_size"] == 3
    assert judged["endpoint"]["requests"] == 4  # two new questions, for both stages
    server.asked.clear()
    assert run(capsys, *arguments, "--json", "--html", "report.html")[0] == 0
    assert not server.asked


def test_in_python_with_every_dialect(server, files):
    with lw.Collection.create("kb.lw", "openai:small?dimensions=32") as kb:
        kb.add([lw.Passage(key, text) for key, text in DOCUMENTS.items()])
        assert kb.default_pipeline == "dense"
        for dialect in ("cohere", "jina", "voyage", "tei"):
            pipeline = lw.Dense(4) >> lw.Cross(url=server.url, dialect=dialect, model="m")
            ranking = kb.search(QUESTIONS["q3"], pipeline=pipeline)
            assert ranking.hits[0].id == "elm"
            assert [timing.candidates for timing in ranking.timings] == [0, 4, 4]
        with pytest.raises(lw.errors.PipelineError, match="has no token vectors"):
            kb.search("wood", pipeline="dense:3 >> late")
    with lw.Collection.open("kb.lw") as kb:
        assert (kb.spec.dense_dim, kb.stats()["vectors"]) == (32, 0)
        assert kb.search("what peels in sheets").hits[0].id == "birch"
        assert kb.check() == []


@pytest.mark.parametrize(
    "said",
    [
        Say(200, {"results": [{"index": 0, "relevance_score": 0.5}]}),
        Say(200, {"results": []}),
        Say(200, "<html>"),
        Say(401, {"message": "no"}),
    ],
)
def test_a_search_whose_reranker_fails_fails(server, files, capsys, said):
    index(capsys)
    server.script = [Say(), said]  # the question's vector, then the reranker
    pipeline = f'dense:3 >> cross(url="{server.url}", dialect="jina", model="m")'
    code, out, err = run(capsys, "search", "kb.lw", "which wood is dense", "-p", pipeline)
    assert code == 3
    assert out == ""
    assert err.startswith(f"latewood: {server.url}/v1/rerank ")
    assert err.count("\n") == 1


def test_a_comparison_says_which_questions_failed(server, files, capsys):
    index(capsys)
    pipeline = f'bm25:3 >> cross(url="{server.url}", dialect="jina", model="m")'
    arguments = ["compare", "kb.lw", "-q", "queries.jsonl", "-r", "qrels.tsv", "--pipeline", pipeline, "--json"]
    usual = server.answers["/v1/rerank"]
    server.answers["/v1/rerank"] = lambda body: (
        (200, {"results": []}) if body["query"] == QUESTIONS["q2"] else usual(body)
    )
    code, out, err = run(capsys, *arguments)
    assert code == 1
    assert "failed: 'bm25:3 >> cross(" in err
    failed = json.loads(out)["pipelines"][0]["failed"]
    assert [failure["query"] for failure in failed] == ["q2"]
    assert "scored 0 of" in failed[0]["error"]


def test_much_is_not_sent_without_being_agreed_to(server, files, capsys, monkeypatch):
    monkeypatch.setattr("latewood.cli.spending.ASK_FIRST", 50)
    code, _, err = index(capsys)
    assert code == 2
    assert "more than 50 are to be agreed to: give --yes, or --max-tokens N" in err
    assert not server.asked
    assert not (files / "kb.lw").exists()
    assert index(capsys, "--yes")[0] == 0
    pipeline = f'dense:3 >> cross(url="{server.url}", dialect="tei")'
    arguments = ["compare", "kb.lw", "-q", "queries.jsonl", "-r", "qrels.tsv", "--pipeline", pipeline]
    server.asked.clear()
    code, _, err = run(capsys, *arguments)
    assert (code, server.asked) == (2, [])
    code, _, err = run(capsys, *arguments, "--max-tokens", "60")
    assert code == 2
    assert "the limit is 60; raise it and run again" in err
    assert 0 < len(server.asked) < 7
    assert run(capsys, *arguments, "--max-tokens", "100000")[0] == 0


def test_another_endpoint_must_give_the_same_vectors(server, files, capsys, monkeypatch):
    index(capsys)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/v1/")  # the same one, written otherwise
    assert run(capsys, "search", "kb.lw", "dense wood")[0] == 0
    other = type(server)()
    monkeypatch.setenv("OPENAI_BASE_URL", other.url + "/v1")
    try:
        with lw.Collection.open("kb.lw") as kb, pytest.warns(RuntimeWarning, match="the same vectors"):
            kb.search("dense wood")
        monkeypatch.setattr("stand_in.words", lambda text: text.split())
        monkeypatch.setenv("LATEWOOD_CACHE", "off")
        with lw.Collection.open("kb.lw") as kb, pytest.raises(EncoderMismatch):
            kb.search("dense wood")
    finally:
        other.close()


def test_the_key_is_nowhere_in_the_collection(server, files, capsys, monkeypatch):
    server.key = "sk-very-secret"
    code, _, err = index(capsys)
    assert code == 3
    assert "set OPENAI_API_KEY to the key it wants" in err
    assert not (files / "kb.lw").exists()
    monkeypatch.setenv("OPENAI_API_KEY", server.key)
    code, out, err = index(capsys)
    assert code == 0
    run(capsys, "stats", "kb.lw", "--json")
    assert "sk-very" not in out + err
    for path in (files / "kb.lw").rglob("*"):
        assert path.is_dir() or b"sk-very" not in path.read_bytes(), path


def test_without_the_server_bm25_still_answers(server, files, capsys):
    index(capsys)
    server.close()
    assert run(capsys, "search", "kb.lw", "dense wood", "-p", "bm25")[0] == 0
    with lw.Collection.open("kb.lw") as kb, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATEWOOD_HTTP_ATTEMPTS", "1")
        with pytest.raises(EndpointError, match="can't be reached"):
            kb.search("a question that was never asked")
