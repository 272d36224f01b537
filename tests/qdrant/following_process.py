"""A process that follows a Qdrant collection until it is killed: `sync HOME SIDECAR` or `migrate HOME NAME`.

In small batches, so that a kill falls between two of them as often as within one. Says "begun" when it begins.
"""

from __future__ import annotations

import sys

from latewood import migrate, sidecar
from letter_encoder import LetterEncoder

READ = {"text": ["body"], "source": "doc"}
COUNT = 240


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
