"""Qdrant Edge (pip install qdrant-edge-py): Qdrant's engine in process, multivectors with MAX_SIM, exact."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from rival import Search, main

BATCH = 256


def build(documents: list[Any], folder: str) -> dict[str, Search]:
    import qdrant_edge as qe

    Path(folder).mkdir(parents=True, exist_ok=True)
    vectors = qe.EdgeVectorParams(
        documents[0].shape[1],
        qe.Distance.Dot,
        multivector_config=qe.MultiVectorConfig(qe.MultiVectorComparator.MaxSim),
    )
    shard = qe.EdgeShard.create(folder, qe.EdgeConfig(vectors={"late": vectors}))
    for start in range(0, len(documents), BATCH):
        some = enumerate(documents[start : start + BATCH], start)
        points = [qe.Point(number, {"late": document.tolist()}, {}) for number, document in some if len(document)]
        shard.update(qe.UpdateOperation.upsert_points(points))

    def exact(query: Any, k: int) -> list[int]:
        found = shard.query(qe.QueryRequest(limit=k, query=qe.Query.Nearest(query.tolist(), using="late")))
        return [int(point.id) for point in found]

    return {"": exact}


if __name__ == "__main__":
    main(build, version("qdrant-edge-py"))
