"""Statistics of a comparison: pure functions on figures by seed.

Figures of one seed are paired: seeds share the initial weights and the augmentation, so their common noise cancels
in a difference. Intervals are Student's t over seeds. Equality needs two one-sided tests (Schuirmann 1987,
J. Pharmacokinet. Biopharm. 15): a difference that is merely not significant is not equality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
GRID = 1001


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its confidence interval; what is not known is NaN."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def significant(self) -> bool:
        """Whether 0 lies outside."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Line:
    """Accuracy against cost of a family of baselines, a curve for every seed.

    Attributes:
        name: What it is called.
        costs: Above 0, shape (arms, seeds); NaN where a seed is missing.
        accuracies: Percent, shape (arms, seeds).
    """

    name: str
    costs: Floats
    accuracies: Floats

    def at(self, costs: ArrayLike) -> Floats:
        """The accuracy that each seed reaches at a cost.

        Linear in the logarithm of the cost between arms. Beyond the costliest arm its accuracy stays, since nobody
        has to spend what he has; below the cheapest it is NaN.

        Args:
            costs: Shape (..., seeds).

        Returns:
            Shape of `costs`; NaN beside an arm that a seed is missing in.
        """
        costs = np.asarray(costs, dtype=np.float64)
        found = np.full(costs.shape, np.nan)
        middle = np.nanmean(self.costs, axis=1)
        for seed in range(self.costs.shape[1]):
            own = np.where(np.isnan(self.costs[:, seed]), middle, self.costs[:, seed])
            order = np.argsort(own, kind="stable")
            at = costs[..., seed]
            values = np.interp(np.log(at), np.log(own[order]), self.accuracies[order, seed])
            found[..., seed] = np.where(at >= own[order[0]], values, np.nan)
        return found

    def reaching(self, costs: ArrayLike, tolerance: float) -> Line:
        """The line with its cheapest arm at `costs`, shape (seeds,), if that is `tolerance` more costly at most.

        What is made to cost the same never does exactly. In doubt the baseline is taken to be the cheaper.
        """
        costs = np.asarray(costs, dtype=np.float64)
        cheapest = int(np.nanmean(self.costs, axis=1).argmin())
        moved = self.costs.copy()
        if np.nanmean(moved[cheapest]) <= (1 + tolerance) * np.nanmean(costs):
            moved[cheapest] = np.minimum(moved[cheapest], costs)
        return replace(self, costs=moved)


