"""What HTTP costs, and what batching brings: the service under load, beside the same pipeline in process.

Serves a collection as a process of its own and asks it the questions of a BEIR folder: a search (`dense:50 >> late:5`)
and a rerank by id of the fifty best of `dense`. With one client: the median beside the pipeline in process, the two
taking turns. With many clients for some seconds: QPS, p50, p95 and errors, with the default batch and --max-batch 1.
With --add N, on a copy: that many documents are added meanwhile, and every answer must be of a whole commit.

    python benchmarks/serve.py KB.lw DATA [--clients 16] [--seconds 60] [--add N] [--save]

--save writes benchmarks/results/serve.json, with commit and machine. Quality is no figure here: the answers are held
against the pipeline's in process, question by question.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx

from latewood import __version__
from latewood.collection import Collection
from latewood.evaluate import read_queries

# As the service has it: the pipeline in process is to be the same pipeline. torch reads it when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

HERE = Path(__file__).parent
PIPELINE = "dense:50 >> late:5"
Ask = tuple[str, dict[str, Any]]  # an address, and what is sent there


@contextmanager
def service(*arguments: object) -> Iterator[str]:
    """A service; its address."""
    command = [sys.executable, "-m", "latewood", "serve", *map(str, arguments), "--port", "0", "--slow-ms", "60000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"at (http://\S+)", line):
                threading.Thread(target=process.stderr.read, daemon=True).start()
                yield found[1]
                break
        else:
            raise SystemExit("the service didn't start")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def quantile(values: Sequence[float], share: float) -> float:
    """The nearest rank."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Client:
    """One connection that is kept, and bytes that were made before: the clients share the service's cores.

    So a request costs a client 0.2 ms of processor time; with the standard library's client it was 0.35.
    """

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def ask(self, request: bytes) -> bytes:
        """The body of the answer, which must be a good one."""
        self._socket.sendall(request)
        came = b""
        while b"\r\n\r\n" not in came:
            came += self._more()
        head, _, body = came.partition(b"\r\n\r\n")
        stated = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if stated is None:
            raise OSError(f"an answer without a length: {head[:200]!r}")
        parts, missing = [body], int(stated[1]) - len(body)
        while missing > 0:
            parts.append(self._more())
            missing -= len(parts[-1])
        if not head.startswith(b"HTTP/1.1 200"):
            raise OSError(f"{head[:200]!r} {parts[0][:200]!r}")
        return b"".join(parts)

    def _more(self) -> bytes:
        part = self._socket.recv(1 << 16)
        if not part:
            raise OSError("the service hung up")
        return part


def request(ask: Ask) -> bytes:
    """A question as it is sent."""
    path, body = ask
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


def one_client(url: str, kb: Collection, questions: Sequence[str]) -> dict[str, float]:
    """Median milliseconds over HTTP and in process, in turns; the answers must agree."""
    over_http, in_process = [], []
    pipeline = kb.bind(PIPELINE)
    with closing(Client(url)) as client:
        for i, question in enumerate([*questions[:10], *questions]):
            asked = request(("/v1/search", {"query": question, "pipeline": PIPELINE}))
            started = time.perf_counter()
            found = json.loads(client.ask(asked))
            between = time.perf_counter()
            expected = pipeline.rank(question, texts=True)
            ended = time.perf_counter()
            assert [hit["id"] for hit in found["hits"]] == [hit.id for hit in expected.hits], question
            if i >= 10:  # the first ten are for warming up
                over_http.append((between - started) * 1e3)
                in_process.append((ended - between) * 1e3)
    # The encoder's time varies by more than HTTP costs, so what HTTP adds is told by its own timings, too.
    return {"http_p50": statistics.median(over_http), "in_process_p50": statistics.median(in_process)}


def added_by_http(url: str, questions: Sequence[str]) -> float:
    """Median milliseconds of a request that are not its stages'."""
    added = []
    with closing(Client(url)) as client:
        for question in questions:
            asked = request(("/v1/search", {"query": question, "pipeline": PIPELINE}))
            started = time.perf_counter()
            found = json.loads(client.ask(asked))
            spent = (time.perf_counter() - started) * 1e3
            added.append(spent - sum(timing["ms"] for timing in found["timings"]))
    return statistics.median(added)


