"""Statistics of a comparison, as pure functions on figures by seed.

Figures of the same seed are paired: they share initial weights and augmentation, so the common noise cancels in a
difference. Intervals are Student's t intervals over seeds. Equality requires two one-sided tests (Schuirmann 1987,
J. Pharmacokinet. Biopharm. 15): a non-significant difference is not equality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

Point = tuple[float, float]
"""Accuracy and cost of a run."""

CONFIDENCE = 0.95
GRID = 1001
FEWEST = 3
"""Values whose interval is worth showing."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its confidence interval; unknown values are NaN."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def shown(self) -> bool:
        """Whether the interval is worth showing: from two values it is 13 standard errors wide either way."""
        return self.n >= FEWEST and bool(np.isfinite(self.low) or np.isfinite(self.high))

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Line:
    """Accuracy over cost of a family of baselines, one curve per seed.

    Attributes:
        name: Name of the family.
        costs: Positive, shape (arms, seeds); NaN for a missing seed.
        accuracies: In percent, shape (arms, seeds).
    """

    name: str
    costs: Floats
    accuracies: Floats

    def at(self, costs: ArrayLike) -> Floats:
        """Interpolates the accuracy of each seed at a cost.

        Between arms it is linear in the logarithm of the cost. Above the costliest arm it stays constant, since a
        budget need not be used up; below the cheapest arm it is NaN.

        Args:
            costs: Shape (..., seeds).

        Returns:
            Shape of `costs`; NaN next to an arm without that seed.
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

    def extended_to(self, costs: ArrayLike, tolerance: float) -> Line:
        """Moves the cheapest arm to `costs`, shape (seeds,), if it is at most `tolerance` more expensive.

        Runs matched in cost never cost exactly the same. The shift favours the baseline.
        """
        costs = np.asarray(costs, dtype=np.float64)
        cheapest = int(np.nanmean(self.costs, axis=1).argmin())
        moved = self.costs.copy()
        if np.nanmean(moved[cheapest]) <= (1 + tolerance) * np.nanmean(costs):
            moved[cheapest] = np.minimum(moved[cheapest], costs)
        return replace(self, costs=moved)


def interval(values: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Computes mean and t interval of values, shape (n,), ignoring NaN; for a single value the ends are NaN."""
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(np.nan, np.nan, np.nan, 0)
    mean, half = float(values.mean()), float(half_width(values[None, :], confidence)[0])
    return Interval(mean, mean - half, mean + half, len(values))


def half_width(values: Floats, confidence: float = CONFIDENCE) -> Floats:
    """Computes half the width of each row's t interval, ignoring NaN.

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
    """Computes the p value of two one-sided t tests that the mean difference is within ± `margin`.

    Args:
        differences: Paired, shape (n,); NaN is ignored.
        margin: Positive, in the unit of the differences.

    Returns:
        The larger of the two p values; below 0.05, the arms are equal. NaN for fewer than two values.
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
    """Marks the points on the Pareto front: no other point is at least as good in both and better in one.

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
    """Computes an arm's accuracy above the best line at equal cost, paired by seed.

    The best line at a cost is the one with the smallest mean difference.

    Args:
        accuracies: Accuracies of the arm, shape (seeds,).
        costs: Costs at which to read the lines, shape (points, seeds).
        lines: Lines over the same seeds.
        least: Minimum number of seeds that a line must share with the arm.

    Returns:
        The differences, shape (points, seeds), NaN for a missing seed or without a usable line; and the index of the
        line used, shape (points,), -1 for none.
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
    """Computes the share of cost that an arm saves against equally accurate baselines.

    The baselines are read at k times the arm's cost. The interval contains the savings 1 - 1/k for all k at which the
    paired t test does not distinguish the two. At k = 1 this is the test at equal cost, so a saving is significant if
    and only if the difference in accuracy at equal cost is. An end is minus infinity or 1 if the baselines end before
    the test decides.

    Args:
        accuracies: Accuracies of the arm, shape (seeds,).
        costs: Costs of the arm, shape (seeds,).
        lines: Lines over the same seeds.
        least: As for `differences`.

    Returns:
        The saving, with a NaN mean if the accuracy is outside the range of the baselines; None without a usable
        line.
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
    # Lower end: where the arm stops being significantly better. Upper end: where it becomes significantly worse.
    better, not_worse = mean - half >= 0, mean + half >= 0
    low = _root(factors, mean - half, int(better.argmin()) - 1) if not better.all() else factors[-1]
    high = _root(factors, mean + half, int(np.flatnonzero(not_worse)[-1])) if not_worse.any() else factors[0]
    above = mean >= 0
    point = _root(factors, mean, int(above.argmin()) - 1) if above[0] and not above.all() else np.nan
    n = int((~np.isnan(found)).sum(axis=1).max())
    lowest = 1 - 1 / low if low > 0 else -np.inf
    return Interval(float(1 - 1 / point), float(lowest), float(1 - 1 / high), n)


def saving_on_line(ours: Point, cheaper: Point, costlier: Point) -> float:
    """Returns the share of the cost that a run saves against the straight line between two others, at its accuracy."""
    slope = (costlier[1] - cheaper[1]) / (costlier[0] - cheaper[0])
    return 1 - ours[1] / (cheaper[1] + slope * (ours[0] - cheaper[0]))


def _root(factors: Floats, values: Floats, i: int) -> float:
    """Finds where values cross 0 after point i; 0 before the first point, infinity after the last."""
    if i < 0:
        return 0.0
    if i + 1 == len(factors):
        return np.inf
    share = values[i] / (values[i] - values[i + 1])
    return float(np.exp(np.log(factors[i]) + share * np.log(factors[i + 1] / factors[i])))
