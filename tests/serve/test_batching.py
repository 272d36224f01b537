"""Many at once: the answers are those that each gets alone, and what goes wrong for one goes wrong for nobody else."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from serving import PASSAGES, in_this_process, make_collection

pytest.importorskip("fastapi", reason="the service is not installed: pip install '.[serve]'")

from latewood.serve import Limits, Service, Settings

IDS = [passage.id for passage in PASSAGES]
QUESTIONS = [
    "oak",
    "what does the larch lose in autumn, when the days are short and other trees are as green as they were?",
    "which wood was the timber of ships?",
    *(f"on what day was plank number {i} sawn?{' And why?' * (i % 4)}" for i in range(21)),
]


@pytest.fixture(scope="module")
def services(tmp_path_factory, minilm):
    """The addresses of two services of one collection by the size of their batches, and the services."""
    kb = make_collection(tmp_path_factory.mktemp("batching") / "kb.lw", minilm)
    apart = Service(Settings(limits=Limits(batch=1), slow_ms=1e9), [kb])
    together = Service(Settings(limits=Limits(batch=32), slow_ms=1e9), [kb])
    with in_this_process(apart) as one, in_this_process(together) as many:
        yield {1: (one, apart), 32: (many, together)}


@pytest.fixture
def held(services):
    """Holds the model of the service that batches until the number of questions that wait is what it is told."""
    _, service = services[32]
    lane = next(iter(service.models)).lane
    free = threading.Event()
    caller = threading.Thread(target=lambda: lane.call(lambda _: free.wait(60)))
    caller.start()

    def until(count):
        waited = threading.Event()
        for _ in range(3000):
            if len(lane._queries) >= count:
                break
            waited.wait(0.01)
        assert len(lane._queries) == count
        free.set()

    yield until
    free.set()
    caller.join()


def bodies(kind):
    if kind == "search":
        return [{"query": question, "pipeline": "dense:50 >> late:5"} for question in QUESTIONS]
    return [{"query": question, "ids": IDS[i % 7 :], "raw_scores": True} for i, question in enumerate(QUESTIONS)]


def scored(answer):
    found = answer.raise_for_status().json()
    if "hits" in found:
        return [(hit["id"], hit["score"]) for hit in found["hits"]]
    return [(each["index"], each["relevance_score"]) for each in found["results"]]


@pytest.mark.parametrize("kind", ["search", "rerank"])
def test_answers_are_the_same_together_and_apart(services, held, kind):
    def ask(batch, body):
        return httpx.post(f"{services[batch][0]}/v1/{kind}", json=body, timeout=60)

    alone = [scored(ask(1, body)) for body in bodies(kind)]
    with ThreadPoolExecutor(len(QUESTIONS)) as pool:
        asked = [pool.submit(ask, 32, body) for body in bodies(kind)]
        held(len(QUESTIONS))
        together = [scored(each.result(60)) for each in asked]
    for one, other in zip(alone, together, strict=True):
        # Vectors move by rounding, so scores that are next to equal may change places.
        assert [score for _, score in other] == pytest.approx([score for _, score in one], abs=1e-4)
        assert dict(other) == pytest.approx(dict(one), abs=1e-4)


def test_a_request_that_is_refused_spoils_no_other(services, held):
    address = f"{services[32][0]}/v1/rerank"

    def ask(body):
        return httpx.post(address, json=body, timeout=60)

    with ThreadPoolExecutor(12) as pool:
        good = [pool.submit(ask, body) for body in bodies("rerank")[:6]]
        bad = [pool.submit(ask, body | {"ids": ["oak", f"elm {i}"]}) for i, body in enumerate(bodies("rerank")[:6])]
        held(6)  # an id that isn't there is known before the question is encoded
        assert [each.result(60).status_code for each in good] == [200] * 6
        for i, each in enumerate(bad):
            assert each.result(60).status_code == 404
            assert f"no passage 'elm {i}'" in each.result().json()["message"]


def test_for_a_client_that_has_gone_nothing_is_encoded(services, held):
    url, service = services[32]
    host, _, port = url.removeprefix("http://").rpartition(":")
    content = b'{"query": "oak", "ids": ["oak", "larch"]}'
    head = f"POST /v1/rerank HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(content)}\r\n"
    lane = next(iter(service.models)).lane
    with ThreadPoolExecutor(2) as pool:
        stays = [pool.submit(httpx.post, f"{url}/v1/rerank", json=body, timeout=60) for body in bodies("rerank")[:2]]
        gone = socket.create_connection((host, int(port)), timeout=30)
        gone.sendall(f"{head}content-type: application/json\r\n\r\n".encode() + content)
        waited = threading.Event()
        for _ in range(3000):
            if len(lane._queries) == 3:
                break
            waited.wait(0.01)
        gone.close()
        for _ in range(3000):
            if any(question.cancelled.is_set() for question in lane._queries):
                break
            waited.wait(0.01)
        before = service.metrics.registry.get_sample_value("latewood_batch_queries_sum")
        held(3)
        assert [each.result(60).status_code for each in stays] == [200, 200]
    assert service.metrics.registry.get_sample_value("latewood_batch_queries_sum") == before + 2
