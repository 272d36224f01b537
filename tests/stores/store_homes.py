"""The homes of a collection that one body of tests runs against."""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager

import numpy as np
import pytest
from qdrant_stand_in import stand_in

from latewood.stores.embedded import EmbeddedStore
from latewood.stores.homes import parse_home
from latewood.stores.qdrant import QdrantStore
from latewood.types import EncodedPassages, EncoderSpec, MultiVectors, Passage

HOMES = ["embedded", "local", "edge", "http", "server"]
"""`http` is a server's stand-in: real HTTP, the local mode behind it (`qdrant_stand_in.py`)."""

SPEC = EncoderSpec("test", "0" * 64, dim=16, dense_dim=8, max_length=64, overlap=4)


def need(home):
    if home in ("local", "http", "server"):
        pytest.importorskip("qdrant_client")
    if home == "edge":
        pytest.importorskip("qdrant_edge")
    if home == "server" and not os.environ.get("QDRANT_URL"):
        pytest.skip("no Qdrant server: set QDRANT_URL to http://host:6333 to run against one")


def address_of(home, folder):
    name = f"latewood-test-{uuid.uuid4().hex[:12]}"
    if home == "server":
        scheme, _, rest = os.environ["QDRANT_URL"].rstrip("/").partition("://")
        return parse_home(f"qdrant{'+https' if scheme == 'https' else ''}://{rest}/{name}")
    return parse_home(f"qdrant+local:{folder}/qdrant#{name}" if home == "local" else f"qdrant+edge:{folder}/edge")


class Home:
    """Makes a store of a kind, and opens it again."""

    def __init__(self, kind, folder, spec=SPEC, settings=None):
        need(kind)
        self.settings = settings
        self.kind, self.spec = kind, spec
        self.stand_in = None
        if kind == "embedded":
            self.address = folder / "kb.lw"
        elif kind == "http":
            self.stand_in = stand_in()
            self.address = parse_home(self.stand_in.__enter__()[1])
        else:
            self.address = address_of(kind, folder)

    def create(self):
        if self.kind == "embedded":
            return EmbeddedStore.create(self.address, self.spec, self.settings)
        return QdrantStore.create(self.address, self.spec, exact=True)

    def open(self):
        if self.kind == "embedded":
            return EmbeddedStore.open(self.address)
        return QdrantStore.open(self.address, exact=True)

    def remove(self):
        if self.stand_in is not None:
            self.stand_in.__exit__(None, None, None)
        if self.kind == "server":
            from latewood.stores.qdrant_client_door import connect

            client = connect(self.address)
            client.delete_collection(self.address.collection)
            client.close()


@contextmanager
def store_at(home):
    store = home.create()
    try:
        yield store
    finally:
        store.close()
        home.remove()


def unit(rng, *shape):
    rows = rng.standard_normal(shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def int8_exact(rows):
    """Vectors that int8 with one scale holds without loss, so that every store holds the same."""
    scale = np.abs(rows).max(axis=-1, keepdims=True) / 127
    return np.asarray(np.round(rows / scale) * scale, np.float32)


def some_passages(rng, count, spec=SPEC):
    """Passages with 3 to 9 token vectors and one or two windows; the last has no token vectors."""
    passages = [
        Passage(f"doc{i // 2}#{i % 2}", f"text ünd {i}", f"doc{i // 2}", source=f"file{i}.md",
                metadata={"n": i, "tags": ["even"] if i % 2 == 0 else ["odd", "uneven"]})
        for i in range(count)
    ]  # fmt: skip
    tokens = [int8_exact(unit(rng, int(rng.integers(3, 10)), spec.dim)) for _ in range(count)]
    tokens[-1] = tokens[-1][:0]
    dense = [unit(rng, 1 + i % 2, spec.dense_dim) for i in range(count)]
    return passages, EncodedPassages(MultiVectors.of(tokens, spec.dim), MultiVectors.of(dense, spec.dense_dim))
