"""OrderDP: the largest losses of a random part of the samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.selection.batching import full_batches
from ast_experiments.selection.history import ScoreTable
from ast_experiments.selection.method import Context, Scorer
from ast_experiments.selection.numeric import generator
from ast_experiments.selection.plan import Plan

ORDER = 1


class OrderDP:
    """Draws a share of the samples at random and trains those of them with the largest last losses.

    OrderDP (ICLR 2026, arXiv 2606.08574). Its gradient is unbiased for a surrogate loss that weighs samples by the
    rank of their losses, not for the mean loss; there are no weights. As in the released code there is no final phase
    on all samples. Samples without a loss count as the largest; the released code gives them a loss of 3.

    Args:
        draw: Share rho of the samples that is drawn, in (0, 1].
        keep: Share phi of the drawn samples that is trained, in (0, 1].
    """

    def __init__(self, *, draw: float, keep: float) -> None:
        self._draw, self._keep = draw, keep
        self._owed = self._owed_next = 0.0

    def prepare(self, context: Context) -> None:
        """Make the score table."""
        self._context, self._epoch = context, 0
        self._table = ScoreTable(context.samples, context.device)

    def plan(self, epoch: int, target: float) -> Plan:
        """The hard part of a draw, in a random order and full batches."""
        del target
        c, self._epoch = self._context, epoch
        rows, self._owed_next = full_batches(self._draw * self._keep, c.samples, self._owed, c.batch_size)
        drawn = generator(c.seed, ORDER, epoch).permutation(c.samples)[: max(rows, round(self._draw * c.samples))]
        losses = np.where(self._table.unseen, np.inf, self._table.scores)[drawn]
        hardest = np.argsort(-losses, kind="stable")[:rows]
        return Plan(drawn[np.sort(hardest)], offered=c.samples, load_batch=c.batch_size)

    def observe(self, batch: Batch, outputs: Outputs) -> None:
        """Note the losses."""
        self._table.record(batch.ids, outputs.losses)

    def end_epoch(self, score: Scorer) -> None:
        """Commit the losses and the rows that are owed."""
        del score
        self._table.commit(self._epoch)
        self._owed = self._owed_next

    def state_dict(self) -> dict[str, Any]:
        """The score table and the rows that are owed."""
        return {"table": self._table.state_dict(), "owed": self._owed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self._table.load_state_dict(state["table"])
        self._owed = self._owed_next = float(state["owed"])
