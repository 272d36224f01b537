"""fast-plaid (pip install fast-plaid): PLAID in Rust over libtorch, on the CPU."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from rival import Search, main


def build(documents: list[Any], folder: str) -> dict[str, Search]:
    import torch
    from fast_plaid import search

    index = search.FastPlaid(index=folder, device="cpu")
    index.create(documents_embeddings=[torch.from_numpy(document) for document in documents])
    torch.set_num_threads(1)

    def default(query: Any, k: int) -> list[int]:
        found = index.search(queries_embeddings=torch.from_numpy(query)[None], top_k=k)
        return [int(row) for row, _ in found[0]]

    return {"": default}


if __name__ == "__main__":
    main(build, version("fast-plaid"))
