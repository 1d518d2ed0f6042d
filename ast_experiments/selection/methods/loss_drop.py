"""The samples whose loss fell most between their last two training visits."""

from __future__ import annotations

import numpy as np

from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.method import Method
from ast_experiments.selection.plan import Plan


class LossDrop(Method):
    """Trains the target share whose loss fell most between the last two visits, in full batches.

    The drop is the loss before the last one minus the last one; it is negative where the loss rose. Samples with fewer
    than two losses come first, so that every sample has a drop after some epochs. From then on a sample that is not
    trained keeps its drop: one whose loss rose returns only when the drops of the others fall below its own.
    """

    planned_on_rank_0 = True

    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Takes the samples with the largest drops, in a random order."""
        order = self.permutation(epoch)
        drops = np.where(history.visits < 2, np.inf, history.previous_losses - history.losses)[order]
        return self.train(order[np.sort(np.argsort(-drops, kind="stable")[: self.full_batches(target)])])
