"""Where today's recall is lost, what would win it back, and what to do next.

    systems + questions (+ corpus) → each missed pair in a class → the ceiling of reordering
    → the lift of rerankers, measured on a sample → rules → a verdict

The unit is the pair of a question and one of its answers. Recall is capped, hits / min(k, answers), so that a
question with more answers than are shown can be answered in full. docs/audit.md says what each figure means.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from latewood.errors import InputError, UsageError
from latewood.evaluate.asking import Failure
from latewood.evaluate.audit_adopt import Place, adopt
from latewood.evaluate.audit_corpus import Corpus, source_of
from latewood.evaluate.audit_gold import Excerpt, Gold, from_excerpts, from_judged
from latewood.evaluate.audit_systems import Function, FunctionRetriever, Today, ask, from_run
from latewood.evaluate.bootstrap import difference
from latewood.evaluate.data import Qrels, Queries, select
from latewood.evaluate.grouping import join
from latewood.evaluate.lift import Candidate, Lift, summarise, timed
from latewood.evaluate.misses import CLASSES, Miss, MissClass, capped_recall, ceiling, find_misses, label_holes
from latewood.evaluate.rules import Facts, Outcome, decide, judge
from latewood.evaluate.runs import Run
from latewood.protocols import Retriever

__all__ = ["Audit", "Contender", "Questions", "Stated", "audit", "by_excerpts", "by_qrels", "largest_alike"]

Progress = Callable[[int], None]
System = Retriever | Function | Run


@dataclass(frozen=True, slots=True)
class Questions:
    """What is asked, and what answers it.

    Args:
        queries: query id → text, of the questions that have an answer.
        golds: every pair.
        judged: query id → all units that have a judgement, those that are no answer included.
        by: what golds name.
        unit: passage id → what golds call it.
        generated: what made the questions, where nobody asked them; None for real ones.
        copied: they are words of the documents themselves.
    """

    queries: Queries
    golds: tuple[Gold, ...]
    judged: Mapping[str, set[str]]
    by: Literal["passage", "source", "excerpt"]
    unit: Callable[[str], str]
    generated: str | None = None
    copied: bool = False

    def collapse(self, passage_ids: Sequence[str]) -> tuple[str, ...]:
        """The judged unit of each passage, best first, each once."""
        return tuple(dict.fromkeys(map(self.unit, passage_ids)))


@dataclass(frozen=True, slots=True)
class Stated:
    """What the user says of production.

    Args:
        latency_budget_ms: hard limit for one question.
        chunks: how many; the corpus at hand where None.
        store: today's vector store.
    """

    latency_budget_ms: float | None = None
    chunks: int | None = None
    store: str | None = None


@dataclass(frozen=True, slots=True)
class Contender:
    """A reranker, or another retriever, whose lift is measured.

    Args:
        make: given every passage id in the sampled pools, makes ready what is called for each question.
        timed: whether what it takes here is what it would take in use.
    """

    make: Callable[[Sequence[str]], Candidate]
    timed: bool = True


@dataclass(frozen=True, slots=True)
class Audit:
    """The findings.

    Args:
        system: today's.
        k: how many passages a reader is shown.
        pool: how many a reranker would see.
        questions: what was asked.
        recall: capped recall per question.
        ceiling: of the best reordering of the pool, per question.
        misses: every missed pair.
        holes_known: texts were at hand, so probable label holes could be flagged.
        lifts: contender → its lift, or why there is none.
        others: further systems → capped recall per question.
        unchecked: class or figure → why it could not be told, and counts as 0.
        facts: what the rules were judged by.
        outcomes: every rule.
        verdict: its code and text.
        adopt: commands, or lines of code, that do what the verdict says.
        empty: questions for which today's system found nothing; they count as 0.
        failed: of them, those that it could not answer.
    """

    system: str
    k: int
    pool: int
    questions: Questions
    recall: Mapping[str, float]
    ceiling: Mapping[str, float]
    misses: tuple[Miss, ...]
    holes_known: bool
    lifts: Mapping[str, Lift | str]
    others: Mapping[str, Mapping[str, float]]
    unchecked: Mapping[str, str]
    facts: Facts
    outcomes: tuple[Outcome, ...]
    verdict: tuple[str, str]
    adopt: tuple[str, ...] = ()
    empty: int = 0
    failed: tuple[Failure, ...] = ()

    @property
    def pairs(self) -> int:
        """All pairs of a question and an answer."""
        return len(self.questions.golds)

    @property
    def unavoidable(self) -> int:
        """Misses that no ranking could avoid, since a question has more answers than are shown."""
        counts: dict[str, int] = {}
        for gold in self.questions.golds:
            counts[gold.query_id] = counts.get(gold.query_id, 0) + 1
        return sum(max(0, n - self.k) for n in counts.values())

    @property
    def holes(self) -> tuple[Miss, ...]:
        """Misses that are probably holes in the labels."""
        return tuple(miss for miss in self.misses if miss.hole is not None)

    def count(self, kind: MissClass) -> int:
        """Misses of a class."""
        return sum(miss.kind == kind for miss in self.misses)

    def to_json(self) -> dict[str, Any]:
        """What `latewood audit --json` prints; every key is described in docs/json.md."""
        code, text = self.verdict
        measured: dict[str, Any] = {"late": None, "cross": None}
        measured |= {name: lift.to_json() for name, lift in self.lifts.items() if isinstance(lift, Lift)}
        return {
            "schema": 1,
            "recall": mean(self.recall),
            "ceiling": mean(self.ceiling),
            "pairs": self.pairs,
            "misses": {kind: self.count(kind) for kind in CLASSES},
            "label_hole_flags": len(self.holes) if self.holes_known else None,
            "lift": measured,
            "lift_missing": {name: lift for name, lift in self.lifts.items() if isinstance(lift, str)},
            "verdict": {"code": code, "text": text, "adopt": list(self.adopt)},
            "rules": [outcome.to_json() for outcome in self.outcomes],
            "system": self.system,
            "k": self.k,
            "pool": self.pool,
            "missed": len(self.misses),
            "unavoidable": self.unavoidable,
            "questions": {
                "count": len(self.questions.queries),
                "golds": self.questions.by,
                "generated": self.questions.generated is not None,
                "by": self.questions.generated,
            },
            "systems": [{"system": name, "recall": mean(of)} for name, of in self._all_systems()],
            "unchecked": dict(self.unchecked),
            "empty": self.empty,
            "failed": [{"query": failure.query_id, "error": failure.error} for failure in self.failed],
        }

    def _all_systems(self) -> list[tuple[str, Mapping[str, float]]]:
        return [(self.system, self.recall), *self.others.items()]


def by_qrels(
    queries: Queries,
    qrels: Qrels,
    corpus: Corpus | None,
    group: str = "auto",
    *,
    found: Sequence[str] = (),
    generated: str | None = None,
    copied: bool = False,
) -> Questions:
    """Questions whose answers are named by id.

    Args:
        queries: query id → text.
        qrels: query id → id → grade.
        corpus: every chunk; None where nobody gives it.
        group: what the qrels name: "passage", "source", or "auto" to find out.
        found: where there is no corpus, the ids that systems found; their sources are read off the ids.
        generated: what made the questions.
        copied: they are words of the documents themselves.

    Raises:
        InputError: queries, qrels and corpus that don't belong together.
    """
    judged = select(queries, qrels)
    known = corpus.sources if corpus is not None else {passage_id: source_of(passage_id) for passage_id in found}
    grouping = join(judged, known, group)
    return Questions(
        queries=judged.queries,
        golds=tuple(from_judged(judged, grouping, corpus)),
        judged={query_id: set(grades) for query_id, grades in judged.qrels.items()},
        by=grouping.by,
        unit=grouping.unit,
        generated=generated,
        copied=copied,
    )


def by_excerpts(queries: Queries, excerpts: Sequence[Excerpt], corpus: Corpus) -> Questions:
    """Questions whose answers are named by their own words, or by spans.

    Args:
        queries: query id → text.
        excerpts: from `read_gold`.
        corpus: every chunk.

    Raises:
        InputError: no excerpt is of one of these questions, or not one of them is in the corpus.
    """
    asked = {excerpt.query_id for excerpt in excerpts}
    kept = {query_id: text for query_id, text in queries.items() if query_id in asked}
    if not kept:
        raise InputError(
            f"none of the {len(queries)} queries has a gold (queries name {min(queries)!r}, golds name "
            f"{min(asked)!r}): "
            f"give the golds of these queries"
        )
    golds = from_excerpts([excerpt for excerpt in excerpts if excerpt.query_id in kept], corpus)
    if all(gold.state == "missing" for gold in golds):
        raise InputError(f"none of the {len(golds)} golds is in the corpus: these golds belong to another one")
    judged: dict[str, set[str]] = {query_id: set() for query_id in kept}
    for gold in golds:
        judged[gold.query_id] |= gold.units
    return Questions(kept, tuple(golds), judged, "excerpt", lambda passage_id: passage_id)


def audit(
    systems: Mapping[str, System],
    questions: Questions | tuple[Queries, Qrels],
    corpus: Corpus | None = None,
    *,
    k: int = 5,
    pool: int = 50,
    contenders: Mapping[str, Contender | str] | None = None,
    sample: int | None = None,
    seed: int = 0,
    stated: Stated | None = None,
    place: Place | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Audit today's system.

    Args:
        systems: name → Retriever, function of (question, k) that returns ids, or Run. The first is today's; the others
            are what was tried beside it.
        questions: from `by_qrels` or `by_excerpts`; or plain queries and qrels.
        corpus: every chunk that can be found; without it two classes and the label flags can't be told.
        k: how many passages a reader is shown.
        pool: how many a reranker would be given; above k. A retriever whose rankings name the pool of their own last
            stage is taken by that.
        contenders: "late", "cross", "late_only" → what to measure, or why it can't be.
        sample: questions that contenders are measured on; None for all.
        seed: of the sample.
        stated: what is known of production.
        place: where things lie, to write the commands that adopt the verdict.
        progress: called with 1 for every question of every system and contender.

    Raises:
        UsageError: no system, k below 1, a pool that isn't above k.
        InputError: input that doesn't belong together, an answer that can't be one.
        Exception: what a system raises on its first question.
    """
    _check(systems, k, pool, sample)
    if isinstance(questions, tuple) and corpus is not None:
        questions = by_qrels(*questions, corpus)  # before anything is asked: what doesn't fit is told at once
    answers = _answers(systems, _texts(questions), pool, progress)
    if isinstance(questions, tuple):
        found = sorted({passage for one in answers for ids in one.pools.values() for passage in ids})
        questions = by_qrels(*questions, corpus, found=found)
    today = answers[0]
    shown = {query_id: questions.collapse(ids) for query_id, ids in today.shown.items()}
    pools = {query_id: questions.collapse(ids) for query_id, ids in today.pools.items()}
    _check_pools(today, questions, k)
    recall = capped_recall(questions.golds, shown, k)
    misses = find_misses(questions.golds, shown, pools, k)
    if corpus is not None:
        tops = {query_id: ids[:k] for query_id, ids in today.shown.items()}
        misses = label_holes(misses, tops, questions.judged, corpus)
    lifts = _lifts(contenders or {}, today, questions, recall, k, _sampled(questions.queries, sample, seed), progress)
    others = {
        one.name: capped_recall(questions.golds, {q: questions.collapse(ids) for q, ids in one.shown.items()}, k)
        for one in answers[1:]
    }
    top = ceiling(questions.golds, pools, k)
    facts = _facts(questions, recall, top, misses, lifts, others, corpus, stated or Stated())
    outcomes = judge(facts)
    verdict = decide(facts, outcomes)
    return Audit(
        system=today.name,
        k=k,
        pool=max(len(ids) for ids in today.pools.values()),
        questions=questions,
        recall=recall,
        ceiling=top,
        misses=tuple(misses),
        holes_known=corpus is not None,
        lifts=lifts,
        others=others,
        unchecked=_unchecked(questions, corpus),
        facts=facts,
        outcomes=outcomes,
        verdict=verdict,
        adopt=adopt(verdict[0], place, k) if place is not None else (),
        empty=sum(not ids for ids in today.shown.values()),
        failed=today.failed,
    )


