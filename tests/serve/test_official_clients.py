"""The vendors' own clients, unchanged, with another address."""

from __future__ import annotations

import numpy as np
import pytest

QUERY = "what does the larch lose in autumn?"
TEXTS = ["Oak is heavy.", "The larch loses its needles.", "Masts were pines."]


def test_openai(server, minilm):
    openai = pytest.importorskip("openai", reason="openai is not installed: pip install '.[clients]'")
    client = openai.OpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0)
    found = client.embeddings.create(model="minilm", input=TEXTS)
    assert np.array([each.embedding for each in found.data]) == pytest.approx(
        minilm.encode_passages(TEXTS).dense.tokens, abs=1e-5
    )
    plain = client.embeddings.create(model="minilm", input=TEXTS[0], encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(found.data[0].embedding, abs=1e-5)
    assert [model.id for model in client.models.list()] == ["minilm"]
    with pytest.raises(openai.NotFoundError, match="no model 'ada'"):
        client.embeddings.create(model="ada", input="a")


def test_cohere(server):
    cohere = pytest.importorskip("cohere", reason="cohere is not installed: pip install '.[clients]'")
    new = cohere.ClientV2(api_key="k", base_url=server.url)
    found = new.rerank(model="minilm", query=QUERY, documents=TEXTS, top_n=2)
    assert next(each.index for each in found.results) == 1
    assert len(found.results) == 2
    assert 0 < found.results[1].relevance_score < found.results[0].relevance_score < 1
    old = cohere.Client(api_key="k", base_url=server.url)
    found = old.rerank(model="minilm", query=QUERY, documents=[{"text": text} for text in TEXTS], return_documents=True)
    assert found.results[0].document.text == TEXTS[1]
    assert len(found.results) == 3
    with pytest.raises(cohere.core.ApiError) as refused:
        new.rerank(model="rerank-v9", query=QUERY, documents=TEXTS)
    assert "no model 'rerank-v9'" in str(refused.value)


def test_voyageai(server):
    voyageai = pytest.importorskip("voyageai", reason="voyageai is not installed: pip install '.[clients]'")
    client = voyageai.Client(api_key="k", base_url=f"{server.url}/v1", max_retries=0)
    found = client.rerank(QUERY, TEXTS, model="minilm", top_k=2)
    assert next(each.index for each in found.results) == 1
    assert found.results[0].document == TEXTS[1]
    assert len(found.results) == 2
    assert len(client.rerank(QUERY, TEXTS, model="minilm").results) == 3
    vectors = client.embed(TEXTS, model="minilm", input_type="document").embeddings
    assert np.array(vectors).shape == (3, 384)
    with pytest.raises(voyageai.error.VoyageError, match="no model 'rerank-9'"):
        client.rerank(QUERY, TEXTS, model="rerank-9")
