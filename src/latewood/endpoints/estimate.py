"""What a run would send, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["ASK_FIRST", "Estimate", "tokens_in"]

ASK_FIRST = 1_000_000
"""Tokens that a run may send without having been agreed to."""


def tokens_in(text: str) -> int:
    """Tokens of a text, guessed from its letters, rather too many than too few.

    One for three ASCII letters (English has one for four to five, code one for about three), and one for two bytes of
    anything else (a Chinese character has three bytes and one to one and a half tokens, a Cyrillic letter has two).
    """
    letters = len(text)
    extra = len(text.encode("utf-8", "replace")) - letters if not text.isascii() else 0
    # Of n letters beyond ASCII with b bytes, extra is b - n; b / 2 tokens for them, a third of one for the others.
    wide = sum(letter > "\x7f" for letter in text) if extra else 0
    return max(1, -(-(letters - wide) // 3) + -(-(extra + wide) // 2))


@dataclass(frozen=True, slots=True)
class Estimate:
    """What would be sent, and perhaps answered, at most.

    Args:
        what: what is sent, in words: "passages to embed".
        items: how many of them.
        tokens: of what is sent.
        answer_tokens: of what may come back; 0 where answers aren't text.
        requests: at least so many.
    """

    what: str
    items: int
    tokens: int
    answer_tokens: int = 0
    requests: int = 0

    def price(self, per_million: float | None, per_million_answered: float | None = None) -> float | None:
        """Its price in the currency of the two prices, or None without a price."""
        if per_million is None:
            return None
        answered = per_million if per_million_answered is None else per_million_answered
        return (self.tokens * per_million + self.answer_tokens * answered) / 1e6

    def __str__(self) -> str:
        back = f", and up to {self.answer_tokens:,} back" if self.answer_tokens else ""
        return f"{self.items:,} {self.what}, about {self.tokens:,} tokens{back}"

    @staticmethod
    def of_texts(what: str, texts: Iterable[str]) -> Estimate:
        """Of texts that are sent as they are."""
        counts = [tokens_in(text) for text in texts]
        return Estimate(what, len(counts), sum(counts))
