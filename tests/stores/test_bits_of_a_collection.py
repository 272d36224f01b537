"""Collections that keep 1, 16 or 32 bits of a dimension, or signs beside int8, through their doors."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest

from latewood import maxsim, reindex
from latewood.cli import main
from latewood.collection import Collection
from latewood.errors import EncoderMismatch, PipelineError, ShapeError, UsageError
from latewood.index import Form, Signs
from latewood.late_index import build, certify, is_worthwhile
from latewood.types import EncodedPassages, EncodedQuery, EncoderSpec, MultiVectors, Passage, TokenLabel

WORDS = [
    f"{a}{b}" for a in ("oak", "elm", "ash", "fir", "yew", "bay") for b in ("leaf", "bark", "root", "ring", "seed")
]
D = 96


class Hashed:
    """An encoder that takes no model: a word has one random direction, and a common lean as real models have."""

    spec = EncoderSpec("hashed", "0" * 64, D, 0, 512, 32)

    def __init__(self):
        self.of = {}
        self.encoded = 0

    def _vector(self, word):
        if word not in self.of:
            values = np.random.default_rng(list(word.encode())).standard_normal(D) + 0.6
            self.of[word] = values / np.linalg.norm(values)
        return self.of[word]

    def _vectors(self, text):
        words = text.split()
        plain = np.array([self._vector(word) for word in words], np.float64).reshape(-1, D)
        # A word's vector depends on its neighbours, or all documents would share a few vectors.
        mixed = plain + 0.4 * np.roll(plain, 1, axis=0) + 0.3 * np.roll(plain, -1, axis=0)
        return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)

    def encode_passages(self, texts, progress=None):
        self.encoded += len(texts)
        tokens = MultiVectors.of([self._vectors(text) for text in texts], D)
        return EncodedPassages(tokens, MultiVectors.none(len(texts)))

    def encode_query(self, text):
        vectors = self._vectors(text)
        return EncodedQuery(text, None, vectors, tuple(TokenLabel(word, 0, 0) for word in text.split()))

    def label(self, text):
        return [TokenLabel(word, 0, len(word)) for word in text.split()]

    def count_tokens(self, text):
        return len(text.split())


def passages(count=400, seed=0):
    rng = np.random.default_rng(seed)
    return [Passage(f"p{i}", " ".join(rng.choice(WORDS, rng.integers(4, 20)))) for i in range(count)]


QUESTIONS = [" ".join(np.random.default_rng(100 + i).choice(WORDS, 5)) for i in range(20)]


def made(path, bits, count=400):
    kb = Collection.create(path, Hashed(), bits=bits)
    kb.add(passages(count))
    return kb


def run(command, capsys):
    with pytest.raises(SystemExit) as left:
        main(shlex.split(command))
    return left.value.code or 0, *capsys.readouterr()


@pytest.mark.parametrize("bits", [1, 8, 16, 32, "1+8"])
def test_exact_is_maxsim_with_what_is_stored(tmp_path, bits):
    vectors = Hashed().encode_passages([passage.text for passage in passages()]).tokens
    number = 8 if bits == "1+8" else bits
    form = Form(number, Signs.fit(vectors.tokens) if bits == 1 else None)
    stored = form.store(vectors)
    scored = form.signs.decode(stored) if bits == 1 else stored
    with made(tmp_path / "kb.lw", bits) as kb:
        assert kb.stats()["quantisation"]["bits"] == number
        kept = []
        for question in QUESTIONS:
            ranking = kb.search(question, 10, "late(exact=true)")
            rows, scores = maxsim.top_k(kb.encoder.encode_query(question).tokens, scored, 10)
            assert {hit.id for hit in ranking.hits} >= {f"p{row}" for row in rows[:8]}
            np.testing.assert_allclose([hit.score for hit in ranking.hits], scores, rtol=1e-4)
            assert ranking.exact
            near = kb.search(question, 10, "late")
            assert near.exact == (bits in (8, 16, 32))
            kept.append(len({h.id for h in near.hits} & {h.id for h in ranking.hits}) / 10)
        assert np.mean(kept) >= 0.985
        assert kb.check() == []


@pytest.mark.parametrize("bits", [1, 8, 16, 32, "1+8"])
def test_passages_are_scored_where_they_lie_in_the_order_given(tmp_path, bits):
    with made(tmp_path / "kb.lw", bits, 60) as kb:
        kb.add([Passage(f"late{i}", passage.text) for i, passage in enumerate(passages(40, 1))])  # another segment
        kb.add([Passage("bare", "")])  # no words, no vectors
        snapshot = kb.snapshot
        ids = [f"late{i}" for i in range(39, -1, -3)] + ["bare", "p7", "p50", "p7", "late2"]
        rows = snapshot.rows(ids)
        for question in QUESTIONS:
            query = kb.encoder.encode_query(question).tokens
            found = snapshot.scores(query, rows)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, maxsim.scores(query, snapshot.vectors(rows)), rtol=2e-4)
            assert np.isneginf(found[ids.index("bare")])
            if bits != 1:  # those are scored as `late` scores them, not as the floats that they stand for
                assert np.array_equal(found, maxsim.scores(query, snapshot.vectors(rows)))
        assert len(snapshot.scores(query, rows[:0])) == 0
        with pytest.raises(ShapeError, match="query"):
            snapshot.scores(query[:, :-1], rows)


def test_vectors_take_a_thirty_second_of_float32(tmp_path):
    sizes = {}
    for bits in (1, 32, "1+8"):
        with made(tmp_path / f"{bits}.lw", bits) as kb:
            stats = kb.stats()
            offsets = 8 * (401 + (401 if bits == "1+8" else 0))
            sizes[bits] = stats["bytes"]["token_vectors"] - offsets
            count = stats["vectors"]
    assert sizes[32] == count * 4 * D == 32 * sizes[1]
    assert sizes["1+8"] == count * (D + 4 + D // 8)


def test_a_reader_that_was_there_first_learns_the_form_with_the_first_passages(tmp_path):
    with (
        Collection.create(tmp_path / "kb.lw", Hashed(), bits=1) as kb,
        Collection.open(tmp_path / "kb.lw", Hashed()) as reader,
    ):
        assert reader.search(QUESTIONS[0], pipeline="late").hits == ()
        assert reader.stats()["quantisation"] is None
        kb.add(passages(150))
        reader.refresh()
        assert [h.id for h in reader.search(QUESTIONS[0], 5, "late").hits] == [
            h.id for h in kb.search(QUESTIONS[0], 5, "late").hits
        ]
        kb.add(passages(300))  # stored as the first ones were, not with a centre of their own
        kb.delete(["p3", "p4"])
        reader.refresh()
        assert len(reader.search(QUESTIONS[0], 300, "late").hits) == 298
        assert reader.check() == []


def test_explained_similarities_sum_to_the_score(tmp_path):
    with made(tmp_path / "kb.lw", 1) as kb:
        for hit in kb.search(QUESTIONS[1], 3, "late", explain=True).hits:
            assert sum(match.similarity for match in hit.matches) == pytest.approx(hit.score, rel=1e-4)


def test_moved_texts_are_not_encoded_again_and_keep_their_bits(tmp_path):
    with made(tmp_path / "kb.lw", 1) as kb:
        before = kb.snapshot.vectors(kb.snapshot.rows(["p7"]))
        encoded = kb.encoder.encoded
        text = kb.get(["p7"])[0].text
        report = kb.add([Passage("p7", text, metadata={"seen": 1})])
        assert (report.reused, kb.encoder.encoded) == (1, encoded)
        assert np.array_equal(kb.snapshot.vectors(kb.snapshot.rows(["p7"])).tokens, before.tokens)


def test_fewer_bits_are_not_taken_over_where_more_are_kept(tmp_path):
    with made(tmp_path / "one.lw", 1) as one, Collection.create(tmp_path / "eight.lw", Hashed()) as eight:
        with pytest.raises(EncoderMismatch, match="1 bits of a dimension are kept there, 8 here"):
            eight.add(passages(10), vectors_from=one)
        eight.add(passages(10))
        with Collection.create(tmp_path / "two.lw", Hashed(), bits=1) as two:
            assert two.add(passages(10), vectors_from=eight).reused == 10


def test_signs_are_certified_and_need_no_index(tmp_path):
    with made(tmp_path / "bits.lw", 1) as kb, made(tmp_path / "both.lw", "1+8") as both:
        assert not is_worthwhile(kb)
        with pytest.raises(UsageError, match="bits alone"):
            build(kb, QUESTIONS)
        alone, rescored = certify(kb, QUESTIONS, samples=20), certify(both, QUESTIONS, samples=20)
    assert rescored.overlap.mean >= 0.985
    assert rescored.certified >= 0.97
    assert alone.stored_vs_float32.mean < rescored.stored_vs_float32.mean


def test_centroids_over_floats_and_beside_signs(tmp_path):
    for bits in (16, 32, "1+8"):
        with made(tmp_path / f"{bits}.lw", bits) as kb:
            build(kb, QUESTIONS, centroids=64)
            assert certify(kb, QUESTIONS, samples=20).overlap.mean >= 0.95


def test_another_encoding_keeps_as_many_bits(tmp_path, minilm, monkeypatch):
    with Collection.create(tmp_path / "kb.lw", Hashed(), bits=16) as kb:
        kb.add(passages(5))
    monkeypatch.setattr(reindex.encode, "load", lambda *_, **__: minilm)
    name = reindex.build(tmp_path / "kb.lw", "minilm").name
    with Collection.open(tmp_path / "kb.lw", minilm, encoding=name) as other:
        assert other.stats()["quantisation"]["bits"] == 16


def test_an_encoder_without_token_vectors_has_no_bits_to_choose(tmp_path):
    class Single(Hashed):
        spec = EncoderSpec("single", "0" * 64, 0, D, 512, 32)

        def encode_passages(self, texts, progress=None):
            return EncodedPassages(
                MultiVectors.none(len(texts)), MultiVectors.of([np.ones((1, D), np.float32)] * len(texts))
            )

    with pytest.raises(UsageError, match="gives no token vectors"):
        Collection.create(tmp_path / "kb.lw", Single(), bits=1)
    with pytest.raises(UsageError, match="expected auto"):
        Collection.create(tmp_path / "kb.lw", Hashed(), bits=3)


def test_the_command_chooses_and_says_what_it_measured(minilm, tmp_path, capsys, monkeypatch):
    trees = ["oak", "beech", "larch", "pine", "ash", "elm", "birch", "alder", "yew", "lime"]
    records = [
        {"_id": f"{tree}-{n}", "text": f"The {tree} by house {n} is {n} feet tall and {n % 7} years old."}
        for tree in trees
        for n in range(12)
    ]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, records)))
    code, out, _ = run(f"index -c {tmp_path / 'kb.lw'} --jsonl {tmp_path / 'd.jsonl'} --bits auto", capsys)
    assert code == 0
    code, out, _ = run(f"stats {tmp_path / 'kb.lw'} --json", capsys)
    kept = json.loads(out)["quantisation"]
    assert kept["bits"] == kept["ladder"]["chosen"]
    assert [level["bits"] for level in kept["ladder"]["levels"]] == [1, 8, 16, 32]
    code, out, _ = run(f"stats {tmp_path / 'kb.lw'}", capsys)
    assert "bits" in out
    code, _, err = run(f"index -c {tmp_path / 'kb.lw'} --jsonl {tmp_path / 'd.jsonl'} --bits 1", capsys)
    assert (code, "made with --bits auto" in err) == (2, True)
    code, _, err = run(f"index -c {tmp_path / 'new.lw'} --jsonl {tmp_path / 'd.jsonl'} --bits 3", capsys)
    assert (code, "expected auto" in err) == (2, True)
    assert not (tmp_path / "new.lw").exists()


def test_dense_only_pipelines_say_what_is_missing(tmp_path):
    with made(tmp_path / "kb.lw", 1, 5) as kb, pytest.raises(PipelineError):
        kb.search(QUESTIONS[0], pipeline="dense")


@pytest.mark.parametrize("bits", [1, "1+8", 16])
def test_compaction_keeps_bits_and_answers(tmp_path, bits):
    with Collection.create(tmp_path / "kb.lw", Hashed(), bits=bits) as kb:
        for start in range(0, 200, 20):
            kb.add(passages(200)[start : start + 20])
        kb.delete([f"p{i}" for i in range(0, 200, 3)])
        before = [[(hit.id, hit.score) for hit in kb.search(question, 8, "late").hits] for question in QUESTIONS]
        assert kb.compact(keep_for=0) > 0
        kb.refresh()
        after = [[(hit.id, hit.score) for hit in kb.search(question, 8, "late").hits] for question in QUESTIONS]
        assert after == before
        assert kb.check() == []
