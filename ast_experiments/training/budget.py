"""Budgets: before each epoch, the target rate is set from what is left, so that the run ends on its budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ast_experiments.core.errors import ConfigError, UserError
from ast_experiments.energy.flops import Flops
from ast_experiments.energy.ledger import Ledger
from ast_experiments.selection.rate_schedule import Budget, EpochCost, RateSchedule, budget_range, budgeted_rate

UNITS = {"samples": "rows", "flops": "FLOPs", "seconds": "s", "joules": "J"}
COARSE = 0.02  # share of the budget that a batch may be before that is said
MISS = 0.05  # share of the budget by which it may be missed before that is said
MEMORY = 0.5  # weight of the newest epoch in the expected cost
ESTIMATE_MARGIN = 0.1  # how far a cost that was estimated, not counted, may be off before a budget is refused


class Spent(NamedTuple):
    """What a run has spent so far, in the unit of its budget.

    Attributes:
        rows: Rows trained.
        training: Amount spent on loading and training rows.
        choosing: Amount spent on choosing rows: scoring and planning.
    """

    rows: int = 0
    training: float = 0.0
    choosing: float = 0.0

    @property
    def total(self) -> float:
        """Amount spent on training and choosing together."""
        return self.training + self.choosing


def spent(kind: str, ledger: Ledger, joules: float | None) -> Spent:
    """Returns what the ledger says was spent, in the unit of a kind of budget.

    Seconds count training, scoring, planning and loading. Set-up, validation and checkpoints are free. Joules are
    divided between training and choosing in proportion to these seconds.

    Args:
        kind: `samples`, `flops`, `seconds` or `joules`, as in `Budget`.
        ledger: Rows, FLOPs and seconds of the run.
        joules: Joules of everything but validation; None if no meter gives them.

    Raises:
        UserError: If the budget is in joules and the meter has stopped measuring.
    """
    if kind == "samples":
        return Spent(ledger.trained, ledger.trained)
    if kind == "flops":
        return Spent(ledger.trained, ledger.flops["train"], ledger.flops["score"])
    seconds = ledger.now()
    choosing = seconds["score"] + seconds["plan"]
    training = seconds["train"] + seconds["data_wait"]
    if kind == "seconds":
        return Spent(ledger.trained, training, choosing)
    if joules is None:
        raise UserError(
            "method.budget.joules: joules are no longer measured (train.log says why); when that is mended "
            "ast-resume goes on from the last checkpoint"
        )
    share = choosing / (choosing + training) if choosing + training else 0.0
    return Spent(ledger.trained, joules * (1 - share), joules * share)


@dataclass(frozen=True, slots=True)
class BudgetControl:
    """Sets the target rate of each epoch so that the run ends on its budget.

    Attributes:
        budget: Kind and amount of the budget.
        setpoint: Rate schedule without the budget; the rates of all remaining epochs are scaled by one factor.
        epochs: Planned epochs.
        samples: Training samples.
        batch_size: Rows of a batch; every epoch trains at least one batch.
        expected: Cost of an epoch, as expected before the first one has ended; NaN if nothing is known by then.
        exact: Whether the expected cost is counted (rows, FLOPs) or estimated (seconds).
        cheapest: Expected cost of an epoch at the smallest rate; None takes `expected`.
    """

    budget: Budget
    setpoint: RateSchedule
    epochs: int
    samples: int
    batch_size: int
    expected: EpochCost
    exact: bool
    cheapest: EpochCost | None = None

    @property
    def lowest(self) -> float:
        """The smallest rate: one batch per epoch."""
        return self.batch_size / self.samples

    def check(self) -> str:
        """Refuses a budget that cannot be met.

        Returns:
            One line that states the mean rate that the budget allows.

        Raises:
            ConfigError: If even the smallest rates spend more, or full rates less; names both amounts.
        """
        b, unit = self.budget, UNITS[self.budget.kind]
        if math.isnan(self.expected.whole):
            return f"budget: {_amount(b.amount)} {unit} over {self.epochs} epochs; the first epoch tells what one costs"
        low, high = budget_range(self.setpoint, self.epochs, self.expected, self.lowest)
        if self.cheapest is not None:
            low, _ = budget_range(self.setpoint, self.epochs, self.cheapest, self.lowest)
        slack = 0.0 if self.exact else ESTIMATE_MARGIN
        about = "" if self.exact else "about "
        if not low * (1 - slack) <= b.amount <= high * (1 + slack):
            change = f"recipe.epochs={self.epochs} spend {about}{_amount(low)} to {_amount(high)} {unit}"
            more = "more" if b.amount > high else "fewer"
            raise ConfigError(
                f"method.budget.{b.kind}: {_amount(b.amount)} {unit} cannot be met: {change}; "
                f"give an amount between them, or {more} epochs"
            )
        rate = (b.amount - low) / (high - low) * (1 - self.lowest) + self.lowest if high > low else 1.0
        batch = self.expected.whole * self.lowest / b.amount
        coarse = f"; met to a batch, which is {100 * batch:.1f} % of it" if batch > COARSE else ""
        return (
            f"budget: {_amount(b.amount)} {unit} over {self.epochs} epochs, at a mean rate of {about}"
            f"{min(1.0, max(self.lowest, rate)):.3f} outside dense epochs{coarse}"
        )

    def beyond(self, epoch: int, history: list[Spent]) -> str | None:
        """Predicts whether the run will miss its budget, from the cost of the epochs so far.

        Args:
            epoch: The next epoch, counted from 0.
            history: What was spent by the end of each earlier epoch; at least one.

        Returns:
            One line if even the smallest or the largest rates of the remaining epochs miss it; None otherwise.
        """
        left, cost = self.budget.amount - history[-1].total, self.cost(history)
        fixed, sparse = cost.split(self.setpoint, range(epoch, self.epochs), self.epochs)
        low, high = fixed + sparse * self.lowest, fixed + sparse
        slack = MISS * self.budget.amount
        if low - slack <= left <= high + slack:
            return None
        return (
            f"method.budget.{self.budget.kind}: will be missed: of {_amount(self.budget.amount)} "
            f"{UNITS[self.budget.kind]} {_amount(left)} are left, and {self.epochs - epoch} epochs spend "
            f"{_amount(low)} to {_amount(high)}"
        )

    def target(self, epoch: int, history: list[Spent]) -> float:
        """Returns the target rate of an epoch.

        Args:
            epoch: The next epoch, counted from 0.
            history: What was spent by the end of each earlier epoch.
        """
        if math.isnan(self.expected.whole) and not history:
            return self.setpoint.target(epoch, self.epochs)
        left = self.budget.amount - (history[-1].total if history else 0.0)
        return budgeted_rate(self.setpoint, epoch, self.epochs, left, self.cost(history), self.lowest)

    def cost(self, history: list[Spent]) -> EpochCost:
        """Returns the expected cost of an epoch, from the epochs so far.

        The cost of training is a moving average in which the newest epoch weighs one half. The cost of choosing is a
        mean. The first epoch, which contains what a method does only once, counts until a second one has ended.
        """
        whole: float | None = None
        choosing = [] if math.isnan(self.expected.whole) else [self.expected.choosing]
        before = Spent()
        for epoch, now in enumerate(history):
            rows = now.rows - before.rows
            if epoch == 0 and len(history) > 1:
                before = now
                continue
            if rows:
                each = (now.training - before.training) / rows * self.samples / self.expected.factor(epoch)
                whole = each if whole is None else MEMORY * each + (1 - MEMORY) * whole
            if not self.setpoint.dense(epoch, self.epochs):
                # Some methods score every few epochs only: the mean does not follow the last one up and down.
                choosing.append((now.choosing - before.choosing) / self.expected.factor(epoch))
            before = now
        whole = self.expected.whole if whole is None else whole
        return EpochCost(whole, sum(choosing) / max(1, len(choosing)), self.expected.by_epoch)


def control_for(
    budget: Budget,
    setpoint: RateSchedule,
    *,
    epochs: int,
    samples: int,
    batch_size: int,
    flops: Flops | None,
    scored_share: Callable[[float], float],
    time_per_row: Callable[[int], tuple[float, float]],
    has_meter: bool,
    by_epoch: tuple[float, ...] = (),
) -> BudgetControl:
    """Builds the control of a budget: works out what an epoch is expected to cost.

    Args:
        budget: Kind and amount of the budget.
        setpoint: Rate schedule without the budget.
        epochs: Planned epochs.
        samples: Training samples.
        batch_size: Rows of a batch.
        flops: FLOPs of one sample; None if they could not be counted.
        scored_share: Called with a rate, returns the scoring passes per offered row.
        time_per_row: Called with an epoch, measures the seconds of training one of its rows and of scoring one; called
            for a budget in seconds only.
        has_meter: Whether joules are measured.
        by_epoch: FLOPs of a row in each epoch, as a share of those at full size; empty if that is 1 throughout.

    Raises:
        ConfigError: If the unit of the budget cannot be measured here, or the amount cannot be met.
    """
    if budget.kind == "joules" and not has_meter:
        raise ConfigError(
            "method.budget.joules: no energy meter was found here; give method.budget.seconds, .flops or .samples"
        )
    if budget.kind == "flops" and flops is None:
        raise ConfigError("method.budget.flops: this network's FLOPs cannot be counted; give a budget in another unit")
    whole, forward = 1.0, 0.0
    if budget.kind == "flops" and flops is not None:
        whole, forward = float(flops.forward + flops.backward), float(flops.forward)
    elif budget.kind == "seconds":
        times = {share: time_per_row(epoch) for epoch, share in enumerate(by_epoch) if share not in by_epoch[:epoch]}
        whole, forward = times[max(times)] if times else time_per_row(0)
        by_epoch = tuple(times[share][0] / whole for share in by_epoch)
    elif budget.kind == "joules":
        whole = math.nan  # known after the first epoch; until then the set-point's own rates hold

    def cost(rate: float) -> EpochCost:
        factors = () if budget.kind == "samples" else by_epoch
        return EpochCost(samples * whole, samples * scored_share(rate) * forward, factors)

    return BudgetControl(
        budget, setpoint, epochs, samples, batch_size,
        cost(setpoint.rate), budget.kind != "seconds", cost(batch_size / samples),
    )  # fmt: skip


def _amount(value: float) -> str:
    return f"{value:,.0f}" if 100 <= value < 1e9 else f"{value:.4g}"
