"""Clients that want an environment of their own, driven from there: `python other_clients.py NAME URL`."""

import os
import sys

QUERY = "what does the larch lose in autumn?"
TEXTS = ["Oak is heavy.", "The larch loses its needles.", "Masts were pines."]


def litellm(url):
    """All providers of LiteLLM that rerank at an address of one's own."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else the import asks the network for prices
    import litellm

    for model, base in (
        ("cohere/minilm", url),
        ("jina_ai/minilm", url),
        ("infinity/minilm", f"{url}/infinity"),
        ("hosted_vllm/minilm", url),
        ("voyage/minilm", url),
        ("huggingface/minilm", url),
    ):
        found = litellm.rerank(model=model, api_base=base, api_key="k", query=QUERY, documents=TEXTS, top_n=3)
        results = [dict(each) for each in found.results]
        assert results[0]["index"] == 1, (model, results)
        assert 0 < results[0]["relevance_score"] < 1, (model, results)
        sys.stdout.write(f"{model} ok\n")


def langchain(url):
    """LangChain's rerankers for Cohere and Voyage."""
    from langchain_cohere import CohereRerank
    from langchain_core.documents import Document
    from langchain_voyageai import VoyageAIRerank

    documents = [Document(page_content=text) for text in TEXTS]
    for reranker in (
        CohereRerank(model="minilm", cohere_api_key="k", base_url=url, top_n=2),
        VoyageAIRerank(model="minilm", voyage_api_key="k", base_url=f"{url}/v1", top_k=2),
    ):
        found = reranker.compress_documents(documents, QUERY)
        assert found[0].page_content == TEXTS[1], found
        assert len(found) == 2
        assert 0 < found[0].metadata["relevance_score"] < 1
        sys.stdout.write(f"{type(reranker).__name__} ok\n")


def llamaindex(url):
    """LlamaIndex's rerankers for Cohere and Jina."""
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
    from llama_index.postprocessor.cohere_rerank import CohereRerank
    from llama_index.postprocessor.jinaai_rerank import JinaRerank

    for reranker in (
        CohereRerank(api_key="k", model="minilm", top_n=2, base_url=url),
        JinaRerank(api_key="k", model="minilm", top_n=2, base_url=f"{url}/v1"),
    ):
        nodes = [NodeWithScore(node=TextNode(text=text), score=0.0) for text in TEXTS]
        found = reranker.postprocess_nodes(nodes, query_bundle=QueryBundle(QUERY))
        assert found[0].node.get_content() == TEXTS[1], found
        assert len(found) == 2
        sys.stdout.write(f"{type(reranker).__name__} ok\n")


if __name__ == "__main__":
    {"litellm": litellm, "langchain": langchain, "llamaindex": llamaindex}[sys.argv[1]](sys.argv[2])
