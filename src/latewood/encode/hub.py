"""Models of the Hugging Face hub: found in its cache on this machine, fetched only when somebody asks for it."""

from __future__ import annotations

import re
from pathlib import Path

from latewood.errors import MissingExtra, ModelError, UnavailableError

__all__ = ["cached", "folder", "is_name"]

_NAME = re.compile(r"[\w.-]+/[\w.-]+")

# Other forms of the same weights, and what belongs to training.
_LEFT_OUT = ("onnx/*", "*.onnx", "openvino/*", "*.h5", "*.msgpack", "*.ot", "*.pb", "*.tflite", "*.gguf", "events.*")


def is_name(model: str) -> bool:
    """Whether it could be the name of a model on the hub: owner/model."""
    return _NAME.fullmatch(model) is not None


def cached(name: str) -> Path | None:
    """The folder of a model in the hub's cache on this machine, None where it isn't there. Uses no network."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError:
        return None
    try:
        found = Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    return found if (found / "config.json").exists() or (found / "modules.json").exists() else None


def folder(name: str, *, download: bool = False) -> Path:
    """The folder of a model on this machine.

    Args:
        name: owner/model.
        download: fetch it if it isn't here.

    Raises:
        ModelError: it isn't here, and wasn't to be fetched.
        MissingExtra: to be fetched, and huggingface_hub is not installed.
        UnavailableError: it couldn't be fetched.
    """
    found = cached(name)
    if found is not None:
        return found
    if not download:
        raise ModelError(
            f"model '{name}' is not on this machine, neither as a folder nor in the hub's cache: fetch it with "
            f"--download (download=True), or `hf download {name}` where there is a network, and give its folder"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingExtra("fetching a model", "huggingface_hub", "encode") from error
    try:
        return Path(snapshot_download(name, ignore_patterns=list(_LEFT_OUT)))
    except Exception as error:  # the hub's client raises many kinds; a user needs the name and one reason
        reason = " ".join(str(error).split())[:300]
        raise UnavailableError(f"model '{name}' can't be fetched: {type(error).__name__}: {reason}") from error
