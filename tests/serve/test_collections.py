"""Search and collections over HTTP: the same answers as in process, and what is acknowledged is there."""

from __future__ import annotations

import json

import pytest

from latewood.collection import Collection

QUESTION = "what was the timber of ships?"


def lines(*documents):
    return "".join(json.dumps(document) + "\n" for document in documents).encode()


@pytest.fixture
def fresh(http, request):
    """A new, empty collection; its address."""
    name = request.node.name.partition("[")[0][5:60]
    http.post("/v1/collections", json={"name": name}).raise_for_status()
    yield f"/v1/collections/{name}"
    http.delete(f"/v1/collections/{name}")


@pytest.mark.parametrize("pipeline", [None, "late:3", "bm25:10", "(dense:50 + bm25:50):20 >> late:4", "dense:7"])
def test_a_search_answers_as_the_collection_does(http, server, minilm, pipeline):
    found = http.post("/v1/search", json={"query": QUESTION, "pipeline": pipeline}).raise_for_status().json()
    with Collection.open(server.folder / "kb.lw", minilm) as kb:
        expected = kb.search(QUESTION, pipeline=pipeline).to_json()
    assert [hit["id"] for hit in found["hits"]] == [hit["id"] for hit in expected["hits"]]
    for mine, theirs in zip(found["hits"], expected["hits"], strict=True):
        assert mine["score"] == pytest.approx(theirs["score"], abs=1e-4)
        assert mine | {"score": 0} == theirs | {"score": 0}
    assert (found["collection"], found["generation"], found["exact"]) == ("kb", 1, True)
    assert [timing["stage"] for timing in found["timings"]]


def test_an_explanation_sums_to_the_score(http):
    found = http.post("/v1/search", json={"query": QUESTION, "k": 2, "explain": True}).json()["hits"]
    assert len(found) == 2
    for hit in found:
        assert sum(match["similarity"] for match in hit["matches"]) == pytest.approx(hit["score"], abs=1e-3)


def test_results_can_differ_by_source_and_text(http):
    found = http.post("/v1/search", json={"query": QUESTION, "collapse": True, "group_by": "source"}).json()["hits"]
    assert len({hit["source_id"] for hit in found}) == len(found)
    assert all(isinstance(hit["folded"], list) for hit in found)
    assert http.post("/v1/search", json={"query": QUESTION, "group_by": "year"}).status_code == 422


@pytest.mark.parametrize("pipeline", ["dense:50 >> late", "bm25:2", "(dense:3 + bm25:3):3", "late:3"])
def test_conditions_hold_and_starve_nobody(http, pipeline):
    body = {"query": "ship timber note plank wood", "pipeline": pipeline, "k": 3}
    found = http.post("/v1/search", json=body | {"where": {"kind": "tree", "year": {"lt": 1920}}}).json()["hits"]
    assert {hit["id"] for hit in found} <= {"oak", "larch"}
    assert "oak" in {hit["id"] for hit in found}
    found = http.post("/v1/search", json=body | {"where": {"kind": {"in": ["tree", "ship"]}}}).json()["hits"]
    assert len(found) == 3
    assert {hit["metadata"]["kind"] for hit in found} <= {"tree", "ship"}
    assert http.post("/v1/search", json=body | {"where": {"kind": "rock"}}).json()["hits"] == []


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"query": ""}, 422, "query must not be empty"),
        ({"query": "q", "pipeline": "denes:5"}, 422, "unknown stage 'denes'"),
        ({"query": "q", "pipeline": "dense:90000"}, 422, "allows 2000"),
        ({"query": "q", "pipeline": 'dense:5 >> cross(url="http://127.0.0.1:1", dialect="jina")'}, 422, "started with"),
        ({"query": "q", "pipeline": 'dense:5 >> cross(model="/etc")'}, 422, "started with"),
        ({"query": "q", "pipeline": "bm25", "explain": True}, 422, "doesn't end in late"),
        ({"query": "q", "k": 0}, 422, "k"),
        ({"query": "q", "k": 5000}, 422, "2000 at most"),
        ({"query": "q", "where": {}}, 422, "where"),
        ({"query": "q", "where": {"year": {"near": 3}}}, 422, "'near'"),
        ({"query": "q", "collection": "zoo"}, 404, "no collection 'zoo'"),
    ],
)
def test_what_a_search_refuses(http, body, status, said):
    answer = http.post("/v1/search", json={"collection": "kb", **body})
    assert answer.status_code == status
    assert said in answer.json()["message"]


