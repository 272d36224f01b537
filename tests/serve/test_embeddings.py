"""/v1/embeddings, /v1/multi-vector and /v1/models, held against the encoder."""

from __future__ import annotations

import base64

import numpy as np
import pytest

TEXTS = ["Oak is heavy.", "The larch loses its needles in autumn, before the snow comes.", ""]


def test_embeddings_in_both_formats(http, minilm):
    expected = minilm.encode_passages(TEXTS).dense.tokens
    body = {"model": "minilm", "input": TEXTS}
    found = http.post("/v1/embeddings", json=body).raise_for_status().json()
    assert [each["index"] for each in found["data"]] == [0, 1, 2]
    assert (found["object"], found["data"][0]["object"], found["model"]) == ("list", "embedding", "minilm")
    assert np.array([each["embedding"] for each in found["data"]]) == pytest.approx(expected, abs=1e-5)
    assert found["usage"]["total_tokens"] == sum(minilm.count_tokens(text) for text in TEXTS)
    packed = http.post("/v1/embeddings", json=body | {"encoding_format": "base64"}).json()["data"]
    decoded = [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in packed]
    assert np.array(decoded) == pytest.approx(expected, abs=1e-5)
    one = http.post("/v1/embeddings", json={"input": TEXTS[0], "input_type": "query"}).json()["data"]
    assert one[0]["embedding"] == pytest.approx(minilm.encode_query(TEXTS[0]).dense.tolist(), abs=1e-5)


def test_a_long_text_has_the_mean_of_its_windows(http, minilm):
    text = "The larch loses its needles. " * 120
    windows = minilm.encode_passages([text]).dense.tokens
    assert len(windows) > 1
    mean = windows.mean(axis=0)
    found = http.post("/v1/embeddings", json={"input": [text]}).json()["data"][0]["embedding"]
    assert found == pytest.approx((mean / np.linalg.norm(mean)).tolist(), abs=1e-5)


@pytest.mark.parametrize("kind", ["query", "document", None])
def test_multi_vector(http, minilm, kind):
    found = http.post("/v1/multi-vector", json={"model": "minilm", "input": TEXTS, "input_type": kind}).json()
    assert [each["object"] for each in found["data"]] == ["embeddings"] * 3
    for text, each in zip(TEXTS, found["data"], strict=True):
        expected = minilm.encode_query(text).tokens if kind == "query" else minilm.encode_passages([text]).tokens[0]
        assert np.array(each["embeddings"]) == pytest.approx(expected, abs=1e-5)
    assert found["usage"]["total_tokens"] == sum(len(each["embeddings"]) for each in found["data"])


@pytest.mark.parametrize(
    ("address", "body", "status", "said"),
    [
        ("/v1/embeddings", {"input": []}, 422, "input must not be empty"),
        ("/v1/embeddings", {"input": [[101, 102]]}, 422, "token ids"),
        ("/v1/embeddings", {"input": "a", "dimensions": 128}, 422, "this model has 384"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}, 422, "encoding_format"),
        ("/v1/embeddings", {"input": "a", "model": "ada"}, 404, "no model 'ada'"),
        ("/v1/multi-vector", {"input": ["a"], "dimensions": 64}, 422, "this model has 384"),
        ("/v1/multi-vector", {"input": ["a"], "embedding_type": "binary"}, 422, "embedding_type"),
    ],
)
def test_errors(http, address, body, status, said):
    answer = http.post(address, json=body)
    assert answer.status_code == status
    assert said in answer.json()["message"]


def test_models(http):
    found = http.get("/v1/models").json()
    assert found["object"] == "list"
    assert found["data"][0] | {"created": 0} == {
        "id": "minilm", "object": "model", "created": 0, "owned_by": "latewood", "kind": "encoder",
        "dimensions": 384, "token_dimensions": 384, "max_length": 256,
    }  # fmt: skip
