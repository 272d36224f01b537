"""The advice of an audit, as data: what is measured, where the threshold lies, how far away it is, and why.

A rule fires if all its conditions hold. A condition on something that was not measured doesn't hold, and the outcome
says what was missing. The thresholds are judgement, from published figures and from what teams report; they are not
fitted to any collection. The verdict is the first line of `VERDICTS` that fits the rules that fired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from latewood.errors import UsageError
from latewood.evaluate.lift import Lift

__all__ = [
    "MULTIVECTOR_STORES",
    "RULES",
    "VERDICTS",
    "Condition",
    "Facts",
    "Outcome",
    "Rule",
    "VerdictRow",
    "decide",
    "judge",
    "store_scores_multivectors",
]

Value = float | bool | None

PAGE_VECTORS = 1030
"""Vectors of a page as ColPali makes them: 32 × 32 patches and six of the prompt."""

PAGE_DIM = 128
_PAGE_BYTES = PAGE_VECTORS * (PAGE_DIM + 4)  # int8, and one float32 scale per vector

MULTIVECTOR_STORES: Mapping[str, str] = MappingProxyType(
    {
        "qdrant": "1.10",
        "weaviate": "1.29",
        "vespa": "any",
        "lancedb": "0.15",
        "vectorchord": "any",
        "milvus": "2.6.4",
        "topk": "any",
        "latewood": "any",
    }
)
"""Stores that score MaxSim over multi-vectors themselves, and from which version on."""

SINGLE_VECTOR_STORES = ("chroma", "elasticsearch", "faiss", "opensearch", "pgvector", "pinecone")
"""Stores that don't, or that only rescore a short list through a script or a preview."""


def store_scores_multivectors(store: str) -> bool:
    """Whether a vector store scores multi-vectors by MaxSim.

    Args:
        store: its name, in any case.

    Raises:
        UsageError: a store that isn't in the tables.
    """
    name = store.casefold()
    if name not in MULTIVECTOR_STORES and name not in SINGLE_VECTOR_STORES:
        known = ", ".join(sorted([*MULTIVECTOR_STORES, *SINGLE_VECTOR_STORES]))
        raise UsageError(f"store {store!r} is not known; known are {known}")
    return name in MULTIVECTOR_STORES


@dataclass(frozen=True, slots=True)
class Facts:
    """What was measured or stated. None: neither.

    Args:
        recall: capped recall of today's top k.
        ceiling: capped recall of the best reordering of its pool.
        missed: missed pairs.
        before_search: of them, those that no search could find: not in the corpus, or cut by a chunk boundary.
        copied_questions: the questions are words of the documents themselves, so recall is flattered.
        chunks: in production, as stated, or in the corpus at hand.
        pages: chunks that are pages of a PDF.
        latency_budget_ms: for one question.
        store: today's vector store.
        late: lift of late interaction as a reranker of today's pool.
        late_only: lift of late interaction over the whole corpus.
        cross: lift of a cross-encoder over today's pool.
        systems: today's systems that were given.
        systems_alike: the largest group of them that these questions can't tell apart.
    """

    recall: float
    ceiling: float
    missed: int
    before_search: int
    copied_questions: bool = False
    chunks: int | None = None
    pages: int = 0
    latency_budget_ms: float | None = None
    store: str | None = None
    late: Lift | None = None
    late_only: Lift | None = None
    cross: Lift | None = None
    systems: int = 1
    systems_alike: int = 1

    def values(self) -> dict[str, Value]:
        """The measures that conditions name."""
        late, only, budget = self.late, self.late_only, self.latency_budget_ms
        late_p95 = None if late is None else late.p95_ms
        return {
            "recall": self.recall,
            "ceiling": self.ceiling,
            "headroom": round(self.ceiling - self.recall, 9),  # 0.65 - 0.6 is not 0.05 in binary
            "before_search_share": self.before_search / self.missed if self.missed else 0.0,
            "copied_questions": self.copied_questions,
            "chunks": self.chunks,
            "pages": self.pages,
            "latency_budget_ms": budget,
            "late_p95_ms": late_p95,
            "late_spare_ms": None if budget is None or late_p95 is None else budget - late_p95,
            "store_multivector": None if self.store is None else store_scores_multivectors(self.store),
            "late_measured": late is not None,
            "late_low": None if late is None else late.low,
            "late_mean": None if late is None else late.mean,
            "late_only_low": None if only is None else only.low,
            "late_only_gain": None if only is None else round(only.mean - max(0.0, late.mean if late else 0.0), 9),
            "cross_low": None if self.cross is None else self.cross.low,
            "cross_mean": None if self.cross is None else self.cross.mean,
            "systems": self.systems,
            "systems_alike": self.systems_alike,
        }


