"""Writes the folders of `fast_plaid_1_7`: run once, in an environment with fast-plaid 1.7 (torch 2.9, CPU).

    python tests/exchange/make_fast_plaid_folders.py tests/exchange/fast_plaid_1_7

`merged` is as 1.7 leaves it, `chunks` as older versions and next-plaid do, with a file for each chunk. `vectors.npy`
are the documents, `given_back_*.npy` what fast-plaid itself makes of its codes, `answers.json` what it finds.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from fast_plaid import search

LENGTHS = [3 + i % 5 for i in range(30)]


def main(folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    documents = [
        torch.nn.functional.normalize(torch.randn(length, 16, generator=generator), dim=-1) for length in LENGTHS
    ]
    np.save(folder / "vectors.npy", torch.cat(documents).numpy())
    answers = {}
    for name, nbits, keep in ("merged", 4, "0"), ("chunks", 2, "1"):
        os.environ["FAST_PLAID_KEEP_SHARDS"] = keep
        index = search.FastPlaid(index=str(folder / name), device="cpu")
        index.create(documents_embeddings=documents, nbits=nbits, batch_size=20, start_from_scratch=0)
        found = index.search(queries_embeddings=[documents[i][:3] for i in range(30)], top_k=1)
        answers[name] = [ranking[0][0] for ranking in found]
        back = index.get_embeddings(list(range(30)))
        np.save(folder / f"given_back_{name}.npy", torch.cat([part.float() for part in back]).numpy())
        for leftover in (
            "plaid.lock",
            "embeddings.npy",
            *(["merged_codes.npy", "merged_residuals.npy"] if keep == "1" else []),
        ):
            (folder / name / leftover).unlink(missing_ok=True)
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
