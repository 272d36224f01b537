"""`cross(url=…)` in four dialects over real HTTP: the scores, the requests, and every wrong answer."""

from __future__ import annotations

import math

import numpy as np
import pytest

from latewood.endpoints import DIALECTS, Limits, accounting, load_reranker
from latewood.endpoints.rerank import rerank_address
from latewood.errors import EndpointError, InputError, PipelineError, UsageError
from stand_in import Say, overlap

QUERY = "which wood is dense"
TEXTS = ["Birch bark peels.", "Late wood is dense.", "Oak is heavy.", "Which is it?", ""]
SCORES = [overlap(QUERY, text) for text in TEXTS]
NAMES = list(DIALECTS)


def scorer(server, dialect, limits):
    return load_reranker(server.url, dialect, "" if dialect == "tei" else "m", limits=limits)


@pytest.mark.parametrize("dialect", NAMES)
def test_scores_in_the_order_of_the_passages(server, quick, dialect):
    scores = scorer(server, dialect, quick).score(QUERY, TEXTS)
    expected = [10 * score - 5 for score in SCORES] if dialect == "tei" else SCORES
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("dialect", "path", "body"),
    [
        ("cohere", "/v2/rerank", {"model": "m", "documents": 5, "top_n": 5}),
        ("jina", "/v1/rerank", {"model": "m", "documents": 5, "top_n": 5, "return_documents": False}),
        (
            "voyage",
            "/v1/rerank",
            {"model": "m", "documents": 5, "top_k": 5, "return_documents": False, "truncation": True},
        ),
        ("tei", "/rerank", {"texts": 5, "raw_scores": True, "return_text": False, "truncate": True}),
    ],
)
def test_requests_are_as_the_service_wants_them(server, quick, dialect, path, body):
    scorer(server, dialect, quick).score(QUERY, TEXTS)
    asked = server.asked[0]
    key = "texts" if dialect == "tei" else "documents"
    assert asked.path == path
    assert asked.body == {"query": QUERY, **body, key: [*TEXTS[:4], " "]}
    assert "authorization" not in asked.headers


@pytest.mark.parametrize(
    ("dialect", "variable"),
    [
        ("cohere", "CO_API_KEY"),
        ("cohere", "COHERE_API_KEY"),
        ("jina", "JINA_API_KEY"),
        ("voyage", "VOYAGE_API_KEY"),
        ("tei", "TEI_API_KEY"),
        ("tei", "LATEWOOD_RERANK_KEY"),
    ],
)
def test_each_dialect_has_its_key(server, quick, monkeypatch, dialect, variable):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-another-service")
    monkeypatch.setenv(variable, "right")
    server.key = "right"
    assert len(scorer(server, dialect, quick).score(QUERY, TEXTS)) == 5


@pytest.mark.parametrize(
    ("url", "goes_to"),
    [
        ("http://h", "http://h/v1/rerank"),
        ("http://h/", "http://h/v1/rerank"),
        ("http://h/v1", "http://h/v1/rerank"),
        ("http://h/v1/rerank", "http://h/v1/rerank"),
        ("http://h/v1/rerank/", "http://h/v1/rerank"),
        ("http://h/api/v1/reranking", "http://h/api/v1/reranking"),
        ("http://h/rerank?version=2", "http://h/rerank?version=2"),
        ("http://h/jina?version=2", "http://h/jina/rerank?version=2"),
    ],
)
def test_addresses_with_and_without_a_path(url, goes_to):
    assert rerank_address(url, DIALECTS["jina"]).url == goes_to


def test_what_can_not_be_a_reranker():
    with pytest.raises(PipelineError, match="none is given: expected cohere, jina, voyage or tei"):
        load_reranker("http://h", "")
    with pytest.raises(PipelineError, match="got 'openai'"):
        load_reranker("http://h", "openai")
    with pytest.raises(PipelineError, match='voyage wants a model by name: add model="…"'):
        load_reranker("http://h", "voyage")
    with pytest.raises(UsageError, match="expected an address"):
        load_reranker("localhost:8080", "tei")


@pytest.mark.parametrize("most", [32, 10])
def test_more_passages_than_a_request_takes_are_sent_in_several(server, most):
    server.most = most
    texts = [f"wood {i} " + "dense " * (i % 3 == 0) for i in range(75)]
    scores = scorer(server, "tei", Limits(concurrency=1)).score(QUERY, texts)
    np.testing.assert_allclose(scores, [10 * overlap(QUERY, text) - 5 for text in texts], atol=1e-6)
    sizes = [len(asked.body["texts"]) for asked in server.asked]
    assert sizes == ([32, 32, 11] if most == 32 else [32, 16, 8, 8, 16, 8, 8, 32, 16, 8, 8, 16, 8, 8, 11, 6, 5])


