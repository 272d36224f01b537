"""/rerank in the words of every caller, held against MaxSim in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from latewood import _reference
from latewood.collection import Collection

QUERY = "what does the larch lose in autumn?"
TEXTS = ["Oak is heavy.", "The larch loses its needles.", "Masts were pines.", "The larch loses its needles.", ""]
ADDRESSES = ["/rerank", "/v1/rerank", "/v2/rerank"]


@pytest.fixture(scope="module")
def expected(minilm):
    """MaxSim of QUERY with TEXTS by the reference, raw and in [0, 1]."""
    query = minilm.encode_query(QUERY).tokens
    raw = _reference.scores(query, minilm.encode_passages(TEXTS).tokens)
    return raw, (1 + raw / len(query)) / 2


def order(scores):
    return sorted(range(len(scores)), key=lambda i: (-round(float(scores[i]), 4), i))


@pytest.mark.parametrize("address", ADDRESSES)
def test_cohere_jina_vllm_and_infinity(http, expected, address):
    raw, unit = expected
    body = {"model": "minilm", "query": QUERY, "documents": TEXTS}
    found = http.post(address, json=body).raise_for_status().json()
    assert [each["index"] for each in found["results"]] == order(unit)
    assert [each["relevance_score"] for each in found["results"]] == pytest.approx(sorted(unit)[::-1], abs=1e-5)
    assert all(0 <= each["relevance_score"] <= 1 for each in found["results"])
    assert "document" not in found["results"][0]
    assert found["id"].startswith("rerank-")
    assert (found["object"], found["model"]) == ("rerank", "minilm")
    assert found["usage"]["total_tokens"] == found["usage"]["prompt_tokens"] > 20
    assert found["meta"]["billed_units"] == {"search_units": 1}
    assert found["meta"]["api_version"]["version"] == ("2" if "v2" in address else "1")
    found = http.post(address, json=body | {"raw_scores": True, "return_documents": True, "top_n": 2}).json()
    assert [each["relevance_score"] for each in found["results"]] == pytest.approx(sorted(raw)[::-1][:2], abs=1e-4)
    assert found["results"][0]["document"] == {"text": TEXTS[1]}
    assert http.post(address, json=body | {"use_activation": False}).json()["results"][0][
        "relevance_score"
    ] == pytest.approx(max(raw), abs=1e-4)


def test_equal_texts_tie_and_the_first_comes_first(http):
    found = http.post("/rerank", json={"query": QUERY, "documents": TEXTS}).json()["results"]
    assert [each["index"] for each in found][:2] == [1, 3]
    assert found[0]["relevance_score"] == found[1]["relevance_score"]


@pytest.mark.parametrize("limit", [{}, {"top_n": None}, {"top_n": 0}, {"top_n": 99}, {"top_k": None}])
def test_all_come_back_unless_a_limit_is_set(http, limit):
    found = http.post("/rerank", json={"query": QUERY, "documents": TEXTS, **limit}).json()
    assert sorted(each["index"] for each in found["results"]) == list(range(len(TEXTS)))


def test_objects_and_rank_fields(http, expected):
    documents = [{"text": text, "title": "no matter"} for text in TEXTS]
    found = http.post("/v1/rerank", json={"query": QUERY, "documents": documents}).json()
    assert found["results"][0]["relevance_score"] == pytest.approx(max(expected[1]), abs=1e-5)
    by_title = http.post(
        "/v1/rerank", json={"query": QUERY, "documents": [{"title": text} for text in TEXTS], "rank_fields": ["title"]}
    ).json()
    assert by_title["results"] == found["results"]


def test_voyage(http, expected):
    body = {"model": "minilm", "query": QUERY, "documents": TEXTS, "top_k": 3, "truncation": True}
    found = http.post("/v1/rerank", json=body | {"return_documents": True}).json()
    assert found["object"] == "list"
    assert [each["index"] for each in found["data"]] == order(expected[1])[:3]
    assert found["data"][0]["document"] == TEXTS[1]
    assert found["usage"]["total_tokens"] > 0


def test_infinity_s_documents_are_plain_texts(http):
    body = {"query": QUERY, "documents": TEXTS, "return_documents": True}
    assert http.post("/infinity/rerank", json=body).json()["results"][0]["document"] == TEXTS[1]


def test_mixedbread(http, expected):
    found = http.post("/rerank", json={"model": "minilm", "query": QUERY, "input": TEXTS, "return_input": True}).json()
    assert [each["index"] for each in found["data"]] == order(expected[1])
    assert found["data"][0]["input"] == TEXTS[1]
    assert found["data"][0]["score"] == pytest.approx(max(expected[1]), abs=1e-5)


def test_text_embeddings_inference(http, expected):
    raw, unit = expected
    body = {"query": QUERY, "texts": TEXTS, "truncate": True, "truncation_direction": "right"}
    found = http.post("/rerank", json=body).json()
    assert [each["index"] for each in found] == order(unit)
    assert set(found[0]) == {"index", "score"}
    found = http.post("/rerank", json=body | {"raw_scores": True, "return_text": True}).json()
    assert found[0]["text"] == TEXTS[1]
    assert found[0]["score"] == pytest.approx(max(raw), abs=1e-4)
    both = http.post("/rerank", json={"query": QUERY, "texts": ["a"], "documents": ["a", "b"]}).json()
    assert len(both["results"]) == 2


def test_no_cliff_at_32_documents(http):
    documents = [f"plank number {i} of the larch" for i in range(300)]
    found = http.post("/rerank", json={"query": QUERY, "documents": documents}).json()["results"]
    assert sorted(each["index"] for each in found) == list(range(300))


def test_passages_of_a_collection_are_scored_by_their_stored_vectors(http, server, minilm):
    ids = ["oak", "larch", "mast", "note7"]
    with Collection.open(server.folder / "kb.lw", minilm) as kb:
        snapshot = kb.bind("late").snapshot
        vectors = snapshot.vectors(snapshot.rows(ids))
    raw = _reference.scores(minilm.encode_query(QUERY).tokens, vectors)
    body = {"query": QUERY, "raw_scores": True}
    for candidates in ({"ids": ids}, {"documents": [{"id": name} for name in ids]}, {"ids": ids, "collection": "kb"}):
        found = http.post("/v1/rerank", json=body | candidates).raise_for_status().json()["results"]
        assert [each["index"] for each in found] == np.argsort(-raw, kind="stable").tolist()
        assert [each["relevance_score"] for each in found] == pytest.approx(sorted(raw)[::-1], abs=1e-3)
    echoed = http.post("/rerank", json={"query": QUERY, "ids": ids, "return_documents": True}).json()["results"]
    assert echoed[0]["document"] == {"id": "larch"}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"documents": ["a"]}, 422, "query"),
        ({"query": " ", "documents": ["a"]}, 422, "query must not be empty"),
        ({"query": "q"}, 422, "no documents"),
        ({"query": "q", "documents": []}, 422, "documents must not be empty"),
        ({"query": "q", "documents": ["a"], "top_n": -1}, 422, "top_n"),
        ({"query": "q", "documents": ["a"], "model": "gpt"}, 404, "no model 'gpt'"),
        ({"query": "q", "documents": [{"text": "a"}, {"id": "oak"}]}, 422, "documents[1]"),
        ({"query": "q", "documents": ["a"], "ids": ["oak"]}, 422, "texts and ids"),
        ({"query": "q", "ids": ["oak", "elm"]}, 404, "no passage 'elm'"),
        ({"query": "q", "ids": ["oak"], "collection": "zoo"}, 404, "no collection 'zoo'"),
        ({"query": "q", "documents": ["x"] * 2001}, 413, "2001 documents"),
    ],
)
def test_errors_that_every_client_can_print(http, body, status, said):
    answer = http.post("/v1/rerank", json=body)
    found = answer.json()
    assert answer.status_code == status
    assert said in found["error"]["message"]
    assert found["message"] == found["detail"] == found["error"]["message"]
    assert set(found["error"]) == {"message", "type", "param", "code"}
    assert "\n" not in found["message"]


def test_errors_of_text_embeddings_inference_are_texts(http):
    for body, status in (
        ({"query": "q", "texts": []}, 422),
        ({"query": "q", "texts": [1]}, 422),
        ({"query": "q", "texts": ["a"], "model": "gpt"}, 404),
        ({"query": "q", "texts": ["x"] * 2001}, 413),
    ):
        answer = http.post("/rerank", json=body)
        assert answer.status_code == status
        assert set(answer.json()) == {"error", "error_type"}
        assert isinstance(answer.json()["error"], str)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff"])
def test_what_is_not_a_body(http, content):
    answer = http.post("/rerank", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in {400, 422}
    assert answer.json()["error"]["message"]


def test_half_of_a_surrogate_pair_comes_back_as_it_came(http):
    body = b'{"query": "q", "documents": ["\\ud800"], "return_documents": true}'
    answer = http.post("/rerank", content=body, headers={"content-type": "application/json"})
    assert answer.json()["results"][0]["document"]["text"] == "\ud800"


def test_names_that_mean_the_first_model(http):
    for name in ("default", "default/not-specified", "", None):
        assert http.post("/rerank", json={"query": "q", "documents": ["a"], "model": name}).json()["model"] == "minilm"
