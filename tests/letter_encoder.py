"""An encoder that knows letters only: what the model thinks is not what is tested with it."""

from __future__ import annotations

import numpy as np

from latewood.types import EncodedPassages, EncodedQuery, EncoderSpec, MultiVectors, TokenLabel


class LetterEncoder:
    """A vector per word, of its letters."""

    spec = EncoderSpec("letters", "0" * 64, dim=26, dense_dim=26, max_length=512, overlap=0)

    def encode_passages(self, texts, progress=None):
        tokens = [np.stack([letters(word) for word in text.split()] or [np.ones(26, np.float32)]) for text in texts]
        return EncodedPassages(MultiVectors.of(tokens, 26), MultiVectors.of([t[:1] for t in tokens], 26))

    def encode_query(self, text):
        vectors = np.stack([letters(word) for word in text.split()])
        labels = tuple(TokenLabel(word, 0, 0) for word in text.split())
        return EncodedQuery(text, vectors[0], vectors, labels)

    def label(self, text):
        found, at = [], 0
        for word in text.split():
            at = text.index(word, at)
            found.append(TokenLabel(word, at, at + len(word)))
            at += len(word)
        return found or [TokenLabel("", 0, 0)]

    def count_tokens(self, text):
        return len(text.split())


def letters(word):
    counts = np.array([word.lower().count(chr(97 + i)) for i in range(26)], np.float32)
    return counts / max(1.0, float(np.linalg.norm(counts)))
