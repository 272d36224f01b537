"""ColSmol: a checkpoint of colpali-engine's class ColIdefics3, which transformers doesn't have.

transformers has everything but the last layer: Idefics3's model and processor are its own, the projection to 128
dimensions is one matrix and one bias of the checkpoint, the prompts are those that the model was trained with. The
published ones are adapters: merged with their base (`merge_and_unload`) and saved, they can be read; alone they are
refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from latewood.encode.placement import Placement
from latewood.errors import ModelError

__all__ = ["ARCHITECTURE", "ColIdefics3Processor", "open_col_idefics3"]

ARCHITECTURE = "ColIdefics3"

_LAYER = "linear.weight", "linear.bias"


class ColIdefics3Processor:
    """The prompts around transformers' Idefics3Processor.

    Args:
        processor: of transformers.
    """

    query_prefix = "Query: "
    query_augmentation_token = "<end_of_utterance>"
    visual_prompt_prefix = "<|im_start|>User:<image>Describe the image.<end_of_utterance>\nAssistant:"

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self.tokenizer = processor.tokenizer
        self.image_processor = processor.image_processor
        self.image_seq_len = processor.image_seq_len
        self.image_token = processor.image_token

    def process_images(self, images: Sequence[Any]) -> Any:
        """What the model takes for these RGB images."""
        texts, pictures = [self.visual_prompt_prefix] * len(images), [[image] for image in images]
        return self._processor(text=texts, images=pictures, return_tensors="pt", padding="longest")

    def process_queries(self, text: Sequence[str]) -> Any:
        """What the model takes for these queries."""
        more = self.query_augmentation_token * 10
        texts = [f"{self.query_prefix}{query}{more}" for query in text]
        return self._processor(text=texts, return_tensors="pt", padding="longest")


class _Loaded:
    """As much of a MultiVectorEncoder as `VisionEncoder` asks for: one module, no mask."""

    def __init__(self, model: Any, processor: ColIdefics3Processor) -> None:
        self.model = model
        self.processor = processor
        self.tokenizer = processor.tokenizer

    @property
    def device(self) -> Any:
        return next(self.model.parameters()).device

    def __getitem__(self, number: int) -> _Loaded:
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())


def open_col_idefics3(folder: Path, placement: Placement) -> Any:
    """The model in `folder`.

    Raises:
        ModelError: an adapter, or a checkpoint without the projection.
    """
    import torch
    from transformers import AutoModel, Idefics3Processor

    layer = _layer(folder)
    base = AutoModel.from_pretrained(folder, local_files_only=True, dtype=getattr(torch, placement.dtype))

    class Network(torch.nn.Module):
        """Idefics3, the projection, unit length; rows of padding become zeros."""

        def __init__(self) -> None:
            super().__init__()
            self.base = base
            wide, narrow = layer["linear.weight"].shape[1], layer["linear.weight"].shape[0]
            self.linear = torch.nn.Linear(wide, narrow).to(layer["linear.weight"].dtype)
            self.linear.load_state_dict({name.removeprefix("linear."): value for name, value in layer.items()})
            self.config = SimpleNamespace(embedding_dim=narrow)

        def forward(self, **inputs: Any) -> Any:
            hidden = self.linear(self.base(**inputs)[0].to(self.linear.weight.dtype))
            unit = hidden / hidden.norm(dim=-1, keepdim=True)
            return SimpleNamespace(embeddings=unit * inputs["attention_mask"].unsqueeze(-1))

    network = Network().to(placement.resolved()).eval()
    processor = Idefics3Processor.from_pretrained(folder, local_files_only=True)
    return _Loaded(network, ColIdefics3Processor(processor))


def _layer(folder: Path) -> dict[str, Any]:
    """The projection's matrix and bias, from whichever file holds them."""
    from safetensors import safe_open

    if (folder / "adapter_config.json").is_file():
        base = json.loads((folder / "adapter_config.json").read_text()).get("base_model_name_or_path")
        raise ModelError(f"{folder} holds an adapter of {base}: merge them (peft's merge_and_unload), save, give that")
    found: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as arrays:
            found |= {name: arrays.get_tensor(name) for name in _LAYER if name in arrays.keys()}  # noqa: SIM118
    if set(found) != set(_LAYER):
        raise ModelError(f"{folder}: no {' and '.join(_LAYER)} in its weights; expected those of {ARCHITECTURE}")
    return found
