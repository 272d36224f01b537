"""A Qdrant collection as somebody makes it who has never heard of latewood: one vector, a payload."""

from __future__ import annotations

import hashlib
import json

import numpy as np

TEXTS = [
    "A tree ring has pale early wood and dense late wood.",
    "Oak is heavy, and its rings are porous.",
    "Spruce is light and grows fast in wet summers.",
    "Dense late wood makes a board hard to plane.",
    "Rain in June widens the early wood of a ring.",
    "Beech burns slowly and gives much heat.",
    "The growth of pines stops in October.",
    "A dendrochronologist counts rings from the bark inwards.",
    "Larch keeps well outdoors without paint.",
    "Sapwood carries water, heartwood carries the tree.",
]


def client_at(folder):
    from qdrant_client import QdrantClient

    return QdrantClient(path=str(folder))


def make(folder, encoder, texts=TEXTS, name="docs"):
    """Points 0, 1, 2 …: text, the document's name, a language."""
    from qdrant_client import models

    client = client_at(folder)
    params = models.VectorParams(size=encoder.spec.dense_dim, distance=models.Distance.COSINE)
    client.create_collection(name, vectors_config=params)
    put(client, encoder, dict(enumerate(texts)), name)
    client.close()
    return f"qdrant+local:{folder}#{name}"


def put(client, encoder, texts, name="docs"):
    from qdrant_client import models

    dense = encoder.encode_passages(list(texts.values())).dense
    client.upsert(
        name,
        [
            models.PointStruct(
                id=number, vector=dense[i][0].tolist(), payload={"body": text, "doc": f"d{number}", "lang": "en"}
            )
            for i, (number, text) in enumerate(texts.items())
        ],
    )


def digest(folder, name="docs"):
    """A hash over a full scroll: ids, vectors, payload."""
    client = client_at(folder)
    found, after = hashlib.sha256(), None
    while True:
        records, after = client.scroll(name, limit=100, offset=after, with_payload=True, with_vectors=True)
        for record in records:
            found.update(json.dumps([record.id, record.payload], sort_keys=True).encode())
            found.update(np.asarray(record.vector, np.float32).tobytes())
        if after is None:
            client.close()
            return found.hexdigest()
