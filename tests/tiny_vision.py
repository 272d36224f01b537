"""Tiny random checkpoints of models that read page images: the real classes and processors of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


def tokenizer(specials: list[str], *, left: bool = False, wrapped: tuple[str, str] | None = None, **names: str) -> Any:
    """Bytes as tokens, beside special tokens; `wrapped` are put around every text."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    entries = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = Tokenizer(BPE({entry: i for i, entry in enumerate(entries)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(special, normalized=False, special=True) for special in specials])
    if wrapped is not None:
        first, last = wrapped
        made.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {last}",
            special_tokens=[(token, entries.index(token)) for token in wrapped],
        )
    return PreTrainedTokenizerFast(tokenizer_object=made, padding_side="left" if left else "right", **names)


def colpali(folder: Path, side: int = 4, dim: int = 16) -> Path:
    """ColPali: a page squashed to side x side patches."""
    import torch
    from transformers import (
        ColPaliConfig,
        ColPaliForRetrieval,
        ColPaliProcessor,
        GemmaConfig,
        PaliGemmaConfig,
        SiglipVisionConfig,
    )
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<image>"]
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    pictures = SiglipImageProcessorPil(size={"height": 14 * side, "width": 14 * side})
    pictures.image_seq_length = side * side
    processor = ColPaliProcessor(image_processor=pictures, tokenizer=tokenizer(specials, **names))
    torch.manual_seed(11)
    vision = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=14 * side,
        patch_size=14,
        vision_use_head=False,
    )
    text = GemmaConfig(**TEXT, vocab_size=len(processor.tokenizer), head_dim=16, pad_token_id=0)
    image = processor.tokenizer.convert_tokens_to_ids("<image>")
    whole = PaliGemmaConfig(vision_config=vision, text_config=text, image_token_id=image, projection_dim=32)
    return _saved(ColPaliForRetrieval(ColPaliConfig(vlm_config=whole, embedding_dim=dim)), processor, folder)


def colqwen2(folder: Path, most: int = 16, dim: int = 16) -> Path:
    """ColQwen2: a grid that follows the page's shape, of at most `most` patches after merging."""
    import torch
    from transformers import ColQwen2Config, ColQwen2ForRetrieval, ColQwen2Processor, Qwen2VLConfig
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    specials = [
        f"<|{name}|>"
        for name in (
            "endoftext",
            "im_start",
            "im_end",
            "vision_start",
            "vision_end",
            "vision_pad",
            "image_pad",
            "video_pad",
        )
    ]
    tokens = tokenizer(specials, left=True, pad_token="<|endoftext|>", eos_token="<|im_end|>")
    pictures = Qwen2VLImageProcessorPil(patch_size=14, merge_size=2, min_pixels=784, max_pixels=784 * most)
    processor = ColQwen2Processor(image_processor=pictures, tokenizer=tokens)
    ids = {name: tokens.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "video_pad")}
    text = {
        **TEXT,
        "vocab_size": len(tokens),
        "max_position_embeddings": 512,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
    }
    vision = {
        "depth": 2,
        "embed_dim": 32,
        "hidden_size": 32,
        "num_heads": 2,
        "mlp_ratio": 2,
        "patch_size": 14,
        "spatial_merge_size": 2,
    }
    torch.manual_seed(12)
    whole = Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=tokens.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokens.convert_tokens_to_ids("<|vision_end|>"),
    )
    return _saved(ColQwen2ForRetrieval(ColQwen2Config(vlm_config=whole, embedding_dim=dim)), processor, folder)


def colmodernvbert(folder: Path, longest: int = 128, dim: int = 16) -> Path:
    """ColModernVBERT: tiles of 2 x 2 patches, at most `longest` / 64 of them a side, and the whole page once more."""
    import torch
    from transformers import ColModernVBertConfig, ColModernVBertForRetrieval, ColModernVBertProcessor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
    from transformers.models.modernvbert import ModernVBertConfig

    specials = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "<|begin_of_text|>", "<fake_token_around_image>"]
    specials += ["<image>", "<end_of_utterance>", "<global-img>"]
    specials += [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    names = {f"{name.lower()}_token": f"[{name}]" for name in ("UNK", "CLS", "SEP", "PAD", "MASK")}
    tokens = tokenizer(specials, left=True, wrapped=("[CLS]", "[SEP]"), **names)
    pictures = Idefics3ImageProcessorPil(size={"longest_edge": longest}, max_image_size={"longest_edge": 64})
    processor = ColModernVBertProcessor(image_processor=pictures, tokenizer=tokens, image_seq_len=4)
    torch.manual_seed(13)
    whole = ModernVBertConfig(
        text_config={
            **{name: value for name, value in TEXT.items() if name != "num_key_value_heads"},
            "vocab_size": len(tokens),
            "max_position_embeddings": 512,
            "pad_token_id": 3,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "cls_token_id": 1,
            "sep_token_id": 2,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 8,
        },
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        pixel_shuffle_factor=4,
    )
    return _saved(
        ColModernVBertForRetrieval(ColModernVBertConfig(vlm_config=whole, embedding_dim=dim)), processor, folder
    )


def colsmol(folder: Path, longest: int = 128, dim: int = 16) -> Path:
    """ColSmol as colpali-engine's ColIdefics3 is saved once merged: Idefics3 under `model.`, and `linear`."""
    import json

    import torch
    from safetensors.torch import save_file
    from transformers import Idefics3Config, Idefics3Model, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    specials = ["<unk>", "<|im_start|>", "<|im_end|>", "<pad>", "<fake_token_around_image>", "<image>"]
    specials += ["<end_of_utterance>", "<global-img>"]
    specials += [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    names = {"unk_token": "<unk>", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<pad>"}
    tokens = tokenizer(specials, left=True, **names)
    pictures = Idefics3ImageProcessorPil(size={"longest_edge": longest}, max_image_size={"longest_edge": 64})
    processor = Idefics3Processor(image_processor=pictures, tokenizer=tokens, image_seq_len=4)
    torch.manual_seed(14)
    config = Idefics3Config(
        text_config={"model_type": "llama", **TEXT, "vocab_size": len(processor.tokenizer), "pad_token_id": 3},
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 8,
        },
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        scale_factor=4,
    )
    _saved(Idefics3Model(config), processor, folder)
    from safetensors.torch import load_file

    weights = {f"model.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    weights |= {"linear.weight": torch.randn(dim, 32), "linear.bias": torch.randn(dim) / 4}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    stated = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**stated, "architectures": ["ColIdefics3"]}))
    return folder


def _saved(model: Any, processor: Any, folder: Path) -> Path:
    """Larger weights than at the start of a training, for pictures and words to matter."""
    import torch

    for name, value in model.named_parameters():
        if value.ndim > 1 and "norm" not in name:
            with torch.no_grad():
                value.mul_(4)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
