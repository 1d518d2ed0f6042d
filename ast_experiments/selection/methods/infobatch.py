"""InfoBatch: some of the easy samples at random, with larger weights, so that the gradient stays unbiased."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.selection.batching import Carry, rounded
from ast_experiments.selection.history import ScoreTable
from ast_experiments.selection.method import Context, Scorer
from ast_experiments.selection.numeric import generator
from ast_experiments.selection.plan import Plan

ORDER, DRAW = 1, 2


class InfoBatch:
    """Drops a share of the samples whose last loss is below the mean, and weighs up those of them that it keeps.

    InfoBatch (ICLR 2024, arXiv 2303.04947). The kept samples below the mean get weight 1 / (1 - drop), all others 1.
    A dropped row counts as weight 0, so the weights average 1 over the samples; over the rows that are trained they
    average more, which makes larger effective steps: `facts` tells by how much. The loss is the mean of weight x loss
    over a batch's rows, as in the released code. Nothing is dropped until every sample has a loss, which is in the
    first epoch, nor once `full_after` of the run is done: from then on all weights are 1.

    The released code forgets to set the weights back to 1 unless `full_after` falls on a whole epoch, and its epochs
    draw the same samples for every seed; neither is followed. Where the paper drops each sample by chance, that code
    and this one drop an exact share of them.

    Args:
        drop: Share q of the samples below the mean loss that is dropped, in [0, 1).
        full_after: Progress delta after which every sample is trained, in [0, 1].
    """

    def __init__(self, *, drop: float, full_after: float) -> None:
        self._drop, self._full_after = drop, full_after
        self._carry = Carry()
        self._rows, self._weight = 0, 0.0
        self._planned = (0, 0.0)

    def prepare(self, context: Context) -> None:
        """Make the score table."""
        self._context, self._epoch = context, 0
        self._table = ScoreTable(context.samples, context.device)

    def plan(self, epoch: int, target: float) -> Plan:
        """All samples above the mean and a draw of the others, in a random order."""
        del target
        c, self._epoch = self._context, epoch
        order = self._carry.offered(generator(c.seed, ORDER, epoch).permutation(c.samples))
        kept, weights = np.ones(len(order), dtype=bool), None
        mean = self._table.scores.mean(dtype=np.float64)  # nan, below which nothing lies, until all have a loss
        easy = np.flatnonzero(self._table.scores[order] < mean)
        if len(easy) and epoch < self._full_after * c.epochs - 1e-9:
            rng = generator(c.seed, DRAW, epoch)
            kept[rng.permutation(easy)[rounded((1 - self._drop) * len(easy), rng) :]] = False
            weights = np.ones(len(order))
            weights[easy] = 1 / (1 - self._drop)
        plan = self._carry.plan(order, kept, c.batch_size, weights)
        weight = len(plan.ids) if plan.weights is None else plan.weights.sum(dtype=np.float64)
        self._planned = len(plan.ids), float(weight)
        return plan

    def observe(self, batch: Batch, outputs: Outputs) -> None:
        """Note the losses, without their weights."""
        self._table.record(batch.ids, outputs.losses)

    def end_epoch(self, score: Scorer) -> None:
        """Commit losses and carried rows."""
        del score
        self._table.commit(self._epoch)
        self._carry.commit()
        self._rows += self._planned[0]
        self._weight += self._planned[1]

    def facts(self) -> Mapping[str, Any]:
        """The mean weight of the planned rows: how much larger the steps are than without weights."""
        return {"mean_weight": self._weight / self._rows} if self._rows else {}

    def state_dict(self) -> dict[str, Any]:
        """The score table, carried rows, and the sums behind the mean weight."""
        return {
            "table": self._table.state_dict(),
            "carry": self._carry.state_dict(),
            "rows": self._rows,
            "weight": self._weight,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self._table.load_state_dict(state["table"])
        self._carry.load_state_dict(state["carry"])
        self._rows, self._weight = int(state["rows"]), float(state["weight"])
