"""Arithmetic of equal-cost baselines: which length of dense training, or which uniform rate, costs as much as a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

TOLERANCE = 0.02  # baselines whose rates differ by a smaller share count as one
SAME_EVERY_EPOCH = 0.05  # a rate that deviates from its mean by a smaller share in every epoch counts as constant


@dataclass(frozen=True, slots=True)
class CostModel:
    """Cost of a dense run, split so that shorter runs and lower rates can be predicted. All in one unit.

    Attributes:
        training: Grows with the rows trained: training steps, selection and loading.
        overhead: Grows with the epochs only: validation and checkpoints.
        fixed: The rest, which every run pays once.
        epochs: Length of the run.
    """

    training: float
    overhead: float
    fixed: float
    epochs: int

    @property
    def total(self) -> float:
        """Cost of the whole run."""
        return self.training + self.overhead + self.fixed

    def cost(self, epochs: float, rate: float = 1.0) -> float:
        """Predicts the cost of a run of `epochs` epochs that trains a share `rate` of the rows."""
        return self.fixed + epochs / self.epochs * (self.overhead + rate * self.training)


def matching_epochs(cost: float, dense: CostModel) -> int:
    """Returns the number of dense epochs, at least 1, whose cost comes closest."""
    return max(1, round((cost - dense.fixed) / (dense.cost(1) - dense.fixed)))


def matching_rate(cost: float, epochs: int, dense: CostModel) -> float:
    """Returns the rate at which `epochs` epochs of uniform draws cost the same; outside (0, 1] if there is none."""
    scaled = (cost - dense.fixed) / epochs * dense.epochs
    return (scaled - dense.overhead) / dense.training


def close(one: float, other: float) -> bool:
    """Tells whether two rates are close enough to share a baseline."""
    return abs(one / other - 1) <= TOLERANCE


def constant(rates: Sequence[float]) -> bool:
    """Tells whether the rates of all epochs are about the same."""
    mean = fmean(rates)
    return all(abs(rate / mean - 1) <= SAME_EVERY_EPOCH for rate in rates)


def weighted_mean(rates: Sequence[float], weights: Sequence[float]) -> float:
    """Returns the mean rate, each weighted by what a row of its epoch costs."""
    return sum(rate * weight for rate, weight in zip(rates, weights, strict=True)) / sum(weights)


def scaled_rates(
    rates: Sequence[float], mean: float, lowest: float, weights: Sequence[float] | None = None
) -> list[float]:
    """Scales the rates of all epochs by one factor, so that their mean costs the same as the method.

    Args:
        rates: Share of the samples that each epoch trains.
        mean: Wanted mean, in (0, 1].
        lowest: Smallest rate that trains anything.
        weights: Relative cost of a row in each epoch; None for equal ones.

    Returns:
        Rates in [lowest, 1], rounded to four digits.
    """
    low, high = 0.0, 1 / min(max(rate, lowest) for rate in rates)
    weights = weights or [1.0] * len(rates)

    def scaled(factor: float) -> list[float]:
        return [min(1.0, max(lowest, factor * rate)) for rate in rates]

    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if weighted_mean(scaled(middle), weights) < mean else (low, middle)
    return [float(f"{rate:.4g}") for rate in scaled(high)]
