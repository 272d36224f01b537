"""An audit as text for a terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from latewood.cli.output import console
from latewood.evaluate.audit import Audit, mean
from latewood.evaluate.lift import Lift
from latewood.evaluate.misses import MissClass
from latewood.evaluate.rules import Outcome

__all__ = ["print_audit"]

_PLACES: dict[MissClass, str] = {
    "not_in_corpus": "not in the corpus",
    "chunk_boundary": "cut by a chunk boundary",
    "outside_pool": "outside the pool",
    "in_pool": "in the pool, not shown",
}


def print_audit(audit: Audit) -> None:
    """Print figures, misses, lifts, verdict and rules, in this order."""
    questions = audit.questions
    console.print(
        f"'{audit.system}': the first {audit.k} of a pool of {audit.pool}, {len(questions.queries)} questions, "
        f"{audit.pairs:,} pairs of question and answer",
        style="bold",
        markup=False,
    )
    if questions.generated is not None:
        console.print(f"Questions: {questions.generated}.", style="bold yellow", markup=False)
    _print_figures(audit)
    _print_misses(audit)
    _print_lifts(audit)
    code, text = audit.verdict
    console.print(f"\nVerdict: {code}", style="bold", markup=False)
    if questions.generated is not None:
        text = f"On generated questions: {text}"
    console.print(text, markup=False)
    for line in audit.adopt:
        console.print(f"  {line}", markup=False)
    _print_rules(audit)


def _grid(*columns: str) -> Table:
    grid = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim", show_header=any(columns))
    for at, heading in enumerate(columns):
        grid.add_column(heading, justify="left" if at == 0 or at == len(columns) - 1 else "right")
    return grid


def _print_figures(audit: Audit) -> None:
    grid = _grid("", "", "")
    recall, top = mean(audit.recall), mean(audit.ceiling)
    grid.add_row("recall", f"{recall:.3f}", f"hits / min({audit.k}, answers), mean over questions")
    grid.add_row("ceiling", f"{top:.3f}", f"the best reordering of the pool; headroom {top - recall:.3f}")
    for name, of in audit.others.items():
        grid.add_row(escape(f"recall of '{name}'"), f"{mean(of):.3f}", "")
    console.print(grid)
    if audit.empty:
        console.print(f"{audit.empty} questions found nothing; they count as 0.", style="dim")


def _print_misses(audit: Audit) -> None:
    console.print("\nWhere pairs were missed", style="bold")
    grid = _grid("", "", "")
    for kind, place in _PLACES.items():
        unchecked = audit.unchecked.get(kind)
        if unchecked:
            grid.add_row(place, "–", f"not checked: {escape(unchecked)}")
        else:
            grid.add_row(place, f"{audit.count(kind):,}", "")
    more = f"{audit.unavoidable:,} of them can't be avoided: more than {audit.k} answers" if audit.unavoidable else ""
    grid.add_row("missed", f"{len(audit.misses):,}", more)
    console.print(grid)
    if audit.holes_known:
        console.print(
            f"{len(audit.holes)} of them probably found under another id that nobody judged.", style="dim", markup=False
        )


def _print_lifts(audit: Audit) -> None:
    console.print("\nLift of recall; the interval is what as many other questions will show (95 %)", style="bold")
    for name, lift in audit.lifts.items():
        label = name.replace("_", " ")
        if isinstance(lift, Lift):
            p95 = "" if lift.p95_ms is None else f", p95 {lift.p95_ms:,.0f} ms a question"
            text = (
                f"{lift.mean:+.3f} ({lift.low:+.3f} to {lift.high:+.3f}), won {lift.wins} : {lift.losses} lost "
                f"of {lift.questions}{p95}"
            )
        else:
            text = f"not measured: {lift}"
        console.print(f"{label:<10} {text}", markup=False)


def _print_rules(audit: Audit) -> None:
    """The rules that fired with their advice; the others with what they wait for."""
    console.print("\nRules that fired", style="bold")
    for outcome in audit.outcomes:
        if outcome.fired:
            console.print(f"● {_state(outcome)}", markup=False)
            console.print(f"  {outcome.rule.advice}", markup=False)
    console.print("\nRules that didn't", style="bold")
    for outcome in audit.outcomes:
        if not outcome.fired:
            console.print(f"○ {_state(outcome)}", style="dim", markup=False)


def _state(outcome: Outcome) -> str:
    condition = outcome.decided_by
    value = outcome.inputs[condition.measure]
    fires = f"fires if {condition.op} {_number(condition.threshold)}".replace("if is", "if")
    away = "" if outcome.distance is None else f", {_number(outcome.distance, signed=True)} from it"
    return f"{outcome.rule.name}: {condition.measure} {_number(value)}, {fires}{away}"


def _number(value: float | bool | None, signed: bool = False) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    sign = "+" if signed else ""
    return format(value, f"{sign},.3f" if isinstance(value, float) and abs(value) < 1000 else f"{sign},.0f")
