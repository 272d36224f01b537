"""Who may ask what, how much of it, and what an answer may never show."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time

import httpx
import pytest
from serving import in_this_process, make_collection

pytest.importorskip("fastapi", reason="the service is not installed: pip install '.[serve]'")

from latewood.cli import main
from latewood.errors import InputError
from latewood.serve import Limits, Service, Settings, read_keys
from latewood.serve.settings import matching_key

ALL, TREES, SHIPS = "key-that-sees-all", "key-that-sees-trees", "key-that-sees-ships"
LIMITS = Limits(
    body=20_000, upload=50_000, documents=50, tokens=1000, seconds=20, body_seconds=1.0, running=2, waiting=2
)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, minilm):
    """A service with keys and tight limits; the URL, and the service itself."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "root").mkdir()
    kb = make_collection(folder / "kb.lw", minilm)
    entries = [
        {"name": "all", "key": ALL},
        {"name": "trees", "key": TREES, "where": {"kind": "tree"}},
        {"name": "ships", "key": SHIPS, "where": {"kind": "ship"}},
    ]
    (folder / "keys.json").write_text(json.dumps(entries), encoding="utf-8")
    report = folder / "report.html"
    report.write_text("<h1>Judged</h1>", encoding="utf-8")
    settings = Settings(
        limits=LIMITS,
        keys=read_keys(folder / "keys.json"),
        hosts=("127.0.0.1", "localhost"),
        slow_ms=1e9,
        reports=(report,),
    )
    service = Service(settings, [kb], folder / "root", [("minilm", "minilm")])
    with in_this_process(service) as url:
        yield url, service


@pytest.fixture(scope="module")
def ask(guarded):
    """A function from a key to a client."""
    clients = {}

    def client(key=None):
        if key not in clients:
            headers = {"authorization": f"Bearer {key}"} if key else {}
            clients[key] = httpx.Client(base_url=guarded[0], headers=headers, timeout=30)
        return clients[key]

    yield client
    for each in clients.values():
        each.close()


# -- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "wrong-key", "key-that-sees-al", "é" * 9])
def test_without_a_key_nothing_is_answered(guarded, key):
    headers = {} if key is None else {"authorization": f"Bearer {key}".encode()}
    asked = ["POST /v1/rerank", "POST /v1/search", "GET /v1/collections", "GET /v1/models", "GET /metrics"]
    for line in [*asked, "GET /openapi.json", "DELETE /v1/collections/kb", "GET /reports/0"]:
        method, path = line.split()
        assert httpx.request(method, guarded[0] + path, headers=headers).status_code == 401, line
    assert httpx.get(guarded[0] + "/health").status_code == 200
    assert httpx.get(guarded[0] + "/ready").status_code == 200


def test_other_headers_that_carry_a_key(guarded):
    for name in ("x-api-key", "api-key"):
        assert httpx.get(guarded[0] + "/v1/models", headers={name: ALL}).status_code == 200


def test_all_keys_are_compared_whichever_is_given(guarded):
    keys = guarded[1].settings.keys
    assert [matching_key(keys, key).name for key in (ALL, TREES, SHIPS)] == ["all", "trees", "ships"]
    assert matching_key(keys, "nothing") is None
    assert not any(ALL in repr(key) for key in keys)


def test_one_tenant_never_sees_another_s_passages(ask):
    everything = " ".join(["oak larch timber ship mast keel wood ring note plank"])
    for key, own in ((TREES, {"oak", "larch", "ring"}), (SHIPS, {"mast", "keel"})):
        client = ask(key)
        for pipeline in ("dense:50", "late:50", "bm25:50", "dense:50 >> late:50", "(dense:50 + bm25:50):50 >> late:50"):
            found = client.post("/v1/search", json={"query": everything, "pipeline": pipeline}).json()["hits"]
            assert {hit["id"] for hit in found} <= own, (key, pipeline)
            assert len(found) == len(own) or pipeline == "bm25:50"
        body = {"query": everything, "where": {"kind": {"in": ["tree", "ship", "note"]}}}
        assert {hit["id"] for hit in client.post("/v1/search", json=body).json()["hits"]} == own
        other = "mast" if key == TREES else "oak"
        for refused in (
            client.get(f"/v1/collections/kb/documents/{other}"),
            client.post("/v1/rerank", json={"query": "q", "ids": [other]}),
            client.post("/v1/rerank", json={"query": "q", "documents": [{"id": other}]}),
        ):
            assert refused.status_code == 404
            assert refused.json()["message"] == f"no passage '{other}' in this collection (generation 1)"
        assert client.get("/v1/collections/kb").json() == {"name": "kb", "generation": 1, "passages": len(own)}
        assert client.get("/v1/collections").json()["collections"][0]["passages"] == len(own)
        assert client.get("/reports/0").status_code == 403
        for answer in (client.get("/", params={"q": everything, "beside": "bm25:50"}), client.get("/stats")):
            assert answer.status_code == 200
            assert "Note 7" not in answer.text
            assert f'data-id="{other}"' not in answer.text


