"""Bits of a stored dimension: sizes to the byte, what codes stand for, the short list, and the measured choice."""

from __future__ import annotations

import numpy as np
import pytest

from latewood import _reference, maxsim
from latewood.errors import CorruptionError, InputError, UsageError
from latewood.index import Form, MultiVectorIndex, Signs, check_bits, decide, overlap
from latewood.index import multivector as multivector_module
from latewood.types import MultiVectors

D = 40


def documents(count, seed=0, dim=D, most=30):
    """Documents around topics, and all of them to one side of the origin, as a model's vectors are."""
    rng = np.random.default_rng(seed)
    topics = np.random.default_rng(99).standard_normal((60, dim)) + 0.5
    arrays = []
    for _ in range(count):
        own = rng.choice(60, 5)
        array = topics[rng.choice(own, rng.integers(0, most))] + 0.7 * rng.standard_normal(dim)
        array = array + 0.5 * rng.standard_normal(array.shape)
        arrays.append((array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-9)).astype(np.float32))
    return arrays


def questions(count, seed=1):
    return [array[:9] for array in documents(4 * count, seed) if len(array) >= 5][:count]


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(multivector_module, "_SEGMENT_BYTES", 100 * 15 * D * 4)


def test_bits_are_a_thirty_second_of_float32_to_the_byte():
    vectors = MultiVectors.of(documents(50, dim=128))
    form = decide(1, vectors)
    stored = form.store(vectors)
    assert stored.codes.nbytes * 32 == vectors.tokens.nbytes
    assert Form(16).store(vectors).tokens.nbytes * 2 == vectors.tokens.nbytes
    assert Form(8).store(vectors).tokens.nbytes * 4 == vectors.tokens.nbytes
    assert Form(32).store(vectors) is vectors


def test_codes_stand_for_the_mean_of_what_lies_on_their_side():
    vectors = MultiVectors.of(documents(80))
    signs = Signs.fit(vectors.tokens)
    decoded = signs.decode(signs.encode(vectors))
    above = vectors.tokens >= vectors.tokens.mean(axis=0)
    spread = np.abs(vectors.tokens - vectors.tokens.mean(axis=0)).mean(axis=0)
    expected = vectors.tokens.mean(axis=0) + np.where(above, spread, -spread)
    np.testing.assert_allclose(decoded.tokens, expected, atol=1e-6)
    # No other two values for each dimension, as far from the centre as each other, come nearer on average.
    for factor in (0.9, 1.1):
        other = Signs(signs.center, signs.spread * np.float32(factor))
        worse = np.square(other.decode(other.encode(vectors)).tokens - vectors.tokens).sum()
        assert np.square(decoded.tokens - vectors.tokens).sum() < worse


def test_estimates_order_documents_as_what_the_codes_stand_for():
    """They differ by a constant, and by a query rounded to 31 levels."""
    vectors = MultiVectors.of([array for array in documents(300) if len(array)])
    signs = Signs.fit(vectors.tokens)
    codes = signs.encode(vectors)
    for query in questions(10):
        exact = _reference.scores(query, signs.decode(codes))
        estimates = signs.estimates(query, codes) + (query @ signs.center).sum()
        levels = np.abs(query * signs.spread).max(axis=1) / 15
        assert np.abs(exact - estimates).max() <= 2 * (levels / 2 * D).sum()
        assert np.corrcoef(exact, estimates)[0, 1] > 0.999


@pytest.mark.parametrize("bits", [1, "1+8", "1+16", 16, 32, 8, "auto"])
def test_an_index_of_every_form_is_searched_as_it_is_stored(tmp_path, small_batches, bits):
    given = documents(450)
    whole = MultiVectors.of(given)
    with MultiVectorIndex.build(tmp_path / "ix", given, bits=bits) as built:
        kept = built.stats()["quantisation"]
        found = built.search(questions(1)[0], 10)
    form = Form(kept["bits"], Signs.fit(MultiVectors.of(given[: len(first_batch(given))]).tokens))
    stored = form.store(whole)
    scored = form.signs.decode(stored) if kept["bits"] == 1 else stored
    with MultiVectorIndex.open(tmp_path / "ix") as index:
        assert index.search(questions(1)[0], 10)[0] == found[0]
        for query in questions(20):
            ids, scores = index.search(query, 10, exact=True)
            rows, expected = maxsim.top_k(query, scored, 10)
            np.testing.assert_allclose(scores, expected, rtol=1e-4)
            assert len(set(ids) & {str(row) for row in rows}) >= 9  # the tenth may tie
            near, _ = index.search(query, 10)
            assert len(set(near) & set(ids)) >= 9


