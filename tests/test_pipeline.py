"""The grammar, both ways: text to value and value to text."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latewood.errors import PipelineError
from latewood.pipeline import BM25, Cross, Dense, Late, Pipeline, Stage, Step, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("dense", Dense()),
        ("dense:50 >> late:5", Dense(50) >> Late(5)),
        ("(dense:50 + bm25:50):60 >> late:5", (Dense(50) + BM25(50)).top(60) >> Late(5)),
        ("(dense + bm25) >> late", Dense() + BM25() >> Late()),
        ("late(exact=true):10", Late(10, exact=True)),
        ("dense:50 >> late(encode=true, exact=false)", Dense(50) >> Late(encode=True, exact=False)),
        ("dense:50 >> (dense + late):7", Dense(50) >> (Dense() + Late()).top(7)),
        ('bm25:50 >> cross(model="folder/of it"):5', BM25(50) >> Cross(5, model="folder/of it")),
        (
            'dense >> cross(dialect="tei", url="http://127.0.0.1:80/rerank")',
            Dense() >> Cross(url="http://127.0.0.1:80/rerank", dialect="tei"),
        ),
    ],
)
def test_text_and_python_give_the_same_value(text, value):
    assert parse(text) == value
    assert str(value) == text
    assert hash(parse(text)) == hash(value)


def test_brackets_may_be_left_out_as_in_python():
    assert parse("dense + bm25 >> late") == parse("(dense + bm25) >> late")
    assert str(parse("dense+bm25")) == "(dense + bm25)"
    assert parse("(dense)") == Dense()


def _stages(names):
    options = st.lists(st.sampled_from([("exact", True), ("exact", False)]), max_size=1)
    k = st.none() | st.integers(1, 10_000)
    return st.builds(
        lambda name, k, options: Stage(name, k, tuple(options) if name == "late" else ()), names, k, options
    )


def _steps(names):
    single = _stages(names).map(lambda s: Step((s,)))
    fused = st.builds(
        lambda stages, k: Step(tuple(stages), k),
        st.lists(_stages(names), min_size=2, max_size=3),
        st.none() | st.integers(1, 99),
    )
    return single | fused


@given(
    _steps(st.sampled_from(["dense", "bm25", "late"])), st.lists(_steps(st.sampled_from(["dense", "late"])), max_size=3)
)
def test_every_pipeline_survives_the_round_trip(first, rest):
    pipeline = Pipeline((first, *rest))
    assert parse(str(pipeline)) == pipeline


@given(st.text(alphabet='denselatbm25()+>:=, truefalse"xk.-', max_size=30))
def test_any_text_parses_or_is_a_pipeline_error(text):
    with contextlib.suppress(PipelineError):
        pipeline = parse(text)
        assert parse(str(pipeline)) == pipeline


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "expected name"),
        ("denes:50", "unknown stage 'denes'"),
        ("dense:0", "at least 1"),
        ("dense:-3", "at least 1"),
        ("dense:1.5", "whole number"),
        ("dense >>", "expected name"),
        ("dense:50 >> bm25:5", "can't rerank"),
        ("late(encode=true)", "needs candidates"),
        ('cross(model="m"):5', "needs candidates"),
        ("dense >> cross(model=3)", "expected a str"),
        ('dense >> cross(model="")', "without quotation marks"),
        ('dense >> cross(modell="m")', "no option 'modell'"),
        ("late(exakt=true)", "no option 'exakt'"),
        ("late(exact=1)", "expected a bool"),
        ("late(exact=yes)", "expected true, false"),
        ("late(exact=true, exact=false)", "given twice"),
        ("dense late", "expected end"),
        ("(dense + bm25", "expected ')'"),
        ("(dense):5", "on the stage itself"),
        ("dense ? late", "can't read '? late' at 7"),
    ],
)
def test_errors_name_what_came_and_what_was_expected(text, part):
    with pytest.raises(PipelineError) as error:
        parse(text)
    assert part in str(error.value)


def test_operators_refuse_what_the_grammar_does_not_have():
    with pytest.raises(PipelineError, match="fuses stages"):
        (Dense(50) >> Late(5)) + BM25()
    with pytest.raises(PipelineError, match="can't be fused again"):
        (Dense() + BM25()).top(5) + Late()


def test_depths():
    assert parse("dense").depths() == (10,)
    assert parse("dense:7").depths() == (7,)
    assert parse("dense:7").depths(3) == (3,)
    assert parse("dense >> late").depths() == (50, 10)
    assert parse("(dense + bm25):60 >> late:5").depths(50) == (60, 50)
    assert parse("dense:5 >> late").needs == {"dense", "late"}
