"""A stand-in server for each test, and a cache of its own."""

from __future__ import annotations

import pytest

from latewood.endpoints import Limits
from stand_in import StandIn


@pytest.fixture
def server(monkeypatch, tmp_path):
    for name in ("OPENAI_API_KEY", "COHERE_API_KEY", "CO_API_KEY", "JINA_API_KEY", "VOYAGE_API_KEY", "TEI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("LATEWOOD_RERANK_KEY", raising=False)
    monkeypatch.setenv("LATEWOOD_CACHE", str(tmp_path / "cache"))
    stand_in = StandIn()
    monkeypatch.setenv("OPENAI_BASE_URL", stand_in.url + "/v1")
    yield stand_in
    stand_in.close()


@pytest.fixture
def quick():
    """Limits whose waits are short; a server's own Retry-After is kept to."""
    return Limits(first_wait=0.001, timeout=5.0)
