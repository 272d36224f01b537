"""A sentence-transformers folder: is it one, what does it hold, and the one place that loads it.

sentence-transformers is the loader; this module adds what it leaves open: one clear line for a folder that is not a
model, a digest of every file that decides a vector, no network, and no noise.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latewood.errors import MissingExtra, ModelError

__all__ = ["check", "digest", "fingerprints", "import_sentence_transformers", "open_checkpoint", "open_cross_encoder"]

_WEIGHTS = (".safetensors", ".bin")
# What transformers and sentence-transformers read of a checkpoint; model cards and training notes are not among them.
_SETTINGS = (
    "added_tokens.json",
    "config.json",
    "config_sentence_transformers.json",
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)


def check(folder: Path) -> list[str]:
    """The modules' own folders, "" for the root, of what is a bi-encoder as far as its settings tell.

    Raises:
        ModelError: it is not a sentence-transformers folder, or not a bi-encoder.
    """
    listing = folder / "modules.json"
    if not listing.is_file():
        raise ModelError(
            f"{folder} is not a model folder: it has no modules.json; "
            "expected what SentenceTransformer.save_pretrained writes"
        )
    modules = _json(listing)
    if not isinstance(modules, list) or not all(
        isinstance(module, dict) and {"type", "path"} <= module.keys() for module in modules
    ):
        raise ModelError(f"{listing}: expected a list of modules, each with type and path")
    if not any(str(module["type"]).endswith("Pooling") for module in modules):
        raise ModelError(
            f"{folder} is not a bi-encoder: modules.json lists no Pooling; expected Transformer and Pooling"
        )
    return [str(module["path"]) for module in modules]


def fingerprints(folder: Path) -> dict[str, str]:
    """SHA-256, hex, of every file that decides what a vector is, by its path in the folder.

    Raises:
        ModelError: as `check`, or a file can't be read.
    """
    places = sorted({folder / path for path in check(folder)} | {folder})
    files = [
        file
        for place in places
        if place.is_dir()
        for file in sorted(place.iterdir())
        if file.is_file() and (file.suffix in _WEIGHTS or file.name in _SETTINGS)
    ]
    return {file.relative_to(folder).as_posix(): _fingerprint(file) for file in files}


def digest(files: Mapping[str, str]) -> str:
    """One SHA-256, hex, over `fingerprints`. Copies of a checkpoint share it, whatever their folders are called."""
    lines = "".join(f"{name} {fingerprint}\n" for name, fingerprint in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def import_sentence_transformers() -> Any:
    """The module `sentence_transformers`, imported on first use because it brings torch and takes seconds.

    Raises:
        MissingExtra: it is not installed.
        ModelError: it is installed and fails to import, e.g. beside a torchvision built for another torch.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import sentence_transformers
    except ModuleNotFoundError as error:
        if error.name == "sentence_transformers":
            raise MissingExtra("encoding text", "sentence-transformers", "encode") from error
        raise _broken_import(error) from error
    except Exception as error:  # whatever a broken installation throws, the user gets one line
        raise _broken_import(error) from error
    return sentence_transformers


def open_checkpoint(folder: Path) -> Any:
    """The SentenceTransformer in `folder`, float32 on the CPU, without touching the network.

    Raises:
        ModelError: its files are not what they should be.
        MissingExtra: sentence-transformers is not installed.
    """
    check(folder)
    library = import_sentence_transformers()
    try:
        with _quiet():
            model = library.SentenceTransformer(
                str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": "float32"}
            )
    except Exception as error:  # the loader raises whatever its parts raise; a user needs the file and one reason
        raise ModelError(f"{folder} can't be loaded by sentence-transformers: {_one_line(error)}") from error
    return model.eval()


def open_cross_encoder(folder: Path) -> Any:
    """The CrossEncoder in `folder`, float32 on the CPU, without touching the network.

    Raises:
        ModelError: its files are not what they should be.
        MissingExtra: sentence-transformers is not installed.
    """
    library = import_sentence_transformers()
    try:
        with _quiet():
            model = library.CrossEncoder(
                str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": "float32"}
            )
    except Exception as error:  # as in `open_checkpoint`
        raise ModelError(f"{folder} can't be loaded as a cross-encoder: {_one_line(error)}") from error
    return model.eval()


def _fingerprint(file: Path) -> str:
    sha = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                sha.update(block)
    except OSError as error:
        raise ModelError(f"{file} can't be read: {_one_line(error)}") from error
    return sha.hexdigest()


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} can't be read as JSON: {_one_line(error)}") from error


def _broken_import(error: BaseException) -> ModelError:
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    return ModelError(
        f"sentence-transformers is installed but can't be imported ({_one_line(root)}): "
        "install torch, torchvision and transformers in versions that fit each other, e.g. those of constraints.txt"
    )


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, log lines and warnings of the loaders; every setting is put back afterwards."""
    import transformers.utils.logging

    bars: Any = transformers.utils.logging  # its functions have no types
    loggers = [logging.getLogger(name) for name in ("transformers", "sentence_transformers")]
    levels = [logger.level for logger in loggers]
    had_bars = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if had_bars:
            bars.enable_progress_bar()
