"""`openai:MODEL` over real HTTP: vectors in both encodings, batches, windows, the cache, and every wrong answer."""

from __future__ import annotations

import base64
import itertools
import math

import numpy as np
import pytest

from latewood import encode
from latewood.endpoints import Cache, Limits, accounting, load_embeddings, tokens_in
from latewood.endpoints.embeddings import ModelName
from latewood.endpoints.windows import windows
from latewood.errors import BudgetError, EndpointError, InputError, ModelError
from stand_in import DIM, Say, vector

TEXTS = ["Oak is heavy.", "Late wood is dense.", "Birch bark peels.", "Oak is heavy.", ""]


@pytest.fixture
def model(server, quick):
    loaded = load_embeddings("openai:small", limits=quick)
    server.asked.clear()
    return loaded


@pytest.mark.parametrize("name", ["openai:small", "openai:small?encoding=float"])
def test_vectors_come_as_they_are_in_either_encoding(server, quick, name):
    encoded = load_embeddings(name, limits=quick).encode_passages(TEXTS)
    expected = np.stack([vector(text) for text in [*TEXTS[:4], " "]])
    np.testing.assert_allclose(encoded.dense.tokens, expected, atol=1e-6)
    assert encoded.dense.offsets.tolist() == [0, 1, 2, 3, 4, 5]
    assert (len(encoded.tokens), encoded.tokens.dim) == (5, 0)
    assert {asked.body["encoding_format"] for asked in server.asked} == {"float" if "float" in name else "base64"}
    assert [len(asked.body["input"]) for asked in server.asked] == [1, 4]  # equal texts are sent once


def test_a_server_without_base64_is_asked_for_numbers(server, quick):
    server.takes_base64 = False
    loaded = load_embeddings("openai:small", limits=quick)
    loaded.encode_passages(TEXTS)
    assert [asked.body["encoding_format"] for asked in server.asked] == ["base64", "float", "float"]


def test_the_query_and_its_spec(server, model):
    query = model.encode_query("dense wood")
    np.testing.assert_allclose(query.dense, vector("dense wood"), atol=1e-6)
    assert (query.tokens.shape, query.labels, query.cut) == ((0, 0), (), 0)
    spec = model.spec
    assert (spec.name, spec.dim, spec.dense_dim, spec.max_length) == ("openai:small", 0, DIM, 8191)
    assert spec.libraries == {"endpoint": server.url + "/v1"}
    assert model.label("anything") == []


def test_names_with_options(server, quick):
    name = "openai:org/e5:v2?dimensions=16&max_length=512&query_prompt=query: &passage_prompt=passage: "
    assert ModelName.parse(name) == ModelName("org/e5:v2", 16, 512, "query: ", "passage: ")
    loaded = encode.load(name)
    assert (loaded.spec.dense_dim, loaded.spec.query_prompt) == (16, "query: ")
    loaded.encode_query("oak")
    loaded.encode_passages(["oak"])
    assert [asked.body["input"] for asked in server.asked[1:]] == [["query: oak"], ["passage: oak"]]
    assert {asked.body["model"] for asked in server.asked} == {"org/e5:v2"}
    assert {asked.body["dimensions"] for asked in server.asked} == {16}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("openai:", "expected openai:MODEL"),
        ("openai:m?size=3", "option 'size': known are dimensions"),
        ("openai:m?dimensions=0", "dimensions is '0'"),
        ("openai:m?max_length=ten", "max_length is 'ten'"),
        ("openai:m?encoding=hex", "encoding is 'hex'"),
    ],
)
def test_names_that_are_none(name, said):
    with pytest.raises(ModelError, match=said):
        ModelName.parse(name)


def test_vectors_are_brought_to_unit_length(server, quick):
    def longer(answer):
        for item in answer["data"]:
            item["embedding"] = [3 * number for number in item["embedding"]]
        return answer

    loaded = load_embeddings("openai:small?encoding=float", limits=quick)
    server.script = [Say(change=longer)]
    np.testing.assert_allclose(loaded.encode_query("dense wood").dense, vector("dense wood"), atol=1e-6)


def test_answers_in_another_order_find_their_texts(server, model):
    server.script = [Say(change=lambda answer: answer | {"data": answer["data"][::-1]})]
    encoded = model.encode_passages(TEXTS)
    np.testing.assert_allclose(encoded.dense[1][0], vector(TEXTS[1]), atol=1e-6)