def mean(per_query: Mapping[str, float]) -> float:
    """Over all questions, of which there is at least one."""
    return sum(per_query.values()) / len(per_query)


def largest_alike(recalls: Sequence[Mapping[str, float]]) -> int:
    """The size of the largest group of systems of which no two can be told apart.

    Two can't be if the paired 95 % bootstrap interval of their difference holds 0. Groups are looked for among
    neighbours in the order of their means, where every pair must be alike.

    Args:
        recalls: one mapping per system, query id → capped recall, of the same questions.
    """
    ordered = sorted(recalls, key=mean)
    apart = [[False] * len(ordered) for _ in ordered]
    for i, one in enumerate(ordered):
        for j in range(i + 1, len(ordered)):
            change = difference([ordered[j][query_id] for query_id in one], list(one.values())).interval
            apart[i][j] = change.low > 0 or change.high < 0
    best = 1
    for start in range(len(ordered)):
        for end in range(start + best, len(ordered)):
            if not any(apart[i][j] for i in range(start, end) for j in range(i + 1, end + 1)):
                best = end - start + 1
    return best


def _check(systems: Mapping[str, System], k: int, pool: int, sample: int | None) -> None:
    if not systems:
        raise UsageError("nothing to audit: give a collection, a run, an endpoint or a function")
    if k < 1 or pool <= k:
        raise UsageError(
            f"k is {k} and the pool {pool}: expected 1 ≤ k < pool, or a reranker has nothing to choose from"
        )
    if sample is not None and sample < 2:
        raise UsageError(f"a sample of {sample} says nothing: expected at least 2 questions")


