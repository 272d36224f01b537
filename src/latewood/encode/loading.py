"""The door of this room: a name or a folder to an encoder, or to a scorer of pairs."""

from __future__ import annotations

import os
from pathlib import Path

from latewood.encode import bundled, checkpoint, hub
from latewood.encode.bi_encoder import BiEncoder
from latewood.encode.cross_encoder import CrossScorer
from latewood.encode.late_encoder import LateEncoder
from latewood.encode.placement import Placement
from latewood.encode.vision_encoder import VisionEncoder
from latewood.endpoints import is_endpoint_model, load_embeddings, load_reranker
from latewood.errors import ModelError, PipelineError, UsageError
from latewood.protocols import Encoder, PairScorer

__all__ = ["load", "load_scorer"]


def load(
    model: str | os.PathLike[str] = bundled.NAME,
    *,
    truncate: bool = False,
    overlap: int | None = None,
    placement: Placement | None = None,
    download: bool = False,
) -> Encoder:
    """Load an encoder: a bi-encoder, a late-interaction model of texts, or one of page images; its files say which.

    Args:
        model: "minilm" for the bundled all-MiniLM-L6-v2, a folder, a name on the Hugging Face hub, such as
            "colbert-ir/colbertv2.0", which is looked for in the cache of the hub on this machine, or "openai:MODEL" for
            an embeddings endpoint (docs/encoding.md).
        truncate: cut texts at the model's limit, as published figures usually do, and count what was cut.
            Otherwise a long text becomes overlapping windows and nothing is lost.
        overlap: tokens that neighbouring windows share, at least; None for 32, less for models of small windows.
        placement: where and how it runs; by default in float32, on a GPU if there is one.
        download: fetch a model of the hub that isn't on this machine. No file is ever fetched without.

    Raises:
        ModelError: no such model, or its files are not what they should be.
        MissingExtra: sentence-transformers or the bundled model is not installed.
        EndpointError: the endpoint can't be reached, or refuses.
        UnavailableError: the device isn't there.
        UsageError: an impossible overlap, or a placement of what runs elsewhere.
    """
    if is_endpoint_model(os.fspath(model)):
        if placement is not None and placement != Placement():
            raise UsageError(f"{os.fspath(model)} runs at its endpoint: leave device, dtype and batch size out")
        return load_embeddings(os.fspath(model), truncate=truncate)
    placement = placement or Placement()
    if model == bundled.NAME:
        name, folder = bundled.NAME, bundled.folder()
        files = checkpoint.fingerprints(folder)
        bundled.verify(files)
        kind = checkpoint.BI_ENCODER
    else:
        name, folder = _find(os.fspath(model), download)
        kind = checkpoint.kind_of(folder)
        if kind == checkpoint.CROSS_ENCODER:
            raise ModelError(
                f"{folder} holds a cross-encoder, which gives no vectors: use it behind an index, "
                f'dense:50 >> cross(model="{name}")'
            )
        files = checkpoint.fingerprints(folder)
    makers: dict[str, type[BiEncoder | LateEncoder | VisionEncoder]] = {
        checkpoint.LATE: LateEncoder,
        checkpoint.VISION: VisionEncoder,
    }
    return makers.get(kind, BiEncoder)(
        checkpoint.open_checkpoint(folder, kind, placement),
        name=name,
        model_hash=checkpoint.digest(files),
        truncate=truncate,
        overlap=overlap,
        dtype=placement.dtype,
        batch_size=placement.batch_size,
    )


def load_scorer(
    model: str = "", *, url: str = "", dialect: str = "", placement: Placement | None = None, download: bool = False
) -> PairScorer:
    """Load what a `cross` stage scores with.

    Args:
        model: the folder of a sentence-transformers cross-encoder, or its name on the Hugging Face hub, looked for in
            the cache of the hub on this machine; with `url`, the name that the endpoint knows it by.
        url: of a rerank endpoint.
        dialect: how the endpoint speaks; see docs/encoding.md.
        placement: where and how it runs.
        download: fetch a model of the hub that isn't on this machine.

    Raises:
        PipelineError: neither a model nor a URL (no cross-encoder is bundled), or a dialect that isn't spoken.
        ModelError: no such model, or its files are not what they should be.
        MissingExtra: sentence-transformers is not installed.
        UnavailableError: the device isn't there.
    """
    if url:
        return load_reranker(url, dialect, model)
    if dialect or not model:
        raise PipelineError(
            f"cross(dialect={dialect!r}) says no url: give both for an endpoint, or a model alone"
            if dialect
            else "cross names no scorer, and none is bundled: "
            'give cross(model="FOLDER"), or cross(url="http://…", dialect="…") for an endpoint'
        )
    placement = placement or Placement()
    name, folder = _find(model, download)
    kind = checkpoint.kind_of(folder)
    if kind != checkpoint.CROSS_ENCODER:
        raise ModelError(f"{folder} holds a {kind} model; cross(model=…) expected a cross-encoder")
    return CrossScorer(
        checkpoint.open_checkpoint(folder, kind, placement), name=name, batch_size=placement.batch_size or 0
    )


def _find(model: str, download: bool) -> tuple[str, Path]:
    """The name that a collection remembers, and the folder."""
    folder = Path(model).resolve()
    if folder.is_dir():
        return str(folder), folder
    if hub.is_name(model):
        return model, hub.folder(model, download=download)
    raise ModelError(
        f"model {model!r} is neither known nor a folder: expected {bundled.NAME!r}, a folder, "
        f"or a name on the hub such as colbert-ir/colbertv2.0 (`latewood models` lists some)"
    )
