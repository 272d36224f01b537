"""Models that are known to work, as data, and what of them this machine can load."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from latewood.encode import bundled, hub
from latewood.errors import MissingExtra

__all__ = ["Known", "State", "as_json", "available_mb", "known_models", "state_of"]

_BYTES = 4  # of a float32 weight

_LIBRARIES_MB = 700
"""Resident memory of torch, transformers and sentence-transformers, before a model is loaded."""


@dataclass(frozen=True, slots=True)
class Known:
    """A model of the catalogue; None where something is not stated, or not known.

    Args:
        name: "minilm", or on the Hugging Face hub.
        kind: as `latewood.encode.checkpoint` has it.
        parameters_millions: weights.
        dim: D of its token vectors.
        dense_dim: D of its single vector, 0 for none.
        query_length: tokens of a question that it reads.
        document_length: tokens of a window.
        licence: short name.
        languages: what it was trained for.
        query_prefix: put before a question; the checkpoint's own settings decide.
        passage_prefix: the same for passages.
        expands_queries: whether questions are filled up with [MASK].
        format: how its files are laid out.
        beir_ndcg10: in points of 100, as its authors report it.
        nanobeir_ndcg10: in points of 1, as sentence-transformers reports it.
        own_code: it brings code of its own to be run, which latewood doesn't do.
        note: what else to know.
    """

    name: str
    kind: str
    parameters_millions: float
    dim: int
    dense_dim: int
    query_length: int | None
    document_length: int | None
    licence: str
    languages: str
    query_prefix: str | None
    passage_prefix: str | None
    expands_queries: bool | None
    format: str
    beir_ndcg10: float | None
    nanobeir_ndcg10: float | None
    own_code: bool
    note: str

    @property
    def download_mb(self) -> int:
        """Bytes of its weights in float32, in millions; some repositories hold half of that."""
        return round(self.parameters_millions * _BYTES)

    @property
    def memory_mb(self) -> int:
        """About what a process takes that has it loaded in float32."""
        return self.download_mb + _LIBRARIES_MB


@dataclass(frozen=True, slots=True)
class State:
    """Whether a model can be loaded here.

    Args:
        here: "bundled", "cached", "missing" or "refused".
        loads: it can be loaded now.
        how: what to do where it can't.
    """

    here: str
    loads: bool
    how: str


@cache
def known_models() -> tuple[Known, ...]:
    """The catalogue, the bundled model first."""
    content = json.loads(files("latewood.encode").joinpath("known_models.json").read_text(encoding="utf-8"))
    return tuple(Known(**row) for row in content["models"])


def state_of(model: Known) -> State:
    """Whether this machine can load it. Uses no network."""
    free = available_mb()
    short = "" if free is None or free >= model.memory_mb else f"takes {model.memory_mb} MB, {free} MB are free"
    if model.own_code:
        return State("refused", False, "brings code of its own, which latewood doesn't run")
    if model.name == bundled.NAME:
        try:
            bundled.folder()
        except MissingExtra as error:
            return State("missing", False, str(error))
        return State("bundled", not short, short)
    if hub.cached(model.name) is not None:
        return State("cached", not short, short)
    return State("missing", False, f"fetch it: --download, or hf download {model.name} ({model.download_mb} MB)")


def available_mb() -> int | None:
    """Memory that a new process could take; None where the system doesn't say."""
    try:
        meminfo = Path("/proc/meminfo")
        lines = meminfo.read_text(encoding="ascii").splitlines() if meminfo.exists() else []
        found = next((line for line in lines if line.startswith("MemAvailable:")), None)
        if found is not None:
            return int(found.split()[1]) // 1000
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1_000_000
    except (OSError, ValueError, AttributeError):
        return None


def as_json(model: Known) -> dict[str, Any]:
    """As `latewood models --json` prints it (docs/json.md)."""
    state = state_of(model)
    return {**asdict(model), "download_mb": model.download_mb, "memory_mb": model.memory_mb, **asdict(state)}
