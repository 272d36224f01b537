"""A small world to report on: forty questions about woods, three systems that explain themselves, one run."""

from __future__ import annotations

import random
import re
from dataclasses import replace

from latewood.evaluate import Run, System, compare
from latewood.types import Hit, Match, Passage, Ranking, StageTiming

WOODS = ["oak", "ash", "elm", "yew", "larch", "pine", "birch", "alder", "beech", "maple"]
USES = ["ships", "bows", "masts", "wheels", "floors", "tables", "boats", "tools"]

CORPUS = {
    f"{wood}-{use}": f"{wood.title()} for {use}\nThe wood of the {wood} has been taken for {use} since old times, "
    f"<b>&amp; more</b>, where {random.Random(wood + use).choice(WOODS)} was not to be had."
    for wood in WOODS
    for use in USES
}
QUERIES = {
    f"q{at}": f"which {wood} is good for {use}?"
    for at, (wood, use) in enumerate((wood, use) for wood in WOODS for use in USES[:4])
}
QRELS = {f"q{at}": {f"{wood}-{use}": 1} for at, (wood, use) in enumerate((w, u) for w in WOODS for u in USES[:4])}


class Noisy:
    """Puts the answer at a rank that falls with `skill`, and says which words matched."""

    def __init__(self, skill: float, ms: float, *, marks: bool) -> None:
        self.skill, self.ms, self.marks = skill, ms, marks

    def rank(self, query: str, k: int) -> Ranking:
        draw = random.Random(query + str(self.skill))
        words = set(re.findall(r"\w+", query))
        scores = {
            found: sum(word in text.lower() for word in words) * self.skill + draw.random() * 3
            for found, text in CORPUS.items()
        }
        best = sorted(scores, key=lambda found: (-scores[found], found))[:k]
        hits = tuple(Hit(found, found, scores[found], rank) for rank, found in enumerate(best, start=1))
        timings = StageTiming("encode", 2.0, 0), StageTiming("search", self.ms * (1 + draw.random()), k)
        return Ranking(query, "noisy", hits, True, 0, tuple(best), timings)

    def explain(self, query: str, k: int) -> Ranking:
        ranking = self.rank(query, k)
        words = re.findall(r"\w+", query)
        hits = []
        for hit in ranking.hits:
            text = CORPUS[hit.id]
            spans = [(word, found.start(), found.end()) for word in words for found in re.finditer(word, text)]
            matches = tuple(Match(word, word, start, end, 1.0) for word, start, end in spans)
            passage = Passage(hit.id, text)
            hits.append(replace(hit, passage=passage, matches=matches if self.marks else None))
        return replace(ranking, hits=tuple(hits))


def systems() -> list[System]:
    made = {
        "dense:50": Noisy(0.9, 4, marks=False),
        "dense:50 >> late:50": Noisy(2.5, 15, marks=True),
        "(dense:50 + bm25:50):60 >> late(exact=true):50": Noisy(2.6, 40, marks=True),
    }
    corpus = dict.fromkeys(CORPUS)
    live = [System(name, of, corpus={key: key for key in corpus}, explain=of.explain) for name, of in made.items()]
    today = Noisy(0.85, 1, marks=False)
    rankings = {key: tuple(hit.id for hit in today.rank(text, 20).hits) for key, text in QUERIES.items() if key != "q3"}
    run = Run(rankings, {key: tuple(float(20 - at // 2) for at in range(20)) for key in rankings}, path="today.run")
    return [live[0], System("today <our> search", run), *live[1:]]


def comparison():
    return compare(systems(), QUERIES, QRELS, None)


def texts(ids):
    return {found: CORPUS[found] for found in ids if found in CORPUS}