def interval(values: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Mean and t interval of values, shape (n,), NaN left out; of one value the ends are NaN."""
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(np.nan, np.nan, np.nan, 0)
    mean, half = float(values.mean()), float(half_width(values[None, :], confidence)[0])
    return Interval(mean, mean - half, mean + half, len(values))


def half_width(values: Floats, confidence: float = CONFIDENCE) -> Floats:
    """Half the t interval of each row; NaN are left out.

    Args:
        values: Shape (rows, n).
        confidence: In (0, 1).

    Returns:
        Shape (rows,); NaN for rows with fewer than two values.
    """
    from scipy.stats import t

    count = (~np.isnan(values)).sum(axis=1)
    degrees = np.maximum(count - 1, 1)
    centred = values - (np.nansum(values, axis=1) / np.maximum(count, 1))[:, None]
    error = np.sqrt(np.nansum(centred**2, axis=1) / degrees / np.maximum(count, 1))
    return np.where(count > 1, t.ppf((1 + confidence) / 2, degrees) * error, np.nan)


def equivalence(differences: ArrayLike, margin: float) -> float:
    """The p value of two one-sided t tests that the mean difference lies within ± `margin`.

    Args:
        differences: Paired, shape (n,), NaN left out.
        margin: Above 0, in the unit of the differences.

    Returns:
        The larger of the two p values; below 0.05 the arms are equal. NaN for fewer than two values.
    """
    from scipy.stats import t

    values = np.asarray(differences, dtype=np.float64)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return np.nan
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    room = margin - abs(mean)  # the nearer of the two margins has the larger p value
    if error == 0:
        return 0.0 if room > 0 else 1.0
    return float(t.sf(room / error, len(values) - 1))


def pareto(costs: ArrayLike, accuracies: ArrayLike) -> NDArray[np.bool_]:
    """Which points no other beats: none is as cheap and as accurate, and better in one of the two.

    Args:
        costs: Shape (n,).
        accuracies: Shape (n,).
    """
    costs, accuracies = np.asarray(costs, dtype=np.float64), np.asarray(accuracies, dtype=np.float64)
    as_good = (costs[None, :] <= costs[:, None]) & (accuracies[None, :] >= accuracies[:, None])
    better = (costs[None, :] < costs[:, None]) | (accuracies[None, :] > accuracies[:, None])
    known = np.isfinite(costs) & np.isfinite(accuracies)
    return known & ~(as_good & better).any(axis=1)


def differences(
    accuracies: Floats, costs: Floats, lines: Sequence[Line], *, least: int
) -> tuple[Floats, NDArray[np.intp]]:
    """How much more accurate an arm is than the best of the lines at equal cost, paired by seed.

    The best line at a cost is the one that leaves the smallest mean difference.

    Args:
        accuracies: Of the arm, shape (seeds,).
        costs: Shape (points, seeds): where the lines are read.
        lines: Over the same seeds.
        least: Seeds that a line must share with the arm to be used.

    Returns:
        The differences, shape (points, seeds), NaN where a seed is missing or no line can be used; and the index of
        the line used, shape (points,), -1 for none.
    """
    if not lines:
        return np.full(costs.shape, np.nan), np.full(len(costs), -1)
    each = accuracies - np.stack([line.at(costs) for line in lines])
    count = (~np.isnan(each)).sum(axis=2)
    means = np.where(count >= least, np.nansum(each, axis=2) / np.maximum(count, 1), np.inf)
    best = means.argmin(axis=0)
    usable = np.isfinite(means.min(axis=0))
    chosen = np.where(usable[:, None], each[best, np.arange(len(costs))], np.nan)
    return chosen, np.where(usable, best, -1)


def saving_at_equal_accuracy(
    accuracies: Floats, costs: Floats, lines: Sequence[Line], *, least: int
) -> Interval | None:
    """The share of the cost that an arm saves against the baselines that are as accurate.

    The baselines are read at k times the arm's cost; the interval holds the savings 1 - 1/k of all k at which the
    paired t test does not tell the two apart. At k = 1 that is the test of equal cost, so a saving is significant
    if and only if the accuracy at equal cost is. An end is minus infinity or 1 where the baselines end before the
    test decides.

    Args:
        accuracies: Of the arm, shape (seeds,).
        costs: Of the arm, shape (seeds,).
        lines: Over the same seeds.
        least: As in `differences`.

    Returns:
        The saving, its mean NaN where the accuracy lies outside the range of the baselines; None without a line
        that can be read.
    """
    if not lines:
        return None
    reach = np.concatenate([np.nanmean(line.costs, axis=1) for line in lines]) / np.nanmean(costs)
    if not np.isfinite(reach).any():
        return None
    cheapest, costliest = min(1.0, float(np.nanmin(reach))), max(1.0, float(np.nanmax(reach)))
    factors = np.unique(np.append(np.geomspace(cheapest, costliest, GRID), 1.0))
    found, used = differences(accuracies, factors[:, None] * costs, lines, least=least)
    if not (used >= 0).any():
        return None
    factors, found = factors[used >= 0], found[used >= 0]
    mean, half = np.nanmean(found, axis=1), half_width(found)
    # Lower end: from where the arm is no longer significantly better. Upper: up to where it is not significantly worse.
    better, not_worse = mean - half >= 0, mean + half >= 0
    low = _root(factors, mean - half, int(better.argmin()) - 1) if not better.all() else factors[-1]
    high = _root(factors, mean + half, int(np.flatnonzero(not_worse)[-1])) if not_worse.any() else factors[0]
    above = mean >= 0
    point = _root(factors, mean, int(above.argmin()) - 1) if above[0] and not above.all() else np.nan
    n = int((~np.isnan(found)).sum(axis=1).max())
    return Interval(1 - 1 / point, 1 - 1 / low if low > 0 else -np.inf, 1 - 1 / high, n)


def _root(factors: Floats, values: Floats, i: int) -> float:
    """Where values fall through 0 after point i; 0 or infinite if that is before the first or after the last point."""
    if i < 0:
        return 0.0
    if i + 1 == len(factors):
        return np.inf
    share = values[i] / (values[i] - values[i + 1])
    return float(np.exp(np.log(factors[i]) + share * np.log(factors[i + 1] / factors[i])))
