"""The commands as a user types them, in process; what another process must show is in test_processes.py."""

from __future__ import annotations

import json
import shlex

import pytest

from latewood.cli import main
from latewood.collection import Collection

DOCUMENTS = [
    {"_id": "oak", "title": "Oak", "text": "Oak wood is hard and heavy. It was the timber of ships.", "year": 1805},
    {"_id": "larch", "title": "Larch", "text": "A conifer that loses its needles in autumn."},
    {"_id": "mast", "text": "Tall straight pines were kept for masts."},
]


def run(command, capsys):
    """Exit code, standard output, standard error."""
    with pytest.raises(SystemExit) as left:
        main(shlex.split(command))
    return left.value.code or 0, *capsys.readouterr()


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def kb(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    corpus = write_lines(folder / "corpus.jsonl", DOCUMENTS)
    with pytest.raises(SystemExit) as left:
        main(["index", "--jsonl", str(corpus), "-c", str(folder / "kb.lw")])
    assert not left.value.code
    return folder / "kb.lw"


def test_index_says_what_it_did_and_a_second_time_does_nothing(kb, capsys):
    corpus = kb.parent / "corpus.jsonl"
    code, out, _ = run(f"index --jsonl {corpus} -c {kb} --json", capsys)
    printed = json.loads(out)
    assert code == 0
    assert (printed["schema"], printed["added"], printed["unchanged"], printed["generation"]) == (1, 0, 3, 1)
    assert "added 0, replaced 0, unchanged 3" in run(f"index --jsonl {corpus} -c {kb}", capsys)[1]


def test_search_prints_the_json_that_is_documented(kb, capsys):
    code, out, _ = run(
        f'search {kb} "which conifer sheds its leaves?" -k 2 --pipeline "dense:3 >> late" --json', capsys
    )
    printed = json.loads(out)
    assert code == 0
    assert list(printed) == ["schema", "query", "pipeline", "exact", "unscored", "hits"]
    assert printed["schema"] == 1
    assert printed["exact"] is True
    first, second = printed["hits"]
    assert list(first) == ["id", "source_id", "score", "rank", "source", "text", "metadata"]
    assert (first["id"], first["source_id"], first["rank"], second["rank"]) == ("larch", "larch", 1, 2)
    assert first["text"] == "Larch\nA conifer that loses its needles in autumn."
    assert first["source"].endswith("corpus.jsonl")
    assert first["score"] > second["score"]


def test_explain_adds_matches_that_sum_to_the_score(kb, capsys):
    _, out, _ = run(f'search {kb} "timber of ships" -k 1 --explain --json', capsys)
    hit = json.loads(out)["hits"][0]
    assert hit["metadata"] == {"year": 1805}
    assert sum(match["similarity"] for match in hit["matches"]) == pytest.approx(hit["score"], abs=1e-4)
    assert list(hit["matches"][0]) == ["query_token", "token", "span", "similarity"]
    start, end = next(match["span"] for match in hit["matches"] if match["query_token"] == "ships")
    assert hit["text"][start:end] == "ships"


def test_search_for_people_marks_what_matched(kb, capsys):
    code, out, err = run(f'search {kb} "timber of ships" -k 1 --explain', capsys)
    assert code == 0
    assert "«ships»" in out
    assert "timber → timber" in out
    assert "dense:50 >> late · exact" in err


def test_compare_prints_the_json_that_is_documented(kb, capsys):
    queries = write_lines(
        kb.parent / "queries.jsonl", [{"_id": "1", "text": "heavy timber"}, {"_id": "2", "text": "pine"}]
    )
    qrels = kb.parent / "qrels.tsv"
    qrels.write_text("query-id\tcorpus-id\tscore\n1\toak\t1\n2\tmast\t1\n", encoding="utf-8")
    asked = f"compare {kb} -q {queries} -r {qrels} --pipeline dense --pipeline 'dense:2>>late'"
    code, out, _ = run(f"{asked} --json", capsys)
    printed = json.loads(out)
    assert code == 0
    assert [of["pipeline"] for of in printed["pipelines"]] == ["dense", "dense:2>>late"]
    for of in printed["pipelines"]:
        assert set(of["metrics"]) == {"R@5", "R@10", "R@50", "nDCG@10", "Success@5"}
        assert set(of["latency_ms"]) == {"encode", "search"}
        assert set(of["latency_ms"]["search"]) == {"p50", "p95"}
        assert of["queries"] == 2
        assert of["pool_recall"] == 1.0
    code, out, _ = run(asked, capsys)
    assert code == 0
    assert "against 'dense'" in out
    assert "dense:2>>late" in out


def test_stats_and_check(kb, capsys):
    code, out, _ = run(f"stats {kb} --json", capsys)
    assert code == 0
    printed = json.loads(out)
    assert printed["passages"] == 3
    assert printed["encoder"]["name"] == "minilm"
    assert "passages" in run(f"stats {kb}", capsys)[1]
    assert run(f"check {kb}", capsys)[:2] == (0, "healthy\n")
    assert json.loads(run(f"check {kb} --json", capsys)[1]) == {"schema": 1, "healthy": True, "findings": []}


def test_check_finds_an_altered_byte_and_search_refuses_it(kb, capsys, tmp_path):
    import shutil

    hurt = tmp_path / "hurt.lw"
    shutil.copytree(kb, hurt)
    segment = next((hurt / "segments").glob("*.seg"))
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    code, out, _ = run(f"check {hurt}", capsys)
    assert code == 1
    assert segment.name in out
    code, out, err = run(f'search {hurt} "timber" --pipeline late', capsys)
    assert (code, out) == (1, "")
    assert segment.name in err


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("index --jsonl {empty} -c {new}", 2, "empty.jsonl"),
        ("index --jsonl {broken} -c {new}", 2, "broken.jsonl:7"),
        ("index --jsonl {broken} -c {kb}", 2, "broken.jsonl:7"),
        ("index --jsonl {corpus} -c {new} --model {folder}", 3, "modules.json"),
        ("index --jsonl {corpus} -c {new} --model {folder}/nowhere", 3, "nowhere"),
        ("index --jsonl {corpus} -c {kb} --truncate", 2, "--truncate"),
        ("index --jsonl {corpus} -c {folder}", 2, "is not a collection"),
        ("search {kb} timber --pipeline denes:5", 2, "unknown stage 'denes'"),
        ("search {kb} timber --pipeline dense --explain", 2, "doesn't end in late"),
        ("search {folder}/nowhere.lw timber", 2, "is not a collection"),
        ("search {kb} timber --model {folder}", 3, "modules.json"),
        ("compare {kb} -q {corpus} -r {broken} --pipeline dense", 2, "broken.jsonl"),
        ("compare {kb} -q {folder}/no.jsonl -r {broken} --pipeline dense", 2, "no.jsonl"),
        ("check {folder}", 2, "is not a collection"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(kb, capsys, tmp_path, command, code, said):
    empty, broken = tmp_path / "empty.jsonl", tmp_path / "broken.jsonl"
    empty.touch()
    good = [json.dumps({"_id": f"x{i}", "text": "words"}) for i in range(6)]
    broken.write_text("\n".join([*good, '{"_id": "7", "text": ']), encoding="utf-8")
    names = {"empty": empty, "broken": broken, "new": tmp_path / "new.lw", "kb": kb, "folder": kb.parent}
    found = run(command.format(**names, corpus=kb.parent / "corpus.jsonl"), capsys)
    assert found[0] == code
    assert found[1] == ""
    assert found[2].startswith("latewood: ")
    assert said in found[2]
    assert found[2].count("\n") == 1
    assert not (tmp_path / "new.lw").exists()
    with Collection.open(kb) as there:
        assert there.stats()["passages"] == 3


def test_two_writers_at_once(kb, capsys):
    new = write_lines(kb.parent / "more.jsonl", [{"_id": "new", "text": "Elm"}])
    with Collection.open(kb) as holder:
        holder.delete(["nothing"])  # takes the lock
        code, _, err = run(f"index --jsonl {new} -c {kb}", capsys)
    assert code == 3
    assert err.startswith("latewood: ")
    assert err.count("\n") == 1


def test_wrong_usage_is_said_by_the_command_line(capsys):
    code, _, err = run("search", capsys)
    assert code == 2
    assert "COLLECTION" in err


def test_where_shows_what_meets_it(kb, capsys):
    def found(where, command="search"):
        code, out, err = run(f"{command} {kb} 'timber of ships' --pipeline bm25 --json --where '{where}'", capsys)
        return code, [hit["id"] for hit in json.loads(out)["hits"]] if out else err

    assert found('{"year": {"lt": 1900}}') == (0, ["oak"])
    assert found('{"year": 1806}') == (0, [])
    code, said = found("year=1805")
    assert code == 2
    assert "not JSON" in said
    code, said = found('{"year": {"near": 1805}}')
    assert code == 2
    assert "expected in" in said


def test_compare_judges_what_the_conditions_leave(kb, capsys, tmp_path):
    queries = write_lines(
        tmp_path / "q.jsonl", [{"_id": "1", "text": "timber of ships"}, {"_id": "2", "text": "conifer needles"}]
    )
    qrels = tmp_path / "qrels.tsv"
    qrels.write_text("query-id\tcorpus-id\tscore\n1\toak\t1\n2\tlarch\t1\n")
    for where, expected in (("", 1.0), ("--where '{\"year\": 1805}'", 0.5)):
        code, out, _ = run(f"compare {kb} -q {queries} -r {qrels} --pipeline bm25 -m R@5 --json {where}", capsys)
        assert code == 0
        assert json.loads(out)["pipelines"][0]["metrics"]["R@5"] == pytest.approx(expected), out


def test_collapse_and_group_by_name_what_they_fold(tmp_path, capsys):
    documents = [
        {"_id": "a", "text": "Oak wood is hard and heavy."},
        {"_id": "b", "text": "OAK wood is hard  and heavy."},
        {"_id": "c", "text": "Larch."},
    ]
    corpus = write_lines(tmp_path / "corpus.jsonl", documents)
    run(f"index --jsonl {corpus} -c {tmp_path / 'kb.lw'}", capsys)
    _, out, _ = run(f"search {tmp_path / 'kb.lw'} 'heavy oak' --collapse --group-by source --json", capsys)
    assert [(hit["id"], hit["folded"]) for hit in json.loads(out)["hits"]] == [("a", ["b"]), ("c", [])]
    assert "also b" in run(f"search {tmp_path / 'kb.lw'} 'heavy oak' --collapse", capsys)[1]
