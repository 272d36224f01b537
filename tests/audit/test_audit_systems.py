"""Runs, functions and endpoints as today's system; questions from a scripted LLM endpoint and from the documents.

The HTTP servers here are real ones on this machine, with answers that the tests script: no model is behind them.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from latewood.errors import InputError, UnavailableError, UsageError
from latewood.evaluate.audit import audit, largest_alike
from latewood.evaluate.audit_corpus import Corpus
from latewood.evaluate.audit_questions import from_documents, from_llm
from latewood.evaluate.audit_systems import FunctionRetriever, HttpRetriever
from latewood.evaluate.runs import Run
from latewood.types import Passage

QUERIES = {"q1": "first", "q2": "second", "q3": "third"}
QRELS = {"q1": {"a": 1}, "q2": {"b": 1}, "q3": {"c": 1}}
LONG = (
    "The boundary layer thickens slowly downstream. It separates where pressure rises again, before any visible wake."
)
CORPUS = Corpus.of([Passage(key, f"{key} {LONG} {LONG}") for key in "abcdef"])


@contextmanager
def served(answer):
    """A server that answers each POST with (status, body) of `answer(path, request, headers)`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = answer(self.path, request, self.headers)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def hits(*pairs):
    return 200, {"hits": [{"id": found, "score": score} for found, score in pairs]}


def test_an_endpoint_is_asked_as_documented_and_its_hits_are_put_in_order():
    asked = []

    def answer(path, request, headers):
        asked.append((path, request, headers["Authorization"]))
        return hits(("b", 0.5), ("a", 0.9), ("c", 0.5), ("d", 0.1))

    with served(answer) as url:
        retriever = HttpRetriever(f"{url}/search", key="secret")
        found = audit({"today": retriever}, (QUERIES, QRELS), CORPUS, k=1, pool=3)
        retriever.close()
    assert asked[0] == ("/search", {"query": "first", "k": 3}, "Bearer secret")
    assert [miss.rank for miss in found.misses] == [2, 3]  # b before c: equal scores, by id
    assert found.recall == {"q1": 1.0, "q2": 0.0, "q3": 0.0}


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ((500, b"out of memory"), UnavailableError, "answered 500, expected 200: out of memory"),
        ((200, b"<html>"), InputError, "expected"),
        ((200, {"results": []}), InputError, '{"hits"'),
        ((200, {"hits": [{"id": "a"}]}), InputError, '{"hits"'),
        (hits(("a", 1.0), ("a", 0.5)), InputError, "'a' twice"),
        ((200, b'{"hits": [{"id": "a", "score": NaN}]}'), InputError, "score nan"),
        ((200, {"hits": []}), InputError, "found nothing"),
    ],
)
def test_an_answer_that_can_t_be_one_is_one_line(answer, error, said):
    with served(lambda *_: answer) as url, pytest.raises(error) as caught:
        audit({"today": HttpRetriever(url)}, (QUERIES, QRELS), CORPUS, k=1, pool=3)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nobody_there_and_no_url():
    with served(lambda *_: hits()) as url:
        pass
    with pytest.raises(UnavailableError, match="is it up"):
        HttpRetriever(url).rank("q", 5)
    with pytest.raises(UsageError, match="starts with http"):
        HttpRetriever("localhost:8000")


def test_one_question_that_fails_is_counted_and_named():
    def answer(_, request, __):
        return (503, b"busy") if request["query"] == "second" else hits(("a", 2.0), ("c", 1.0))

    with served(answer) as url:
        found = audit({"today": HttpRetriever(url)}, (QUERIES, QRELS), CORPUS, k=1, pool=3)
    assert [failure.query_id for failure in found.failed] == ["q2"]
    assert found.empty == 1
    assert found.to_json()["failed"][0]["error"].startswith("UnavailableError")


def test_functions_give_ids_or_pairs_and_nothing_else():
    assert [hit.id for hit in FunctionRetriever(lambda q, k: ["x", "y", "z"]).rank("q", 2).hits] == ["x", "y"]
    assert FunctionRetriever(lambda q, k: [("x", 3)]).rank("q", 2).hits[0].score == 3.0
    with pytest.raises(UsageError, match="returned 7"):
        FunctionRetriever(lambda q, k: [7]).rank("q", 2)


