from __future__ import annotations

from unicodedata import name

import numpy as np
import pytest

from latewood.encode import GOLDEN_TEXTS, GOLDEN_TOLERANCE, agrees, golden_deviation, golden_vectors, load
from latewood.errors import ShapeError

# Written down once, with torch 2.13.0, transformers 5.23.0 and sentence-transformers 6.2.0: the first number of each
# golden vector of the bundled model, and its length.
FIRST = [0.06276, -0.01494, -0.01991, -0.00786, -0.01805, 0.01457, -0.02667, -0.05026]
FIRST += [-0.01024, -0.0417, -0.00493, 0.00444, 0.00766, -0.02389, 0.01033, 0.03058]
NORMS = [0.69968, 0.75161, 0.61575, 0.67749, 0.52292, 0.5284, 0.55698, 0.59371]
NORMS += [0.50707, 0.59968, 0.62772, 0.52237, 0.65042, 0.5965, 0.57976, 0.73022]


def test_the_texts_are_fixed_short_and_of_many_scripts():
    assert len(GOLDEN_TEXTS) == len(set(GOLDEN_TEXTS)) == 16
    assert max(map(len, GOLDEN_TEXTS)) < 100
    scripts = {name(char).split()[0] for text in GOLDEN_TEXTS for char in text if char.isalpha()}
    assert {"LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "DEVANAGARI", "THAI", "HIRAGANA", "CJK"} <= scripts


def test_a_golden_vector_is_the_mean_of_a_texts_token_vectors(minilm):
    vectors = golden_vectors(minilm)
    assert (vectors.shape, vectors.dtype) == ((16, 384), np.float32)
    for i in (0, 9, 15):
        alone = minilm.encode_passages([GOLDEN_TEXTS[i]]).tokens[0]
        np.testing.assert_allclose(vectors[i], alone.mean(axis=0), atol=1e-6)


def test_the_bundled_model_still_makes_the_vectors_it_made(minilm):
    vectors = golden_vectors(minilm)
    np.testing.assert_allclose(vectors[:, 0], FIRST, atol=GOLDEN_TOLERANCE)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), NORMS, atol=GOLDEN_TOLERANCE)


def test_rounding_agrees_and_another_model_does_not(minilm, save_tiny):
    stored = golden_vectors(minilm)
    assert golden_deviation(minilm, stored) == 0
    assert agrees(minilm, stored + np.float32(GOLDEN_TOLERANCE / 2))
    assert not agrees(minilm, stored + np.float32(GOLDEN_TOLERANCE * 2))
    other = stored.copy()
    other[3, 200] += 0.01
    assert golden_deviation(minilm, other) == pytest.approx(0.01, abs=1e-5)

    mean, cased = load(save_tiny(limit=64)), load(save_tiny(limit=32))
    assert agrees(mean, golden_vectors(mean))
    assert not agrees(cased, golden_vectors(mean))  # other windows, other vectors


def test_stored_vectors_of_another_shape_are_refused(minilm):
    with pytest.raises(ShapeError, match=r"got shape \(16, 2\), expected \(16, 384\)"):
        golden_deviation(minilm, np.zeros((16, 2), np.float32))
    with pytest.raises(ShapeError, match="finite"):
        agrees(minilm, np.full((16, 384), np.nan, np.float32))