def _texts(questions: Questions | tuple[Queries, Qrels]) -> Queries:
    return select(*questions).queries if isinstance(questions, tuple) else questions.queries


def _answers(systems: Mapping[str, System], queries: Queries, pool: int, progress: Progress | None) -> list[Today]:
    answers = []
    for name, system in systems.items():
        if isinstance(system, Run):
            answers.append(from_run(name, system, queries, pool))
            if progress is not None:
                progress(len(queries))
        else:
            # A Protocol with one method: whatever has `rank` is a Retriever, whatever else is called is a function.
            retriever = cast(Retriever, system) if hasattr(system, "rank") else FunctionRetriever(system)
            answers.append(ask(name, retriever, queries, pool, progress))
    return answers


def _check_pools(today: Today, questions: Questions, k: int) -> None:
    deepest = max(len(ids) for ids in today.pools.values())
    if not deepest:
        raise InputError(f"'{today.name}' found nothing for any of the {len(questions.queries)} questions")
    if deepest <= k:
        raise InputError(
            f"'{today.name}' gives at most {deepest} results per question and {k} are shown: recall doesn't see "
            f"order, so "
            f"nothing can be said of a reranker; give its best 50, or a smaller k"
        )


def _sampled(queries: Queries, sample: int | None, seed: int) -> Queries:
    if sample is None or sample >= len(queries):
        return queries
    chosen = set(random.Random(seed).sample(list(queries), sample))
    return {query_id: text for query_id, text in queries.items() if query_id in chosen}


