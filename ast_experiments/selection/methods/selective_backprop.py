"""Selective backpropagation on stale losses: hard samples with a higher probability, drawn before loading."""

from __future__ import annotations

import numpy as np

from ast_experiments.core.ranges import Count
from ast_experiments.selection.batching import others
from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.method import Method
from ast_experiments.selection.plan import Plan

DRAW = 2


def keep_probabilities(losses: np.ndarray, rate: float) -> np.ndarray:
    """Returns CDF(loss)^beta with beta = 1 / rate - 1, whose mean is the rate.

    Args:
        losses: Shape (n,); the distribution function is theirs, with ties in the order given.
        rate: Target mean, in (0, 1].
    """
    below = np.empty(len(losses))
    below[np.argsort(losses, kind="stable")] = np.arange(len(losses))
    return ((below + 0.5) / len(losses)) ** (1 / rate - 1)


class SelectiveBackprop(Method):
    """Trains each sample with probability CDF(last loss)^beta, decided before loading.

    Stale selective backpropagation (arXiv 1910.00762). The mean of the probabilities is 1 / (1 + beta), so beta is
    1 / rate - 1. At the end of every epoch whose number is a multiple of `fresh_every`, the first included, the samples
    that were not trained are forwarded, charged as scoring: every sample then has a loss of that epoch. In between,
    only trained samples get new losses, from their training pass.

    The source forwards the samples of every n-th epoch just before it selects from them, so its losses are half an
    epoch younger, and takes the distribution from the last 1,024 losses that it looked at. An epoch that is planned
    at its start can take it from all of them, which leaves out the noise of a small sample. The released code trains
    every sample in the first epoch, as `warmup_epochs` does here. Without it all probabilities are the rate until every
    sample has a loss.

    Args:
        fresh_every: Epochs between two passes over all samples.
    """

    warmup_epochs = 1
    planned_on_rank_0 = True

    def __init__(self, *, fresh_every: Count = 3) -> None:
        self._fresh_every = fresh_every

    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Draws each sample independently, in a random order."""
        order = self.carry.offered(self.permutation(epoch))
        keep = target if history.unseen.any() else keep_probabilities(history.losses[order], target)
        return self.carry.plan(order, self.random(DRAW, epoch).random(len(order)) < keep)

    def rescore(self, epoch: int, history: SampleHistory) -> np.ndarray:
        """Every few epochs, asks for the samples that were not trained."""
        if epoch % self._fresh_every == 0 and epoch + 1 < self.context.epochs:
            return others(self.planned.ids, self.context.samples)
        return super().rescore(epoch, history)

    def scored_share(self, target: float) -> float:
        """Returns the samples that are not trained, in one of `fresh_every` epochs."""
        return (1 - target) / self._fresh_every
