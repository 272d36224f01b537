"""Checkpoints for late interaction in every format: vectors, scores and labels against sentence-transformers' own."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tiny_checkpoints as tiny

from latewood import maxsim
from latewood.encode import load
from latewood.errors import ModelError

PASSAGES = [
    "",
    "late wood",
    "Ring 7, beam 12.",
    "it's dark - and dense",
    "a, b",
    "Late!",
]  # all shorter than a window
LONG = "the dense part of my ring, cut late"  # 28 tokens, the comma among them
QUESTIONS = ["which ring?", "Late", "the dense part of a ring that grew late"]

FORMATS = {
    "stanford": (tiny.stanford, {}),
    "stanford attending": (tiny.stanford, {"attend_to_mask_tokens": True, "mask_punctuation": False}),
    "pylate": (tiny.pylate, {}),
    "pylate unexpanded": (tiny.pylate, {"do_query_expansion": False, "prompts": {}}),
    "pylate lower-casing": (tiny.pylate, {"lowercase": False, "do_lower_case": True}),
    "native": (tiny.native, {}),
    "native unexpanded": (tiny.native, {"query_expansion": None, "query_length": 14}),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A function from the name of a format to (folder, our encoder, sentence-transformers' model)."""
    made = {}

    def get(name):
        if name not in made:
            from sentence_transformers import MultiVectorEncoder

            build, options = FORMATS[name]
            folder = build(tmp_path_factory.mktemp("late") / "model", **options)
            theirs = MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
            made[name] = folder, load(folder), theirs
        return made[name]

    return get


