"""Every sample, every epoch: the reference."""

from __future__ import annotations

from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.method import Method
from ast_experiments.selection.plan import Plan


class Dense(Method):
    """Trains on all samples in a new order each epoch; keeps the last short batch."""

    rate, scoring, uniform, keeps_history = None, None, True, False
    planned_on_rank_0 = True

    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Orders all samples at random; ignores the target."""
        del target, history
        return self.train_all(epoch)
