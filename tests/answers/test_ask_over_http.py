"""`/v1/ask` of a running service: events as they come, an answer at once, what clients may not."""

from __future__ import annotations

import json

import httpx
import pytest

from latewood.collection import Collection
from latewood.types import Passage
from over_http import over_http
from stand_in import Say

QUESTION = "which part of a ring is dense?"


def events(response):
    """(name, data) of server-sent events."""
    found = []
    for block in response.text.split("\n\n"):
        if block.strip():
            name, data = block.split("\n", 1)
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


@pytest.fixture
def service(server, model, tmp_path):
    pytest.importorskip("fastapi", reason="the service is not installed: pip install '.[serve]'")
    from latewood.serve import Service, Settings

    with Collection.create(tmp_path / "kb.lw", "openai:small") as kb:
        kb.add(
            [
                Passage("ring", "Late wood is the dense part of a ring.", metadata={"kind": "wood"}),
                Passage("oak", "Oak is heavy.", metadata={"kind": "tree"}),
            ]
        )
    made = Service(Settings(), [tmp_path / "kb.lw"])
    made.chat = model
    server.asked.clear()
    return made


@pytest.fixture
def client(service):
    with over_http(service) as url, httpx.Client(base_url=url, timeout=30) as http:
        yield http


def test_events_come_and_the_last_is_the_answer(client):
    response = client.post("/v1/ask", json={"question": QUESTION, "k": 2})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    found = events(response)
    names = [name for name, _ in found]
    assert names[-1] == "done"
    assert set(names) == {"token", "citation", "done"}
    assert "".join(data["text"] for name, data in found if name == "token") == found[-1][1]["answer"]
    assert found[-1][1]["answer"].startswith("Late wood is the dense part of a ring. [")
    assert [each["id"] for each in found[-1][1]["citations"]] == ["ring"]


def test_an_answer_at_once(client):
    told = client.post("/v1/ask", json={"question": QUESTION, "stream": False}).json()
    assert (told["outcome"], told["citations"][0]["id"]) == ("answered", "ring")
    told = client.post("/v1/ask", json={"question": "who painted it?", "stream": False}).json()
    assert told["outcome"] == "not_in_passages"


def test_conditions_hold_for_what_answers_are_made_of(client, server):
    body = {"question": QUESTION, "where": {"kind": "tree"}, "stream": False}
    assert client.post("/v1/ask", json=body).json()["outcome"] == "not_in_passages"
    assert "dense part" not in json.dumps([asked.body for asked in server.asked if "messages" in asked.body])


def test_what_goes_wrong_before_the_first_word_is_a_status(client, server, service):
    server.script = [Say(), Say(401, {"error": {"message": "no", "code": "invalid"}})]
    refused = client.post("/v1/ask", json={"question": QUESTION})
    assert refused.status_code == 503
    assert "answered 401" in refused.json()["message"]
    assert client.post("/v1/ask", json={"question": " "}).status_code == 422
    assert client.post("/v1/ask", json={"question": "q", "k": 0}).status_code == 422
    assert client.post("/v1/ask", json={"question": "q", "collection": "none"}).status_code == 404
    service.chat = None
    refused = client.post("/v1/ask", json={"question": QUESTION})
    assert (refused.status_code, "started without --llm" in refused.json()["message"]) == (403, True)


def test_what_goes_wrong_on_the_way_is_an_event(client, server):
    client.post("/v1/search", json={"query": QUESTION})  # its vector is known from here on
    server.script = [Say(cut=4)]
    found = events(client.post("/v1/ask", json={"question": QUESTION}))
    assert found[-1][0] == "error"
    assert "broke off in the middle" in found[-1][1]["message"]
    assert "done" not in [name for name, _ in found]
    assert events(client.post("/v1/ask", json={"question": QUESTION}))[-1][0] == "done"


def test_a_client_can_not_choose_another_model(client, server):
    body = {"question": QUESTION, "llm": "dear", "model": "dear", "llm_url": "http://127.0.0.1:9", "stream": False}
    assert client.post("/v1/ask", json=body).json()["model"] == "scripted"
    assert {asked.body["model"] for asked in server.asked if "messages" in asked.body} == {"scripted"}
