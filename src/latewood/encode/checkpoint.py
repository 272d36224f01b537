"""A model folder: what kind it is, what it holds, and the one place that loads it.

sentence-transformers is the loader; this module adds what it leaves open: the kind is read from the files, so that no
checkpoint is taken for another kind and given random layers; one clear line for a folder that is not a model; a digest
of every file that decides a vector; no network, and no noise.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latewood.encode import col_idefics3
from latewood.encode.placement import Placement
from latewood.errors import MissingExtra, ModelError

__all__ = [
    "BI_ENCODER",
    "CROSS_ENCODER",
    "LATE",
    "VISION",
    "digest",
    "fingerprints",
    "import_sentence_transformers",
    "kind_of",
    "open_checkpoint",
]

BI_ENCODER = "bi-encoder"
LATE = "late-interaction"
CROSS_ENCODER = "cross-encoder"
VISION = "page-image"

_CLASSES = {BI_ENCODER: "SentenceTransformer", LATE: "MultiVectorEncoder", CROSS_ENCODER: "CrossEncoder"}
_MODEL_TYPES = {name: kind for kind, name in _CLASSES.items()} | {"ColBERT": LATE}  # as PyLate writes it
_CLASSES[VISION] = _CLASSES[LATE]

_WEIGHTS = (".safetensors", ".bin")
# What transformers and sentence-transformers read of a checkpoint; model cards and training notes are not among them.
_SETTINGS = (
    "added_tokens.json",
    "artifact.metadata",
    "config.json",
    "config_sentence_transformers.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
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


def kind_of(folder: Path) -> str:
    """What kind of model a folder holds, as far as its settings tell: one of the constants above.

    Raises:
        ModelError: it is none of these; the message says what was found.
    """
    modules = [str(module["type"]) for module in _modules(folder)]
    config = _settings(folder / "config.json")
    stated = _settings(folder / "config_sentence_transformers.json").get("model_type")
    architectures = [str(name) for name in config.get("architectures") or []]
    if any(name.endswith("ForRetrieval") for name in architectures) and stated in (None, "MultiVectorEncoder"):
        return VISION
    if stated in _MODEL_TYPES and modules:
        return _MODEL_TYPES[stated]
    if stated is not None and modules:
        raise ModelError(
            f"{folder} holds a {stated}; expected a bi-encoder, a late-interaction model or a cross-encoder"
        )
    if col_idefics3.ARCHITECTURE in architectures or _is_adapter(folder):
        return VISION
    if "HF_ColBERT" in architectures:
        return LATE
    if any(name.endswith(("MultiVectorMask", "pylate.models.Dense.Dense")) for name in modules):
        return LATE
    if any(name.endswith("Pooling") for name in modules):
        return BI_ENCODER
    if any(name.endswith("ForSequenceClassification") for name in architectures):
        return CROSS_ENCODER
    if modules:
        raise ModelError(f"{folder} is no kind of model that is known: its modules are {', '.join(modules)}")
    found = f"config.json of {architectures[0]}" if architectures else "no modules.json"
    raise ModelError(
        f"{folder} is not a model folder: it has {found}; expected what SentenceTransformer, MultiVectorEncoder or "
        f"CrossEncoder saved, or a ColBERT checkpoint"
    )


def _modules(folder: Path) -> list[dict[str, Any]]:
    """What modules.json lists; nothing where there is none."""
    listing = folder / "modules.json"
    if not listing.is_file():
        return []
    modules = _json(listing)
    if not isinstance(modules, list) or not all(
        isinstance(module, dict) and {"type", "path"} <= module.keys() for module in modules
    ):
        raise ModelError(f"{listing}: expected a list of modules, each with type and path")
    return modules


def _settings(file: Path) -> dict[str, Any]:
    found = _json(file) if file.is_file() else {}
    if not isinstance(found, dict):
        raise ModelError(f"{file}: got {type(found).__name__}, expected an object")
    return found


def fingerprints(folder: Path) -> dict[str, str]:
    """SHA-256, hex, of every file that decides what a vector is, by its path in the folder.

    Raises:
        ModelError: modules.json isn't what it should be, or a file can't be read.
    """
    places = sorted({folder / str(module["path"]) for module in _modules(folder)} | {folder})
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

    MKL, torch's BLAS on x86-64, is asked for the same bits in every run (`MKL_CBWR`, unless somebody has set it): left
    alone, it takes other paths for other addresses, and the same page came out in two ways within one process. It
    heeds that only where nothing has multiplied matrices before. Speed: the same (docs/log.md).

    Raises:
        MissingExtra: it is not installed.
        ModelError: it is installed and fails to import, e.g. beside a torchvision built for another torch.
    """
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
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


def open_checkpoint(folder: Path, kind: str, placement: Placement) -> Any:
    """The model in `folder`, without touching the network.

    Args:
        folder: of the checkpoint.
        kind: as `kind_of` says.
        placement: its device and dtype.

    Raises:
        ModelError: its files are not what they should be.
        MissingExtra: sentence-transformers is not installed.
        UnavailableError: the device isn't there.
    """
    library = import_sentence_transformers()
    device = placement.resolved()
    try:
        with _quiet():
            if kind == VISION and not _is_retrieval(folder):
                return col_idefics3.open_col_idefics3(folder, placement)
            model = getattr(library, _CLASSES[kind])(
                str(folder), device=device, local_files_only=True, model_kwargs={"dtype": placement.dtype}
            )
    except ModelError:
        raise
    except Exception as error:  # the loader raises whatever its parts raise; a user needs the file and one reason
        raise ModelError(f"{folder} can't be loaded as a {kind} model: {_one_line(error)}") from error
    return model.eval()


def _is_retrieval(folder: Path) -> bool:
    """Whether transformers has the class, one that ends in ForRetrieval."""
    names = _settings(folder / "config.json").get("architectures") or []
    return any(str(name).endswith("ForRetrieval") for name in names)


def _is_adapter(folder: Path) -> bool:
    """Whether it is an adapter without its base: those that are published of models of pages."""
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


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