def _lifts(
    contenders: Mapping[str, Contender | str],
    today: Today,
    questions: Questions,
    recall: Mapping[str, float],
    k: int,
    sampled: Queries,
    progress: Progress | None,
) -> dict[str, Lift | str]:
    lifts: dict[str, Lift | str] = {}
    golds = [gold for gold in questions.golds if gold.query_id in sampled]
    for name, contender in contenders.items():
        if isinstance(contender, str):
            lifts[name] = contender
        elif len(sampled) < 2:
            lifts[name] = "one question is too few to measure a lift on"
        else:
            pooled = sorted({passage for query_id in sampled for passage in today.pools[query_id]})
            shown, ms = timed(contender.make(pooled), sampled, today.pools, progress)
            units = {query_id: questions.collapse(ids) for query_id, ids in shown.items()}
            lifts[name] = summarise(capped_recall(golds, units, k), recall, ms if contender.timed else ())
    return lifts


def _facts(
    questions: Questions,
    recall: Mapping[str, float],
    top: Mapping[str, float],
    misses: Sequence[Miss],
    lifts: Mapping[str, Lift | str],
    others: Mapping[str, Mapping[str, float]],
    corpus: Corpus | None,
    stated: Stated,
) -> Facts:
    late, only, cross = (lifts.get(name) for name in ("late", "late_only", "cross"))
    return Facts(
        recall=mean(recall),
        ceiling=mean(top),
        missed=len(misses),
        before_search=sum(miss.kind in ("not_in_corpus", "chunk_boundary") for miss in misses),
        copied_questions=questions.copied,
        chunks=stated.chunks if stated.chunks is not None else None if corpus is None else len(corpus),
        pages=0 if corpus is None else corpus.pages,
        latency_budget_ms=stated.latency_budget_ms,
        store=stated.store,
        late=late if isinstance(late, Lift) else None,
        late_only=only if isinstance(only, Lift) else None,
        cross=cross if isinstance(cross, Lift) else None,
        systems=1 + len(others),
        systems_alike=largest_alike([recall, *others.values()]) if others else 1,
    )


def _unchecked(questions: Questions, corpus: Corpus | None) -> dict[str, str]:
    unchecked = {}
    if corpus is None:
        unchecked["not_in_corpus"] = "the corpus was not given"
        unchecked["label_hole_flags"] = "the corpus was not given"
    if questions.by != "excerpt":
        unchecked["chunk_boundary"] = "needs the answers' own words or spans (--gold)"
    return unchecked
