"""Target rates by epoch: a schedule, and its scaling to what is left of a budget."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ast_experiments.core.errors import ConfigError

ScheduleName = Literal["auto", "constant", "falling", "linear", "cosine"]

AROUND_MEAN = ("auto", "falling")
"""Schedules whose mean over the epochs is `rate`."""

FALL = 0.5
"""A falling schedule begins above its mean by this share of it, or at 1, and ends as far below."""

EVEN, UNEVEN = 0.95, 0.65
"""Evenness of the classes from which on an `auto` schedule is constant, and up to which it falls in full."""


@dataclass(frozen=True, slots=True)
class RateSchedule:
    """The target rate by epoch.

    Attributes:
        rate: Target after the warm-up, in (0, 1].
        final: Target before the final epochs; None keeps `rate`.
        schedule: `constant`; `falling`, linear around a mean of `rate`; `auto`, the one or the other, or between them,
            depending on the classes; `linear` or `cosine` from `rate` to `final`; or the target of each epoch.
        warmup_epochs: Number of leading epochs that train every sample.
        final_epochs: Number of last epochs that train every sample.
        fall: How far an `auto` schedule begins above its mean, as a share of it; 0 until the classes are known.
    """

    rate: float
    final: float | None = None
    schedule: ScheduleName | Sequence[float] = "constant"
    warmup_epochs: int = 0
    final_epochs: int = 0
    fall: float = 0.0

    def for_classes(self, counts: Sequence[int] | np.ndarray) -> RateSchedule:
        """Returns the schedule for training samples of these classes: one that is `auto` falls if they are uneven.

        Args:
            counts: Training samples by class, shape (classes,).
        """
        if self.schedule != "auto":
            return self
        return replace(self, fall=FALL * min(1.0, max(0.0, (EVEN - evenness(counts)) / (EVEN - UNEVEN))))

    def check(self, epochs: int) -> None:
        """Checks that the schedule fits a run of `epochs` epochs.

        Raises:
            ConfigError: If a list has another number of rates or comes with other settings, or if warm-up and final
                epochs take the whole run.
        """
        if not isinstance(self.schedule, str):
            if len(self.schedule) != epochs:
                raise ConfigError(
                    f"method.rate_schedule: lists {len(self.schedule)} rates for recipe.epochs={epochs}; "
                    "list one rate an epoch"
                )
            if self.warmup_epochs or self.final_epochs:
                raise ConfigError(
                    "method.rate_schedule: a list gives the rate of every epoch; leave out method.warmup_epochs and "
                    "method.final_epochs"
                )
        if self.warmup_epochs + self.final_epochs >= epochs:
            more = f" and method.final_epochs={self.final_epochs}" if self.final_epochs else ""
            raise ConfigError(
                f"method.warmup_epochs: {self.warmup_epochs}{more} leaves nothing of recipe.epochs={epochs}"
            )

    @property
    def least(self) -> float:
        """The lowest rate of an epoch that does not train every sample."""
        if not isinstance(self.schedule, str):
            return min(self.schedule)
        return min(self._ends)

    @property
    def last(self) -> float:
        """The rate at the end of the schedule, before the final epochs."""
        if not isinstance(self.schedule, str):
            return self.schedule[-1]
        return self._ends[1]

    @property
    def _ends(self) -> tuple[float, float]:
        """The first and the last rate of a named schedule."""
        if self.schedule in AROUND_MEAN:
            first = min(1.0, (1 + (FALL if self.schedule == "falling" else self.fall)) * self.rate)
            return first, round(2 * self.rate - first, 12)
        return self.rate, self.rate if self.schedule == "constant" or self.final is None else self.final

    def dense(self, epoch: int, epochs: int) -> bool:
        """Returns whether an epoch (counted from 0) of a run of `epochs` epochs trains every sample."""
        return epoch < self.warmup_epochs or epoch >= epochs - self.final_epochs

    def target(self, epoch: int, epochs: int) -> float:
        """Returns the target of an epoch (counted from 0) of a run of `epochs` epochs."""
        if self.dense(epoch, epochs):
            return 1.0
        if not isinstance(self.schedule, str):
            return self.schedule[epoch]
        first, last = self._ends
        span = epochs - self.warmup_epochs - self.final_epochs - 1
        alone = 0.5 if self.schedule in AROUND_MEAN else 1.0  # progress of an epoch that is the only one
        progress = (epoch - self.warmup_epochs) / span if span > 0 else alone
        if self.schedule == "cosine":
            progress = (1 - math.cos(math.pi * progress)) / 2
        return first + (last - first) * progress

    def dense_epochs(self, epochs: int) -> float:
        """Returns the number of dense epochs that train as many rows as a run of `epochs` epochs."""
        return sum(self.target(epoch, epochs) for epoch in range(epochs))


def evenness(counts: Sequence[int] | np.ndarray) -> float:
    """Returns the perplexity of the classes as a share of their number: 1 if all have as many samples.

    Args:
        counts: Samples by class, shape (classes,); classes without any do not count.
    """
    present = np.asarray(counts, dtype=np.float64)
    shares = present[present > 0] / present.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()) / len(shares)) if len(shares) else 1.0


@dataclass(frozen=True, slots=True)
class EpochCost:
    """Cost of an epoch, in the unit of the budget.

    Attributes:
        whole: Cost of training every sample.
        choosing: Cost of choosing in an epoch that does not train every sample: scoring passes and auxiliary models.
        by_epoch: Factor on both in each epoch of the run, e.g. of smaller images; empty if that is 1 throughout.
    """

    whole: float
    choosing: float = 0.0
    by_epoch: tuple[float, ...] = ()

    def factor(self, epoch: int) -> float:
        """Returns the factor on both costs in an epoch, counted from 0."""
        return self.by_epoch[epoch] if self.by_epoch else 1.0

    def split(self, schedule: RateSchedule, epochs: Iterable[int], length: int) -> tuple[float, float]:
        """Returns what some epochs cost at any rate, and what they add at rate 1.

        Args:
            schedule: Tells which epochs train every sample.
            epochs: The epochs, counted from 0.
            length: Planned epochs of the run.
        """
        fixed = sparse = 0.0
        for epoch in epochs:
            if schedule.dense(epoch, length):
                fixed += self.factor(epoch) * self.whole
            else:
                fixed += self.factor(epoch) * self.choosing
                sparse += self.factor(epoch) * self.whole
        return fixed, sparse


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount that training may spend.

    Attributes:
        kind: `samples`, `flops`, `seconds` or `joules`.
        amount: In rows, FLOPs, seconds or joules.
    """

    kind: Literal["samples", "flops", "seconds", "joules"]
    amount: float