def test_who_sees_a_part_changes_nothing(ask):
    client = ask(TREES)
    document = {"_id": "oak", "text": "mine now", "kind": "tree"}
    for answer in (
        client.post("/v1/collections/kb/documents", json={"documents": [document]}),
        client.post("/v1/collections/kb/files", files=[("files", ("a.txt", b"text"))]),
        client.post("/v1/collections/kb/documents/delete", json={"ids": ["oak"]}),
        client.delete("/v1/collections/kb/documents/oak"),
        client.post("/v1/collections", json={"name": "new"}),
        client.delete("/v1/collections/kb"),
    ):
        assert answer.status_code == 403
        assert "only reads" in answer.json()["message"]


def test_a_browser_shows_its_key_once(guarded):
    with httpx.Client(base_url=guarded[0], follow_redirects=False) as client:
        sent = client.get("/", params={"q": "oak"})
        assert (sent.status_code, sent.headers["location"]) == (303, "/login?back=%2F%3Fq%3Doak")
        assert client.post("/login", data={"key": "wrong"}).status_code == 401
        let_in = client.post("/login", data={"key": TREES, "back": "//elsewhere.example"})
        assert (let_in.status_code, let_in.headers["location"]) == (303, "/")
        cookie = let_in.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert TREES not in cookie
        assert client.get("/").status_code == 200
        # A cookie is sent by the browser whoever wrote the page that asks: it changes nothing here.
        assert client.post("/v1/search", json={"query": "q"}).status_code == 401


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("[]", "at least one key"),
        ('[{"key": "long-enough"}]', "no name"),
        ('[{"name": "a", "key": "short"}]', "5 characters"),
        ('[{"name": "a"}]', "either key"),
        ('[{"name": "a", "sha256": "zz"}]', "sha256"),
        ('[{"name": "a", "key": "long-enough", "filter": {}}]', "expected"),
        ('[{"name": "a", "key": "long-enough", "where": {"a": null}}]', "where"),
        ('[{"name": "a", "key": "long-enough"}, {"name": "b", "key": "long-enough"}]', "twice"),
    ],
)
def test_files_of_keys_that_are_refused(tmp_path, content, said):
    (tmp_path / "keys.json").write_text(content, encoding="utf-8")
    with pytest.raises(Exception, match=said) as refused:
        read_keys(tmp_path / "keys.json")
    assert isinstance(refused.value, InputError) or said == "where"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "opens the service to others"),
        (["--report", "no.html"], "no such file"),
        (["--root", "nowhere"], "no such folder"),
        (["nowhere.lw"], "is not a collection"),
        (["--api-keys", "nowhere.json"], "could not be read"),
    ],
)
def test_a_start_that_is_refused(options, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LATEWOOD_API_KEY", raising=False)
    with pytest.raises(SystemExit) as left:
        main(["serve", *options])
    assert left.value.code in {2, 3}
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


# -- where from ------------------------------------------------------------------------------------------------------


def test_a_name_that_leads_here_is_not_ours(guarded):
    answer = httpx.get(guarded[0] + "/health", headers={"host": "evil.example:80"})
    assert answer.status_code == 400
    assert "--allow-host" in answer.json()["message"]


def test_a_page_of_another_site_changes_nothing(ask):
    answer = ask(ALL).post("/v1/collections", json={"name": "x"}, headers={"origin": "https://evil.example"})
    assert answer.status_code == 403


def test_answers_carry_the_headers_that_keep_a_page_at_home(ask):
    for path in ("/", "/stats", "/v1/models", "/static/page.css"):
        headers = ask(ALL).get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "server" not in headers


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/reports/..%2f", "/reports/9"]
)
def test_addresses_are_no_paths(guarded, path):
    host, port = guarded[0].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        ask = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {ALL}\r\nConnection: close\r\n\r\n"
        connection.sendall(ask.encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.split()[1] in {b"404", b"422"}
    assert b"import" not in answer
    assert b"root:" not in answer


# -- how much --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/v1/rerank", {"query": "q", "documents": ["x" * 30_000]}, "20,000 bytes"),
        ("/v1/rerank", {"query": "q", "documents": ["x"] * 51}, "51 documents"),
        ("/v1/rerank", {"query": "q", "documents": ["word " * 900]}, "tokens"),
        ("/v1/embeddings", {"input": ["x"] * 51}, "51 texts"),
        ("/v1/search", {"query": "word " * 900}, "tokens"),
    ],
)
def test_limits_say_what_they_are(ask, path, body, said):
    answer = ask(ALL).post(path, json=body)
    assert answer.status_code == 413
    assert said in answer.json()["message"]