def test_what_was_sent_once_is_not_sent_again(server, model, quick):
    with accounting() as account:
        model.encode_passages(TEXTS)
        before = account.tokens
        model.encode_passages([*TEXTS, "one more"])
    assert [asked.body["input"] for asked in server.asked] == [[*TEXTS[:3], " "], ["one more"]]
    assert account.cached == 4
    assert account.tokens - before == 2  # as the endpoint counts, not as we guess
    # Another process has another encoder and the same disk; another address or size has other vectors.
    server.asked.clear()
    load_embeddings("openai:small", limits=quick).encode_passages(TEXTS)
    assert not server.asked
    load_embeddings("openai:small?dimensions=8", limits=quick).encode_passages(TEXTS)
    load_embeddings("openai:small", url=server.url + "/v1/", limits=quick)
    assert {asked.body.get("dimensions") for asked in server.asked} == {8}


def test_the_cache_can_be_off(server, quick, monkeypatch):
    monkeypatch.setenv("LATEWOOD_CACHE", "off")
    loaded = load_embeddings("openai:small", limits=quick)
    loaded.encode_passages(["a"])
    loaded.encode_passages(["a"])
    assert len(server.asked) == 3


def test_a_damaged_entry_is_asked_for_again(server, quick, tmp_path):
    import sqlite3

    load_embeddings("openai:small", limits=quick).encode_passages(["a"])
    with sqlite3.connect(tmp_path / "cache" / "answers.sqlite") as file:
        file.execute("UPDATE answer SET value = zeroblob(length(value))")
    file.close()
    server.asked.clear()
    encoded = load_embeddings("openai:small", limits=quick).encode_passages(["a"])
    np.testing.assert_allclose(encoded.dense.tokens[0], vector("a"), atol=1e-6)
    assert len(server.asked) == 2


def test_no_key_is_stored_anywhere(server, quick, tmp_path, monkeypatch):
    server.key = "sk-very-secret"
    monkeypatch.setenv("OPENAI_API_KEY", server.key)
    loaded = load_embeddings("openai:small", limits=quick)
    loaded.encode_passages(TEXTS)
    assert "sk-very" not in repr(loaded.spec)
    for path in (tmp_path / "cache").iterdir():
        assert b"sk-very" not in path.read_bytes()


def test_batches_are_sent_at_once_and_come_back_in_order(server):
    texts = [f"text number {i}" for i in range(700)]
    loaded = load_embeddings("openai:small", limits=Limits(concurrency=3))
    done = []
    encoded = loaded.encode_passages(texts, done.append)
    np.testing.assert_allclose(encoded.dense.tokens, np.stack([vector(text) for text in texts]), atol=1e-6)
    assert [len(asked.body["input"]) for asked in server.asked[1:]] == [128] * 5 + [60]
    assert sum(done) == 700
    assert server.most_at_once <= 3


def test_a_request_that_is_too_large_is_halved_and_the_size_kept(server, quick):
    usual = server.answers["/v1/embeddings"]

    def small(body):
        if len(body["input"]) > 40:
            return 413, {"error": "batch size > maximum allowed batch size 40", "error_type": "Validation"}
        return usual(body)

    server.answers["/v1/embeddings"] = small
    loaded = load_embeddings("openai:small", limits=Limits(concurrency=1))
    texts = [f"text {i}" for i in range(100)]
    encoded = loaded.encode_passages(texts)
    np.testing.assert_allclose(encoded.dense.tokens, np.stack([vector(text) for text in texts]), atol=1e-6)
    assert [len(asked.body["input"]) for asked in server.asked[1:]] == [100, 50, 25, 25, 50, 25, 25]
    server.asked.clear()
    loaded.encode_passages([f"other {i}" for i in range(50)])
    assert [len(asked.body["input"]) for asked in server.asked] == [25, 25]


def test_one_text_that_is_too_large_says_how_to_limit_it(server, model):
    server.script = [Say(400, {"error": {"message": "maximum context length is 8 tokens", "code": None}})] * 9
    with pytest.raises(EndpointError, match=r"it was one text of about .* 'openai:small\?max_length=512'"):
        model.encode_passages(["just one"])


def broken(**changed):
    def change(answer):
        answer["data"][0] |= changed
        return answer

    return Say(change=change)


NOT_A_NUMBER = base64.b64encode(np.full(DIM, np.nan, "<f4").tobytes()).decode()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Say(body={"results": []}), "no list 'data'"),
        (Say(body=[]), "no list 'data'"),
        (Say(change=lambda answer: answer | {"data": answer["data"][:1]}), r"1 vectors for 2 texts \(none for 1\)"),
        (Say(change=lambda answer: answer | {"data": []}), "0 vectors for 2 texts"),
        (broken(index=1), "index 1 twice"),
        (broken(index=2), "index 2: expected 0 to 1"),
        (broken(index=None), "index None"),
        (broken(index=True), "index True"),
        (broken(embedding=[1.0, math.nan]), "NaN or infinity"),
        (broken(embedding=NOT_A_NUMBER), "NaN or infinity"),
        (broken(embedding=[0.0] * DIM), "all zero"),
        (broken(embedding=[]), "no numbers"),
        (broken(embedding="%%%"), "can't be used"),
        (broken(embedding=[[1.0]]), "neither a list of numbers nor base64"),
        (broken(embedding=None), "neither a list of numbers nor base64"),
        (broken(embedding=["1"]), "neither a list of numbers nor base64"),
        (broken(embedding=[1.0] * (DIM + 1)), rf"vectors of \[{DIM}, {DIM + 1}\] numbers"),
        (Say(body="<html>"), "not JSON"),
    ],
)
def test_a_wrong_answer_is_an_error_and_nothing_is_kept(server, model, said, expected):
    server.script = [said]
    with pytest.raises(EndpointError, match=expected):
        model.encode_passages(["one", "two"])
    server.asked.clear()
    if f"{DIM + 1}" not in expected:
        np.testing.assert_allclose(model.encode_passages(["one"]).dense.tokens[0], vector("one"), atol=1e-6)
        assert len(server.asked) == 1