def budget_range(schedule: RateSchedule, epochs: int, cost: EpochCost, lowest: float) -> tuple[float, float]:
    """Returns the least and the most that a run of `epochs` epochs can spend at rates in [lowest, 1]."""
    fixed, sparse = cost.split(schedule, range(epochs), epochs)
    return fixed + sparse * lowest, fixed + sparse


def budgeted_rate(
    schedule: RateSchedule, epoch: int, epochs: int, left: float, cost: EpochCost, lowest: float
) -> float:
    """Returns the target rate of an epoch such that this and all later epochs together spend what is left.

    One factor multiplies the scheduled rates of these epochs, which are then limited to [lowest, 1]. With the right
    factor, the expected cost of these epochs equals what is left.

    Args:
        schedule: Shape of the rate over the run.
        epoch: Epoch to plan, counted from 0.
        epochs: Planned epochs.
        left: What is left of the budget.
        cost: Expected cost of an epoch.
        lowest: Smallest rate that trains anything.
    """
    if schedule.dense(epoch, epochs):
        return 1.0
    to_come = [e for e in range(epoch, epochs) if not schedule.dense(e, epochs)]
    fixed, _ = cost.split(schedule, range(epoch, epochs), epochs)
    shape = [(schedule.target(e, epochs), cost.factor(e)) for e in to_come]
    factor = _factor(shape, (left - fixed) / cost.whole, lowest)
    return min(1.0, max(lowest, factor * shape[0][0]))


def _factor(shape: Sequence[tuple[float, float]], wanted: float, lowest: float) -> float:
    """Returns the factor at which the costs of a shape add up to `wanted`; by bisection.

    Args:
        shape: Rate and cost at rate 1 of each epoch.
        wanted: Sum of the costs.
        lowest: Rates are limited to [lowest, 1].
    """
    low, high = 0.0, 1.0 / min(rate for rate, _ in shape)

    def total(factor: float) -> float:
        return sum(min(1.0, max(lowest, factor * rate)) * cost for rate, cost in shape)

    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if total(middle) < wanted else (low, middle)
    return (low + high) / 2
