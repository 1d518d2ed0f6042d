"""Easy to hard: a growing share of the samples, those with the lowest losses."""

from __future__ import annotations

import numpy as np

from ast_experiments.core.ranges import Rate
from ast_experiments.selection.batching import others
from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.method import Method
from ast_experiments.selection.plan import Plan


def easiest(losses: np.ndarray, rows: int) -> np.ndarray:
    """Returns the `rows` rows with the lowest losses (n,), those without a loss, NaN, last; bool, shape (n,)."""
    mask = np.zeros(len(losses), dtype=bool)
    mask[np.argsort(losses, kind="stable")[:rows]] = True
    return mask


class Curriculum(Method):
    """Trains, at progress t, the g(t) N samples with the lowest last losses; g grows linearly from `start` to 1.

    The pacing function of curriculum learning (arXiv 1904.03626) with the network's own losses as difficulty. The
    first epoch draws its share uniformly. At its end all other samples are forwarded once, charged as scoring, so that
    the second epoch knows a loss of each. After that a sample's loss is renewed when it is trained. Once g is 1, every
    sample is trained.

    Args:
        start: g in the first epoch.
        ramp: Progress at which g reaches 1.
    """

    rate = None
    planned_on_rank_0 = True

    def __init__(self, *, start: Rate = 0.2, ramp: Rate = 0.5) -> None:
        self._start, self._ramp = start, ramp

    def share(self, epoch: int) -> float:
        """Returns the share g that an epoch trains."""
        progress = epoch / self.context.epochs
        return min(1.0, self._start + (1 - self._start) * progress / self._ramp)

    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Orders the easiest samples at random."""
        del target
        share, order = self.share(epoch), self.permutation(epoch)
        if share > 1 - 1e-9:
            return self.train_all(epoch)
        return self.train(order[easiest(history.losses[order], self.full_batches(share))])

    def rescore(self, epoch: int, history: SampleHistory) -> np.ndarray:
        """After the first epoch, asks for the samples that were not trained."""
        if history.unseen.any() and epoch + 1 < self.context.epochs:
            return others(self.planned.ids, self.context.samples)
        return super().rescore(epoch, history)

    def scored_share(self, target: float) -> float:
        """Spreads the samples that the first epoch does not train over the run."""
        del target
        return (1 - self._start) / self.context.epochs

    def least_share(self, rate: float) -> float:
        """Returns the share of the first epoch."""
        del rate
        return self._start
