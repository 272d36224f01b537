"""The door of this room: a name or a folder to an encoder."""

from __future__ import annotations

import os
from pathlib import Path

from latewood.encode import bundled, checkpoint
from latewood.encode.bi_encoder import BiEncoder
from latewood.errors import ModelError
from latewood.protocols import Encoder

__all__ = ["load"]


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
