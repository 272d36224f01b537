"""The bundled model against sentence-transformers' own two ways of asking for the same vectors."""

from __future__ import annotations

import json
import shutil
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from latewood.encode import GOLDEN_TEXTS, bundled, checkpoint, load
from latewood.errors import InputError, ModelError, UsageError
from latewood.protocols import Encoder
from latewood.types import TokenLabel

PARAGRAPH = (
    "A dendrochronologist counts the rings of a beam and asks when its tree was felled. Every ring has a pale part "
    "that grew in spring and a dense, dark part that grew late in the season; the dense part is called late wood. "
)
LONG = PARAGRAPH * 20  # 1,040 tokens: five windows
TEXTS = ["", "one", LONG, *GOLDEN_TEXTS, "one", PARAGRAPH, "un\u00e9 na\u00efve fa\u00e7ade"]

# Rounding that batching may cause: eight times what was seen over 120 real texts.
NOISE = 2e-6


@pytest.fixture(scope="module")
def reference():
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(bundled.folder()), device="cpu", local_files_only=True)


@pytest.fixture(scope="module")
def late_reference(reference):
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    modules = [reference[0], MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
    return MultiVectorEncoder(modules=modules, device="cpu")


def maxsim(query, document):
    return (query @ document.T).max(axis=1).sum()


def test_it_is_an_encoder_and_says_what_it_is(minilm):
    from importlib.metadata import version

    assert isinstance(minilm, Encoder)
    spec = minilm.spec
    assert (spec.name, spec.dim, spec.dense_dim, spec.max_length, spec.overlap) == ("minilm", 384, 384, 256, 32)
    assert (spec.truncate, spec.query_prompt, spec.passage_prompt) == (False, "", "")
    assert spec.libraries == {name: version(name) for name in ("torch", "transformers", "sentence-transformers")}


def test_passages_equal_one_pass_of_sentence_transformers(minilm_truncating, reference):
    ours = minilm_truncating.encode_passages(TEXTS)
    theirs = reference.encode(TEXTS, output_value=None, batch_size=5)
    for i, row in enumerate(theirs):
        tokens = row["token_embeddings"][row["attention_mask"].bool()].numpy()
        tokens = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
        np.testing.assert_allclose(ours.tokens[i], tokens, atol=1e-5)
        np.testing.assert_allclose(ours.dense[i], row["sentence_embedding"].numpy()[None], atol=1e-5)


def test_passages_queries_and_scores_equal_the_multi_vector_encoder(minilm_truncating, late_reference, scifact):
    with (scifact / "corpus.jsonl").open(encoding="utf-8") as lines:
        records = [json.loads(line) for line, _ in zip(lines, range(24), strict=False)]
    with (scifact / "queries.jsonl").open(encoding="utf-8") as lines:
        questions = [json.loads(line)["text"] for line, _ in zip(lines, range(12), strict=False)]
    documents = [f"{record['title']}\n{record['text']}" for record in records]

    ours = minilm_truncating.encode_passages(documents).tokens
    theirs = late_reference.encode_document(documents, convert_to_numpy=True)
    for i, vectors in enumerate(theirs):
        np.testing.assert_allclose(ours[i], vectors, atol=1e-5)

    queries = [minilm_truncating.encode_query(text) for text in questions]
    their_queries = late_reference.encode_query(questions, convert_to_numpy=True)
    for query, vectors in zip(queries, their_queries, strict=True):
        np.testing.assert_allclose(query.tokens, vectors, atol=1e-5)
    scores = [[maxsim(query.tokens, ours[i]) for i in range(len(ours))] for query in queries]
    np.testing.assert_allclose(scores, late_reference.similarity(their_queries, theirs).numpy(), atol=1e-4)


def test_a_query_carries_its_dense_vector_and_its_labels(minilm, reference):
    query = minilm.encode_query("Caf\u00e9 d\u00e9j\u00e0-vu?")
    np.testing.assert_allclose(query.dense, reference.encode("Caf\u00e9 d\u00e9j\u00e0-vu?"), atol=1e-5)
    assert np.linalg.norm(query.dense) == pytest.approx(1, abs=1e-5)
    assert query.labels == (
        TokenLabel("[CLS]", 0, 0),
        TokenLabel("cafe", 0, 4),
        TokenLabel("de", 5, 7),
        TokenLabel("##ja", 7, 9),
        TokenLabel("-", 9, 10),
        TokenLabel("vu", 10, 12),
        TokenLabel("?", 12, 13),
        TokenLabel("[SEP]", 0, 0),
    )
    assert query.tokens.shape == (8, 384)
    assert query.cut == 0


def test_a_long_query_is_cut_at_the_limit_and_counted(minilm, minilm_truncating, reference):
    words = " ".join(["ring"] * 300)
    query = minilm.encode_query(words)
    assert len(query.tokens) == len(query.labels) == 256
    assert query.cut == 300 - 254
    np.testing.assert_allclose(query.dense, reference.encode(words), atol=1e-5)
    np.testing.assert_array_equal(query.tokens, minilm_truncating.encode_query(words).tokens)


def test_truncating_counts_every_token_that_is_left_out(minilm, minilm_truncating, reference):
    whole = len(reference.tokenizer(LONG, truncation=False, padding=False)["input_ids"])
    encoded = minilm_truncating.encode_passages([LONG, "short", LONG])
    assert encoded.cut == 2 * (whole - 256)
    assert np.diff(encoded.tokens.offsets).tolist() == [256, 3, 256]
    assert np.diff(encoded.dense.offsets).tolist() == [1, 1, 1]
    assert minilm.encode_passages([LONG]).cut == 0


def test_windows_are_what_the_model_makes_of_their_tokens(minilm, reference):
    """Rebuilt from the labels alone: so the labels, the windows and both kinds of vectors belong together."""
    import torch

    encoded = minilm.encode_passages([LONG])
    labels = minilm.label(LONG)
    assert len(labels) == len(encoded.tokens[0])
    starts = [i for i, label in enumerate(labels) if label.token == "[CLS]"]
    windows = [labels[a:b] for a, b in zip(starts, [*starts[1:], len(labels)], strict=True)]
    assert len(windows) == len(encoded.dense[0]) == 5
    at = 0
    for number, window in enumerate(windows):
        assert len(window) <= 256
        ids = torch.tensor([reference.tokenizer.convert_tokens_to_ids([label.token for label in window])])
        with torch.inference_mode():
            output = reference({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        vectors = torch.nn.functional.normalize(output["token_embeddings"][0], dim=-1).numpy()
        np.testing.assert_allclose(encoded.tokens[0][at : at + len(window)], vectors, atol=1e-5)
        np.testing.assert_allclose(encoded.dense[0][number], output["sentence_embedding"][0].numpy(), atol=1e-5)
        at += len(window)


def test_windows_lose_nothing_and_overlap(minilm, reference):
    expected = reference.tokenizer(LONG, truncation=False, padding=False, return_offsets_mapping=True)
    labels = minilm.label(LONG)
    starts = [i for i, label in enumerate(labels) if label.token == "[CLS]"]
    windows = [labels[a + 1 : b - 1] for a, b in zip(starts, [*starts[1:], len(labels)], strict=True)]
    spans = [[(label.start, label.end) for label in window] for window in windows]
    assert sorted({span for window in spans for span in window}) == expected["offset_mapping"][1:-1]
    for one, two in pairwise(spans):
        assert len(set(one) & set(two)) >= 32
        assert one[-1] in two
    for label in labels:
        if label.token not in ("[CLS]", "[SEP]"):
            assert LONG[label.start : label.end].lower() == label.token.removeprefix("##")
        else:
            assert (label.start, label.end) == (0, 0)


def test_an_empty_text_has_the_vectors_of_its_special_tokens(minilm):
    encoded = minilm.encode_passages(["", "   \n"])
    assert [len(encoded.tokens[i]) for i in range(2)] == [2, 2]
    assert [label.token for label in minilm.label("")] == ["[CLS]", "[SEP]"]
    np.testing.assert_array_equal(encoded.tokens[0], encoded.tokens[1])
    assert len(minilm.encode_query("").tokens) == 2


def test_no_texts_at_all(minilm):
    encoded = minilm.encode_passages([])
    assert len(encoded) == 0
    assert (encoded.tokens.dim, encoded.dense.dim, encoded.cut) == (384, 384, 0)


def test_a_result_depends_neither_on_its_neighbours_nor_on_the_order(minilm):
    together = minilm.encode_passages(TEXTS)
    backwards = minilm.encode_passages(TEXTS[::-1])
    for i, text in enumerate(TEXTS):
        alone = minilm.encode_passages([text])
        np.testing.assert_allclose(together.tokens[i], alone.tokens[0], atol=NOISE)
        np.testing.assert_allclose(together.dense[i], alone.dense[0], atol=NOISE)
        np.testing.assert_allclose(together.tokens[i], backwards.tokens[len(TEXTS) - 1 - i], atol=NOISE)


def test_the_same_call_gives_the_same_bytes(minilm):
    one, two = minilm.encode_passages(TEXTS), minilm.encode_passages(TEXTS)
    np.testing.assert_array_equal(one.tokens.tokens, two.tokens.tokens)
    np.testing.assert_array_equal(one.dense.tokens, two.dense.tokens)


def test_equal_texts_share_their_vectors(minilm):
    encoded = minilm.encode_passages([LONG, "two", LONG, "two"])
    np.testing.assert_array_equal(encoded.tokens[0], encoded.tokens[2])
    np.testing.assert_array_equal(encoded.dense[0], encoded.dense[2])
    np.testing.assert_array_equal(encoded.tokens[1], encoded.tokens[3])


def test_progress_counts_every_passage_once(minilm):
    texts = [*TEXTS, *(f"{LONG} {i}" for i in range(5))]
    reports: list[int] = []
    minilm.encode_passages(texts, progress=reports.append)
    assert sum(reports) == len(texts)
    assert all(report > 0 for report in reports)
    assert len(reports) > 1


@pytest.mark.parametrize(
    "text",
    [
        "\x00\x01\x02\x7f\x85",
        "\ud83d lone \udc00 surrogates \udfff",
        "\ufffd\ufffe\uffff\U0010ffff",
        "a\u0301\u0301\u0301" * 200,
        "\U0001f469\u200d\U0001f469\u200d\U0001f467 \u202e\u0639\u0631\u0628\u0649\u202c",
        "\u00ad\u200b\u2028\u2029\ufeff",
        "x" * 1_000_000,
        "\u0130I\u0131\u1e9e\ufb03",  # characters whose lower case or decomposition is longer
    ],
    ids=["controls", "surrogates", "noncharacters", "marks", "emoji", "invisible", "one-word-of-1-MB", "casing"],
)
def test_strange_text_is_encoded_like_any_other(minilm, text):
    labels = minilm.label(text)
    encoded = minilm.encode_passages([text])
    assert len(encoded.tokens[0]) == len(labels) >= 2
    np.testing.assert_allclose(np.linalg.norm(encoded.tokens.tokens, axis=1), 1, atol=1e-5)
    assert all(0 <= label.start <= label.end <= len(text) for label in labels)
    assert len(minilm.encode_query(text).tokens) >= 2


def test_spans_hold_behind_a_lone_surrogate(minilm):
    text = "pale \ud800 dark"
    assert [text[label.start : label.end] for label in minilm.label(text) if label.end] == ["pale", "dark"]


def test_queries_from_several_threads(minilm):
    expected = [minilm.encode_query(text).tokens for text in GOLDEN_TEXTS]
    found: dict[int, np.ndarray] = {}

    def work(start: int) -> None:
        for i in range(start, len(GOLDEN_TEXTS), 4):
            found[i] = minilm.encode_query(GOLDEN_TEXTS[i]).tokens

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(GOLDEN_TEXTS)
    for i, tokens in enumerate(expected):
        np.testing.assert_allclose(found[i], tokens, atol=NOISE)


def test_what_is_not_text_is_refused(minilm):
    with pytest.raises(InputError, match=r"text 1: got NoneType, expected a string"):
        minilm.encode_passages(["one", None])
    with pytest.raises(InputError, match=r"got one string, expected a list"):
        minilm.encode_passages("one")
    with pytest.raises(InputError, match=r"got bytes"):
        minilm.encode_query(b"one")


@pytest.mark.parametrize("overlap", [-1, 254, 1000])
def test_an_impossible_overlap_is_refused(overlap):
    with pytest.raises(UsageError, match=r"overlap: got -?\d+, expected 0 to 253"):
        load("minilm", overlap=overlap)


def test_the_digest_is_that_of_the_published_files_wherever_they_lie(minilm, tmp_path):
    copied = Path(shutil.copytree(bundled.folder(), tmp_path / "somewhere"))
    (copied / "README.md").write_text("a card decides no vector")
    files = checkpoint.fingerprints(copied)
    assert files == bundled.DIGESTS
    assert files["model.safetensors"] == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert checkpoint.digest(files) == minilm.spec.model_hash
    bundled.verify(files)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "1_Pooling/config.json"])
def test_an_altered_or_missing_file_is_named(tmp_path, name):
    copied = Path(shutil.copytree(bundled.folder(), tmp_path / "altered"))
    file = copied / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match=rf"{name} is not as published .*force-reinstall"):
        bundled.verify(checkpoint.fingerprints(copied))
    file.unlink()
    with pytest.raises(ModelError, match=rf"{name} is not as published \(SHA-256 none"):
        bundled.verify(checkpoint.fingerprints(copied))
