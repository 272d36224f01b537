"""A stand-in server with a scripted chat model for each test, and a cache of its own."""

from __future__ import annotations

import pytest

from latewood.endpoints import Limits, load_chat
from stand_in import StandIn


@pytest.fixture
def server(monkeypatch, tmp_path):
    for name in ("OPENAI_API_KEY", "LATEWOOD_LLM", "LATEWOOD_RERANK_KEY", "LATEWOOD_HTTP_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LATEWOOD_CACHE", str(tmp_path / "cache"))
    stand_in = StandIn()
    monkeypatch.setenv("OPENAI_BASE_URL", stand_in.url + "/v1")
    yield stand_in
    stand_in.close()


@pytest.fixture
def model(server):
    return load_chat("scripted", limits=Limits(first_wait=0.001, timeout=5.0, concurrency=3))
