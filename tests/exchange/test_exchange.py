"""Vectors that come from fast-plaid and from arrays, and go back: held against what fast-plaid itself says of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from latewood.cli import main
from latewood.collection import Collection
from latewood.errors import InputError, UsageError
from latewood.exchange import export_vectors, import_collection, import_index, open_vectors, read_passages
from latewood.index import MultiVectorIndex
from latewood.index.plaid import PlaidFolder
from latewood.types import Passage

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "encode"))
from tiny_checkpoints import pylate

MADE = Path(__file__).parent / "fast_plaid_1_7"
LENGTHS = [3 + i % 5 for i in range(30)]


@pytest.fixture(scope="module")
def documents():
    return np.split(np.load(MADE / "vectors.npy"), np.cumsum(LENGTHS)[:-1])


@pytest.mark.parametrize("name", ["merged", "chunks"])
def test_vectors_are_those_that_fast_plaid_gives_back(name):
    folder = PlaidFolder(MADE / name)
    found = list(folder.documents())
    assert (len(folder), folder.dim, [len(one) for one in found]) == (30, 16, LENGTHS)
    # fast-plaid computes in half precision.
    np.testing.assert_allclose(np.concatenate(found), np.load(MADE / f"given_back_{name}.npy"), atol=2e-3)


@pytest.mark.parametrize("name", ["merged", "chunks"])
def test_an_imported_index_finds_what_fast_plaid_finds(name, documents, tmp_path):
    with import_index(open_vectors(MADE / name), tmp_path / "index.lw") as index:
        found = [int(index.search(document[:3], 1)[0][0]) for document in documents]
    assert found == json.loads((MADE / "answers.json").read_text())[name]


def damaged(tmp_path, name, change):
    shutil.copytree(MADE / "merged", tmp_path / "f", dirs_exist_ok=True)
    path = tmp_path / "f" / name
    change(path)
    with pytest.raises(InputError) as refused:
        list(PlaidFolder(tmp_path / "f").documents())
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_is_no_such_folder_is_said(tmp_path):
    assert "centroids.npy" in damaged(tmp_path, "centroids.npy", Path.unlink)
    assert "metadata.json" in damaged(tmp_path, "metadata.json", lambda path: path.write_text('{"nbits": 3}'))
    cut = lambda path: path.write_bytes(path.read_bytes()[:-200])  # noqa: E731
    assert "merged_codes.npy" in damaged(tmp_path, "merged_codes.npy", cut)
    assert "doclens" in damaged(tmp_path, "doclens.0.json", lambda path: path.write_text("[[1], 2]"))
    assert "num_documents" in damaged(tmp_path, "doclens.1.json", lambda path: path.write_text("[3]"))
    far = lambda path: np.save(path, np.full(152, 999))  # noqa: E731
    assert "centroids" in damaged(tmp_path, "merged_codes.npy", far)
    np.save(tmp_path / "v.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match="Python objects"):
        open_vectors(tmp_path / "v.npy")


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_out_as_plaid_and_in_again(nbits, documents, tmp_path):
    with MultiVectorIndex.build(tmp_path / "a.lw", documents, ids=[f"d{i}" for i in range(30)]):
        pass
    found = export_vectors(tmp_path / "a.lw", tmp_path / "plaid", nbits=nbits)
    assert (found.documents, found.vectors, found.dim) == (30, sum(LENGTHS), 16)
    back = open_vectors(tmp_path / "plaid")
    assert back.ids == tuple(f"d{i}" for i in range(30))
    cosines = np.einsum("td,td->t", np.concatenate(list(back.documents())), np.concatenate(documents))
    assert cosines.mean() > {1: 0.85, 2: 0.96, 4: 0.99, 8: 0.999}[nbits]
    lists = np.load(tmp_path / "plaid" / "ivf_lengths.npy")
    assert lists.sum() == len(np.load(tmp_path / "plaid" / "ivf.npy"))
    again = export_vectors(tmp_path / "a.lw", tmp_path / "again", nbits=nbits, threads=2)
    assert again == found
    for path in sorted((tmp_path / "plaid").iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_arrays_in_and_out(documents, tmp_path):
    np.save(tmp_path / "all.npy", np.load(MADE / "vectors.npy").astype(np.float16))
    np.save(tmp_path / "counts.npy", np.array(LENGTHS, np.int32))
    (tmp_path / "names.txt").write_text("".join(f"n{i}\n" for i in range(30)))
    given = open_vectors(tmp_path / "all.npy", tmp_path / "counts.npy", tmp_path / "names.txt")
    with import_index(given, tmp_path / "a.lw") as index:
        assert index.ids() == [f"n{i}" for i in range(30)]
        expected = index.search(documents[7], 10)
    export_vectors(tmp_path / "a.lw", tmp_path / "npy", layout="npy")
    with import_index(open_vectors(tmp_path / "npy"), tmp_path / "b.lw") as index:
        ids, scores = index.search(documents[7], 10)
    assert ids == expected[0]
    np.testing.assert_allclose(scores, expected[1], atol=1e-5)
    np.save(tmp_path / "counts.npy", np.array(LENGTHS[1:]))
    with pytest.raises(InputError, match="sum to"):
        open_vectors(tmp_path / "all.npy", tmp_path / "counts.npy")
    (tmp_path / "names.txt").write_text("n\n" * 30)
    with pytest.raises(InputError, match="comes twice"):
        open_vectors(tmp_path / "npy", ids=tmp_path / "names.txt")
    with pytest.raises(InputError, match="is there"):
        export_vectors(tmp_path / "a.lw", tmp_path / "npy")
    with pytest.raises(UsageError, match="nbits"):
        export_vectors(tmp_path / "a.lw", tmp_path / "new", nbits=3)


def test_vectors_that_are_not_of_length_1_go_out_as_arrays_alone(documents, tmp_path):
    with MultiVectorIndex.build(tmp_path / "a.lw", [3 * document for document in documents]):
        pass
    with pytest.raises(InputError, match="npy"):
        export_vectors(tmp_path / "a.lw", tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))
    export_vectors(tmp_path / "a.lw", tmp_path / "out", layout="npy")
    np.testing.assert_allclose(np.load(tmp_path / "out" / "vectors.npy"), 3 * np.concatenate(documents), atol=0.03)


TEXTS = ["oak is heavy", "larch sheds needles", "", "pines were kept for masts", "a keel of elm"]


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collection")
    with Collection.create(folder / "kb.lw", str(pylate(folder / "model"))) as kb:
        kb.add(
            Passage(f"s#{i}", text, source_id="s", title="t", source="f", metadata={"n": i})
            for i, text in enumerate(TEXTS)
        )
        kb.add([Passage("gone", "nothing")])
        kb.delete(["gone"])
    return folder


def test_a_collection_goes_out_and_comes_in_with_its_texts_and_without_its_model(collection, tmp_path):
    export_vectors(collection / "kb.lw", tmp_path / "npy", layout="npy")
    assert [one.text for one in read_passages(tmp_path / "npy" / "passages.jsonl")] == TEXTS
    with pytest.raises(SystemExit) as left:
        main(["import", str(tmp_path / "npy"), "-c", str(tmp_path / "b.lw"), "--model", str(collection / "model")])
    assert not left.value.code
    with Collection.open(collection / "kb.lw") as one, Collection.open(tmp_path / "b.lw") as other:
        assert other.check() == []
        ids = [f"s#{i}" for i in range(len(TEXTS))]
        assert other.get(ids) == one.get(ids)
        for question in ("heavy oak", "masts"):
            mine, theirs = one.search(question, explain=True), other.search(question, explain=True)
            assert [hit.id for hit in mine.hits] == [hit.id for hit in theirs.hits]
            assert [hit.score for hit in mine.hits] == pytest.approx([hit.score for hit in theirs.hits], abs=1e-3)


def test_texts_in_another_order_are_noticed(collection, tmp_path):
    export_vectors(collection / "kb.lw", tmp_path / "npy", layout="npy")
    vectors = open_vectors(tmp_path / "npy")
    passages = list(read_passages(tmp_path / "npy" / "passages.jsonl"))
    (tmp_path / "npy" / "ids.json").unlink()
    nameless = open_vectors(tmp_path / "npy")
    for number, (given, texts, said) in enumerate((
        (vectors, passages[::-1], "expected their order"),
        (nameless, passages[::-1], "another order"),
        (vectors, passages[:3], "only 3 passages"),
        (vectors, [*passages, Passage("more", "x")], "more passages: more"),
    )):  # fmt: skip
        with (
            Collection.create(tmp_path / f"{number}.lw", str(collection / "model")) as kb,
            pytest.raises(InputError, match=said),
        ):
            import_collection(given, texts, kb)


def test_a_model_with_a_single_vector_is_refused(collection, tmp_path, minilm):
    export_vectors(collection / "kb.lw", tmp_path / "npy", layout="npy")
    with (
        Collection.create(tmp_path / "kb.lw", minilm) as kb,
        pytest.raises(UsageError, match="single vector as well"),
    ):
        import_collection(open_vectors(tmp_path / "npy"), [], kb)


def test_the_commands(collection, tmp_path, capsys):
    def run(*words):
        with pytest.raises(SystemExit) as left:
            main([*words, "--json"])
        out, err = capsys.readouterr()
        return left.value.code or 0, json.loads(out) if out else err

    code, said = run("export", str(collection / "kb.lw"), str(tmp_path / "plaid"))
    assert (code, said["documents"], said["layout"]) == (0, 5, "plaid")
    code, said = run("import", str(tmp_path / "plaid"), "-c", str(tmp_path / "index.lw"))
    assert (code, said["kind"], said["documents"]) == (0, "index", 5)
    assert run("import", str(tmp_path), "-c", str(tmp_path / "x.lw"))[0] == 2
    code, said = run("import", str(tmp_path / "plaid"), "-c", str(tmp_path / "x.lw"), "--jsonl", "texts.jsonl")
    assert code == 2
    assert "--model" in said


ASK = """
import json, sys, numpy as np, torch
from fast_plaid import search
index = search.FastPlaid(index=sys.argv[1], device="cpu")
documents = torch.split(torch.from_numpy(np.load(sys.argv[2])), json.loads(sys.argv[3]))
found = index.search(queries_embeddings=[one[:3] for one in documents], top_k=5, n_full_scores=4096)
np.save(sys.argv[4], torch.cat([part.float() for part in index.get_embeddings(list(range(30)))]).numpy())
index.update(documents_embeddings=[torch.nn.functional.normalize(torch.ones(4, 16), dim=-1)])
more = index.search(queries_embeddings=[torch.nn.functional.normalize(torch.ones(4, 16), dim=-1)], top_k=1)
print(json.dumps([[ranking[0][0] for ranking in found], more[0][0][0]]))
"""


@pytest.mark.long
def test_fast_plaid_itself_opens_searches_and_changes_what_was_exported(documents, tmp_path):
    python = os.environ.get("LATEWOOD_FAST_PLAID", "")
    if not python:
        pytest.skip("LATEWOOD_FAST_PLAID names no Python with fast-plaid, which pins a torch of its own")
    with MultiVectorIndex.build(tmp_path / "a.lw", documents):
        pass
    export_vectors(tmp_path / "a.lw", tmp_path / "plaid")
    expected = np.concatenate(list(PlaidFolder(tmp_path / "plaid").documents()))
    arguments = [str(tmp_path / "plaid"), str(MADE / "vectors.npy"), json.dumps(LENGTHS), str(tmp_path / "back.npy")]
    done = subprocess.run([python, "-c", ASK, *arguments], capture_output=True, text=True, check=True)
    found, added = json.loads(done.stdout.splitlines()[-1])
    assert found == list(range(30))
    assert added == 30
    np.testing.assert_allclose(np.load(tmp_path / "back.npy"), expected, atol=2e-3)
    # What fast-plaid has changed comes back, too.
    assert len(PlaidFolder(tmp_path / "plaid")) == 31


def test_documents_among_which_to_search(documents, tmp_path):
    with import_index(open_vectors(MADE / "merged"), tmp_path / "index.lw") as index:
        among = [str(i) for i in range(0, 30, 4)]
        every = index.search(documents[5], 30, exact=True)
        expected = [(name, score) for name, score in zip(*every, strict=True) if name in among]
        ids, scores = index.search(documents[5], 5, among=among)
        assert list(zip(ids, scores, strict=True)) == expected[:5]
        assert index.search_many([documents[5]], 5, among=among)[0][0] == ids
        assert index.search(documents[5], 5, among=[])[0] == []
        with pytest.raises(InputError, match="no passage 'x'"):
            index.search(documents[5], among=["x"])