def first_batch(given):
    size, batch = 0, []
    for array in given:
        batch.append(array)
        size += array.size * 4
        if size >= 100 * 15 * D * 4:
            break
    return batch


def test_signs_choose_a_list_that_holds_the_best(tmp_path, small_batches):
    """Two stages against float32: of 450 documents, a hundred chosen by sign are scored as int8."""
    given, wanted = documents(450), MultiVectors.of(documents(450))
    with MultiVectorIndex.build(tmp_path / "ix", given, bits="1+8") as index:
        kept = []
        for query in questions(40):
            scores = maxsim.scores(query, wanted)
            order = np.argsort(-scores, kind="stable")
            ids, _ = index.search(query, 10)
            kept.append(overlap(np.array([int(i) for i in ids]), order[:20], scores[order[:20]]))
    assert np.mean(kept) >= 0.985


def test_the_ladder_is_kept_and_names_what_was_chosen(tmp_path, small_batches):
    with MultiVectorIndex.build(tmp_path / "ix", documents(450), bits="auto", queries=questions(30)) as index:
        kept = index.stats()["quantisation"]
    ladder = kept["ladder"]
    assert [level["bits"] for level in ladder["levels"]] == [1, 8, 16, 32]
    assert ladder["kind"] == "given"
    overlaps = [level["overlap@10"] for level in ladder["levels"]]
    assert overlaps == sorted(overlaps)
    assert overlaps[-1] == 1.0
    assert (
        kept["bits"] == ladder["chosen"] == min(b for b, o in zip((1, 8, 16, 32), overlaps, strict=True) if o >= 0.99)
    )
    assert ladder["levels"][0]["bytes_per_vector"] == D / 8
    with MultiVectorIndex.open(tmp_path / "ix") as index:
        assert index.stats()["quantisation"] == kept


def test_too_few_documents_to_measure_leave_the_default():
    form = decide("auto", MultiVectors.of(documents(20)))
    assert form.bits == 8
    assert "fewer than 100" in form.ladder["why"]


def test_vectors_that_are_signs_need_one_bit():
    rng = np.random.default_rng(5)
    arrays = [rng.choice(np.array([-1, 1], np.float32), (rng.integers(1, 12), 64)) / 8 for _ in range(300)]
    form = decide("auto", MultiVectors.of(arrays))
    assert (form.bits, form.ladder["levels"][0]["overlap@10"]) == (1, pytest.approx(1.0, abs=0.01))


def test_a_form_survives_its_record_and_says_when_it_is_damaged():
    form = decide("auto", MultiVectors.of(documents(150)))
    signed = decide("1+16", MultiVectors.of(documents(5)))
    for one in (form, signed):
        again = Form.from_bytes(one.to_bytes())
        assert (again.bits, again.ladder) == (one.bits, one.ladder)
        assert (again.signs is None) == (one.signs is None)
    assert np.array_equal(Form.from_bytes(signed.to_bytes()).signs.center, signed.signs.center)
    with pytest.raises(CorruptionError, match="how vectors are stored"):
        Form.from_bytes(form.to_bytes()[:-30])


@pytest.mark.parametrize("bits", [0, 2, 4, "many", "1+1", "8+1", True, 1.0])
def test_levels_that_there_are_not_are_refused(bits):
    with pytest.raises(UsageError, match="expected auto, 1, 8, 16, 32 or 1"):
        check_bits(bits)


def test_a_build_of_bits_that_did_not_end_says_so(tmp_path, small_batches):
    def interrupted():
        yield from documents(300)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MultiVectorIndex.build(tmp_path / "ix", interrupted(), bits=1)
    with pytest.raises(InputError, match="its build didn't end"):
        MultiVectorIndex.open(tmp_path / "ix")
    with MultiVectorIndex.build(tmp_path / "ix", documents(300), bits=1) as index:
        assert len(index) == 300
