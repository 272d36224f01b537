"""How BM25 cuts text into terms: by language, or for all of them at once.

`english`, `plain` and `ngram` are what collections were made with from the start and never change. All others share
one treatment: words in lower case, and runs of the scripts that put no space between words as overlapping pairs of
characters (as Lucene's CJKAnalyzer does; needs no dictionary). A language adds its Snowball stemmer. `auto` adds one
stemmer per script: each touches words of its own script alone, so that they can follow each other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from latewood.errors import MissingExtra, UsageError

__all__ = ["ANALYZERS", "Analyzer", "check_analyzer", "import_tantivy"]

LANGUAGES = (  # noqa: SIM905 - reads as what it is
    "arabic danish dutch finnish french german greek hungarian italian norwegian portuguese romanian russian spanish "
    "swedish tamil turkish"
).split()
"""Those that tantivy stems, besides English."""

ANALYZERS = ("english", "auto", "plain", "ngram", *LANGUAGES)
"""english: words, lower case, stemmed. auto: any mix of languages. plain: words, lower case, not stemmed.
ngram: two and three characters of anything: finds parts of words, at several times the size."""

_STEMMERS_BY_SCRIPT = ("english", "russian", "greek", "arabic", "tamil")
"""One for each script that has one. English stands for Latin: it takes the plural's s off in most of its languages."""

_UNSPACED = re.compile(
    "["
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Myanmar, Khmer
    "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Hiragana, Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\uac00-\ud7af"  # Hangul: it has spaces, but particles are written together with what they follow
    "]+"
)

_LONGEST = 40
"""Bytes of a word. What is longer is data, and is left out."""

_LONGEST_ANYWHERE = 120
"""The same, where a letter may take three bytes."""


def check_analyzer(name: str) -> None:
    """Refuse a name that isn't one of `ANALYZERS` with a UsageError."""
    if name not in ANALYZERS:
        raise UsageError(f"analyzer: got {name!r}, expected one of {', '.join(ANALYZERS)}")


def import_tantivy() -> Any:
    """The module, imported on first use.

    Raises:
        MissingExtra: it isn't installed.
    """
    try:
        import tantivy
    except ImportError:
        raise MissingExtra("bm25", "tantivy", "bm25") from None
    return tantivy


@dataclass(frozen=True, slots=True)
class Analyzer:
    """One of `ANALYZERS` at work.

    Args:
        name: which.
        tokenizer: tantivy's own, to be registered with an index; it takes what `prepared` gives.
    """

    name: str
    tokenizer: Any

    @classmethod
    def of(cls, name: str) -> Analyzer:
        """The analyzer of this name.

        Raises:
            MissingExtra: tantivy isn't installed.
            UsageError: there is none of this name.
        """
        check_analyzer(name)
        return cls(name, _tokenizer(name))

    def prepared(self, text: str) -> str:
        """The text as the tokenizer takes it."""
        return text if self.name in ("english", "plain", "ngram") else _UNSPACED.sub(_pairs, text)

    def terms(self, text: str) -> list[str]:
        """The terms of a text, in order."""
        terms: list[str] = self.tokenizer.analyze(self.prepared(text))
        return terms


@cache
def _tokenizer(name: str) -> Any:
    tantivy = import_tantivy()
    filters, tokenizers = tantivy.Filter, tantivy.Tokenizer
    if name == "ngram":
        return tantivy.TextAnalyzerBuilder(tokenizers.ngram(2, 3)).filter(filters.lowercase()).build()
    longest = _LONGEST if name in ("english", "plain") else _LONGEST_ANYWHERE
    builder = tantivy.TextAnalyzerBuilder(tokenizers.simple())
    builder = builder.filter(filters.remove_long(longest)).filter(filters.lowercase())
    stemmers = {"plain": (), "auto": _STEMMERS_BY_SCRIPT}.get(name, (name,))
    for stemmer in stemmers:
        builder = builder.filter(filters.stemmer(stemmer))
    return builder.build()


def _pairs(run: re.Match[str]) -> str:
    """Overlapping pairs of a run's characters, apart from each other and from what stands around them."""
    text = run[0]
    return f" {' '.join(text[i : i + 2] for i in range(max(1, len(text) - 1)))} "
