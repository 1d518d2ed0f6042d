"""Arithmetic of equal-cost baselines: which length of dense training, or which uniform rate, costs as much as a run."""

from __future__ import annotations

from dataclasses import dataclass

TOLERANCE = 0.02  # baselines whose rates differ by a smaller share count as one


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
