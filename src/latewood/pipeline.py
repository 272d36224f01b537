"""The pipeline as a value: what is searched, reranked and fused, in which order, how deep. No model, no store.

    pipeline := step { ">>" step }
    step     := stage | "(" stage { "+" stage } ")" [ ":" k ]
    stage    := name [ "(" key "=" value { "," key "=" value } ")" ] [ ":" k ]

`+` fuses by reciprocal rank and binds tighter than `>>`, as in Python, so the brackets may be left out where a fusion
needs no k of its own. The same in Python: `(Dense(50) + BM25(50)).top(60) >> Late(5)`; `parse(text)` gives an equal
object, and `str()` gives the canonical text back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from latewood.errors import PipelineError

__all__ = [
    "BM25",
    "DEFAULT_K",
    "DEFAULT_POOL",
    "DEPTHS",
    "STAGES",
    "Cross",
    "Dense",
    "FirstStage",
    "Late",
    "Pages",
    "Pipeline",
    "Stage",
    "StageKind",
    "Step",
    "parse",
    "wrap",
]

DEFAULT_K = 10
"""Results of the last step when neither the pipeline nor the caller says how many."""

DEFAULT_POOL = 50
"""Candidates of every other step, and of each stage of a fusion, when the pipeline doesn't say."""

Value = bool | int | float | str


FirstStage = Callable[[str, int], Iterable[Any]]
"""(question, k) → ids of passages, or pairs of id and score, or texts; best first."""

MISSING = ("error", "skip")
"""What becomes of what a first stage finds and the collection doesn't have: refused, or left out and counted."""


@dataclass(frozen=True, slots=True)
class StageKind:
    """What a stage's name allows.

    Args:
        options: option name -> type of its value.
        reranks: it can score the candidates of the step before it, and not only search everything.
    """

    options: Mapping[str, type]
    reranks: bool


DEPTHS = ("n_probe", "n_gathered", "n_refined", "n_full_scores")
"""Options of `late` that say how deep the late-interaction index is searched, instead of the tuned depths."""

