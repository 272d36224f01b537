"""Workloads and speeds of round numbers."""

from __future__ import annotations

import numpy as np

from latewood.evaluate.plan_sizes import OPTIONS, Workload
from latewood.evaluate.plan_speeds import DEPTHS, Speeds


def workload(**changes):
    values = {
        "chunks": 10,
        "lengths": np.array([100]),
        "dim": 128,
        "dense_dim": 64,
        "windows": 1.0,
        "text_bytes": 400.0,
        "record_bytes": 20.0,
        "id_bytes": 5.0,
        "pages": 3,
        "obtained": "stated",
    }
    return Workload(**(values | changes))


def speeds(late=5.0, encode=10.0, dense=1.0, rate=1000.0, queries=4):
    def times(ms):
        return np.full(queries, ms)

    return Speeds(
        query_tokens=np.array([20]),
        encode=times(encode) if rate else np.zeros(0),
        dense=times(dense),
        late={depth: times(late * depth / 50) for depth in DEPTHS},
        options={option.name: times(late) for option in OPTIONS if option.kernel},
        passage_rates=(rate,) if rate else (),
        encoder="minilm" if rate else "",
        isa="baseline",
        cpus=1,
        seconds=1.0,
        scaled=False,
    )
