"""The door of this room: a name or a folder to an encoder."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from latewood.encode import bundled, checkpoint
from latewood.encode.bi_encoder import BiEncoder
from latewood.encode.cross_encoder import CrossScorer
from latewood.errors import ModelError, PipelineError
from latewood.protocols import Encoder, PairScorer

__all__ = ["load", "load_scorer"]


def load(
    model: str | os.PathLike[str] = bundled.NAME, *, truncate: bool = False, overlap: int | None = None
) -> Encoder:
    """Load an encoder. Files only: nothing is ever fetched from the network.

    Args:
        model: "minilm" for the bundled all-MiniLM-L6-v2, or a folder that holds a sentence-transformers bi-encoder.
        truncate: cut texts at the model's limit, as published figures usually do, and count what was cut.
            Otherwise a long text becomes overlapping windows and nothing is lost.
        overlap: tokens that neighbouring windows share, at least; None for 32, less for models of small windows.

    Raises:
        ModelError: no such model, or its files are not what they should be.
        MissingExtra: sentence-transformers or the bundled model is not installed.
        UsageError: an impossible overlap.
    """
    if model == bundled.NAME:
        name, folder = bundled.NAME, bundled.folder()
        files = checkpoint.fingerprints(folder)
        bundled.verify(files)
    else:
        folder = Path(model).resolve()
        if not folder.is_dir():
            raise ModelError(
                f"model {os.fspath(model)!r} is neither known nor a folder: "
                f"expected {bundled.NAME!r}, or the folder of a sentence-transformers bi-encoder"
            )
        name, files = str(folder), checkpoint.fingerprints(folder)
    loaded = checkpoint.open_checkpoint(folder)
    return BiEncoder(loaded, name=name, model_hash=checkpoint.digest(files), truncate=truncate, overlap=overlap)


def load_scorer(model: str = "", *, url: str = "", dialect: str = "") -> PairScorer:
    """Load what a `cross` stage scores with.

    Args:
        model: the folder of a sentence-transformers cross-encoder; with `url`, the name that the endpoint knows it by.
        url: of a rerank endpoint.
        dialect: how the endpoint speaks; see docs/encoding.md.

    Raises:
        PipelineError: neither a model nor a URL; no cross-encoder is bundled.
        ModelError: no such model, or its files are not what they should be.
        MissingExtra: sentence-transformers is not installed.
    """
    if url:
        scorer: PairScorer = import_module("latewood.encode.endpoints").scorer(url, dialect, model)
        return scorer
    if not model:
        raise PipelineError(
            "cross names no scorer, and none is bundled: "
            'give cross(model="FOLDER"), or cross(url="http://…", dialect="…") for an endpoint'
        )
    folder = Path(model).resolve()
    if not folder.is_dir():
        raise ModelError(
            f"cross(model={model!r}): no such folder; expected that of a sentence-transformers cross-encoder"
        )
    return CrossScorer(checkpoint.open_cross_encoder(folder), name=str(folder))