def run(**rankings):
    return Run(rankings, {q: tuple(float(-at) for at in range(len(ids))) for q, ids in rankings.items()})


def test_a_run_that_lacks_a_question_found_nothing_for_it():
    found = audit({"today": run(q1=("a", "b"), q2=("a", "b"))}, (QUERIES, QRELS), CORPUS, k=1, pool=5)
    assert found.recall == {"q1": 1.0, "q2": 0.0, "q3": 0.0}
    assert (found.empty, found.failed) == (1, ())


@pytest.mark.parametrize(
    ("systems", "qrels", "options", "said"),
    [
        ({"r": run(x=("a", "b"))}, QRELS, {}, "answers none of the 3 judged questions"),
        ({"r": run(q1=("a", "b"))}, {"q1": {"zz": 1}}, {}, "belong to another corpus"),
        ({"r": run(q1=("a", "b"))}, {"other": {"a": 1}}, {}, "belong to these queries"),
        ({"r": run(q1=("a",))}, QRELS, {}, "recall doesn't see order"),
        ({}, QRELS, {}, "nothing to audit"),
        ({"r": run(q1=("a", "b"))}, QRELS, {"k": 5, "pool": 5}, "k < pool"),
        ({"r": run(q1=("a", "b"))}, QRELS, {"sample": 1}, "at least 2"),
    ],
)
def test_bad_input_is_one_clear_error(systems, qrels, options, said):
    with pytest.raises((InputError, UsageError)) as caught:
        audit(systems, (QUERIES, qrels), CORPUS, **({"k": 1, "pool": 5} | options))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_swaps_that_questions_can_t_tell_apart():
    base = {f"q{at}": float(at % 2) for at in range(100)}
    swapped = [{key: 1 - value if key == f"q{at}" else value for key, value in base.items()} for at in range(5)]
    better = dict.fromkeys(base, 1.0)
    assert largest_alike(swapped) == 5
    assert largest_alike([*swapped[:3], better]) == 3
    assert largest_alike([base, better]) == 1


def test_an_llm_endpoint_writes_questions(monkeypatch):
    monkeypatch.setenv("LATEWOOD_CACHE", "off")
    requests = []

    def answer(path, request, headers):
        requests.append((path, request, headers["Authorization"]))
        about = request["messages"][1]["content"][0]
        return 200, {"choices": [{"message": {"content": f"  What of\n {about}? "}}]}

    with served(answer) as url:
        made = from_llm(CORPUS, 4, "scripted", f"{url}/v1/", key="k")
    path, request, key = requests[0]
    assert (path, request["model"], key) == ("/v1/chat/completions", "scripted", "Bearer k")
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    assert len(made.queries) == 4
    for query_id, question in made.queries.items():
        assert {f"What of {passage}?" for passage in made.qrels[query_id]} == {question}
    assert made.by == "generated by scripted, no judgements"
    assert not made.copied


def test_an_llm_that_fails_at_first_is_an_error_and_later_is_counted(monkeypatch):
    monkeypatch.setenv("LATEWOOD_CACHE", "off")
    with served(lambda *_: (401, b"no key")) as url, pytest.raises(UnavailableError, match="answered 401"):
        from_llm(CORPUS, 4, "m", url)
    with served(lambda *_: (200, {"choices": []})) as url, pytest.raises(UnavailableError, match="chat completion"):
        from_llm(CORPUS, 4, "m", url)
    count = iter(range(9))

    def second_fails(*_):
        return (400, b"") if next(count) == 1 else (200, {"choices": [{"message": {"content": "Why?"}}]})

    with served(second_fails) as url:
        made = from_llm(CORPUS, 4, "m", url)
    assert (len(made.queries), made.failed) == (3, 1)


def test_questions_drawn_from_documents_are_their_own_words_and_the_same_every_time():
    made = from_documents(CORPUS, 3)
    assert made == from_documents(CORPUS, 3)
    assert made != from_documents(CORPUS, 3, seed=1)
    assert made.copied
    assert "no judgements" in made.by
    for question in made.queries.values():
        words = question.split()
        assert len(words) == 6
        assert all(word in LONG.lower() for word in words)
    with pytest.raises(InputError, match="20 words"):
        from_documents(Corpus.of([Passage("x", "too short")]), 3)
