"""The target rate of each epoch: from a schedule, or from what is left of a budget."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ast_experiments.core import distributed
from ast_experiments.selection.plan import Plan
from ast_experiments.selection.rate_schedule import RateSchedule
from ast_experiments.training.budget import BudgetControl, Spent

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TargetRate:
    """The target rate by epoch.

    Attributes:
        setpoint: Scheduled rates; None for a method without a rate, which trains at rate 1.
        epochs: Planned epochs.
        budget: Sets the rates instead, if the run has a budget.
    """

    setpoint: RateSchedule | None
    epochs: int
    budget: BudgetControl | None = None

    def of(self, epoch: int, spent: list[Spent]) -> float:
        """Returns the target of an epoch, the same on all ranks.

        Args:
            epoch: Counted from 0.
            spent: Amount of the budget spent by the end of each earlier epoch.
        """
        if self.setpoint is None:
            return 1.0
        if self.budget is None:
            return self.setpoint.target(epoch, self.epochs)
        if epoch == 1 and (line := self.budget.beyond(1, spent)):
            logger.warning(line)
        return distributed.broadcast_object(self.budget.target(epoch, spent))

    def later_rows(self, epoch: int, target: float, plan: Plan) -> list[float]:
        """Returns the rows that each later epoch is expected to train.

        They follow the rate schedule, scaled if a budget sets the rates. For a method without a rate they are as many
        as in the current epoch.

        Args:
            epoch: Current epoch, counted from 0.
            target: Its target rate.
            plan: Its plan.
        """
        later = range(epoch + 1, self.epochs)
        if self.setpoint is None:
            return [float(plan.rows)] * len(later)
        scale = 1.0 if self.budget is None else target / self.setpoint.target(epoch, self.epochs)
        return [scale * self.setpoint.target(each, self.epochs) * plan.offered for each in later]

    def entry(self, key: str, target: float) -> dict[str, float]:
        """Returns the target under a key of a log row; nothing for a method without a rate."""
        return {} if self.setpoint is None else {key: target}

    def result(self, spent: Sequence[Spent]) -> dict[str, Any]:
        """Returns the entry of result.json about the budget; nothing without one."""
        if self.budget is None or not spent:
            return {}
        budget, total = self.budget.budget, spent[-1].total
        return {"budget": {"kind": budget.kind, "amount": budget.amount, "spent": total, "of": total / budget.amount}}
