"""Texts to windows of token ids, and to the labels of those tokens, by the checkpoint's own tokenizer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latewood.encode.windows import spans
from latewood.errors import ModelError, UsageError
from latewood.types import IntArray, TokenLabel

__all__ = ["Content", "WindowTokenizer"]

# Half of a UTF-16 pair: legal in a Python string (JSON lets it in), impossible in UTF-8, which the tokenizer reads.
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")

_DEFAULT_OVERLAP = 32


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """The tokens of one text without special tokens.

    Args:
        ids: [n] int64, the tokens of the prompt first.
        prompt: how many of them are the prompt's; every window repeats these.
        spans: (start, end) of each token in characters of the text, or None where not asked for.
    """

    ids: IntArray
    prompt: int
    spans: list[tuple[int, int]] | None = None


class WindowTokenizer:
    """Cuts texts into windows that fit the model: special tokens, prompt, a stretch of the text, special tokens.

    Args:
        tokenizer: a fast tokenizer of transformers; its stored padding and truncation are never used.
        limit: tokens per window, special tokens included.
        overlap: tokens that neighbouring windows share; None for 32, or a quarter of a window where that is less.
        prompts: every prompt that will be used, to check that it leaves room.

    Raises:
        ModelError: a tokenizer that can't be used: it is slow (gives no spans), adds no special tokens
            (an empty text would have no vector), or its prompts fill the window.
        UsageError: an overlap that is negative or leaves no progress.
    """

    def __init__(self, tokenizer: Any, limit: int, overlap: int | None, prompts: Sequence[str] = ()) -> None:
        if not tokenizer.is_fast:
            raise ModelError("the model's tokenizer gives no character spans; expected a fast one (tokenizer.json)")
        self._tokenizer = tokenizer
        probe = tokenizer("a", truncation=False, padding=False, return_special_tokens_mask=True)
        content = [i for i, special in enumerate(probe["special_tokens_mask"]) if not special]
        if not content or len(content) == len(probe["input_ids"]):
            raise ModelError("the model's tokenizer adds no special tokens; expected some, as [CLS] and [SEP]")
        self.prefix: list[int] = probe["input_ids"][: content[0]]
        self.suffix: list[int] = probe["input_ids"][content[-1] + 1 :]
        longest = max((self.content([""], prompt)[0].prompt for prompt in prompts), default=0)
        room = limit - len(self.prefix) - len(self.suffix) - longest
        if room < 1:
            raise ModelError(
                f"the model's limit of {limit} tokens leaves no room for text after special tokens and prompt"
            )
        if overlap is None:
            overlap = min(_DEFAULT_OVERLAP, room // 4)
        elif not 0 <= overlap < room:
            raise UsageError(f"overlap: got {overlap}, expected 0 to {room - 1} (a window holds {room} tokens of text)")
        self.limit = limit
        self.overlap = overlap

    def content(self, texts: Sequence[str], prompt: str, *, with_spans: bool = False) -> list[Content]:
        """The tokens of each text after `prompt`, uncut.

        A lone surrogate is read as U+FFFD, one character for one, so spans hold.
        """
        whole = [_LONE_SURROGATE.sub("\ufffd", prompt + text) for text in texts]
        encoded = self._tokenizer(
            whole,
            add_special_tokens=False,
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=with_spans or bool(prompt),
            verbose=False,
        )
        contents = []
        for i, ids in enumerate(encoded["input_ids"]):
            found: list[tuple[int, int]] | None = None
            of_prompt = 0
            if prompt or with_spans:
                offsets = encoded["offset_mapping"][i]
                of_prompt = sum(end <= len(prompt) for _, end in offsets) if prompt else 0
                found = [(max(0, start - len(prompt)), max(0, end - len(prompt))) for start, end in offsets]
            contents.append(Content(np.asarray(ids, np.int64), of_prompt, found))
        return contents

    def prompt_length(self, prompt: str) -> int:
        """Tokens before the text, as sentence-transformers counts them: the prompt encoded, less a special at its end."""
        encoded = self._tokenizer(prompt, truncation=False, padding=False, return_special_tokens_mask=True)
        return len(encoded["input_ids"]) - encoded["special_tokens_mask"][-1]

    def room(self, content: Content) -> int:
        """Tokens of the text that fit in one window of it."""
        return self.limit - len(self.prefix) - len(self.suffix) - content.prompt

    def windows(self, content: Content, *, truncate: bool) -> list[tuple[int, int]]:
        """(start, end) of each window in the tokens after the prompt; the first only, cut at the limit, to truncate."""
        length, room = len(content.ids) - content.prompt, self.room(content)
        return [(0, min(length, room))] if truncate else spans(length, room, self.overlap)

    def length(self, content: Content, window: tuple[int, int]) -> int:
        """Tokens of one window, all included."""
        return len(self.prefix) + content.prompt + window[1] - window[0] + len(self.suffix)

    def ids(self, content: Content, window: tuple[int, int]) -> IntArray:
        """What the model reads for one window: [length] int64."""
        prompt, text = content.ids[: content.prompt], content.ids[content.prompt :]
        return np.concatenate([self.prefix, prompt, text[window[0] : window[1]], self.suffix]).astype(np.int64)

    def labels(self, content: Content, window: tuple[int, int]) -> list[TokenLabel]:
        """One label per token of a window; special tokens and the prompt's have the span 0:0."""
        names = self._tokenizer.convert_ids_to_tokens(self.ids(content, window).tolist())
        before = len(self.prefix) + content.prompt
        first = content.prompt + window[0]
        places = (content.spans or [])[first : first + window[1] - window[0]]
        places = [(0, 0)] * before + places + [(0, 0)] * len(self.suffix)
        return [TokenLabel(name, start, end) for name, (start, end) in zip(names, places, strict=True)]
