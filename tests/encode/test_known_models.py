"""The catalogue of models, and what it says of this machine."""

from __future__ import annotations

import json

import pytest
import tiny_checkpoints as tiny

from latewood.cli import main
from latewood.encode import known, load
from latewood.errors import ModelError, UnavailableError


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and a function that puts a checkpoint in it as the hub's client would."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(name, build):
        folder = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        build(folder / "snapshots" / "0123abc")
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("0123abc")

    return put


def listed(capsys):
    with pytest.raises(SystemExit) as done:
        main(["models", "--json"])
    assert not done.value.code
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1
    return found, {row["name"]: row for row in found["models"]}


def test_the_bundled_model_is_as_the_catalogue_says(minilm):
    bundled = known.known_models()[0]
    spec = minilm.spec
    assert (bundled.name, bundled.dim, bundled.dense_dim) == (spec.name, spec.dim, spec.dense_dim)
    assert bundled.document_length == spec.max_length
    weights = sum(weight.numel() for weight in minilm._model.parameters()) / 1e6
    assert bundled.parameters_millions == pytest.approx(weights, abs=0.1)


def test_what_is_here_what_is_missing_and_what_is_refused(capsys, hub_cache):
    hub_cache("colbert-ir/colbertv2.0", tiny.stanford)
    found, rows = listed(capsys)
    assert len(rows) == len(found["models"]) >= 14
    assert (rows["minilm"]["here"], rows["minilm"]["loads"]) == ("bundled", True)
    assert (rows["colbert-ir/colbertv2.0"]["here"], rows["colbert-ir/colbertv2.0"]["loads"]) == ("cached", True)
    missing = rows["answerdotai/answerai-colbert-small-v1"]
    assert (missing["here"], missing["loads"]) == ("missing", False)
    assert "hf download answerdotai/answerai-colbert-small-v1 (132 MB)" in missing["how"]
    assert rows["jinaai/jina-colbert-v2"]["here"] == "refused"
    assert all(row["licence"] and row["dim"] >= 48 and row["memory_mb"] > row["download_mb"] for row in rows.values())
    assert "collapses" in found["warnings"][0]
    with pytest.raises(SystemExit):
        main(["models"])
    shown = capsys.readouterr()
    assert "colbert-ir/colbertv2.0" in shown.out
    assert "collapses" in shown.err


def test_a_model_too_large_for_the_memory_says_so(capsys, monkeypatch):
    monkeypatch.setattr(known, "available_mb", lambda: 100)
    _, rows = listed(capsys)
    assert (rows["minilm"]["here"], rows["minilm"]["loads"]) == ("bundled", False)
    assert rows["minilm"]["how"].startswith("takes 791 MB, 100 MB are free")


def test_a_name_is_loaded_from_the_cache_and_never_fetched_unasked(hub_cache, monkeypatch):
    import socket

    def refuse(*arguments, **options):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    hub_cache("colbert-ir/colbertv2.0", tiny.stanford)
    encoder = load("colbert-ir/colbertv2.0")
    assert (encoder.spec.name, encoder.spec.dim) == ("colbert-ir/colbertv2.0", 16)
    with pytest.raises(ModelError, match=r"'lightonai/LateOn' is not on this machine, .* --download \(download=True\)"):
        load("lightonai/LateOn")


def test_a_failed_download_is_one_line(hub_cache, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match=r"model 'lightonai/LateOn' can't be fetched: \w+: [^\n]+$"):
        load("lightonai/LateOn", download=True)