@pytest.mark.parametrize("name", FORMATS)
def test_questions_together_are_as_questions_alone(checkpoint, name):
    encoder = checkpoint(name)[1]
    texts = [*QUESTIONS, LONG, "a"]
    assert encoder.encode_queries([]) == []
    for text, together in zip(texts, encoder.encode_queries(texts), strict=True):
        alone = encoder.encode_query(text)
        assert (together.text, together.labels, together.cut) == (text, alone.labels, alone.cut)
        assert together.dense is None
        np.testing.assert_allclose(together.tokens, alone.tokens, atol=2e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_vectors_and_scores_are_those_of_sentence_transformers(checkpoint, name):
    folder, encoder, theirs = checkpoint(name)
    assert (encoder.spec.dim, encoder.spec.dense_dim, encoder.spec.dtype) == (16, 0, "float32")
    encoded = encoder.encode_passages(PASSAGES)
    assert (encoded.cut, encoded.dense.dim, len(encoded.dense)) == (0, 0, len(PASSAGES))
    documents = theirs.encode_document(PASSAGES, convert_to_numpy=True)
    for i, expected in enumerate(documents):
        np.testing.assert_allclose(encoded.tokens[i], expected, atol=1e-5)
        assert len(encoder.label(PASSAGES[i])) == len(expected)
    for question in QUESTIONS:
        query = encoder.encode_query(question)
        expected = theirs.encode_query([question], convert_to_numpy=True)
        assert query.dense is None
        assert len(query.labels) == len(query.tokens)
        np.testing.assert_allclose(query.tokens, expected[0], atol=1e-5)
        scores = theirs.similarity(expected, documents).numpy()[0]
        np.testing.assert_allclose(maxsim.scores(query.tokens, encoded.tokens), scores, atol=1e-5 * 24)
    # Truncated, a long text is what sentence-transformers makes of it.
    truncated = load(folder, truncate=True).encode_passages([LONG])
    np.testing.assert_allclose(truncated.tokens[0], theirs.encode_document(LONG, convert_to_numpy=True), atol=1e-5)
    assert truncated.cut == 28 - (encoder.spec.max_length - encoder.count_tokens(""))


def test_questions_expand_to_masks_that_stand_for_no_characters(checkpoint):
    query = checkpoint("stanford")[1].encode_query("ring?")
    shown = [label.token for label in query.labels]
    assert shown == ["[CLS]", "[unused0]", "r", "##i", "##n", "##g", "?", "[SEP]", *["[MASK]"] * 16]
    assert [(label.start, label.end) for label in query.labels[2:7]] == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert {(label.start, label.end) for label in (*query.labels[:2], *query.labels[7:])} == {(0, 0)}
    assert (len(query.tokens), query.cut) == (24, 0)
    # "min" expands a short question and leaves a long one whole; without expansion there are no masks.
    native = checkpoint("native")[1]
    assert [label.token for label in native.encode_query("a").labels].count("[MASK]") == 12 - 7
    assert native.encode_query(LONG).cut == 0
    assert len(native.encode_query(LONG).tokens) == 28 + 2 + 4
    assert "[MASK]" not in [label.token for label in checkpoint("native unexpanded")[1].encode_query("a").labels]


def test_what_is_cut_of_a_question_is_counted(checkpoint):
    assert checkpoint("stanford")[1].encode_query(LONG).cut == 28 - (24 - 3)
    assert checkpoint("native unexpanded")[1].encode_query(LONG).cut == 28 - (14 - 6)


def test_punctuation_has_no_vector_and_labels_know(checkpoint):
    text = "it's late, now"
    labels = checkpoint("stanford")[1].label(text)
    assert [label.token for label in labels[:5]] == ["[CLS]", "[unused1]", "i", "##t", "s"]
    assert "".join(text[label.start : label.end] for label in labels) == "itslatenow"
    kept = checkpoint("stanford attending")[1].label(text)
    assert "".join(text[label.start : label.end] for label in kept) == "it'slate,now"


def test_prefix_token_and_prompt_stand_before_every_window(checkpoint):
    encoder = checkpoint("pylate")[1]
    assert (encoder.spec.query_prompt, encoder.spec.passage_prompt) == ("[Q] ask: ", "[D] say: ")
    before = ["[CLS]", "[d] ", "s", "##a", "##y"]  # the colon is on the list of what is skipped
    labels = encoder.label(LONG)
    shown = [label.token for label in labels]
    starts = [i for i, token in enumerate(shown) if token == "[CLS]"]
    assert len(starts) == 2
    assert all(shown[i : i + 5] == before for i in starts)
    assert all((label.start, label.end) == (0, 0) for i in starts for label in labels[i : i + 5])
    assert all(LONG[label.start : label.end] == label.token.removeprefix("##") for label in labels if label.end)
    # Every character but spaces and the comma is in a window; the windows' vectors follow one another.
    covered = {at for label in labels for at in range(label.start, label.end)}
    assert covered == {at for at, character in enumerate(LONG) if character not in " ,"}
    encoded = encoder.encode_passages([LONG, "x"])
    assert len(encoded.tokens[0]) == len(labels)
    assert encoded.cut == 0


def test_tokens_are_counted_with_what_has_no_vector(checkpoint):
    encoder = checkpoint("stanford")[1]
    assert encoder.count_tokens("a, b") == 3 + 3
    assert len(encoder.label("a, b")) == 3 + 2


def test_capitals_are_lowered_where_the_checkpoint_says_so(checkpoint):
    lowering = checkpoint("pylate lower-casing")[1]
    same, other = (lowering.encode_passages([text]).tokens[0] for text in ("LATE Wood", "late wood"))
    np.testing.assert_allclose(same, other, atol=1e-6)
    labels = lowering.label("LATE")
    assert [(label.token, label.start, label.end) for label in labels[5:9]] == [
        ("l", 0, 1),
        ("##a", 1, 2),
        ("##t", 2, 3),
        ("##e", 3, 4),
    ]


def test_batches_and_copies_change_nothing(checkpoint):
    encoder = checkpoint("pylate")[1]
    texts = [*PASSAGES, LONG, LONG, PASSAGES[2]]
    together = encoder.encode_passages(texts)
    for i, text in enumerate(texts):
        np.testing.assert_allclose(together.tokens[i], encoder.encode_passages([text]).tokens[0], atol=1e-5)
    done = []
    encoder.encode_passages(texts, done.append)
    assert sum(done) == len(texts)


def test_settings_beside_the_weights_belong_to_the_hash(checkpoint, tmp_path):
    folder, encoder, _ = checkpoint("stanford")
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert load(copy).spec.model_hash == encoder.spec.model_hash
    metadata = copy / "artifact.metadata"
    metadata.write_text(metadata.read_text().replace('"query_maxlen": 24', '"query_maxlen": 20'))
    assert load(copy).spec.model_hash != encoder.spec.model_hash


def test_stanford_checkpoints_without_metadata_have_its_defaults(tmp_path):
    folder = tiny.stanford(tmp_path / "model")
    (folder / "artifact.metadata").unlink()
    encoder = load(folder)
    assert (encoder.spec.query_prompt, encoder.spec.passage_prompt) == ("[unused0] ", "[unused1] ")
    assert len(encoder.encode_query("a").tokens) == 32


def test_what_cannot_be_followed_is_refused(tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    tiny.backbone(tiny.tokenizer(), bare)
    with pytest.raises(ModelError, match=r"is not a model folder: it has config\.json of BertModel; expected what"):
        load(bare)
    pages = shutil.copytree(bare, tmp_path / "pages")
    config = (pages / "config.json").read_text()
    (pages / "config.json").write_text(config.replace("BertModel", "ColPaliForRetrieval"))
    with pytest.raises(ModelError, match="can't be loaded as a page-image model"):
        load(pages)
    sparse = tiny.pylate(tmp_path / "sparse", model_type="SparseEncoder")
    with pytest.raises(ModelError, match="holds a SparseEncoder; expected a bi-encoder, a late-interaction model"):
        load(sparse)
