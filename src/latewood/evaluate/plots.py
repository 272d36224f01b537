"""Where everything stands in the plots of a report, in the units of their SVG; the template draws them.

Panels are 360 units wide, which is what a phone shows at its natural size, and stand side by side where there is
room. A system has the same number and colour in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from latewood.evaluate.results import Comparison

__all__ = ["WIDTH", "Curves", "Line", "Row", "Rows", "Scatter", "Spot", "Tick", "change_rows", "metric_rows"]

WIDTH = 360
"""Of every panel."""

_LEFT, _RIGHT, _TOP, _ROW = 14, 14, 26, 46
_PLOT_HEIGHT, _PLOT_LEFT, _PLOT_BOTTOM = 250, 40, 34


@dataclass(frozen=True, slots=True)
class Tick:
    """A grid line and its label."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Row:
    """One system's value with its interval.

    Args:
        number: of the system, from 1.
        name: of the system.
        y: of the line.
        x: of the value.
        low: of the interval's lower end.
        high: of its upper end.
        label: the value as text.
        strong: a change that the test calls real.
    """

    number: int
    name: str
    y: float
    x: float
    low: float
    high: float
    label: str
    strong: bool = True


@dataclass(frozen=True, slots=True)
class Rows:
    """Values of one metric, one row per system; `zero` is where no change is, None where that has no meaning."""

    title: str
    height: float
    ticks: tuple[Tick, ...]
    rows: tuple[Row, ...]
    zero: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One system's recall at rising depths: points as (x, y), and the value at the last."""

    number: int
    name: str
    points: tuple[tuple[float, float], ...]

    @property
    def path(self) -> str:
        """As the points of an SVG polyline."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


@dataclass(frozen=True, slots=True)
class Curves:
    """Recall over depth. The left edge and the bottom of the plot are `left` and `bottom`."""

    height: float
    left: float
    bottom: float
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Spot:
    """One system where latency and quality put it; `label_y` keeps numbers of close spots apart."""

    number: int
    name: str
    x: float
    y: float
    low: float
    high: float
    label_y: float


@dataclass(frozen=True, slots=True)
class Scatter:
    """Quality over latency, for the systems that have a latency."""

    height: float
    left: float
    bottom: float
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    spots: tuple[Spot, ...]


def metric_rows(comparison: Comparison, metric: str) -> Rows:
    """The means of one metric with their intervals."""
    found = [(of.metrics[metric], of.intervals[metric]) for of in comparison.results]
    low, high = _padded(min(of.low for _, of in found), max(of.high for _, of in found))
    return _rows(
        metric,
        [
            (number, of.pipeline, value, span.low, span.high, f"{value:.3f}", True)
            for number, (of, (value, span)) in enumerate(zip(comparison.results, found, strict=True), start=1)
        ],
        (max(0.0, low), min(1.0, high)),
    )


def change_rows(comparison: Comparison, metric: str) -> Rows:
    """The changes of one metric against the first system, with their intervals. There are two systems or more."""
    found = [
        (number, of.pipeline, change.mean, change.interval.low, change.interval.high, f"{change.mean:+.3f}", real)
        for number, of in enumerate(comparison.results, start=1)
        if of.difference is not None and of.significance is not None
        for change, real in [(of.difference[metric], of.significance[metric].real)]
    ]
    scale = _padded(min(0.0, *(row[3] for row in found)), max(0.0, *(row[4] for row in found)))
    return _rows(metric, found, scale, signed=True)


def curves(comparison: Comparison) -> Curves:
    """Recall over depth, on a logarithmic scale of depth."""
    depths = list(comparison.results[0].recall_curve)
    recalls = [recall for of in comparison.results for recall in of.recall_curve.values()]
    low, high = 0.0, max(0.05, min(1.0, max(recalls) * 1.05))
    x = _scale(0.0, math.log(max(depths[-1], 2)), _PLOT_LEFT, WIDTH - _RIGHT)
    y = _scale(low, high, _PLOT_HEIGHT - _PLOT_BOTTOM, 12)
    return Curves(
        height=_PLOT_HEIGHT,
        left=_PLOT_LEFT,
        bottom=_PLOT_HEIGHT - _PLOT_BOTTOM,
        across=tuple(Tick(x(math.log(k)), f"{k:,}") for k in depths if str(k)[0] in "15" or k == depths[-1]),
        up=tuple(Tick(y(value), label) for value, label in _ticks(low, high)),
        lines=tuple(
            Line(number, of.pipeline, tuple((x(math.log(k)), y(recall)) for k, recall in of.recall_curve.items()))
            for number, of in enumerate(comparison.results, start=1)
        ),
    )


def scatter(comparison: Comparison, metric: str) -> Scatter | None:
    """Quality over the median time of a query, on a logarithmic scale of time; None where nothing was timed."""
    timed = [
        (number, of, max(of.latency.total.p50, 1e-3))
        for number, of in enumerate(comparison.results, start=1)
        if of.latency is not None
    ]
    if not timed:
        return None
    fastest, slowest = min(ms for _, _, ms in timed) / 1.6, max(ms for _, _, ms in timed) * 1.6
    low, high = _padded(
        min(of.intervals[metric].low for _, of, _ in timed), max(of.intervals[metric].high for _, of, _ in timed)
    )
    low, high = max(0.0, low), min(1.0, high)
    x = _scale(math.log(fastest), math.log(slowest), _PLOT_LEFT, WIDTH - _RIGHT)
    y = _scale(low, high, _PLOT_HEIGHT - _PLOT_BOTTOM, 12)
    spots: list[Spot] = []
    for number, of, ms in timed:
        at, value, span = x(math.log(ms)), of.metrics[metric], of.intervals[metric]
        label = y(value) + 4
        while any(abs(other.x - at) < 18 and abs(other.label_y - label) < 13 for other in spots):
            label -= 13
        spots.append(Spot(number, of.pipeline, at, y(value), y(span.low), y(span.high), label))
    return Scatter(
        height=_PLOT_HEIGHT,
        left=_PLOT_LEFT,
        bottom=_PLOT_HEIGHT - _PLOT_BOTTOM,
        across=tuple(Tick(x(math.log(ms)), f"{ms:g}") for ms in _decades(fastest, slowest)),
        up=tuple(Tick(y(value), label) for value, label in _ticks(low, high)),
        spots=tuple(spots),
    )


def _rows(
    title: str,
    found: Sequence[tuple[int, str, float, float, float, str, bool]],
    scale: tuple[float, float],
    *,
    signed: bool = False,
) -> Rows:
    x = _scale(*scale, _LEFT, WIDTH - _RIGHT)
    return Rows(
        title=title,
        height=_TOP + _ROW * len(found) + 4,
        ticks=tuple(Tick(x(value), label) for value, label in _ticks(*scale, signed=signed)),
        rows=tuple(
            Row(number, name, _TOP + _ROW * place + 34, x(value), x(low), x(high), label, strong)
            for place, (number, name, value, low, high, label, strong) in enumerate(found)
        ),
        zero=x(0.0) if signed else None,
    )


def _scale(low: float, high: float, first: float, last: float) -> Callable[[float], float]:
    """The linear map that takes low to first and high to last."""
    width = high - low or 1.0
    return lambda value: round(first + (value - low) / width * (last - first), 1)


def _padded(low: float, high: float) -> tuple[float, float]:
    room = max((high - low) * 0.08, 0.01)
    return low - room, high + room


def _ticks(low: float, high: float, *, signed: bool = False) -> list[tuple[float, str]]:
    """Round numbers between two values, four to eight steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    values = [round(i * step, 10) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    return [(value, f"{value:+.{digits}f}" if signed and value else f"{value:.{digits}f}") for value in values]


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two values; fewer where there are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [factor * 10.0**power for power in powers for factor in (1, 2, 5) if low <= factor * 10.0**power <= high]
    return found if len(found) <= 6 else [ms for ms in found if f"{ms:e}"[0] == "1"]
