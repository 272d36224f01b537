"""SIGTERM finishes what is running; Ctrl-C too."""

from __future__ import annotations

import signal
import threading
import time

import httpx
import pytest
from serving import make_collection, running

pytest.importorskip("fastapi", reason="the service is not installed: pip install '.[serve]'")


def test_sigterm_finishes_what_is_running(tmp_path, minilm):
    with running(make_collection(tmp_path / "kb.lw", minilm)) as server:
        assert "serving kb with minilm at http://127.0.0.1:" in "".join(server.lines)
        answers = []
        documents = [f"text {i} " + "of several words " * 40 for i in range(40)]

        def post():
            answers.append(
                httpx.post(f"{server.url}/v1/rerank", json={"query": "q", "documents": documents}, timeout=120)
            )

        thread = threading.Thread(target=post)
        thread.start()
        deadline = time.monotonic() + 30
        while "latewood_running 1.0" not in httpx.get(f"{server.url}/metrics").text and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.stop(signal.SIGTERM) == 0
        thread.join(60)
        assert answers[0].status_code == 200
        assert len(answers[0].json()["results"]) == 40
        assert server.lines[-1] == "stopped\n"
        assert not [line for line in server.lines if "Traceback" in line], "".join(server.lines)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/health")
