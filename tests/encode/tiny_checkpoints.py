"""Tiny random checkpoints in the formats that real ones have: files laid out as their authors' tools lay them out."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"]


def tokenizer(*, lowercase: bool = True, added: tuple[str, ...] = ()) -> Any:
    """A WordPiece tokenizer of letters; with `lowercase=False`, capitals are unknown unless somebody lowers them."""
    from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece
    from transformers import BertTokenizerFast

    letters = string.ascii_lowercase + string.digits
    entries = [*SPECIALS, *string.punctuation, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {entry: i for i, entry in enumerate(entries)}
    made = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    made.add_tokens([AddedToken(token, normalized=True) for token in added])
    names = {f"{special.strip('[]').lower()}_token": special for special in SPECIALS[:5]}
    return BertTokenizerFast(tokenizer_object=made, do_lower_case=lowercase, **names)


def backbone(tokens: Any, folder: Path) -> Any:
    """A random BERT, saved with its tokenizer."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(7)
    # Weights large enough for tokens and positions to matter; the default spread of 0.02 makes all vectors alike.
    config = BertConfig(vocab_size=len(tokens), max_position_embeddings=300, initializer_range=0.3, **SIZES)
    model = BertModel(config, add_pooling_layer=False).eval()
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return model


def stanford(folder: Path, **metadata: Any) -> Path:
    """As colbert-ir's trainer writes it: one file of weights with `bert.*` and `linear.weight`, artifact.metadata."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    model = backbone(tokenizer(), folder)
    weights = {f"bert.{name}": value.contiguous() for name, value in model.state_dict().items()}
    weights["linear.weight"] = torch.randn(16, 32, generator=torch.Generator().manual_seed(1))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["HF_ColBERT"]}))
    stated = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_maxlen": 24,
        "doc_maxlen": 20,
        "mask_punctuation": True,
        "attend_to_mask_tokens": False,
        "dim": 16,
        "similarity": "cosine",
    }
    (folder / "artifact.metadata").write_text(json.dumps({**stated, **metadata}))
    return folder


def pylate(folder: Path, *, lowercase: bool = True, **settings: Any) -> Path:
    """As PyLate 1.x saves it: Transformer and two Dense layers, prefix tokens and prompts, its own class names."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    backbone(tokenizer(lowercase=lowercase, added=("[Q] ", "[D] ")), folder)
    random = torch.Generator().manual_seed(2)
    layers = [
        ("1_Dense", 32, 24, "torch.nn.modules.activation.Tanh", True),
        ("2_Dense", 24, 16, "torch.nn.modules.linear.Identity", False),
    ]
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for number, (path, wide, narrow, activation, residual) in enumerate(layers, 1):
        (folder / path).mkdir()
        config = {
            "in_features": wide,
            "out_features": narrow,
            "bias": False,
            "activation_function": activation,
            "use_residual": residual,
        }
        (folder / path / "config.json").write_text(json.dumps(config))
        weights = {"linear.weight": torch.randn(narrow, wide, generator=random) / 4}
        if residual:
            weights["residual.weight"] = torch.randn(narrow, wide, generator=random) / 4
        save_file(weights, folder / path / "model.safetensors", metadata={"format": "pt"})
        modules.append({"idx": number, "name": str(number), "path": path, "type": "pylate.models.Dense.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": 30, "do_lower_case": settings.pop("do_lower_case", False)})
    )
    stated = {
        "model_type": "ColBERT",
        "prompts": {"query": "ask: ", "document": "say: "},
        "similarity_fn_name": "MaxSim",
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
        "query_length": 24,
        "document_length": 30,
        "attend_to_expansion_tokens": False,
        "skiplist_words": list(string.punctuation),
        "do_query_expansion": True,
    }
    (folder / "config_sentence_transformers.json").write_text(json.dumps({**stated, **settings}))
    return folder


def native(folder: Path, **transformer: Any) -> Path:
    """As sentence-transformers 6 saves a MultiVectorEncoder."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    bare = folder / "backbone"
    bare.mkdir(parents=True)
    backbone(tokenizer(), bare)
    options = {
        "document_length": 20,
        "query_expansion": {"strategy": "min", "attend": True, "length": 12},
        **transformer,
    }
    torch.manual_seed(3)
    projection = Dense(
        32, 16, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings"
    )
    modules = [
        Transformer(str(bare), **options),
        projection,
        MultiVectorMask(skiplist_words=[".", ","]),
        Normalize(module_input_name="token_embeddings"),
    ]
    prompts = {"query": "find ", "document": ""}
    MultiVectorEncoder(modules=modules, prompts=prompts, device="cpu").save_pretrained(str(folder / "saved"))
    return folder / "saved"


def cross(folder: Path, *, labels: int = 1, limit: int = 32) -> Path:
    """As cross-encoder/ms-marco-* are laid out: a sequence classifier and its tokenizer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder.mkdir(parents=True)
    tokens = tokenizer()
    tokens.model_max_length = limit
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(tokens), max_position_embeddings=limit, num_labels=labels, initializer_range=0.3, **SIZES
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder
