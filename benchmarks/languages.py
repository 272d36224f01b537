"""BM25 by language: nDCG@10 of each analyzer on xquad_multi, 12 languages mixed in one corpus of 2,880 paragraphs.

An answer is the paragraph in the question's own language (grade 2); its translations count as misses. No model takes
part: the store gets one-dimensional stand-ins for vectors, which BM25 never looks at.

    python benchmarks/languages.py ../shared/data/xquad_multi [ANALYZER …]

With --model the bundled model is asked instead, as a bi-encoder and by late interaction, texts cut at its limit. Each
language is a collection of its own, so that what it fails at is the language and not telling languages apart:

    python benchmarks/languages.py ../shared/data/xquad_multi --model en de es ru zh th
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import ir_measures
import numpy as np

from latewood.collection import Collection
from latewood.evaluate.data import read_qrels, read_queries
from latewood.ingest import read_jsonl
from latewood.stores.embedded import EmbeddedStore
from latewood.types import EncodedPassages, EncoderSpec, MultiVectors

SPEC = EncoderSpec("none", "0" * 64, dim=1, dense_dim=1, max_length=256, overlap=0)
SHOWN = ("english", "plain", "ngram", "auto")
OWN_LANGUAGE = 2


def ndcg_by_language(folder: Path, analyzer: str) -> dict[str, float]:
    """Mean nDCG@10 of each language's questions, by its code."""
    passages = list(read_jsonl(folder / "corpus.jsonl"))
    ones = MultiVectors(np.ones((len(passages), 1), np.float32), np.arange(len(passages) + 1))
    queries, qrels = read_queries(folder / "queries.jsonl"), read_qrels(folder / "qrels" / "test.tsv")
    own = {query: {doc: 1 for doc, grade in docs.items() if grade >= OWN_LANGUAGE} for query, docs in qrels.items()}
    run: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        store = EmbeddedStore.create(Path(temporary) / "kb.lw", SPEC, {"analyzer": analyzer})
        store.add(passages, EncodedPassages(ones, ones))
        snapshot = store.snapshot()
        for query, text in queries.items():
            found = snapshot.bm25(text, 10)
            # By rank, since equal scores are shown by id.
            run[query] = {name: -float(rank) for rank, name in enumerate(snapshot.ids(found.rows))}
        store.close()
    by_language = defaultdict(list)
    for value in ir_measures.iter_calc([ir_measures.nDCG @ 10], own, run):
        by_language[value.query_id[:2]].append(value.value)
    return {language: sum(values) / len(values) for language, values in sorted(by_language.items())}


def model_by_language(folder: Path, languages: list[str]) -> None:
    """Print one row of a Markdown table per language: nDCG@10 of the bundled model, and of BM25 beside it."""
    passages = list(read_jsonl(folder / "corpus.jsonl"))
    queries, qrels = read_queries(folder / "queries.jsonl"), read_qrels(folder / "qrels" / "test.tsv")
    pipelines = ("dense:10", "late:10", "bm25:10")
    print(f"| language | {' | '.join(f'`{name}`' for name in pipelines)} |\n|---|{'---|' * len(pipelines)}")
    for language in languages:
        asked = {query: text for query, text in queries.items() if query.startswith(language)}
        own = {query: {doc: 1 for doc, grade in qrels[query].items() if grade >= OWN_LANGUAGE} for query in asked}
        with (
            tempfile.TemporaryDirectory() as temporary,
            Collection.create(Path(temporary) / "kb.lw", truncate=True, language="auto") as kb,
        ):
            kb.add(passage for passage in passages if passage.id.startswith(language))
            figures = []
            for name in pipelines:
                bound = kb.bind(name)
                run = {
                    query: {hit.id: -float(hit.rank) for hit in bound.rank(text).hits} for query, text in asked.items()
                }
                figures.append(ir_measures.calc_aggregate([ir_measures.nDCG @ 10], own, run)[ir_measures.nDCG @ 10])
        print(f"| {language} | {' | '.join(f'{value:.3f}' for value in figures)} |", flush=True)


def main() -> None:
    """Print one row of a Markdown table per analyzer, or per language."""
    folder, *names = sys.argv[1:]
    if names[:1] == ["--model"]:
        model_by_language(Path(folder), names[1:])
        return
    for i, name in enumerate(names or SHOWN):
        figures = ndcg_by_language(Path(folder), name)
        if i == 0:
            print(f"| analyzer | {' | '.join(figures)} |\n|---|{'---|' * len(figures)}")
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in figures.values())} |")


if __name__ == "__main__":
    main()
