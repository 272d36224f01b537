"""The bundled model, loaded once, and tiny random checkpoints in the real format."""

from __future__ import annotations

import os
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latewood.encode import load
from latewood.protocols import Encoder

DATA = Path(os.environ.get("LATEWOOD_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


@pytest.fixture(scope="session")
def minilm() -> Encoder:
    return load("minilm")


@pytest.fixture(scope="session")
def minilm_truncating() -> Encoder:
    return load("minilm", truncate=True)


@pytest.fixture(scope="session")
def scifact() -> Path:
    folder = DATA / "scifact"
    if not folder.is_dir():
        pytest.skip(f"no scifact in {DATA}: set LATEWOOD_DATA to a folder of BEIR data sets")
    return folder


@pytest.fixture(scope="session")
def save_tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that saves a random two-layer BERT bi-encoder and returns its folder."""

    def save(*, limit: int = 16, pooling: str = "mean", include_prompt: bool = True, **options: Any) -> Path:
        import torch
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Normalize, Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling
        from transformers import BertConfig, BertModel

        torch.manual_seed(7)
        folder = tmp_path_factory.mktemp("tiny")
        tokenizer = _tokenizer()
        tokenizer.save_pretrained(folder / "backbone")
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        # Weights large enough for tokens and positions to matter; the default spread of 0.02 makes all vectors alike.
        config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=300, initializer_range=0.3, **sizes)
        BertModel(config, add_pooling_layer=False).save_pretrained(folder / "backbone")
        modules = [
            Transformer(str(folder / "backbone"), max_seq_length=limit),
            Pooling(32, pooling_mode=pooling, include_prompt=include_prompt),
            Normalize(),
        ]
        SentenceTransformer(modules=modules, device="cpu", **options).save_pretrained(str(folder / "saved"))
        return folder / "saved"

    return save


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece
    from transformers import BertTokenizerFast

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = string.ascii_lowercase + string.digits
    entries = [*specials, *string.punctuation, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {entry: i for i, entry in enumerate(entries)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    names = {f"{special.strip('[]').lower()}_token": special for special in specials}
    return BertTokenizerFast(tokenizer_object=tokenizer, **names)
