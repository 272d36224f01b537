"""The certificate: asked for, and of live questions in the background."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install '.[serve]'")

import httpx
import numpy as np
from serving import in_this_process

from latewood.collection import Collection
from latewood.late_index import build
from latewood.pipeline import parse
from latewood.serve import Service, Settings
from latewood.serve.live import exhaustive, kept
from latewood.types import Hit, Passage, Ranking


def test_every_late_becomes_exhaustive():
    for text, expected in (
        ("late:5", "late(exact=true):5"),
        ("late(n_probe=2):5", "late(exact=true):5"),
        ("(late:9 + bm25:9):5 >> late", "(late(exact=true):9 + bm25:9):5 >> late(exact=true)"),
        ("dense:9 >> late(encode=true):5", "dense:9 >> late(encode=true):5"),
    ):
        assert str(exhaustive(parse(text))) == expected


def test_overlap_by_hand():
    def ranking(*hits):
        listed = tuple(Hit(name, name, score, i) for i, (name, score) in enumerate(hits, 1))
        return Ranking("q", "late", listed, False, 0, (), ())

    exact = ranking(("a", 3.0), ("b", 2.0), ("c", 1.0))
    assert kept(exact, exact, by_score=True) == 1.0
    assert kept(ranking(("a", 3.0), ("c", 1.0), ("d", 0.5)), exact, by_score=True) == pytest.approx(2 / 3)
    tied = ranking(("a", 3.0), ("b", 2.0), ("d", 0.99995))
    assert kept(tied, exact, by_score=True) == 1.0
    assert kept(tied, exact, by_score=False) == pytest.approx(2 / 3)


def test_a_service_with_an_index(tmp_path, minilm):
    rng = np.random.default_rng(3)
    words = ["oak", "larch", "pine", "ship", "mast", "keel", "ring", "wood", "plank", "saw", "axe", "bark"]
    passages = [Passage(f"p{i}", " ".join(rng.choice(words, 9)) + ".") for i in range(150)]
    with Collection.create(tmp_path / "kb.lw", minilm) as kb:
        kb.add(passages)
        build(kb, samples=10)
    service = Service(Settings(live_share=1.0), [tmp_path / "kb.lw"])
    with in_this_process(service) as url, httpx.Client(base_url=url, timeout=120) as client:
        found = client.get("/v1/collections/kb/certificate", params={"samples": 10}).raise_for_status().json()
        assert found["exact"] is False
        assert 0 < found["overlap"]["low"] <= found["overlap"]["mean"] <= found["overlap"]["high"] <= 1
        assert found["certified"] == pytest.approx(found["overlap"]["mean"] * found["stored_vs_float32"]["mean"])
        assert (found["samples"], found["queries"]) == (10, "pseudo")
        approximate = 0
        for _ in range(5):
            body = {"query": "mast of oak", "pipeline": "late:5"}
            approximate += not client.post("/v1/search", json=body).raise_for_status().json()["exact"]
        exact = client.post("/v1/search", json={"query": "mast", "pipeline": "late(exact=true):5"}).json()
        assert exact["exact"] is True
        service.live.close()
        text = client.get("/metrics").text
        if approximate:
            assert f'latewood_live_overlap_count{{collection="kb"}} {approximate}.0' in text
            assert "live overlap" in client.get("/stats").text
        assert client.get("/v1/collections/kb/certificate", params={"samples": 0}).status_code == 422
    assert replace(service.settings, live_share=0).live_share == 0


def test_without_an_index_late_is_exact(http):
    found = http.get("/v1/collections/kb/certificate").json()
    assert (found["collection"], found["generation"], found["exact"]) == ("kb", 1, True)