@dataclass(frozen=True, slots=True)
class Condition:
    """`measure op threshold`."""

    measure: str
    op: Literal["<", "<=", ">", ">=", "is"]
    threshold: float | bool

    def holds(self, value: Value) -> bool:
        """Whether it does; an unknown value never does."""
        if value is None:
            return False
        return {
            "<": value < self.threshold,
            "<=": value <= self.threshold,
            ">": value > self.threshold,
            ">=": value >= self.threshold,
            "is": value is self.threshold,
        }[self.op]

    def distance(self, value: Value) -> float | None:
        """How far the value is from the threshold, in its own unit; the rule flips there. None without a number."""
        return None if value is None or isinstance(value, bool) else float(value - self.threshold)


@dataclass(frozen=True, slots=True)
class Rule:
    """One piece of advice.

    Args:
        name: in output and in `VERDICTS`.
        conditions: all must hold. The first is the one that the rule is about.
        advice: what to do when it fires; may name measures in braces.
        reason: why the threshold lies where it does.
        shows: measures that belong to the picture beside those of the conditions.
    """

    name: str
    conditions: tuple[Condition, ...]
    advice: str
    reason: str
    shows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A rule, judged.

    Args:
        rule: the rule.
        fired: all conditions hold.
        inputs: measure → value, None for unknown.
        decided_by: the condition that decides: the first that doesn't hold, or the first of all.
        distance: how far its measure is from its threshold.
    """

    rule: Rule
    fired: bool
    inputs: Mapping[str, Value]
    decided_by: Condition
    distance: float | None

    @property
    def unknown(self) -> tuple[str, ...]:
        """Measures that a condition needs, and that nobody measured or stated."""
        return tuple(c.measure for c in self.rule.conditions if self.inputs[c.measure] is None)

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return {
            "rule": self.rule.name,
            "fired": self.fired,
            "inputs": dict(self.inputs),
            "threshold": self.decided_by.threshold,
            "decided_by": f"{self.decided_by.measure} {self.decided_by.op}",
            "distance": self.distance,
            "unknown": list(self.unknown),
            "advice": self.rule.advice,
            "reason": self.rule.reason,
        }


RULES: tuple[Rule, ...] = (
    Rule(
        "recall_is_high",
        (Condition("recall", ">=", 0.90), Condition("copied_questions", "is", False)),
        "Don't add a stage. Look at the prompt and at generation.",
        "At 0.90 nine answers in ten reach the reader: what is still wrong is mostly not retrieval. Questions that "
        "are made of the documents' own words flatter any retriever, so with them the rule never fires.",
    ),
    Rule(
        "lost_before_search",
        (Condition("before_search_share", ">=", 0.5),),
        "Mend ingestion and chunking: no retriever and no reranker sees these answers.",
        "When half of what is missed is not in the corpus, or cut in two, the larger part of the loss is before "
        "search.",
    ),
    Rule(
        "ceiling_near_recall",
        (Condition("headroom", "<", 0.05),),
        "A reranker can't help. Mend the first stage or the chunking, or search by late interaction alone.",
        "Reordering can win the headroom at most, and real rerankers win a part of it: of less than five points "
        "nothing remains that a few hundred questions could tell from luck.",
        shows=("recall", "ceiling"),
    ),
    Rule(
        "rerank_before_fine_tuning",
        (Condition("headroom", ">=", 0.05),),
        "If you think of fine-tuning the embedder: not before the ceiling of reranking is used up.",
        "The answers are in the pool already. Reordering them needs no training data, and can be undone in a minute.",
        shows=("recall", "ceiling"),
    ),
    Rule(
        "late_not_measured",
        (Condition("late_measured", "is", False),),
        "Measure late interaction on your own questions before you decide.",
        "The same model's token vectors gain about one nDCG point over its single vector on average; large lifts come "
        "from headroom in the pool. An average decides nothing about one corpus.",
    ),
    Rule(
        "late_rerank_pays",
        (Condition("late_low", ">", 0.0), Condition("headroom", ">=", 0.05)),
        "Rerank today's pool by late interaction.",
        "The lower end of the prediction interval is above nothing: as many other questions are expected to show a "
        "gain.",
        shows=("late_mean",),
    ),
    Rule(
        "late_fits_the_budget",
        (Condition("late_spare_ms", ">=", 0.0),),
        "Late interaction fits the latency budget, as measured here.",
        "95 of 100 questions, encoding included, are answered within the budget on the machine of this audit.",
        shows=("late_p95_ms", "latency_budget_ms"),
    ),
    Rule(
        "tight_latency",
        (Condition("latency_budget_ms", "<", 100.0),),
        "No cross-encoder. Late interaction only if it was measured to fit.",
        "A cross-encoder reads every candidate with the question: fifty pairs take seconds on a CPU and tens to "
        "hundreds of milliseconds on a GPU. Stored token vectors leave one short text to encode.",
    ),
    Rule(
        "cross_encoder_floor",
        (Condition("chunks", "<", 50_000),),
        "Measure a cross-encoder over today's pool as well: it is the floor that late interaction has to beat.",
        "On a corpus of this size a cross-encoder needs no index and no migration. On BEIR one over BM25's top 100 "
        "gained 11 % on BM25, the first ColBERT 2.5 %.",
    ),
    Rule(
        "late_as_reranker_only",
        (Condition("chunks", ">", 3_000_000),),
        "Use late interaction as a reranker of today's pool, not as the retriever.",
        "Token vectors are some hundred times as many as single vectors: beyond a few million chunks an index over "
        "them is a cluster of its own, while reranking reads fifty chunks per question.",
    ),
    Rule(
        "late_only_pays",
        (
            Condition("late_only_low", ">", 0.0),
            Condition("late_only_gain", ">=", 0.01),
            Condition("chunks", "<=", 3_000_000),
        ),
        "Search by late interaction alone.",
        "It finds what the first stage's pool lacks, by a point or more over reranking that pool, and the corpus is "
        "small enough.",
    ),
    Rule(
        "store_without_multivectors",
        (Condition("store_multivector", "is", False),),
        "Keep the store and put the token vectors in a sidecar collection beside it, or move to a store with MaxSim: "
        + ", ".join(f"{name} ≥ {since}" if since != "any" else name for name, since in MULTIVECTOR_STORES.items())
        + ".",
        "It keeps one vector per chunk and can't score many against many itself.",
    ),
    Rule(
        "pages",
        (Condition("pages", ">=", 1),),
        f"Index page images as patches beside the text layer: about {_PAGE_BYTES / 1e6:.2f} MB a page as int8 "
        f"({PAGE_VECTORS} vectors of {PAGE_DIM}), a third of that pooled by three.",
        "What is in tables, charts and scans is not in the text layer, so no ranking of it can find that.",
    ),
    Rule(
        "swaps_within_noise",
        (Condition("systems_alike", ">=", 5),),
        "Stop swapping embedding models.",
        "Five systems that these questions can't tell apart: the next one would have to differ more than they all do.",
        shows=("systems",),
    ),
)


def judge(facts: Facts, rules: Sequence[Rule] = RULES) -> tuple[Outcome, ...]:
    """Every rule, fired or not, in their order.

    Args:
        facts: what was measured.
        rules: the rules.
    """
    values = facts.values()
    outcomes = []
    for rule in rules:
        failing = [c for c in rule.conditions if not c.holds(values[c.measure])]
        decisive = (failing or list(rule.conditions))[0]
        names = dict.fromkeys([*(c.measure for c in rule.conditions), *rule.shows])
        inputs = {name: values[name] for name in names}
        outcomes.append(Outcome(rule, not failing, inputs, decisive, decisive.distance(values[decisive.measure])))
    return tuple(outcomes)


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """The one thing to do next.

    Args:
        code: stable, for programs.
        text: in words; may name measures in braces with a format, as `str.format` takes them.
        fits: whether it is the verdict, of the facts and the names of the rules that fired.
    """

    code: str
    text: str
    fits: Callable[[Facts, frozenset[str]], bool]


def _late_allowed(facts: Facts, fired: frozenset[str]) -> bool:
    return facts.latency_budget_ms is None or "late_fits_the_budget" in fired


def _fits(lift: Lift, facts: Facts) -> bool:
    budget = facts.latency_budget_ms
    return budget is None or (lift.p95_ms is not None and lift.p95_ms <= budget)


VERDICTS: tuple[VerdictRow, ...] = (
    VerdictRow(
        "keep",
        "Recall is {recall:.2f} of 1: retrieval is not what holds you back. Add no stage; work on prompt or "
        "generation.",
        lambda _, fired: "recall_is_high" in fired,
    ),
    VerdictRow(
        "fix_documents",
        "{before_search_share:.0%} of what is missed was lost before search: it is not in the corpus, or cut by a "
        "chunk boundary. Mend ingestion and chunking first, then audit again.",
        lambda _, fired: "lost_before_search" in fired,
    ),
    VerdictRow(
        "late_only",
        "Search by late interaction alone: as many other questions are expected to gain {late_only_low:+.3f} or more, "
        "and it finds what today's pool lacks.",
        # The time of an exhaustive search grows with the corpus, so a stated budget is left to reranking.
        lambda facts, fired: "late_only_pays" in fired and facts.latency_budget_ms is None,
    ),
    VerdictRow(
        "fix_first_stage",
        "A reranker can't help: the best reordering of today's pool reaches {ceiling:.2f}, and you have {recall:.2f}. "
        "The loss is in the first stage: deepen its pool, fuse it with BM25, or mend the chunking.",
        lambda _, fired: "ceiling_near_recall" in fired,
    ),
    VerdictRow(
        "rerank_late",
        "Rerank today's pool by late interaction: recall {recall:.2f}, ceiling {ceiling:.2f}, measured lift "
        "{late_mean:+.3f}, at least {late_low:+.3f} expected of as many other questions.",
        lambda facts, fired: "late_rerank_pays" in fired and _late_allowed(facts, fired),
    ),
    VerdictRow(
        "rerank_cross",
        "Rerank today's pool by the cross-encoder: recall {recall:.2f}, ceiling {ceiling:.2f}, measured lift "
        "{cross_mean:+.3f}, at least {cross_low:+.3f} expected of as many other questions.",
        lambda facts, _: facts.cross is not None and facts.cross.low > 0 and _fits(facts.cross, facts),
    ),
    VerdictRow(
        "measure_late",
        "The pool has answers that are not shown (recall {recall:.2f}, ceiling {ceiling:.2f}), and late "
        "interaction was not measured. Measure it on these questions.",
        lambda _, fired: "late_not_measured" in fired,
    ),
    VerdictRow(
        "no_reranker_fits",
        "The pool has answers that are not shown (recall {recall:.2f}, ceiling {ceiling:.2f}), but no reranker at "
        "hand was measured to win them within the latency budget. Raise the budget, or mend the first stage.",
        lambda facts, fired: (
            "tight_latency" in fired or ("late_rerank_pays" in fired and not _late_allowed(facts, fired))
        ),
    ),
    VerdictRow(
        "no_reranker_helps",
        "The pool has answers that are not shown (recall {recall:.2f}, ceiling {ceiling:.2f}), and neither late "
        "interaction ({late_mean:+.3f}, at least {late_low:+.3f} expected) nor this cross-encoder ({cross_mean:+.3f}, "
        "at least {cross_low:+.3f}) surely wins them. Try another model of either kind.",
        lambda facts, _: facts.cross is not None and facts.late is not None,
    ),
    VerdictRow(
        "try_cross_encoder",
        "The pool has answers that are not shown (recall {recall:.2f}, ceiling {ceiling:.2f}), and late interaction "
        "with this model doesn't surely win them (lift {late_mean:+.3f}, at least {late_low:+.3f} expected). Measure "
        "a cross-encoder, or a model that was trained for late interaction.",
        lambda _, fired: True,
    ),
)


def decide(facts: Facts, outcomes: Sequence[Outcome]) -> tuple[str, str]:
    """The verdict's code, and its text with the figures in it.

    Args:
        facts: what was measured.
        outcomes: from `judge`.
    """
    fired = frozenset(outcome.rule.name for outcome in outcomes if outcome.fired)
    verdict = next(verdict for verdict in VERDICTS if verdict.fits(facts, fired))
    return verdict.code, verdict.text.format(**facts.values())
