"""What takes minutes: random requests by the description, kill -9 while it writes, adding while it is searched."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import threading
import time

import httpx
import pytest
from serving import make_collection, running

from latewood.collection import Collection

pytestmark = pytest.mark.long

CHECKS = "not_a_server_error,response_schema_conformance,status_code_conformance,content_type_conformance"


def test_two_thousand_requests_by_the_description(tmp_path, minilm):
    pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install '.[test]'")
    (tmp_path / "root").mkdir()
    with running(make_collection(tmp_path / "kb.lw", minilm), "--root", tmp_path / "root") as server:
        command = [
            shutil.which("st"), "run", f"{server.url}/openapi.json", "--phases=examples,coverage,fuzzing", "--checks",
            CHECKS, "--max-examples", "150", "--max-time", "300", "--seed", "1", "--no-color",
        ]  # fmt: skip
        found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert found.returncode == 0, found.stdout[-8000:]
        generated = int(re.search(r"(\d+) generated", found.stdout)[1])
        assert generated >= 2000
        assert httpx.get(f"{server.url}/ready").status_code == 200


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is a signal of POSIX")
def test_killed_while_it_writes_it_loses_nothing_acknowledged(tmp_path, minilm):
    rng = random.Random(11)
    path = make_collection(tmp_path / "kb.lw", minilm)
    there, gone = set(), set()
    for turn in range(8):
        acknowledged, deleted, tried = [], [], []
        with running(path) as server:

            def add(worker, turn=turn, server=server, acknowledged=acknowledged, deleted=deleted, tried=tried):
                for i in range(10_000):
                    ids = [f"{turn}-{worker}-{i}-{n}" for n in range(3)]
                    tried.extend(ids)
                    documents = [{"_id": name, "text": f"passage {name}"} for name in ids]
                    address = f"{server.url}/v1/collections/kb/documents"
                    try:
                        httpx.post(address, json={"documents": documents}, timeout=60).raise_for_status()
                        acknowledged.extend(ids)
                        if i % 3 == 2:
                            httpx.delete(f"{address}/{ids[0]}", timeout=60).raise_for_status()
                            deleted.append(ids[0])
                    except httpx.HTTPError:
                        return

            threads = [threading.Thread(target=add, args=(worker,)) for worker in range(3)]
            for thread in threads:
                thread.start()
            deadline = time.monotonic() + 60
            while len(acknowledged) < 15 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 1))
            server.process.send_signal(signal.SIGKILL)
            for thread in threads:
                thread.join(60)
        assert acknowledged, "the turn was killed before anything was acknowledged"
        with Collection.open(path, minilm) as kb:
            assert kb.check() == []
            found = set(kb.sources())
        there |= set(acknowledged)
        gone |= set(deleted)
        missing = there - gone - found
        # A delete that was running when the service died may have been done: one for each worker and turn.
        assert all(name.endswith("-0") for name in missing), missing
        assert len(missing) <= 3 * (turn + 1)
        assert not gone & found, "a delete that was acknowledged came undone"
        # A request is one commit: all of its three passages, or none.
        for name in tried:
            stem = name.rpartition("-")[0]
            if f"{stem}-1" in found or f"{stem}-2" in found:
                assert {f"{stem}-1", f"{stem}-2"} <= found
            else:
                assert f"{stem}-0" not in found


def test_while_documents_are_added_searches_see_whole_commits(tmp_path, minilm):
    count, batch = 5000, 1024
    path = make_collection(tmp_path / "kb.lw", minilm)
    lines = "".join(json.dumps({"_id": f"a{i}", "text": f"Added {i}."}) + "\n" for i in range(count))
    with running(path) as server:
        said = []

        def add():
            headers = {"content-type": "application/x-ndjson", "accept": "application/x-ndjson"}
            address = f"{server.url}/v1/collections/kb/documents"
            with httpx.stream("POST", address, content=lines, headers=headers, timeout=600) as answer:
                said.extend(json.loads(line) for line in answer.iter_lines())

        thread = threading.Thread(target=add)
        thread.start()
        seen, searches = set(), 0
        with httpx.Client(base_url=server.url, timeout=60) as client:
            while thread.is_alive():
                body = {"query": "Added 17.", "pipeline": "dense:50 >> late:5"}
                found = client.post("/v1/search", json=body).raise_for_status().json()
                assert len(found["hits"]) == 5
                seen.add(client.get("/v1/collections/kb").json()["passages"] - 65)
                searches += 1
        thread.join()
    assert said[-1]["added"] == count
    assert searches > 10
    assert all(size % batch == 0 or size == count for size in seen), sorted(seen)
    assert len(seen) > 2
