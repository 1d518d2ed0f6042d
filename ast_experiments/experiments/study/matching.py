"""The arithmetic of a study: baselines at a given cost, learning rates to try, the order of arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

ALIKE = 0.02  # baselines whose rates differ by a smaller share are one
LR_STEP = 2.0  # between two learning rates that are tried


@dataclass(frozen=True, slots=True)
class Price:
    """What a run cost, all in one unit.

    Attributes:
        training: Training rows, choosing and loading them.
        beside: What comes with an epoch whatever is trained in it: validation and checkpoints.
        fixed: All else that counts, whatever the length of the run.
        epochs: Of the run.
    """

    training: float
    beside: float
    fixed: float
    epochs: int

    @property
    def total(self) -> float:
        """All of it."""
        return self.training + self.beside + self.fixed

    def of(self, epochs: float, rate: float = 1.0) -> float:
        """What a run of so many epochs would cost at a rate, if this price is that of dense training."""
        return self.fixed + epochs / self.epochs * (self.beside + rate * self.training)


def epochs_costing(cost: float, dense: Price) -> int:
    """Epochs of dense training that cost about as much, at least one."""
    return max(1, round((cost - dense.fixed) / (dense.of(1) - dense.fixed)))


def rate_costing(cost: float, epochs: int, dense: Price) -> float:
    """The rate at which `epochs` epochs of uniform draws cost as much; not above 0 or above 1 where none does."""
    each = (cost - dense.fixed) / epochs * dense.epochs
    return (each - dense.beside) / dense.training


def alike(one: float, other: float) -> bool:
    """Whether two rates are so close that one baseline serves for both."""
    return abs(one / other - 1) <= ALIKE


def lr_grid(lr: float, trials: int) -> list[float]:
    """Learning rates to try: a geometric grid with `lr` in its middle, or just below it."""
    return [float(f"{lr * LR_STEP ** (i - (trials - 1) // 2):.6g}") for i in range(trials)]


def rotated(arms: Sequence[Item], turn: int, turns: int) -> list[Item]:
    """The arms in the order of one of several turns, over which each of them comes early, in the middle and late."""
    first = round(turn * len(arms) / turns)
    return [*arms[first:], *arms[:first]]
