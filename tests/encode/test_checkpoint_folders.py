"""Folders: bi-encoders with other limits, prompts and pooling, and folders that are none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from latewood.encode import load
from latewood.errors import ModelError

SHORT = ["", "a", "late wood", "ring 7, beam 12"]
LONG = "the dense part of my ring"  # 20 tokens of the tiny vocabulary


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_pooling_is_the_checkpoints_own(save_tiny, pooling):
    from sentence_transformers import SentenceTransformer

    folder = save_tiny(limit=300, pooling=pooling)
    encoded = load(folder).encode_passages([*SHORT, LONG])
    theirs = SentenceTransformer(str(folder), device="cpu", local_files_only=True).encode([*SHORT, LONG])
    np.testing.assert_allclose(encoded.dense.tokens, theirs, atol=1e-5)


def test_the_limit_and_the_overlap_follow_the_checkpoint(save_tiny):
    folder = save_tiny(limit=16)
    encoder = load(folder)
    assert (encoder.spec.max_length, encoder.spec.overlap) == (16, 14 // 4)
    assert encoder.spec.name == str(folder.resolve())
    # 20 tokens, 14 a window, 3 shared: two windows of ceil((20 + 3) / 2)
    encoded = encoder.encode_passages([LONG])
    assert len(encoded.tokens[0]) == len(encoder.label(LONG)) == 2 * (12 + 2)
    assert len(encoded.dense[0]) == 2
    assert load(folder, overlap=0).encode_passages([LONG]).tokens.offsets.tolist() == [0, 20 + 2 * 2]
    truncated = load(folder, truncate=True).encode_passages([LONG, LONG])
    assert truncated.tokens.offsets.tolist() == [0, 16, 32]
    assert truncated.cut == 2 * (20 - 14)


@pytest.mark.parametrize("include_prompt", [True, False])
def test_prompts_are_put_before_texts_as_sentence_transformers_does(save_tiny, include_prompt):
    from sentence_transformers import SentenceTransformer

    folder = save_tiny(limit=300, include_prompt=include_prompt, prompts={"query": "ask: ", "document": "say - "})
    encoder = load(folder)
    assert (encoder.spec.query_prompt, encoder.spec.passage_prompt) == ("ask: ", "say - ")
    theirs = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    encoded = encoder.encode_passages([*SHORT, LONG])
    for i, row in enumerate(theirs.encode_document([*SHORT, LONG], output_value=None)):
        tokens = row["token_embeddings"][row["attention_mask"].bool()].numpy()
        tokens = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
        np.testing.assert_allclose(encoded.tokens[i], tokens, atol=1e-5)
        np.testing.assert_allclose(encoded.dense[i][0], row["sentence_embedding"].numpy(), atol=1e-5)
    query = encoder.encode_query("wood?")
    np.testing.assert_allclose(query.dense, theirs.encode_query("wood?"), atol=1e-5)
    assert " ".join(label.token for label in query.labels) == "[CLS] a ##s ##k : w ##o ##o ##d ? [SEP]"
    assert [(label.start, label.end) for label in query.labels][4:7] == [(0, 0), (0, 1), (1, 2)]


def test_every_window_begins_with_the_prompt(save_tiny):
    encoder = load(save_tiny(limit=16, prompts={"document": "say - "}))
    labels = encoder.label(LONG)  # 10 tokens a window, 2 shared: three windows of ceil((20 + 4) / 3)
    assert encoder.encode_passages([LONG]).tokens.offsets.tolist() == [0, len(labels)] == [0, 3 * (1 + 4 + 8 + 1)]
    for window in (labels[0:14], labels[14:28], labels[28:42]):
        assert " ".join(label.token for label in window[:5]) == "[CLS] s ##a ##y -"
        assert all((label.start, label.end) == (0, 0) for label in (*window[:5], window[-1]))
        assert all(LONG[label.start : label.end] == label.token.removeprefix("##") for label in window[5:-1])


def test_a_very_long_text_in_a_script_without_spaces(save_tiny):
    text = "\u68ee\u6797" * 17_000  # 100 kB, each character its own token
    encoder = load(save_tiny(limit=256))
    encoded = encoder.encode_passages([text])
    labels = encoder.label(text)
    assert len(encoded.tokens[0]) == len(labels)
    assert len({label.start for label in labels if label.end}) == len(text)


def test_a_copy_has_the_same_hash_and_other_weights_have_not(save_tiny, tmp_path):
    import shutil

    folder = save_tiny(limit=16)
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert load(copy).spec.model_hash == load(folder).spec.model_hash
    settings = json.loads((copy / "sentence_bert_config.json").read_text())
    (copy / "sentence_bert_config.json").write_text(json.dumps({**settings, "max_seq_length": 17}))
    changed = load(copy).spec
    assert changed.model_hash != load(folder).spec.model_hash


def test_a_name_that_is_no_model(tmp_path):
    with pytest.raises(
        ModelError, match=r"'nope' is neither known nor a folder: expected 'minilm', a folder, or a name"
    ):
        load("nope")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ModelError, match="neither known nor a folder"):
        load(file)


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"is not a model folder: it has no modules.json; expected") as error:
        load(tmp_path)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ("{", "modules.json can't be read as JSON: JSONDecodeError"),
        ("\udcff", "modules.json can't be read as JSON: UnicodeDecodeError"),
        ('{"idx": 0}', "modules.json: expected a list of modules, each with type and path"),
        ("[1]", "expected a list of modules"),
        ("[]", "is not a model folder"),
        (
            '[{"type": "sentence_transformers.models.Transformer", "path": ""}]',
            "is no kind of model that is known: its modules are sentence_transformers.models.Transformer",
        ),
        (
            '[{"type": "sentence_transformers.models.Transformer", "path": ""},'
            ' {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]',
            "can't be loaded as a bi-encoder model: ",
        ),
    ],
)
def test_a_broken_model_folder_is_one_line(tmp_path, modules, message):
    (tmp_path / "modules.json").write_bytes(modules.encode("utf-8", "surrogateescape"))
    with pytest.raises(ModelError) as error:
        load(tmp_path)
    assert message in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_that_are_cut_short(save_tiny, tmp_path):
    import shutil

    folder = shutil.copytree(save_tiny(), tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"can't be loaded as a bi-encoder model: \w+: [^\n]+$"):
        load(folder)


def test_an_unusable_similarity(save_tiny):
    folder = save_tiny(similarity_fn_name="euclidean")
    with pytest.raises(ModelError, match="compares by euclidean similarity; expected cosine or dot"):
        load(folder)


def test_no_room_for_text(save_tiny):
    with pytest.raises(ModelError, match="a window of 6 tokens has no room for text after special tokens and prompt"):
        load(save_tiny(limit=6, prompts={"query": "please find: "}))
