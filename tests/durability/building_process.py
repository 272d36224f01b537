"""Builds an index over seeded documents in small segments: building_process.py FOLDER. Made to be killed."""

from __future__ import annotations

import sys

import numpy as np

from latewood.index import MultiVectorIndex, multivector

D, COUNT = 32, 1500


def documents():
    rng = np.random.default_rng(11)
    topics = rng.standard_normal((40, D))
    for _ in range(COUNT):
        array = topics[rng.integers(0, 40, rng.integers(5, 40))] + 0.7 * rng.standard_normal(D)
        yield (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)


def build(folder, progress=None):
    multivector._SEGMENT_BYTES = 100 * 22 * D * 4
    return MultiVectorIndex.build(folder, documents(), threads=2, progress=progress)


if __name__ == "__main__":
    build(sys.argv[1], lambda step, done, total: (sys.stdout.write(f"{step} {done}\n"), sys.stdout.flush())).close()
