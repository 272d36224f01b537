"""What a server may say: too old, busy, gone for a moment, no such collection."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("qdrant_client")

from qdrant_stand_in import stand_in
from store_homes import SPEC, some_passages, unit

from latewood.errors import EndpointError, InputError
from latewood.pipeline import parse
from latewood.stores import qdrant_client_door
from latewood.stores.homes import parse_home
from latewood.stores.qdrant import QdrantStore
from latewood.stores.qdrant_points import Storage


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    waits = (0.0, 0.0, 0.0)
    monkeypatch.setattr(qdrant_client_door, "WAITS", waits)
    monkeypatch.setattr(qdrant_client_door.calling, "__defaults__", (waits,))


@pytest.fixture
def server():
    with stand_in() as (running, address):
        yield running, parse_home(address)


def filled(address):
    passages, encoded = some_passages(np.random.default_rng(20), 20)
    store = QdrantStore.create(address, SPEC)
    store.add(passages, encoded)
    return store, passages, encoded


def test_a_server_is_asked_as_the_client_asks_it(server):
    running, address = server
    store, passages, _ = filled(address)
    query = unit(np.random.default_rng(21), 3, SPEC.dim)
    found = store.snapshot().late(query, 5)
    assert len(found) == 5
    running.asked.clear()
    compiled = store.compile(parse("dense:9 >> late:4"))
    steps = parse("dense:9 >> late:4").steps
    from latewood.types import EncodedQuery

    whole = EncodedQuery("q", unit(np.random.default_rng(22), SPEC.dense_dim), query, ())
    assert len(store.snapshot().run_compiled(steps[: compiled.steps], [9, 4], whole)) == 4
    assert running.asked == [("POST", "/collections/docs/points/query")]
    assert store.delete([passages[0].id]) == 1
    assert store.check() == [f"point {store.layout.point_id(passages[-1].id)}: no vector 'late'"]
    store.close()
    again = QdrantStore.open(address)
    assert again.spec == SPEC
    assert len(again.snapshot()) == 19
    again.close()


@pytest.mark.parametrize("trouble", [503, 429, 500, "cut"])
def test_what_may_pass_is_tried_again(server, trouble):
    running, address = server
    store, _, _ = filled(address)
    passages, encoded = some_passages(np.random.default_rng(23), 6)
    running.script = [trouble, trouble]
    store.add(passages, encoded)
    assert len(store.snapshot()) == 20
    running.script = [trouble] * 9
    with pytest.raises(EndpointError, match="4 times"):
        store.add(passages, encoded)
    running.script = []
    store.close()


def test_what_won_t_pass_is_said_at_once(server):
    running, address = server
    store, passages, encoded = filled(address)
    running.script = [413]
    running.asked.clear()
    with pytest.raises(EndpointError, match="413"):
        store.add(passages, encoded)
    assert len(running.asked) == 1
    store.close()


def test_nobody_there_is_said():
    with pytest.raises(EndpointError, match="is it up"):
        QdrantStore.open(parse_home("qdrant://127.0.0.1:9/docs"))


def test_a_collection_that_is_not_there_is_named(server):
    with pytest.raises(InputError, match="no collection 'docs'"):
        QdrantStore.open(server[1])


@pytest.mark.parametrize("version", ["1.9.7", "0.11.0"])
def test_a_server_without_multivectors_is_refused_with_its_version(version):
    with stand_in(version) as (_, address), pytest.raises(EndpointError, match=f"version {version}.* 1.10"):
        QdrantStore.open(parse_home(address))


def test_a_server_that_keeps_no_notes_can_be_read_and_not_be_made_in():
    with (
        stand_in("1.12.4") as (_, address),
        pytest.raises(EndpointError, match=r"version 1\.12\.4, and notes about a collection came with 1\.16"),
    ):
        QdrantStore.create(parse_home(address), SPEC)


def test_turbo_quantisation_needs_its_server():
    with stand_in("1.17.0") as (_, address), pytest.raises(EndpointError, match=r"turbo quantisation came with 1\.18"):
        QdrantStore.create(parse_home(address), SPEC, storage=Storage("float16", "turbo4"))


@pytest.mark.parametrize("quantization", ["scalar", "binary", "turbo4", "turbo1"])
def test_how_token_vectors_are_kept_is_told_to_the_server(server, quantization):
    running, address = server
    QdrantStore.create(address, SPEC, storage=Storage("float16", quantization)).close()
    late = running.client.get_collection("docs").config.params.vectors["late"]
    assert late.hnsw_config.m == 0
    assert late.on_disk
    assert late.datatype.value == "float16"
    assert late.multivector_config.comparator.value == "max_sim"
    assert quantization[:5] in str(late.quantization_config.model_dump(exclude_none=True))
