"""Long texts to windows, windows to batches, and where each window's vectors go. Plain arithmetic, no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from latewood.types import FloatArray, IntArray

__all__ = ["Layout", "alike", "batches", "spans"]

_GOLDEN = (5**0.5 - 1) / 2

_PASS = 25
"""What a pass through a model costs whatever it holds, in tokens: for MiniLM on one core 7 ms, and 0.28 ms a token."""


def spans(length: int, room: int, overlap: int) -> list[tuple[int, int]]:
    """The windows of a text of `length` tokens: as few as fit, all of one size, evenly spread.

    Even windows leave no short tail: a tail of a few tokens would have little context, and a poor single vector.

    Args:
        length: tokens of the text, special tokens not counted.
        room: tokens that fit in one window, special tokens not counted; more than `overlap`.
        overlap: tokens that neighbours share, at least.

    Returns:
        (start, end) of each window, rising; one window for a text that fits, the empty one too.
    """
    if length <= room:
        return [(0, length)]
    count = -(-(length - overlap) // (room - overlap))
    size = -(-(length + (count - 1) * overlap) // count)
    # Steps differ by one token at most; the largest is size - overlap, so `overlap` always holds.
    starts = [i * (length - size) // (count - 1) for i in range(count)]
    return [(start, start + size) for start in starts]


def batches(lengths: Sequence[int] | IntArray, budget: int, count: int | None = None) -> Iterator[IntArray]:
    """Group windows of similar length, so that padding wastes little.

    The grouping depends on the lengths and their order alone, so the same call always makes the same batches. Groups of
    long and short windows come evenly mixed (multiples of the golden section): wherever one stands, what was done is
    like what is to come, and a time left that goes by it is right.

    Args:
        lengths: tokens of each window, special tokens included.
        budget: tokens of one batch, padding included; a longer window goes alone.
        count: windows of one batch, instead of the budget.

    Yields:
        Positions in `lengths`, one batch at a time.
    """
    sizes = np.asarray(lengths, np.int64)
    order = np.argsort(-sizes, kind="stable")
    start = 0
    groups = []
    while start < len(order):
        longest = int(sizes[order[start]])
        together = count or max(1, budget // max(1, longest))
        groups.append(order[start : start + together])
        start += together
    for number in np.argsort(np.arange(1, len(groups) + 1) * _GOLDEN % 1.0, kind="stable").tolist():
        yield groups[number]


def alike(lengths: Sequence[int], budget: int, workers: int) -> list[list[int]]:
    """Group a few texts that wait together so that passing them through a model takes the least time.

    Padding to the longest of sixteen questions doubles the work of a batch, and one pass for each of them spends most
    of its time on what a pass costs whatever it holds: what lies between is cut so that the sum of both is least.

    Args:
        lengths: tokens of each text, special tokens included.
        budget: tokens of one group, padding included; a longer text goes alone.
        workers: groups that run at the same time: no group is more than a fair share of all, unless it is one text.

    Returns:
        Positions in `lengths`, group by group, those of the longest texts first. The same lengths, the same groups.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    most = min(budget, -(-sum(lengths) // workers)) if workers > 1 else budget
    # The best cut of the first n is the best of the first m and one group of the rest, for the best m.
    costs, cuts = [0], [0]
    for stop in range(1, len(order) + 1):
        best, at = costs[stop - 1] + _PASS + lengths[order[stop - 1]], stop - 1
        for start in range(stop - 2, -1, -1):
            padded = (stop - start) * lengths[order[start]]
            if padded > most:
                break  # longer texts yet, and more of them
            if costs[start] + _PASS + padded < best:
                best, at = costs[start] + _PASS + padded, start
        costs.append(best)
        cuts.append(at)
    groups, stop = [], len(order)
    while stop:
        groups.append(order[cuts[stop] : stop])
        stop = cuts[stop]
    return groups[::-1]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where the vectors of M different texts go among those of N texts, some of them equal.

    Windows are numbered through, text after text. A text's first occurrence is encoded; the others are copies.

    Args:
        lengths: [windows] token vectors of each window.
        texts: [windows] which of the M texts it belongs to.
        token_rows: [windows] first row of its token vectors.
        dense_rows: [windows] row of its single vector.
        token_offsets: [N + 1] as in MultiVectors.
        dense_offsets: [N + 1] as in MultiVectors.
        copies: (from, to) positions among the N, for every occurrence after the first.
    """

    lengths: IntArray
    texts: IntArray
    token_rows: IntArray
    dense_rows: IntArray
    token_offsets: IntArray
    dense_offsets: IntArray
    copies: list[tuple[int, int]]

    @classmethod
    def of(cls, windows: Sequence[Sequence[int]], which: Sequence[int]) -> Layout:
        """Lay out.

        Args:
            windows: for each of the M texts, the number of token vectors of each of its windows.
            which: for each of the N texts, which of the M it is; every one of them occurs.
        """
        counts = np.array([len(of_text) for of_text in windows], np.int64)
        totals = np.array([sum(of_text) for of_text in windows], np.int64)
        lengths = np.array([length for of_text in windows for length in of_text], np.int64)
        texts = np.repeat(np.arange(len(windows), dtype=np.int64), counts)
        which_array = np.asarray(which, np.int64)
        token_offsets = _offsets(totals[which_array])
        dense_offsets = _offsets(counts[which_array])
        first = np.full(len(windows), -1, np.int64)
        copies = []
        for position, text in enumerate(which):
            if first[text] < 0:
                first[text] = position
            else:
                copies.append((int(first[text]), position))
        within_text = _offsets(lengths)[:-1] - np.repeat(_offsets(totals)[:-1], counts)
        number_in_text = np.arange(len(lengths)) - np.repeat(_offsets(counts)[:-1], counts)
        return cls(
            lengths=lengths,
            texts=texts,
            token_rows=token_offsets[first[texts]] + within_text,
            dense_rows=dense_offsets[first[texts]] + number_in_text,
            token_offsets=token_offsets,
            dense_offsets=dense_offsets,
            copies=copies,
        )

    def copy(self, tokens: FloatArray, dense: FloatArray) -> None:
        """Give every copy the vectors of its first occurrence."""
        for array, offsets in ((tokens, self.token_offsets), (dense, self.dense_offsets)):
            for source, target in self.copies:
                array[offsets[target] : offsets[target + 1]] = array[offsets[source] : offsets[source + 1]]


def _offsets(counts: IntArray) -> IntArray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
