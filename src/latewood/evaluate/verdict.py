"""The outcome of a comparison in plain words, by one rule.

The first metric decides. A pipeline is better than the first one if its mean is higher and the corrected p-value of
the paired permutation test is below ALPHA. Of those that are better, the one with the highest mean is named, with
what it takes; of the others it is said whether these queries tell them from it.
"""

from __future__ import annotations

from collections.abc import Sequence

from latewood.evaluate.bootstrap import difference
from latewood.evaluate.results import Comparison, SystemResult, Verdict
from latewood.evaluate.significance import ALPHA, permutation_p, queries_needed

__all__ = ["about", "decide", "p_text"]


def decide(comparison: Comparison) -> Verdict:
    """Say what the figures come to.

    Args:
        comparison: with intervals and tests.
    """
    baseline, metric = comparison.results[0], comparison.headline
    if len(comparison.results) == 1:
        interval = baseline.intervals[metric]
        text = (
            f"'{baseline.pipeline}' reaches {metric} {baseline.metrics[metric]:.3f} (95 % interval {interval.low:.3f} "
            f"to {interval.high:.3f}) on {len(comparison.judged)} questions. Nothing was given to compare it with."
        )
        return Verdict("alone", text, baseline.pipeline)
    others = sorted(comparison.results[1:], key=lambda of: -of.metrics[metric])
    better = [of for of in others if _real(of, metric) and of.metrics[metric] > baseline.metrics[metric]]
    worse = [of for of in others if _real(of, metric) and of.metrics[metric] < baseline.metrics[metric]]
    if better:
        return Verdict("better", _better(comparison, better), better[0].pipeline)
    if len(worse) == len(others):
        text = (
            f"Nothing here is better than '{baseline.pipeline}': {_listed(worse)} {_finds(worse)} less, by {metric} "
            f"{_change(worse[0], metric)} {'at best ' if len(worse) > 1 else ''}({_doubt(comparison, worse[0])})."
        )
        return Verdict("worse", text, baseline.pipeline)
    return Verdict("no_difference", _no_difference(comparison, others, worse), baseline.pipeline)


def p_text(p: float) -> str:
    """A p-value as it is written: three decimals, and never 0."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def about(count: int) -> str:
    """A number of questions to two figures, upwards: what it is computed from is no better known than that."""
    step = 10 ** max(0, len(str(count)) - 2)
    return f"{-(-count // step) * step:,}"


def _better(comparison: Comparison, better: Sequence[SystemResult]) -> str:
    baseline, best, metric = comparison.results[0], better[0], comparison.headline
    change = (best.difference or {})[metric]
    said = [
        f"'{best.pipeline}' finds more than '{baseline.pipeline}': {metric} rises from {baseline.metrics[metric]:.3f} "
        f"to {best.metrics[metric]:.3f} ({change.mean:+.3f}, {_doubt(comparison, best)}).",
        f"It is better on {change.wins} of {len(comparison.judged)} questions and worse on {change.losses}.",
    ]
    if best.latency and baseline.latency:
        said.append(
            f"A question takes {_ms(best.latency.total.p50)} ms instead of {_ms(baseline.latency.total.p50)} (median)."
        )
    lower = [name for name in best.metrics if _real(best, name) and best.metrics[name] < baseline.metrics[name]]
    if lower:
        said.append(f"But its {' and '.join(lower)} {'is' if len(lower) == 1 else 'are'} lower.")
    if len(better) > 1:
        said.append(_runner_up(comparison, best, better[1]))
    return " ".join(said)


def _runner_up(comparison: Comparison, best: SystemResult, second: SystemResult) -> str:
    """Whether the best is better than the next best too; that test was not asked for, so it stands uncorrected."""
    metric = comparison.headline
    mine, other = list(best.per_query[metric].values()), list(second.per_query[metric].values())
    change = difference(mine, other, resamples=comparison.resamples, seed=comparison.seed)
    p = permutation_p(mine, other, resamples=comparison.resamples, seed=comparison.seed)
    span = f"{change.mean:+.3f}, 95 % interval {change.interval.low:+.3f} to {change.interval.high:+.3f}"
    if p < ALPHA:
        return f"It is also ahead of the next best, '{second.pipeline}' ({span})."
    return f"These questions can't tell it from the next best, '{second.pipeline}' ({span})."


def _no_difference(comparison: Comparison, others: Sequence[SystemResult], worse: Sequence[SystemResult]) -> str:
    baseline, metric = comparison.results[0], comparison.headline
    level = [of for of in others if of not in worse]
    first = level[0]
    change, worth = (first.difference or {})[metric], (first.significance or {})[metric]
    said = [
        f"By {metric}, these {len(comparison.judged)} questions can't tell {_listed(level)} from "
        f"'{baseline.pipeline}', which reaches {baseline.metrics[metric]:.3f}.",
        f"The {'highest is' if len(level) > 1 else 'difference is'} {_change(first, metric)}"
        f"{f' of {_listed([first])}' if len(level) > 1 else ''} ({_doubt(comparison, first)}).",
    ]
    if worth.detectable:
        said.append(f"A true difference of {worth.detectable:.3f} would show in four of five such sets of questions.")
        needed = queries_needed(change.mean, worth.detectable, len(comparison.judged))
        if needed is not None and needed > len(comparison.judged):
            said.append(f"To show one of the measured size takes about {about(needed)} questions.")
    if worse:
        said.append(f"{_listed(worse)} {_finds(worse)} less.")
    return " ".join(said)


def _doubt(comparison: Comparison, of: SystemResult) -> str:
    metric = comparison.headline
    change, worth = (of.difference or {})[metric], (of.significance or {})[metric]
    tests = f" after correction for {comparison.tests} tests" if comparison.tests > 1 else ""
    return f"95 % interval {change.interval.low:+.3f} to {change.interval.high:+.3f}, {p_text(worth.p_holm)}{tests}"


def _change(of: SystemResult, metric: str) -> str:
    return f"{(of.difference or {})[metric].mean:+.3f}"


def _real(of: SystemResult, metric: str) -> bool:
    return (of.significance or {})[metric].real


def _finds(of: Sequence[SystemResult]) -> str:
    return "finds" if len(of) == 1 else "find"


def _listed(of: Sequence[SystemResult]) -> str:
    names = [f"'{result.pipeline}'" for result in of]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
