"""The client against a second server that speaks the same protocols: our own service, written for official clients."""

from __future__ import annotations

import numpy as np
import pytest

import latewood as lw
from latewood.endpoints import load_embeddings, load_reranker
from over_http import over_http

TEXTS = [f"Plank {i} was sawn on day {i % 7}." for i in range(40)] + ["A ring has dense late wood.", "Oak is heavy."]


@pytest.fixture(scope="module")
def address(minilm):
    pytest.importorskip("fastapi", reason="the service is not installed: pip install '.[serve]'")
    from latewood.serve import Service, Settings

    with over_http(Service(Settings(), models=[("minilm", "minilm")])) as url:
        yield url


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATEWOOD_CACHE", str(tmp_path / "cache"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_vectors_are_those_of_the_model_behind_it(address, minilm, encoding):
    remote = load_embeddings(f"openai:minilm?encoding={encoding}", url=address + "/v1")
    expected = minilm.encode_passages(TEXTS).dense.tokens
    np.testing.assert_allclose(remote.encode_passages(TEXTS).dense.tokens, expected, atol=1e-5)


def test_every_dialect_gives_every_passage_its_score(address):
    found = {}
    for dialect in ("cohere", "jina", "voyage", "tei"):
        scores = load_reranker(address, dialect, "minilm").score("which wood is dense?", TEXTS)
        assert scores.shape == (len(TEXTS),)
        assert int(scores.argmax()) == TEXTS.index("A ring has dense late wood.")
        found[dialect] = scores
    # Three are told the same scores; TEI's callers ask for raw ones, which only stretch the scale.
    np.testing.assert_allclose(found["cohere"], found["jina"], atol=1e-6)
    np.testing.assert_allclose(found["cohere"], found["voyage"], atol=1e-6)
    np.testing.assert_array_equal(np.argsort(found["cohere"]), np.argsort(found["tei"]))


def test_a_collection_whose_models_are_elsewhere(address, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", address + "/v1")
    with lw.Collection.create(tmp_path / "kb.lw", "openai:minilm") as kb:
        kb.add(lw.Passage(f"p{i}", text) for i, text in enumerate(TEXTS))
        pipeline = lw.Dense(20) >> lw.Cross(3, url=address, dialect="jina", model="minilm")
        assert kb.search("which wood is dense?", pipeline=pipeline).hits[0].id == "p40"