def test_make_fill_read_and_remove(http, server):
    made = http.post("/v1/collections", json={"name": "woods"})
    assert made.status_code == 201
    assert made.json() | {"generation": 0} == {
        "name": "woods", "passages": 0, "generation": 0, "model": "minilm", "pipeline": "dense:50 >> late",
    }  # fmt: skip
    assert http.post("/v1/collections", json={"name": "woods"}).status_code == 409
    assert [each["name"] for each in http.get("/v1/collections").json()["collections"]] == ["kb", "woods"]
    documents = [
        {"_id": "ash", "title": "Ash", "text": "Tool handles."},
        {"_id": "elm/1", "text": "Wheel hubs.", "n": 1},
    ]
    added = http.post("/v1/collections/woods/documents", json={"documents": documents}).raise_for_status().json()
    assert (added["added"], added["replaced"], added["removed"]) == (2, 0, 0)
    again = http.post(
        "/v1/collections/woods/documents", content=lines({"_id": "ash", "text": "Bows."}, *documents[1:]),
        headers={"content-type": "application/x-ndjson"},
    ).raise_for_status().json()  # fmt: skip
    assert (again["added"], again["replaced"], again["unchanged"]) == (0, 1, 1)
    assert again["generation"] > added["generation"]
    assert http.get("/v1/collections/woods/documents/elm/1").json() == {
        "id": "elm/1",
        "source_id": "elm/1",
        "source": "documents",
        "title": "",
        "text": "Wheel hubs.",
        "metadata": {"n": 1},
    }
    hits = http.post("/v1/search", json={"query": "bows", "collection": "woods"}).json()["hits"]
    assert {hit["id"] for hit in hits} == {"ash", "elm/1"}
    assert http.get("/v1/collections/woods").json()["passages"] == 2
    assert http.delete("/v1/collections/woods/documents/ash").json()["deleted"] == 1
    assert http.delete("/v1/collections/woods/documents/ash").status_code == 404
    assert http.post("/v1/collections/woods/documents/delete", json={"ids": ["elm/1", "no"]}).json()["deleted"] == 1
    assert http.get("/v1/collections/woods").json()["passages"] == 0
    assert http.delete("/v1/collections/woods").status_code == 204
    assert http.get("/v1/collections/woods").status_code == 404
    assert not (server.folder / "root" / "woods.lw").exists()
    refused = http.delete("/v1/collections/kb")
    assert refused.status_code == 403
    assert (server.folder / "kb.lw").exists()


def test_files_with_progress(http, fresh):
    notes = "# Ash\n" + "Ash bends before it breaks. " * 40 + "\n# Elm\nElm was used for wheel hubs.\n"
    files = [
        ("files", ("a/../notes.md", notes.encode())),
        ("files", ("more.jsonl", lines({"_id": "x", "text": "Yew."}))),
    ]
    answer = http.post(f"{fresh}/files", files=files, headers={"accept": "application/x-ndjson"})
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    said = [json.loads(line) for line in answer.text.splitlines()]
    assert said[0]["done"] == 0
    assert said[-2]["done"] == said[-2]["total"] == said[0]["total"]
    first = said[-1]
    assert first["added"] >= 3
    assert http.get(f"{fresh}/documents/notes.md%232").json()["source"] == "notes.md"
    # Sent again with less in it, the file leaves nothing behind.
    second = http.post(f"{fresh}/files", files=[("files", ("notes.md", b"# Ash\nShort.\n"))]).raise_for_status().json()
    assert second["removed"] >= 2
    assert http.get(fresh).json()["passages"] == 2


