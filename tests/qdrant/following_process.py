"""A process that follows a Qdrant collection until it is killed: `sync HOME SIDECAR` or `migrate HOME NAME`.

In small batches, so that a kill falls between two of them as often as within one. Says "begun" when it begins.
"""

from __future__ import annotations

import sys

import numpy as np

from latewood import migrate, sidecar
from latewood.types import EncodedPassages, EncodedQuery, EncoderSpec, MultiVectors, TokenLabel

READ = {"text": ["body"], "source": "doc"}
COUNT = 240


class LetterEncoder:
    """A vector per word, of its letters; the bundled model would spend the whole test on loading."""

    spec = EncoderSpec("letters", "0" * 64, dim=26, dense_dim=26, max_length=512, overlap=0)

    def encode_passages(self, texts, progress=None):
        tokens = [np.stack([letters(word) for word in text.split()]) for text in texts]
        if progress is not None:
            progress(len(texts))
        return EncodedPassages(MultiVectors.of(tokens, 26), MultiVectors.of([letters(t)[None] for t in texts], 26))

    def encode_query(self, text):
        vectors = np.stack([letters(word) for word in text.split()])
        return EncodedQuery(text, letters(text), vectors, tuple(TokenLabel(word, 0, 0) for word in text.split()))

    def label(self, text):
        return [TokenLabel(word, 0, 0) for word in text.split()]

    def count_tokens(self, text):
        return len(text.split())


def letters(word):
    counts = np.array([word.lower().count(chr(97 + i)) + 0.01 for i in range(26)], np.float32)
    return counts / float(np.linalg.norm(counts))


def text_of(number):
    words = ["oak", "ring", "late", "wood", "beech", "spruce", "larch", "sapwood", "bark", "plane"]
    return " ".join(words[number // 7**i % 10] for i in range(3 + number % 5))


def follow(what, home, target):
    """One run, to its end."""
    encoder = LetterEncoder()
    if what == "sync":
        return sidecar.sync(target, model=encoder)
    return migrate.migrate(home, target, **READ, model=encoder)


if __name__ == "__main__":
    import latewood.collection

    latewood.collection.BATCH = 4
    migrate._AT_ONCE = 4
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    follow(*sys.argv[1:])
