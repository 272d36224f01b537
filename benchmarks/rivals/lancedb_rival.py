"""LanceDB (pip install lancedb): multivectors without an index, exact."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from rival import Search, main

BATCH = 512


def build(documents: list[Any], folder: str) -> dict[str, Search]:
    import lancedb
    import pyarrow as pa

    dim = documents[0].shape[1]
    schema = pa.schema([("id", pa.int64()), ("late", pa.list_(pa.list_(pa.float32(), dim)))])
    table = lancedb.connect(folder).create_table("documents", schema=schema)
    for start in range(0, len(documents), BATCH):
        some = enumerate(documents[start : start + BATCH], start)
        table.add([{"id": number, "late": document.tolist()} for number, document in some if len(document)])

    def exact(query: Any, k: int) -> list[int]:
        found = table.search(query, vector_column_name="late").metric("cosine").limit(k).bypass_vector_index()
        return [int(row["id"]) for row in found.to_list()]

    return {"": exact}


if __name__ == "__main__":
    main(build, version("lancedb"))