@pytest.mark.parametrize(
    ("content", "kind", "status", "said"),
    [
        (b"", "application/x-ndjson", 422, "no records"),
        (lines({"_id": "a", "text": "x"}) + b'{"_id": "b"', "application/x-ndjson", 422, "documents:2: not JSON"),
        (lines({"text": "x"}), "application/x-ndjson", 422, 'documents:1: no "_id"'),
        (b'{"documents": [{"_id": "a"}]}', "application/json", 422, 'neither "title" nor "text"'),
        (b'{"documents": 1}', "application/json", 422, "documents"),
        (b"{", "application/json", 400, "not JSON"),
        (lines({"_id": "a", "text": "x"}), "text/csv", 415, "expected application/x-ndjson"),
    ],
)
def test_what_is_wrong_is_found_before_anything_changes(http, server, content, kind, status, said):
    for accept in ("application/json", "application/x-ndjson"):
        answer = http.post(
            "/v1/collections/kb/documents", content=content, headers={"content-type": kind, "accept": accept}
        )
        assert answer.status_code == status
        assert said in answer.json()["message"]
        assert "tmp" not in answer.json()["message"]
    assert http.get("/v1/collections/kb").json()["generation"] == 1


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [("x.exe", 415, "can't read '.exe'"), ("..", 422, "without a name"), ("b.txt", 422, "b.txt: binary")],
)
def test_files_that_are_refused(http, name, status, said):
    content = b"\x00\x01\x02\xff" * 50
    answer = http.post("/v1/collections/kb/files", files=[("files", (name, content))])
    assert answer.status_code == status
    assert said in answer.json()["message"]


def test_another_process_that_commits_is_seen(http, server, minilm):
    http.post("/v1/collections", json={"name": "shared"}).raise_for_status()
    from latewood.types import Passage

    with Collection.open(server.folder / "root" / "shared.lw", minilm) as kb:
        kb.add([Passage("yew", "Bows were made of yew.")])
        answer = http.post("/v1/collections/shared/documents", json={"documents": [{"_id": "a", "text": "b"}]})
        assert answer.status_code == 409, "somebody else writes"
    import time

    time.sleep(0.3)
    assert http.post("/v1/search", json={"query": "bows", "collection": "shared"}).json()["hits"][0]["id"] == "yew"
    http.delete("/v1/collections/shared")


@pytest.mark.parametrize("name", ["../up", "", "a b", "x" * 65, ".hidden", "a/b"])
def test_a_name_is_no_path(http, name):
    assert http.post("/v1/collections", json={"name": name}).status_code == 422


def test_metrics_and_the_slow_log(http, server):
    http.post("/v1/search", json={"query": "a question to find in the log", "collection": "kb"}).raise_for_status()
    text = http.get("/metrics").text
    assert 'latewood_requests_total{method="POST",route="/v1/search",status="200"}' in text
    assert 'latewood_stage_seconds_bucket{le="0.001",stage="late"}' in text
    assert 'latewood_passages{collection="kb"} 65.0' in text
    logged = [json.loads(line) for line in server.slow_log.read_text(encoding="utf-8").splitlines()]
    mine = next(entry for entry in logged if entry.get("query") == "a question to find in the log")
    assert (mine["route"], mine["status"], mine["collection"]) == ("/v1/search", 200, "kb")
    assert set(mine["stages"]) == {"encode", "dense:50", "late"}


def test_small_answers_are_sent_at_once():
    # Where asyncio doesn't know that a socket is TCP, an answer's body waits 40 ms behind its head.
    import socket

    from latewood.serve.app import _bound

    with _bound("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP
        listening.listen()
        with pytest.raises(OSError, match="in use"):
            _bound("127.0.0.1", listening.getsockname()[1])


def test_health(http):
    assert http.get("/health").json()["status"] == "ok"
    assert http.get("/ready").json()["status"] == "ready"
    assert http.get("/nowhere").status_code == 404
    assert http.get("/nowhere").json()["error"]["message"]
    assert http.put("/v1/search").status_code == 405
