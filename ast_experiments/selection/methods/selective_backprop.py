"""Selective backpropagation: hard samples with a higher probability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.selection.batching import Carry, forwarded, others
from ast_experiments.selection.history import ScoreTable
from ast_experiments.selection.method import Context, Scorer, Selector
from ast_experiments.selection.numeric import generator
from ast_experiments.selection.plan import Plan

ORDER, DRAW = 1, 2


def build(*, scoring: Literal["stale", "fresh"], **settings: Any) -> Selector:
    """The selector for a way of scoring; settings at None are left at the selector's default."""
    given = {name: value for name, value in settings.items() if value is not None}
    if scoring == "stale":
        return StaleSelectiveBackprop(**given)
    from ast_experiments.selection.methods.selective_backprop_fresh import FreshSelectiveBackprop

    return FreshSelectiveBackprop(**given)


def keep_probabilities(losses: np.ndarray, rate: float) -> np.ndarray:
    """CDF(loss)^beta with beta = 1 / rate - 1, whose mean is the rate.

    Args:
        losses: Shape (n,); the distribution function is theirs, with ties in the order given.
        rate: Wanted mean, in (0, 1].
    """
    below = np.empty(len(losses))
    below[np.argsort(losses, kind="stable")] = np.arange(len(losses))
    return ((below + 0.5) / len(losses)) ** (1 / rate - 1)


class StaleSelectiveBackprop:
    """Trains each sample with probability CDF(last loss)^beta, decided before loading.

    Stale selective backpropagation (arXiv 1910.00762). The mean of the probabilities is 1 / (1 + beta), so beta is
    1 / rate - 1. In every epoch whose number is a multiple of `fresh_every`, the first included, the samples that were
    not trained are forwarded at its end, charged as scoring: every sample then has a loss of that epoch. In between,
    only trained samples get new losses, from their training pass.

    The source forwards the samples of every n-th epoch just before it selects from them, so that its losses are half
    an epoch younger, and takes the distribution from the last 1,024 losses that it looked at. An epoch that is planned
    at its start can take it from all of them, which leaves out the noise of a small sample. The released code trains
    every sample in the first epoch, which is the set-point's to say (`warmup_epochs`, 1 in the yaml file); without it
    all probabilities are the rate until every sample has a loss.

    Args:
        fresh_every: Epochs between two passes over all samples.
    """

    def __init__(self, *, fresh_every: int = 3) -> None:
        self._fresh_every = fresh_every
        self._carry = Carry()

    def prepare(self, context: Context) -> None:
        """Make the score table."""
        self._context, self._epoch = context, 0
        self._table = ScoreTable(context.samples, context.device)
        self._planned = np.empty(0, dtype=np.int64)

    def plan(self, epoch: int, target: float) -> Plan:
        """An independent draw for each sample, in a random order."""
        c, self._epoch = self._context, epoch
        order = self._carry.offered(generator(c.seed, ORDER, epoch).permutation(c.samples))
        known = not self._table.unseen.any()
        keep = keep_probabilities(self._table.scores[order], target) if known else target
        plan = self._carry.plan(order, generator(c.seed, DRAW, epoch).random(len(order)) < keep, c.batch_size)
        self._planned = plan.ids
        return plan

    def observe(self, batch: Batch, outputs: Outputs) -> None:
        """Note the losses."""
        self._table.record(batch.ids, outputs.losses)

    def end_epoch(self, score: Scorer) -> None:
        """Commit losses and carried rows; every few epochs, find the losses of the samples that were not trained."""
        c = self._context
        if self._epoch % self._fresh_every == 0 and self._epoch + 1 < c.epochs:
            for batch, outputs in forwarded(c, score, others(self._planned, c.samples), self._epoch):
                self.observe(batch, outputs)
        self._table.commit(self._epoch)
        self._carry.commit()

    def scored_share(self, target: float) -> float:
        """The samples that are not trained, in one of `fresh_every` epochs."""
        return (1 - target) / self._fresh_every

    def state_dict(self) -> dict[str, Any]:
        """The score table and carried rows."""
        return {"table": self._table.state_dict(), "carry": self._carry.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self._table.load_state_dict(state["table"])
        self._carry.load_state_dict(state["carry"])
