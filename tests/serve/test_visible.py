"""Conditions on metadata, and a snapshot that shows what meets them: held against reading everything."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install '.[serve]'")

from latewood.collection import Collection
from latewood.errors import InputError, UsageError
from latewood.pipeline import parse
from latewood.serve.visible import Allowed, VisibleSnapshot, check_where, meets
from latewood.types import Passage


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"lang": "en"}, True),
        ({"lang": "de"}, False),
        ({"year": 2024}, True),
        ({"year": 2024.0}, True),
        ({"year": "2024"}, False),
        ({"year": {"gte": 2024}}, True),
        ({"year": {"gt": 2024}}, False),
        ({"year": {"gte": 2000, "lt": 2024}}, False),
        ({"year": {"gte": "2"}}, False),
        ({"tags": "b"}, True),
        ({"tags": {"in": ["x", "a"]}}, True),
        ({"tags": {"in": ["x"]}}, False),
        ({"tags": {"in": []}}, False),
        ({"lang": {"gt": "de", "lt": "fr"}}, True),
        ({"open": True}, True),
        ({"open": 1}, False),
        ({"count": True}, False),
        ({"missing": "en"}, False),
        ({"missing": {"gte": 0}}, False),
        ({"lang": "en", "year": 2023}, False),
        ({"none": {"in": [0]}}, False),
    ],
)
def test_conditions(where, expected):
    metadata = {"lang": "en", "year": 2024, "tags": ["a", "b"], "open": True, "count": 1, "none": None}
    assert meets(metadata, check_where(where)) is expected


@pytest.mark.parametrize(
    "where", [None, {}, [], "x", {"a": None}, {"a": []}, {"a": {}}, {"a": {"in": "x"}}, {"a": {"gt": True}},
              {"a": {"gt": None}}, {"a": {"near": 1}}, {"a": {"in": [[1]]}}]
)  # fmt: skip
def test_what_is_no_condition(where):
    with pytest.raises(UsageError, match="where"):
        check_where(where)


def test_a_part_of_a_collection_ranks_as_a_collection_of_that_part(tmp_path, minilm):
    rng = np.random.default_rng(5)
    words = ["oak", "larch", "pine", "ship", "mast", "keel", "ring", "wood", "plank", "saw"]
    passages = [
        Passage(f"p{i}", " ".join(rng.choice(words, 8)), metadata={"tenant": "ab"[i % 2], "n": i}) for i in range(80)
    ]
    mine = [p for p in passages if p.metadata["tenant"] == "a" and p.metadata["n"] >= 30]
    with Collection.create(tmp_path / "all.lw", minilm) as kb, Collection.create(tmp_path / "a.lw", minilm) as part:
        kb.add(passages)
        part.add(mine)
        whole, allowed = kb.bind("bm25").snapshot, Allowed()
        wheres = [{"tenant": "a"}, {"n": {"gte": 30}}]
        seen = VisibleSnapshot(whole, allowed.rows(whole, wheres))
        assert sorted(seen.ids(seen.live_rows)) == sorted(p.id for p in mine)
        from dataclasses import replace

        for text in ("late:7", "dense:9", "dense:20 >> late:5", "late:100"):
            found = replace(kb.bind(text), snapshot=seen).rank("mast of oak")
            expected = part.bind(text).rank("mast of oak")
            assert [hit.id for hit in found.hits] == [hit.id for hit in expected.hits]
            assert [hit.score for hit in found.hits] == pytest.approx([hit.score for hit in expected.hits], abs=1e-5)
        # BM25 weighs words by the whole collection: the same passages, if not the same order.
        found = replace(kb.bind("bm25:50"), snapshot=seen).rank("mast of oak")
        expected = part.bind("bm25:50").rank("mast of oak")
        assert {hit.id for hit in found.hits} == {hit.id for hit in expected.hits}
        assert len(seen.bm25("oak", 3)) == 3
        hidden = next(p.id for p in passages if p.metadata["tenant"] == "b")
        with pytest.raises(InputError) as refused:
            seen.rows([mine[0].id, hidden])
        with pytest.raises(InputError) as missing:
            seen.rows(["nowhere"])
        assert str(refused.value).replace(hidden, "X") == str(missing.value).replace("nowhere", "X")
        # A new generation: what was read is not read again, and the dead are gone.
        kb.delete([mine[0].id])
        kb.add([Passage("new", "oak mast", metadata={"tenant": "a", "n": 99})])
        whole = kb.bind(parse("bm25")).snapshot
        rows = allowed.rows(whole, wheres)
        assert sorted(whole.ids(rows)) == sorted([*(p.id for p in mine[1:]), "new"])
