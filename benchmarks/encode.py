"""How fast passages become vectors: this encoder against plain `SentenceTransformer.encode`, in one run.

Both encode the same slices of the same texts in turns, the order swapped every time, so that whatever else the machine
does falls on both. Plain is `encode(texts)` with the library's own settings, float32, single vectors; ours gives those
and the token vectors. Both cut at the model's limit, since plain has no windows. The vectors are compared. The share of
the peak is of fused multiply-adds on registers (peak.cpp, compiled here), measured in between by as many threads;
operations are those of the layers on real tokens, none of padding.

    python benchmarks/encode.py [--data ../shared/data/scifact] [--model minilm] [--quick] [--json] [--save]

--quick encodes every twentieth document. --save writes the figures to benchmarks/results/encode.json, with commit and
machine. Wall times are of a machine that does nothing else, or they are not worth keeping: the run prints its load.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from peak import limits

HERE = Path(__file__).resolve().parent
SLICE = 256


def peak(library: Any, threads: int) -> float:
    """GFLOP/s of so many threads at once."""
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(library.fma_peak, [2_000_000] * threads))


def operations(transformer: Any, lengths: np.ndarray) -> float:
    """Floating-point operations of the layers on texts of these lengths in tokens."""
    import torch

    per_token = 2 * sum(
        module.weight.numel()
        for name, module in transformer.named_modules()
        if isinstance(module, torch.nn.Linear) and "pooler" not in name
    )
    config = transformer.config
    attention = 4 * config.num_hidden_layers * config.hidden_size * float((lengths.astype(float) ** 2).sum())
    return float(per_token * lengths.sum()) + attention


def measure(model_name: str, texts: list[str], threads: int) -> dict[str, Any]:
    """Both encoders on every slice; see the module's text."""
    import torch

    from latewood.encode import bundled, load

    torch.set_num_threads(threads)
    ours = load(model_name, truncate=True)
    from sentence_transformers import SentenceTransformer

    folder = bundled.folder() if model_name == bundled.NAME else model_name
    plain = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    library = limits()
    slices = [texts[at : at + SLICE] for at in range(0, len(texts), SLICE)]
    ours.encode_passages(texts[:16]), plain.encode(texts[:16])
    spent: dict[str, list[float]] = {"ours": [], "plain": []}
    peaks, lengths, worst = [], [], 0.0
    for number, part in enumerate(slices):
        made: dict[str, Any] = {}
        for name in ("ours", "plain") if number % 2 else ("plain", "ours"):
            started = time.perf_counter()
            made[name] = ours.encode_passages(part) if name == "ours" else plain.encode(part, show_progress_bar=False)
            spent[name].append(time.perf_counter() - started)
        peaks.append(peak(library, threads))
        worst = max(worst, float(np.abs(made["ours"].dense.tokens - made["plain"]).max()))
        lengths.append(np.diff(made["ours"].tokens.offsets))
    tokens = np.concatenate(lengths)
    gflops = operations(plain[0].model, tokens) / sum(spent["ours"]) / 1e9
    ratios = [plain_s / ours_s for ours_s, plain_s in zip(spent["ours"], spent["plain"], strict=True)]
    return {
        "texts": len(texts),
        "tokens_per_text": round(float(tokens.mean()), 1),
        "threads": threads,
        "ours_per_second": round(len(texts) / sum(spent["ours"]), 2),
        "plain_per_second": round(len(texts) / sum(spent["plain"]), 2),
        "ratio": round(sum(spent["plain"]) / sum(spent["ours"]), 3),
        "ratio_median_of_slices": round(statistics.median(ratios), 3),
        "ratio_least_most": [round(min(ratios), 3), round(max(ratios), 3)],
        "largest_difference": worst,
        "gflops": round(gflops, 1),
        "peak_gflops": round(statistics.median(peaks), 1),
        "share_of_peak": round(gflops / statistics.median(peaks), 3),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def machine() -> dict[str, Any]:
    """What the figures belong to."""
    from importlib.metadata import version

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    libraries = {name: version(name) for name in ("torch", "transformers", "sentence-transformers")}
    return {"commit": commit.stdout.strip(), "cpu": model, "cpus": os.cpu_count(), "libraries": libraries}


def main() -> None:
    """Parse, measure, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data" / "scifact")
    arguments.add_argument("--model", default="minilm")
    arguments.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--save", action="store_true")
    given = arguments.parse_args()

    from latewood.ingest import read_jsonl

    texts = [passage.text for passage in read_jsonl(given.data / "corpus.jsonl")]
    found = measure(given.model, texts[::20] if given.quick else texts, given.threads)
    result = {"benchmark": "encode", "data": given.data.name, "model": given.model, **found, **machine()}
    if given.save:
        (HERE / "results" / "encode.json").write_text(json.dumps(result, indent=2) + "\n")
    if given.json:
        print(json.dumps(result, indent=2))
    else:
        width = max(map(len, result))
        print("\n".join(f"{key:<{width}}  {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
