"""Texts to windows of token ids, and to the labels of those tokens, by the checkpoint's own tokenizer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from latewood.encode.windows import spans
from latewood.errors import ModelError, UsageError
from latewood.types import TokenLabel

__all__ = ["WindowTokenizer", "Windowed", "readable"]

# Half of a UTF-16 pair: legal in a Python string (JSON lets it in), impossible in UTF-8, which the tokenizer reads.
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")

_DEFAULT_OVERLAP = 32

_NOWHERE = (0, 0)


@dataclass(frozen=True, slots=True)
class Windowed:
    """One text as the model reads it.

    Args:
        windows: the token ids of each window, special tokens and prompt included; at least one.
        spans: for each of them, the characters that each token stands for; empty where they were not asked for.
        cut: tokens of the text that no window holds.
    """

    windows: list[list[int]]
    spans: list[list[tuple[int, int]]]
    cut: int


class WindowTokenizer:
    """Cuts texts into windows that fit the model: special tokens, prompt, a stretch of the text, special tokens.

    Args:
        tokenizer: a fast tokenizer of transformers; the padding and truncation stored in it are never used.
        limit: tokens per window, special tokens included.
        overlap: tokens that neighbouring windows share; None for 32, or a quarter of a window where that is less.
        prompts: every prompt that will be used, to check that it leaves room.
        bare: a tokenizer that adds no special tokens is fine; without a prompt, an empty text has no vector then.

    Raises:
        ModelError: a tokenizer that can't be used: it is slow (gives no spans), it adds no special tokens
            (an empty text would have no vector), or a prompt fills the window.
        UsageError: an overlap that is negative or leaves no progress.
    """

    def __init__(
        self, tokenizer: Any, limit: int, overlap: int | None, prompts: Sequence[str] = ("",), *, bare: bool = False
    ) -> None:
        if not tokenizer.is_fast:
            raise ModelError("the model's tokenizer gives no character spans; expected a fast one (tokenizer.json)")
        probe = tokenizer("a", truncation=False, padding=False, return_special_tokens_mask=True)
        content = [i for i, special in enumerate(probe["special_tokens_mask"]) if not special]
        if not content or (len(content) == len(probe["input_ids"]) and not bare):
            raise ModelError("the model's tokenizer adds no special tokens; expected some, as [CLS] and [SEP]")
        self._tokenizer = tokenizer
        self._prefix: list[int] = probe["input_ids"][: content[0]]
        self._suffix: list[int] = probe["input_ids"][content[-1] + 1 :]
        self._limit = limit
        self.overlap = 0
        room = min(limit - len(self.split([""], prompt, truncate=True)[0].windows[0]) for prompt in prompts)
        if room < 1:
            raise ModelError(f"a window of {limit} tokens has no room for text after special tokens and prompt")
        if overlap is None:
            overlap = min(_DEFAULT_OVERLAP, room // 4)
        elif not 0 <= overlap < room:
            raise UsageError(f"overlap: got {overlap}, expected 0 to {room - 1} (a window holds {room} tokens of text)")
        self.overlap = overlap

    def split(self, texts: Sequence[str], prompt: str, *, truncate: bool, with_spans: bool = False) -> list[Windowed]:
        """Each text as windows, or as its first window where it is truncated. Every window begins with the prompt.

        A lone surrogate is read as U+FFFD, one character for one, so that spans hold.
        """
        if not texts:
            return []
        encoded = self._tokenizer(
            [readable(prompt + text) for text in texts],
            add_special_tokens=False,
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=with_spans or bool(prompt),
            verbose=False,
        )
        places = encoded.get("offset_mapping") or [[] for _ in texts]
        return [
            self._windowed(ids, offsets, len(prompt), truncate=truncate, with_spans=with_spans)
            for ids, offsets in zip(encoded["input_ids"], places, strict=True)
        ]

    def labels(self, text: Windowed) -> list[TokenLabel]:
        """One label per token of all windows, which must have their spans."""
        return [
            TokenLabel(name, start, end)
            for ids, places in zip(text.windows, text.spans, strict=True)
            for name, (start, end) in zip(self._tokenizer.convert_ids_to_tokens(ids), places, strict=True)
        ]

    def prompt_length(self, prompt: str) -> int:
        """Tokens before the text as sentence-transformers counts them: the prompt alone, less a special at its end."""
        encoded = self._tokenizer(prompt, truncation=False, padding=False, return_special_tokens_mask=True)
        return len(encoded["input_ids"]) - int(encoded["special_tokens_mask"][-1])

    def _windowed(
        self, ids: list[int], offsets: list[tuple[int, int]], prompt: int, *, truncate: bool, with_spans: bool
    ) -> Windowed:
        """Windows of one text, given its tokens after a prompt of so many characters, and their characters."""
        head = sum(end <= prompt for _, end in offsets) if prompt else 0
        before, text = self._prefix + ids[:head], ids[head:]
        room = self._limit - len(before) - len(self._suffix)
        kept = [(0, min(len(text), room))] if truncate else spans(len(text), room, self.overlap)
        places: list[list[tuple[int, int]]] = []
        if with_spans:
            own = [(max(0, start - prompt), end - prompt) for start, end in offsets[head:]]
            places = [[_NOWHERE] * len(before) + own[a:b] + [_NOWHERE] * len(self._suffix) for a, b in kept]
        return Windowed([before + text[a:b] + self._suffix for a, b in kept], places, len(text) - kept[-1][1])


def readable(text: str) -> str:
    """The text with U+FFFD for each lone surrogate, which no tokenizer takes; one character for one."""
    return _LONE_SURROGATE.sub("\ufffd", text)
