"""xtr-warp-rs (pip install xtr-warp-rs): WARP in Rust over libtorch, on the CPU."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from rival import Search, main


def build(documents: list[Any], folder: str) -> dict[str, Search]:
    import torch
    from xtr_warp.search import XTRWarp

    index = XTRWarp(index=folder)
    index.create(embeddings_source=[torch.from_numpy(document) for document in documents], device="cpu")
    index.load(device="cpu")
    torch.set_num_threads(1)

    def default(query: Any, k: int) -> list[int]:
        found = index.search(queries_embeddings=torch.from_numpy(query)[None], top_k=k)
        return [int(row) for row, _ in found[0]]

    return {"": default}


if __name__ == "__main__":
    main(build, version("xtr-warp-rs"))