def test_a_body_without_a_length_is_counted_as_it_comes(ask):
    def pieces():
        for _ in range(40):
            yield b" " * 1000

    answer = ask(ALL).post("/v1/rerank", content=pieces(), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    documents = b'{"_id": "a", "text": "b"}\n'

    def many():
        for _ in range(100):
            yield documents * 40

    headers = {"content-type": "application/x-ndjson"}
    assert ask(ALL).post("/v1/collections/kb/documents", content=many(), headers=headers).status_code == 413


def test_a_client_that_sends_slowly_holds_nobody_up(guarded, ask):
    host, port = guarded[0].removeprefix("http://").split(":")
    head = f"POST /v1/rerank HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {ALL}\r\n"
    slow = [socket.create_connection((host, int(port)), 10) for _ in range(10)]
    for connection in slow:
        connection.sendall((head + "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{").encode())
    assert ask(ALL).post("/v1/rerank", json={"query": "q", "documents": ["a"]}).status_code == 200
    for connection in slow:
        connection.settimeout(30)
        assert b" 408 " in connection.recv(65536)
        connection.close()


class Gate:
    """Holds the lane of a service, so that requests pile up."""

    def __init__(self, service):
        self.lane = service.models.lane("minilm")
        self.entered, self.open = threading.Event(), threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self.lane.call, args=(self._hold,))
        self.thread.start()
        assert self.entered.wait(30)
        return self

    def _hold(self, _):
        self.entered.set()
        self.open.wait(60)

    def __exit__(self, *_):
        self.open.set()
        self.thread.join(60)


def settled(service):
    deadline = time.monotonic() + 30
    while service.work._taken and time.monotonic() < deadline:
        time.sleep(0.01)
    assert service.work._taken == 0


def test_too_many_at_once_are_told_to_come_again(guarded, ask):
    url, service = guarded
    body = {"query": "q", "documents": ["a"]}
    headers = {"authorization": f"Bearer {ALL}"}
    answers = []

    def post():
        answers.append(httpx.post(f"{url}/v1/rerank", json=body, headers=headers, timeout=60))

    with Gate(service):
        threads = [threading.Thread(target=post) for _ in range(4)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 30
        while service.work._taken < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        refused = httpx.post(f"{url}/v1/rerank", json=body, headers=headers)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert httpx.get(f"{url}/health").status_code == 200
    for thread in threads:
        thread.join(60)
    assert [answer.status_code for answer in answers] == [200] * 4
    settled(service)


def test_a_client_that_goes_away_frees_its_place(guarded, ask):
    url, service = guarded
    with Gate(service):
        for _ in range(4):
            with contextlib.suppress(httpx.TimeoutException):
                httpx.post(
                    f"{url}/v1/rerank", json={"query": "q", "documents": ["a"]}, timeout=0.3,
                    headers={"authorization": f"Bearer {ALL}"},
                )  # fmt: skip
    settled(service)
    assert ask(ALL).post("/v1/rerank", json={"query": "q", "documents": ["a"]}).status_code == 200
    assert 'status="499"' in ask(ALL).get("/metrics").text


def test_a_fault_says_nothing_of_the_code(guarded, ask, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("secret of the code")

    monkeypatch.setattr(guarded[1].shelves, "get", broken)
    for answer in (
        ask(ALL).post("/v1/search", json={"query": "q"}),
        ask(ALL).get("/", params={"q": "x"}),
        ask(ALL).post("/v1/rerank", json={"query": "q", "ids": ["a"]}),
    ):
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text


def test_a_request_that_takes_too_long(guarded, ask, monkeypatch):
    _, service = guarded
    from dataclasses import replace

    monkeypatch.setattr(service.work, "_limits", replace(LIMITS, seconds=0.3))
    with Gate(service):
        answer = ask(ALL).post("/v1/rerank", json={"query": "q", "documents": ["a"]})
        assert answer.status_code == 408
        assert "0.3 s" in answer.json()["message"]
    settled(service)
