"""One service for all tests that don't stop it, and a browser."""

from __future__ import annotations

import httpx
import pytest
from serving import CHROMIUM, make_collection, running


@pytest.fixture(scope="session")
def server(tmp_path_factory, minilm):
    """One service for all tests that don't stop it."""
    pytest.importorskip("fastapi", reason="the service is not installed: pip install '.[serve]'")
    folder = tmp_path_factory.mktemp("served")
    (folder / "root").mkdir()
    kb = make_collection(folder / "kb.lw", minilm)
    slow = folder / "slow.jsonl"
    with running(kb, "--root", folder / "root", "--slow-ms", "0", "--slow-log", slow) as started:
        started.slow_log = slow
        started.folder = folder
        yield started
    fault = [line for line in started.lines if "Traceback" in line]
    assert fault == [], "".join(started.lines)


@pytest.fixture(scope="session")
def http(server):
    """Raw bodies to the service."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def browser():
    """A real browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
    if not CHROMIUM:
        pytest.skip("no chromium on this machine: apt-get install chromium, or set LATEWOOD_CHROMIUM to its path")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield launched
        launched.close()
