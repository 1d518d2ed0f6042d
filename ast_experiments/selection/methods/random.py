"""A new uniform draw every epoch: a control for every method."""

from __future__ import annotations

from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.method import Method
from ast_experiments.selection.plan import Plan


class Random(Method):
    """Trains on `target` of the samples, drawn anew each epoch, in full batches.

    Rows that fill no batch count for the next epoch, so the rate is exact over the run.
    """

    scoring, uniform, keeps_history = None, True, False
    planned_on_rank_0 = True

    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Draws samples uniformly without replacement."""
        del history
        return self.train(self.permutation(epoch)[: self.full_batches(target)])
