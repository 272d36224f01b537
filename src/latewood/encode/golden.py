"""Sixteen fixed texts: does this encoder still make the vectors that a collection holds?

Another version of torch or transformers is not another model, but it may compute one. A collection stores the golden
vectors of its encoder and compares when versions differ.
"""

from __future__ import annotations

import numpy as np

from latewood.errors import ShapeError
from latewood.protocols import Encoder
from latewood.types import FloatArray

__all__ = ["GOLDEN_TEXTS", "GOLDEN_TOLERANCE", "agrees", "golden_deviation", "golden_vectors"]

# Never edit: the vectors of these texts are stored in collections.
GOLDEN_TEXTS = (
    "Late wood is the dense part of a tree ring.",
    "How do I close a file that another process still holds open?",
    "The invoice of 14 March (no. 2031-B) was paid twice: £1,204.50 and €1.204,50.",
    "for i, row in enumerate(rows): total += row['price'] * 1.19",
    "Die Straßenbahn fährt sonntags nur alle zwanzig Minuten über die Brücke.",
    "La nieve tardía heló los almendros que ya habían florecido.",
    "L'été dernier, nous avons repeint la façade en ocre et en bleu.",
    "Zimą żółw śpi pod liśćmi aż do kwietnia.",
    "Старый маяк виден с моря за двенадцать миль.",
    "Το πλοίο φεύγει στις έξι το πρωί από το μικρό λιμάνι.",
    "القطار الأخير يغادر قبل منتصف الليل بقليل.",
    "הספרייה סגורה ביום שישי אחר הצהריים.",
    "बारिश के बाद नदी का पानी मटमैला हो जाता है।",
    "ร้านขนมปังหัวมุมเปิดตั้งแต่ตีห้า",
    "森の奥で古い井戸を見つけた。水はまだ澄んでいる。",
    "雨停了，山路上的石头还很滑。 🌧️→🪨",
)

# Rounding between versions stays below 1e-5; another model or pooling is beyond 1e-2.
GOLDEN_TOLERANCE = 1e-4


def golden_vectors(encoder: Encoder) -> FloatArray:
    """The mean of the vectors of each golden text as a passage, token vectors if there are any: [16, D] float32."""
    encoded = encoder.encode_passages(GOLDEN_TEXTS)
    tokens = encoded.tokens if encoded.tokens.dim else encoded.dense
    return np.stack([tokens[i].mean(axis=0, dtype=np.float64) for i in range(len(tokens))]).astype(np.float32)


def golden_deviation(encoder: Encoder, stored: FloatArray) -> float:
    """The largest difference of any number between `stored` and this encoder's golden vectors.

    Raises:
        ShapeError: `stored` has another shape than `golden_vectors` gives, or holds NaN.
    """
    fresh = golden_vectors(encoder)
    if stored.shape != fresh.shape or not bool(np.isfinite(stored).all()):
        raise ShapeError(f"stored golden vectors: got shape {stored.shape}, expected {fresh.shape} and finite values")
    return float(np.abs(fresh - stored).max())


def agrees(encoder: Encoder, stored: FloatArray) -> bool:
    """Whether the encoder still makes the `stored` golden vectors, up to rounding (GOLDEN_TOLERANCE)."""
    return golden_deviation(encoder, stored) <= GOLDEN_TOLERANCE
