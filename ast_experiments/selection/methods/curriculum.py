"""Easy to hard: a growing share of the samples, those with the lowest losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.selection.batching import forwarded, full_batches, others
from ast_experiments.selection.history import ScoreTable
from ast_experiments.selection.method import Context, Scorer
from ast_experiments.selection.numeric import generator
from ast_experiments.selection.plan import Plan

ORDER = 1


class Curriculum:
    """Trains, at progress t, the g(t) N samples with the lowest last losses; g grows linearly from `start` to 1.

    The pacing function of curriculum learning (arXiv 1904.03626) with the network's own losses as difficulty. The
    first epoch draws its share uniformly; at its end all other samples are forwarded once, charged as scoring, so that
    the second epoch knows a loss of each. After that a sample's loss is renewed when it is trained. Once g is 1 every
    sample is trained.

    Args:
        start: g in the first epoch, in (0, 1].
        ramp: Progress at which g reaches 1, in (0, 1].
    """

    def __init__(self, *, start: float, ramp: float) -> None:
        self._start, self._ramp = start, ramp
        self._owed = self._owed_next = 0.0

    def prepare(self, context: Context) -> None:
        """Make the score table."""
        self._context, self._epoch = context, 0
        self._table = ScoreTable(context.samples, context.device)
        self._planned = np.empty(0, dtype=np.int64)

    def share(self, epoch: int) -> float:
        """The share g that an epoch trains."""
        progress = epoch / self._context.epochs
        return min(1.0, self._start + (1 - self._start) * progress / self._ramp)

    def plan(self, epoch: int, target: float) -> Plan:
        """The easiest samples, in a random order."""
        del target
        c, self._epoch = self._context, epoch
        order = generator(c.seed, ORDER, epoch).permutation(c.samples)
        share = self.share(epoch)
        if share > 1 - 1e-9:
            self._planned, self._owed_next = order, self._owed
            return Plan(order, offered=c.samples, load_batch=c.batch_size, keep_short=True)
        rows, self._owed_next = full_batches(share, c.samples, self._owed, c.batch_size)
        easiest = np.argsort(self._table.scores[order], kind="stable")[:rows]  # nan comes last
        self._planned = order[np.sort(easiest)]
        return Plan(self._planned, offered=c.samples, load_batch=c.batch_size)

    def observe(self, batch: Batch, outputs: Outputs) -> None:
        """Note the losses."""
        self._table.record(batch.ids, outputs.losses)

    def end_epoch(self, score: Scorer) -> None:
        """Commit the losses; after the first epoch, find those of the samples that were not trained."""
        c = self._context
        if self._table.unseen.any() and self._epoch + 1 < c.epochs:
            for batch, outputs in forwarded(c, score, others(self._planned, c.samples), self._epoch):
                self.observe(batch, outputs)
        self._table.commit(self._epoch)
        self._owed = self._owed_next

    def scored_share(self, target: float) -> float:
        """The samples that the first epoch does not train, spread over the run."""
        del target
        return (1 - self._start) / self._context.epochs

    def state_dict(self) -> dict[str, Any]:
        """The score table and the rows that are owed."""
        return {"table": self._table.state_dict(), "owed": self._owed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self._table.load_state_dict(state["table"])
        self._owed = self._owed_next = float(state["owed"])