def load(url: str, asks: Sequence[Ask], clients: int, seconds: float) -> dict[str, Any]:
    """Many clients, each with one connection, asking one thing after the other; no two begin with the same."""
    spent: list[float] = []
    errors: list[str] = []
    requests = [request(ask) for ask in asks]
    stop = time.perf_counter() + seconds

    def client(number: int) -> None:
        first = number * len(requests) // clients
        connection = Client(url)
        for asked in cycle([*requests[first:], *requests[:first]]):
            started = time.perf_counter()
            if started >= stop:
                break
            try:
                connection.ask(asked)
                spent.append((time.perf_counter() - started) * 1e3)
            except OSError as error:
                errors.append(str(error))
                connection.close()
                connection = Client(url)
        connection.close()

    threads = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "qps": len(spent) / seconds,
        "p50_ms": quantile(spent, 0.5),
        "p95_ms": quantile(spent, 0.95),
        "requests": len(spent),
        "errors": len(errors),
    }


def while_adding(url: str, asks: Sequence[Ask], count: int) -> dict[str, Any]:
    """Searches while documents are added: no error, and whole commits only."""
    lines = "".join(json.dumps({"_id": f"added-{i}", "text": f"Added passage {i}."}) + "\n" for i in range(count))
    seen: set[int] = set()
    spent: list[float] = []
    done = threading.Event()
    with httpx.Client(base_url=url, timeout=600) as client:
        before = client.get("/v1/collections").json()["collections"][0]

        def add() -> None:
            headers = {"content-type": "application/x-ndjson"}
            address = f"/v1/collections/{before['name']}/documents"
            httpx.post(url + address, content=lines, headers=headers, timeout=3600).raise_for_status()
            done.set()

        thread = threading.Thread(target=add)
        thread.start()
        for path, body in cycle(asks):
            started = time.perf_counter()
            client.post(path, json=body).raise_for_status()
            spent.append((time.perf_counter() - started) * 1e3)
            seen.add(client.get("/v1/collections").json()["collections"][0]["passages"] - before["passages"])
            if done.is_set():
                break
        thread.join()
    sizes = sorted(seen)
    assert all(size % 1024 == 0 or size == count for size in sizes), sizes
    return {"added": count, "sizes_seen": sizes, "p50_ms": quantile(spent, 0.5), "p95_ms": quantile(spent, 0.95)}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("collection", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--add", type=int, default=0, help="documents to add to a copy while it is searched")
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args()
    questions = list(read_queries(given.data / "queries.jsonl").values())[: given.questions]
    results: dict[str, Any] = {"pipeline": PIPELINE, "clients": given.clients, "seconds": given.seconds}
    with Collection.open(given.collection) as kb:
        pools = [[hit.id for hit in kb.bind("dense:50").rank(question).hits] for question in questions]
        results["passages"] = kb.stats()["passages"]
        searches: list[Ask] = [("/v1/search", {"query": q, "pipeline": PIPELINE}) for q in questions]
        reranks: list[Ask] = [
            ("/v1/rerank", {"query": q, "ids": ids, "top_n": 5}) for q, ids in zip(questions, pools, strict=True)
        ]
        for batch in (32, 1):
            with service(given.collection, "--max-batch", batch) as url:
                if batch == 32:
                    results["one_client"] = one_client(url, kb, questions)
                    results["one_client"]["http_adds"] = added_by_http(url, questions)
                load(url, searches, given.clients, 3)  # warm
                results[f"search_batch_{batch}"] = load(url, searches, given.clients, given.seconds)
                results[f"rerank_batch_{batch}"] = load(url, reranks, given.clients, given.seconds)
            print(json.dumps(results, indent=2), flush=True)
    for what in ("search", "rerank"):
        ratio = results[f"{what}_batch_32"]["qps"] / results[f"{what}_batch_1"]["qps"]
        results[f"{what}_batching"] = ratio
    if given.add:
        with service(given.collection) as url:
            results["while_adding"] = while_adding(url, searches, given.add)
    print(json.dumps(results, indent=2))
    if given.save:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE
        ).stdout
        about = {
            "commit": commit.strip(),
            "version": __version__,
            "machine": platform.processor() or platform.machine(),
        }
        about |= {"cpus": os.cpu_count(), "python": platform.python_version()}
        (HERE / "results" / "serve.json").write_text(
            json.dumps({**about, **results}, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