STAGES: Mapping[str, StageKind] = MappingProxyType(
    {
        "dense": StageKind({}, reranks=True),
        "bm25": StageKind({}, reranks=False),
        "late": StageKind({"exact": bool, "encode": bool, **dict.fromkeys(DEPTHS, int)}, reranks=True),
        "pages": StageKind({"exact": bool}, reranks=True),
        "first": StageKind({"name": str, "texts": bool, "missing": str}, reranks=False),
        "cross": StageKind({"model": str, "url": str, "dialect": str}, reranks=True),
    }
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One scorer with its options, sorted by name, and its depth k.

    `call` is what a `first` stage calls (`wrap`). It is no part of the text: stages are equal without it.
    """

    name: str
    k: int | None = None
    options: tuple[tuple[str, Value], ...] = ()
    call: FirstStage | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        kind = STAGES.get(self.name)
        if kind is None:
            raise PipelineError(f"unknown stage '{self.name}': known stages are {', '.join(sorted(STAGES))}")
        for key, value in self.options:
            if key not in kind.options:
                known = ", ".join(sorted(kind.options)) or "none"
                raise PipelineError(f"{self.name} has no option '{key}': its options are {known}")
            if type(value) is not kind.options[key]:
                raise PipelineError(
                    f"{self.name}({key}=…): got {_value_text(value)}, expected a {kind.options[key].__name__}"
                )
            if isinstance(value, str) and ('"' in value or not value):
                raise PipelineError(f"{self.name}({key}=…): got {value!r}, expected a text without quotation marks")
        _check_k(self.k, self.name)
        object.__setattr__(self, "options", tuple(sorted(self.options)))

    def option(self, key: str) -> Value | None:
        """The value that was given for `key`, or None."""
        return dict(self.options).get(key)

    def __str__(self) -> str:
        options = ", ".join(f"{key}={_value_text(value)}" for key, value in self.options)
        return self.name + (f"({options})" if options else "") + (f":{self.k}" if self.k else "")


@dataclass(frozen=True, slots=True)
class Step:
    """One stage, or several whose rankings are fused, over the candidates of the step before (or over everything)."""

    stages: tuple[Stage, ...]
    fused_k: int | None = None

    def __post_init__(self) -> None:
        if self.fused_k is not None and not self.is_fusion:
            raise PipelineError("a step of one stage has its k on the stage, not on brackets around it")
        _check_k(self.fused_k, "fusion")

    @property
    def is_fusion(self) -> bool:
        """True when it has several stages."""
        return len(self.stages) > 1

    @property
    def k(self) -> int | None:
        """The stated number of candidates that leave this step."""
        return self.fused_k if self.is_fusion else self.stages[0].k

    def with_k(self, k: int | None) -> Step:
        """The same step with another k."""
        return replace(self, fused_k=k) if self.is_fusion else Step((replace(self.stages[0], k=k),))

    def __str__(self) -> str:
        if not self.is_fusion:
            return str(self.stages[0])
        return "(" + " + ".join(map(str, self.stages)) + ")" + (f":{self.fused_k}" if self.fused_k else "")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Steps in the order in which they run.

    Raises:
        PipelineError: when a step can't stand where it is.
    """

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        if not self.steps:
            raise PipelineError("an empty pipeline: expected at least one stage, such as dense:50")
        for step in self.steps[1:]:
            for stage in step.stages:
                if not STAGES[stage.name].reranks:
                    raise PipelineError(
                        f"{stage.name} can't rerank: it searches everything, so it belongs in the first step"
                    )

    def __rshift__(self, other: Pipeline) -> Pipeline:
        """`a >> b`: b over the candidates of a."""
        return Pipeline(self.steps + other.steps)

    def __add__(self, other: Pipeline) -> Pipeline:
        """`a + b`: both, fused by reciprocal rank."""
        if len(self.steps) != 1 or len(other.steps) != 1:
            raise PipelineError(f"+ fuses stages, not pipelines: got ({self}) + ({other})")
        mine, theirs = self.steps[0], other.steps[0]
        if mine.fused_k is not None or theirs.fused_k is not None:
            raise PipelineError(f"a fusion that already has a k can't be fused again: got {self} + {other}")
        return Pipeline((Step(mine.stages + theirs.stages),))

    def top(self, k: int) -> Pipeline:
        """The same pipeline whose last step keeps k."""
        return Pipeline((*self.steps[:-1], self.steps[-1].with_k(k)))

    def check_whole(self) -> Pipeline:
        """Itself, if it can run as it stands and not only as a part of a longer one.

        Raises:
            PipelineError: when its first stage needs candidates.
        """
        if any(stage.name == "cross" for stage in self.steps[0].stages):
            raise PipelineError("cross needs candidates to read: put a stage before it, dense:50 >> cross(…)")
        if any(stage.option("encode") for stage in self.steps[0].stages):
            raise PipelineError("late(encode=true) needs candidates to encode: put a stage before it, dense:50 >> …")
        return self

    @property
    def needs(self) -> frozenset[str]:
        """Names of the stages that it uses."""
        return frozenset(stage.name for step in self.steps for stage in step.stages)

    def depths(self, k: int | None = None) -> tuple[int, ...]:
        """How many candidates leave each step; `k` overrides the last one's."""
        last = k or self.steps[-1].k or DEFAULT_K
        return (*(step.k or DEFAULT_POOL for step in self.steps[:-1]), last)

    def __str__(self) -> str:
        return " >> ".join(map(str, self.steps))


def Dense(k: int | None = None) -> Pipeline:  # noqa: N802 - a constructor of a value, named as in the grammar
    """Inner product of single vectors; a passage's best window counts."""
    return Pipeline((Step((Stage("dense", k),)),))


def BM25(k: int | None = None) -> Pipeline:  # noqa: N802
    """BM25 over the passages' texts."""
    return Pipeline((Step((Stage("bm25", k),)),))


def Late(  # noqa: N802
    k: int | None = None, *, exact: bool | None = None, encode: bool | None = None, **depths: int
) -> Pipeline:
    """MaxSim over token vectors: of everything, or of the candidates of the step before.

    Args:
        k: results to keep.
        exact: score exhaustively, with no approximate step.
        encode: encode the candidates' texts now, in float32, instead of using stored vectors.
        depths: `n_probe`, `n_gathered`, `n_refined`, `n_full_scores`: how deep the late-interaction index is searched.
    """
    given = {"exact": exact, "encode": encode, **depths}
    options = tuple((key, value) for key, value in given.items() if value is not None)
    return Pipeline((Step((Stage("late", k, options),)),))


def Pages(k: int | None = None, *, exact: bool | None = None) -> Pipeline:  # noqa: N802
    """MaxSim by the collection's encoding that reads page images, which may be of another model than its texts.

    Args:
        k: results to keep.
        exact: score exhaustively, with no approximate step.
    """
    options = (("exact", exact),) if exact is not None else ()
    return Pipeline((Step((Stage("pages", k, options),)),))


def Cross(  # noqa: N802
    k: int | None = None, *, model: str | None = None, url: str | None = None, dialect: str | None = None
) -> Pipeline:
    """A cross-encoder over the candidates of the step before: it reads question and passage together.

    Args:
        k: results to keep.
        model: its name or folder; at a `url`, the name that the endpoint knows it by.
        url: of a rerank endpoint.
        dialect: how the endpoint speaks: see docs/encoding.md.
    """
    given = {"model": model, "url": url, "dialect": dialect}
    options = tuple((key, value) for key, value in given.items() if value is not None)
    return Pipeline((Step((Stage("cross", k, options),)),))


def wrap(
    call: FirstStage, k: int | None = None, *, name: str = "today", texts: bool = False, missing: str = "error"
) -> Pipeline:
    """Anything that finds passages, as the first stage of a pipeline: `wrap(my_search) >> Late(5)`.

    Args:
        call: (question, k) → best first: ids of the collection's passages, or pairs of id and score.
        k: how many to ask it for; 50 by default.
        name: what to call it in tables.
        texts: it returns texts instead (or pairs of id and text), and they are in no collection: only stages that
            read texts can follow, `Late(5, encode=True)` and `Cross(…)`.
        missing: what becomes of an id that the collection doesn't have: "error", or "skip": left out, and counted as
            `unscored`.

    Raises:
        PipelineError: `call` can't be called, or another `missing`.
    """
    if not callable(call):
        raise PipelineError(f"wrap: got {type(call).__name__}, expected a function (question, k) -> ids")
    if missing not in MISSING:
        raise PipelineError(f"wrap: missing={missing!r}: expected one of {', '.join(MISSING)}")
    given = {"name": name, "texts": texts or None, "missing": None if missing == MISSING[0] else missing}
    options = tuple((key, value) for key, value in given.items() if value is not None)
    return Pipeline((Step((Stage("first", k, options, call),)),))


def parse(text: str) -> Pipeline:
    """The pipeline that `text` writes down in the grammar above.

    Raises:
        PipelineError: with what was found, what was expected, and where (characters, from 1).
    """
    parser = _Parser(text)
    steps = [parser.step()]
    while parser.accept(">>"):
        steps.append(parser.step())
    parser.expect("end")
    return Pipeline(tuple(steps)).check_whole()


class _Token(NamedTuple):
    kind: str  # a punctuation mark, "name", "number", "string", or "end"
    text: str
    at: int


_LEXER = re.compile(
    r"""\s*(?:(?P<mark>>>|[():+,=])|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>-?\d+(?:\.\d+)?)|"(?P<string>[^"]*)")"""
)


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    end = len(text.rstrip())
    while at < end:
        found = _LEXER.match(text, at)
        if not found:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise PipelineError(f"pipeline {text!r}: can't read {text[at : at + 10]!r} at {at + 1}")
        kind = str(found.lastgroup)
        value = found[kind]
        yield _Token(value if kind == "mark" else kind, value, found.start(kind))
        at = found.end()
    yield _Token("end", "the end", len(text))


class _Parser:
    """Recursive descent; one method per rule of the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.position = 0

    def accept(self, kind: str) -> _Token | None:
        token = self.tokens[self.position]
        if token.kind != kind:
            return None
        self.position += 1
        return token

    def expect(self, kind: str) -> _Token:
        token = self.accept(kind)
        if token is None:
            found = self.tokens[self.position]
            wanted = kind if kind in {"name", "number", "end"} else f"'{kind}'"
            raise PipelineError(f"pipeline {self.text!r}: got '{found.text}' at {found.at + 1}, expected {wanted}")
        return token

    def step(self) -> Step:
        bracketed = self.accept("(") is not None
        stages = [self.stage()]
        while self.accept("+"):
            stages.append(self.stage())
        if not bracketed:
            return Step(tuple(stages))
        self.expect(")")
        k = self.k()
        if len(stages) == 1 and k is not None:
            raise PipelineError(f"pipeline {self.text!r}: one stage in brackets; write its k on the stage itself")
        return Step(tuple(stages), k)

    def stage(self) -> Stage:
        name = self.expect("name")
        options: list[tuple[str, Value]] = []
        if self.accept("("):
            options.append(self.option())
            while self.accept(","):
                options.append(self.option())
            self.expect(")")
        repeated = [key for key, _ in options if sum(key == other for other, _ in options) > 1]
        if repeated:
            raise PipelineError(f"pipeline {self.text!r}: option '{repeated[0]}' is given twice")
        return Stage(name.text, self.k(), tuple(options))

    def option(self) -> tuple[str, Value]:
        key = self.expect("name").text
        self.expect("=")
        if token := self.accept("number"):
            return key, float(token.text) if "." in token.text else int(token.text)
        if token := self.accept("string"):
            return key, token.text
        word = self.expect("name")
        if word.text not in {"true", "false"}:
            raise PipelineError(
                f"pipeline {self.text!r}: got '{word.text}' at {word.at + 1}, "
                f'expected true, false, a number or a "quoted" text'
            )
        return key, word.text == "true"

    def k(self) -> int | None:
        if not self.accept(":"):
            return None
        token = self.expect("number")
        if "." in token.text:
            raise PipelineError(f"pipeline {self.text!r}: k must be a whole number, got {token.text}")
        return int(token.text)


def _check_k(k: int | None, what: str) -> None:
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise PipelineError(f"{what}: k must be a whole number of at least 1, got {k!r}")


def _value_text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)
