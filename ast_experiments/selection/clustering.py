"""k-means of numbers: in one dimension, dynamic programming finds the best groups."""

from __future__ import annotations

import numpy as np

EXACT = 2**16
"""Most values between which every cut is tried."""


def kmeans_cuts(values: np.ndarray, groups: int) -> np.ndarray:
    """Cuts numbers into the groups with the smallest sum of squared distances to their means.

    Of more than `EXACT` values, cuts are tried between the lowest and the highest `EXACT` / 4 ones and at even
    distances between them.

    Args:
        values: Shape (n,), n >= 1.
        groups: Number of groups, at least 1. Groups are empty where there are fewer distinct values.

    Returns:
        The largest value of each group but the last, ascending, float64, shape (groups - 1,), -inf for empty first
        groups; `np.searchsorted(cuts, values)` gives the group of each value.
    """
    ordered = np.sort(values).astype(np.float64)
    squares = _Squares(ordered, _places(len(ordered)))
    best = squares.within(np.zeros_like(squares.places), np.arange(len(squares.places)))
    begins = []
    for _ in range(groups - 1):
        best, begin = _with_another_group(best, squares)
        begins.append(begin)
    ends, end = np.empty(groups - 1, dtype=np.int64), len(best) - 1
    for group in reversed(range(groups - 1)):
        ends[group] = end = begins[group][end]
    return np.concatenate(([-np.inf], ordered))[squares.places[ends]]


def _places(n: int) -> np.ndarray:
    """Returns the numbers of values below the cuts to try, ascending, from 0 to n."""
    if n <= EXACT:
        return np.arange(n + 1)
    tail = np.arange(EXACT // 4)
    return np.unique(np.concatenate((tail, np.linspace(0, n, EXACT // 2).astype(np.int64), n - tail)))


class _Squares:
    """Sums of squared distances to the mean within runs of sorted values.

    Attributes:
        places: Where runs may begin and end, shape (m,).
    """

    def __init__(self, ordered: np.ndarray, places: np.ndarray) -> None:
        centred = ordered - ordered.mean()  # so that little is lost in the differences
        self.places = places
        self._sums = np.concatenate(([0.0], np.cumsum(centred)))[places]
        self._squares = np.concatenate(([0.0], np.cumsum(centred**2)))[places]

    def within(self, first: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Returns the sum over the values between two places, given by index; 0 for an empty run."""
        sums, rows = self._sums[end] - self._sums[first], self.places[end] - self.places[first]
        return np.maximum(self._squares[end] - self._squares[first] - sums**2 / np.maximum(rows, 1), 0.0)


def _with_another_group(best: np.ndarray, squares: _Squares) -> tuple[np.ndarray, np.ndarray]:
    """Adds a group: the least sum up to each place (m,), and the place where its last group begins (m,).

    They are found from coarse to fine. The last group never begins earlier when a value is added, so what was found
    for the neighbours bounds the search (divide and conquer, O(m log m)).
    """
    last = len(best) - 1
    found, begin = best.copy(), np.zeros(last + 1, dtype=np.int64)
    found[[last]], begin[[last]] = _search(best, squares, np.array([last]), np.array([0]), np.array([last]))
    step = 1 << max(last - 1, 1).bit_length()
    while step > 1:
        step //= 2
        ends = np.arange(step, last, 2 * step)
        if len(ends):
            high = np.minimum(begin[np.minimum(ends + step, last)], ends)
            found[ends], begin[ends] = _search(best, squares, ends, begin[ends - step], high)
    return found, begin


def _search(
    best: np.ndarray, squares: _Squares, ends: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the least sum for each end, and the first place in [low, high] where its last group begins."""
    lengths = high - low + 1
    starts = np.cumsum(lengths) - lengths
    tried = np.arange(lengths.sum()) - np.repeat(starts - low, lengths)
    sums = best[tried] + squares.within(tried, np.repeat(ends, lengths))
    least = np.minimum.reduceat(sums, starts)
    hits = np.flatnonzero(sums == np.repeat(least, lengths))
    return least, tried[hits[np.searchsorted(hits, starts)]]
