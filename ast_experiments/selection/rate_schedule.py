"""Set-points: which activation rate is wanted now, by a schedule or by what is left of a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ast_experiments.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SetPoint:
    """The target rate by epoch.

    Attributes:
        rate: Target after the warm-up, in (0, 1].
        final: Target before the final epochs; None keeps `rate`.
        schedule: `constant`, or `linear` or `cosine` from `rate` to `final`.
        warmup_epochs: Leading epochs in which every sample is trained.
        final_epochs: Last epochs in which every sample is trained.
    """

    rate: float
    final: float | None = None
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_epochs: int = 0
    final_epochs: int = 0

    def dense(self, epoch: int, epochs: int) -> bool:
        """Whether an epoch (counted from 0) of a run of `epochs` epochs trains every sample."""
        return epoch < self.warmup_epochs or epoch >= epochs - self.final_epochs

    def target(self, epoch: int, epochs: int) -> float:
        """Target of an epoch (counted from 0) of a run of `epochs` epochs."""
        if self.dense(epoch, epochs):
            return 1.0
        if self.schedule == "constant" or self.final is None:
            return self.rate
        span = epochs - self.warmup_epochs - self.final_epochs - 1
        progress = (epoch - self.warmup_epochs) / span if span > 0 else 1.0
        if self.schedule == "cosine":
            progress = (1 - math.cos(math.pi * progress)) / 2
        return self.rate + (self.final - self.rate) * progress


def check_dense_epochs(warmup_epochs: int, final_epochs: int, epochs: int) -> None:
    """Checks that some epochs of a run choose samples.

    Raises:
        ConfigError: If warm-up and final epochs, which train every sample, take the whole run.
    """
    if warmup_epochs + final_epochs >= epochs:
        more = f" and method.final_epochs={final_epochs}" if final_epochs else ""
        raise ConfigError(f"method.warmup_epochs: {warmup_epochs}{more} leaves nothing of recipe.epochs={epochs}")


@dataclass(frozen=True, slots=True)
class EpochCost:
    """What an epoch costs, in the budget's unit.

    Attributes:
        whole: Training every sample.
        choosing: Choosing in an epoch that does not train every sample: scoring passes and side networks.
    """

    whole: float
    choosing: float = 0.0


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount that training may spend.

    Attributes:
        kind: `samples`, `flops`, `seconds` or `joules`.
        amount: In rows, FLOPs, seconds or joules.
    """

    kind: Literal["samples", "flops", "seconds", "joules"]
    amount: float


def budget_range(setpoint: SetPoint, epochs: int, cost: EpochCost, lowest: float) -> tuple[float, float]:
    """The least and the most that a run of `epochs` epochs can spend at rates in [lowest, 1]."""
    dense = sum(setpoint.dense(epoch, epochs) for epoch in range(epochs))
    sparse = epochs - dense
    fixed = dense * cost.whole + sparse * cost.choosing
    return fixed + sparse * lowest * cost.whole, fixed + sparse * cost.whole


def budgeted(setpoint: SetPoint, epoch: int, epochs: int, left: float, cost: EpochCost, lowest: float) -> float:
    """The target rate of an epoch that is to be followed by others, all of which together spend what is left.

    The set-point's own rates are multiplied by one factor for all epochs to come, and kept in [lowest, 1]; the factor
    is the one at which the expected cost of these epochs equals what is left.

    Args:
        setpoint: Gives the shape.
        epoch: Epoch to plan, counted from 0.
        epochs: Planned epochs.
        left: What is left of the budget.
        cost: Expected cost of an epoch.
        lowest: Smallest rate that trains at all.
    """
    if setpoint.dense(epoch, epochs):
        return 1.0
    to_come = range(epoch, epochs)
    shape = [setpoint.target(e, epochs) for e in to_come if not setpoint.dense(e, epochs)]
    fixed = (len(to_come) - len(shape)) * cost.whole + len(shape) * cost.choosing
    factor = _factor(shape, (left - fixed) / cost.whole, lowest)
    return min(1.0, max(lowest, factor * shape[0]))


def _factor(shape: Sequence[float], wanted: float, lowest: float) -> float:
    """The factor at which the rates of a shape, kept in [lowest, 1], add up to `wanted`; by bisection."""
    low, high = 0.0, 1.0 / min(shape)

    def total(factor: float) -> float:
        return sum(min(1.0, max(lowest, factor * rate)) for rate in shape)

    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if total(middle) < wanted else (low, middle)
    return (low + high) / 2