def test_texts_that_are_none(model):
    with pytest.raises(InputError, match="got one string"):
        model.encode_passages("a text")
    with pytest.raises(InputError, match="text 1: got int"):
        model.encode_passages(["a", 3])


def test_long_texts_become_windows_and_queries_are_cut(server):
    text = " ".join(f"word{i}" for i in range(200))
    loaded = load_embeddings("openai:small?max_length=64")
    encoded = loaded.encode_passages([text, "short"])
    sent = server.asked[1].body["input"]
    assert len(encoded.dense[0]) == len(sent) - 1 > 5
    assert all(tokens_in(piece) <= 64 for piece in sent)
    np.testing.assert_allclose(encoded.dense[0], np.stack([vector(piece) for piece in sent[:-1]]), atol=1e-6)
    assert encoded.cut == 0
    assert {f"word{i}" for i in range(200)} <= set(" ".join(sent).split())
    assert loaded.encode_query(text).cut > 0
    truncated = load_embeddings("openai:small?max_length=64", truncate=True).encode_passages([text])
    assert (len(truncated.dense[0]), truncated.cut > 0) == (1, True)


def test_windows_cover_every_letter_and_overlap():
    # No part of it comes twice, so that a window has one place.
    text = "".join(f"The {i}  quick\nfox " for i in range(30)) + "".join(chr(0x4E00 + i) for i in range(300))
    text += "".join(f"{i:04d}" for i in range(200))
    found = windows(text, 50, 10)
    places = [(text.index(window), text.index(window) + len(window)) for window in found]
    assert all(tokens_in(window) <= 50 for window in found)
    assert places[0][0] == 0
    assert places[-1][1] == len(text)
    for (start, end), (following, _) in itertools.pairwise(places):
        assert start < following <= end
        assert tokens_in(text[following:end]) <= 10
    assert sum(following < end for (_, end), (following, _) in itertools.pairwise(places)) > len(found) / 2
    assert windows("short", 50, 10) == ["short"]


def test_tokens_are_guessed_rather_too_many():
    assert tokens_in("") == 1
    assert tokens_in("The quick brown fox jumps over the lazy dog.") == 15  # 44 letters; GPT-4's tokenizer has 10
    assert tokens_in("雨停了") == 5  # nine bytes, two to a token
    assert tokens_in("где маяк") >= 4
    assert tokens_in("🪨") == 2


def test_the_limit_of_tokens_keeps_what_was_paid_for(server):
    server.usage = False
    loaded = load_embeddings("openai:small", limits=Limits(concurrency=1))
    texts = [f"text number {i}" for i in range(300)]
    with accounting(limit=1400), pytest.raises(BudgetError):
        loaded.encode_passages(texts)
    sent = sum(len(asked.body["input"]) for asked in server.asked[1:])
    assert 0 < sent < 300
    server.asked.clear()
    loaded.encode_passages(texts)
    assert sum(len(asked.body["input"]) for asked in server.asked) == 300 - sent


def test_two_processes_may_share_a_cache(tmp_path):
    one, other = Cache(tmp_path), Cache(tmp_path)
    one.put(b"k" * 32, b"v")
    assert other.get(b"k" * 32) == b"v"
    other.put_many({bytes([i]) * 32: b"x" * i for i in range(200)})
    assert len(one.get_many([bytes([i]) * 32 for i in range(256)])) == 200
    one.close()
    one.close()
    assert other.get(b"none") is None


def test_a_cache_that_can_not_be_used_says_so(server, quick, monkeypatch, tmp_path):
    (tmp_path / "answers.sqlite").write_bytes(b"no database" * 100)
    monkeypatch.setenv("LATEWOOD_CACHE", str(tmp_path))
    from latewood.errors import StorageError

    with pytest.raises(StorageError, match="LATEWOOD_CACHE, or set it to off"):
        load_embeddings("openai:small", limits=quick)