def test_one_passage_that_is_too_large_says_what_to_do(server, quick):
    server.script = [Say(413)]
    with pytest.raises(EndpointError, match=r"it was one passage of about .*index shorter passages"):
        scorer(server, "jina", quick).score(QUERY, ["long " * 1000])


def test_an_answer_is_kept_under_all_that_was_sent(server, quick):
    with accounting() as account:
        first = scorer(server, "jina", quick).score(QUERY, TEXTS)
        again = scorer(server, "jina", quick).score(QUERY, TEXTS)
        np.testing.assert_array_equal(first, again)
        assert (len(server.asked), account.cached, account.tokens) == (1, 1, 7)
        scorer(server, "jina", quick).score(QUERY, TEXTS[:4])  # a listwise reranker may score these otherwise
        scorer(server, "jina", quick).score(QUERY + "?", TEXTS)
        scorer(server, "cohere", quick).score(QUERY, TEXTS)
        load_reranker(server.url, "jina", "other", limits=quick).score(QUERY, TEXTS)
    assert len(server.asked) == 5


def test_what_passes_later_is_asked_again(server, quick):
    server.script = [Say(429, headers={"Retry-After": "0.05"}), Say(500), Say(cut=10)]
    assert len(scorer(server, "cohere", quick).score(QUERY, TEXTS)) == 5
    assert len(server.asked) == 4


def test_nothing_to_rank_and_nothing_asked(server, quick):
    assert scorer(server, "tei", quick).score(QUERY, []).shape == (0,)
    with pytest.raises(InputError, match="the question is empty"):
        scorer(server, "tei", quick).score(" \n", TEXTS)
    assert not server.asked


def items(dialect, change):
    """A change of the list in an answer of this dialect."""
    key = DIALECTS[dialect].results

    def changed(answer):
        return answer | {key: change(answer[key])} if key else change(answer)

    return Say(change=changed)


@pytest.mark.parametrize("dialect", NAMES)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda dialect: items(dialect, lambda found: found[:3]), r"scored 3 of 5 passages \(not \d\): nothing was"),
        (lambda dialect: items(dialect, lambda found: []), "scored 0 of 5 passages"),
        (lambda dialect: items(dialect, lambda found: [*found[:4], found[0]]), "twice"),
        (lambda dialect: items(dialect, lambda found: [*found, found[0]]), "twice"),
        (lambda dialect: items(dialect, lambda found: [found[0] | {"index": 5}]), "passage 5: expected 0 to 4"),
        (lambda dialect: items(dialect, lambda found: [found[0] | {"index": -1}]), "passage -1"),
        (lambda dialect: items(dialect, lambda found: [found[0] | {"index": "0"}]), "passage '0'"),
        (lambda dialect: items(dialect, lambda found: [found[0] | {"index": True}]), "passage True"),
        (lambda dialect: items(dialect, lambda found: [1, 2]), "doesn't answer as"),
        (lambda dialect: Say(body={"rankings": []}), "check the address and the dialect"),
        (lambda dialect: Say(body="<html>login</html>"), "not JSON"),
        (lambda dialect: Say(401, {"message": "invalid api token"}), "401: 'invalid api token'; set LATEWOOD_RERANK"),
        (lambda dialect: Say(404), "check the address and the model's name"),
        (lambda dialect: Say(422, {"detail": "no"}), "answered 422: 'no'"),
    ],
)
def test_a_wrong_answer_is_an_error_and_never_the_old_order(server, quick, dialect, change, expected):
    server.script = [change(dialect)]
    with pytest.raises(EndpointError, match=expected):
        scorer(server, dialect, quick).score(QUERY, TEXTS)
    assert len(scorer(server, dialect, quick).score(QUERY, TEXTS)) == 5  # and it wasn't kept


@pytest.mark.parametrize("dialect", NAMES)
@pytest.mark.parametrize("score", [math.nan, math.inf, None, "0.9", True, [1]])
def test_a_score_that_is_no_number(server, quick, dialect, score):
    key = DIALECTS[dialect].score
    server.script = [items(dialect, lambda found: [*found[:4], found[4] | {key: score}])]
    with pytest.raises(EndpointError, match="expected a finite number"):
        scorer(server, dialect, quick).score(QUERY, TEXTS)


@pytest.mark.parametrize(
    ("asked_as", "path", "looks_like"), [("tei", "/v1/rerank", "jina"), ("voyage", "/v2/rerank", "jina")]
)
def test_another_dialect_is_recognised(server, quick, asked_as, path, looks_like):
    server.script = [Say(body={"results": [{"index": 0, "relevance_score": 1.0}]})]
    with pytest.raises(EndpointError, match=f'looks like dialect="{looks_like}"'):
        load_reranker(server.url + path, asked_as, "m", limits=quick).score(QUERY, TEXTS)


def test_its_name_says_where(server, quick):
    assert scorer(server, "cohere", quick).name == f"m at {server.url}/v2/rerank"
    assert scorer(server, "tei", quick).name == f"{server.url}/rerank"
