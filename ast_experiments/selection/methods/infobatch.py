"""InfoBatch: some of the easy samples at random, with larger weights, so that the gradient stays unbiased."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Lt

from ast_experiments.core.ranges import Share
from ast_experiments.selection.batching import rounded
from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.method import Method
from ast_experiments.selection.parts import Staged
from ast_experiments.selection.plan import Plan

DRAW = 2


def drop_easy(
    losses: np.ndarray, drop: float, rng: np.random.Generator, *, below: float | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Drops an exact share of the easy rows at random, and weighs those of them that are kept with 1 / (1 - share).

    Args:
        losses: Shape (n,); rows without a loss, NaN, are not easy.
        drop: Share of the easy rows to drop, in [0, 1).
        rng: For the draw.
        below: Rows with a smaller loss are easy; None means the mean loss.

    Returns:
        Mask of the kept rows, bool, shape (n,), and the weights of the losses of all rows, float64, shape (n,); None
        where no row is easy.
    """
    kept = np.ones(len(losses), dtype=bool)
    easy = np.flatnonzero(losses < (losses.mean(dtype=np.float64) if below is None else below))
    if not len(easy):
        return kept, None
    kept[rng.permutation(easy)[rounded((1 - drop) * len(easy), rng) :]] = False
    weights = np.ones(len(losses))
    weights[easy] = 1 / (1 - drop)
    return kept, weights


class InfoBatch(Method):
    """Drops a share of the samples whose last loss is below the mean, and gives the others of them a larger weight.

    InfoBatch (ICLR 2024, arXiv 2303.04947). The kept samples below the mean get weight 1 / (1 - drop), all others 1.
    A dropped row counts as weight 0, so the weights average 1 over the samples. Over the trained rows they average
    more, which makes larger effective steps; result.json says by how much. The loss is the mean of weight x loss
    over a batch's rows, as in the released code. Nothing is dropped until every sample has a loss, which is in the
    first epoch, nor after `full_after` of the run: from then on all weights are 1.

    The released code forgets to set the weights back to 1 unless `full_after` falls on a whole epoch, and its epochs
    draw the same samples for every seed; neither is followed. The paper drops each sample by chance; the released code
    and this class drop an exact share of them.

    Args:
        drop: Share q of the samples below the mean loss that is dropped.
        full_after: Progress delta after which every sample is trained.
    """

    rate = None
    planned_on_rank_0 = True

    def __init__(self, *, drop: Annotated[float, Ge(0), Lt(1)] = 0.5, full_after: Share = 0.875) -> None:
        self._drop, self._full_after = drop, full_after

    def prepare(self) -> None:
        """Starts the sums behind the mean weight."""
        self._rows, self._weight = Staged(0), Staged(0.0)

    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Takes all samples above the mean and a draw of the others, in a random order."""
        del target
        order = self.carry.offered(self.permutation(epoch))
        kept, weights = np.ones(len(order), dtype=bool), None
        mean = history.losses.mean(dtype=np.float64)  # NaN, and no loss is below it, until every sample has one
        if epoch < self._full_after * self.context.epochs - 1e-9:
            kept, weights = drop_easy(history.losses[order], self._drop, self.random(DRAW, epoch), below=mean)
        plan = self.carry.plan(order, kept, weights)
        weight = len(plan.ids) if plan.weights is None else plan.weights.sum(dtype=np.float64)
        self._rows.next = self._rows.now + len(plan.ids)
        self._weight.next = self._weight.now + float(weight)
        return plan

    def facts(self) -> Mapping[str, Any]:
        """Returns the mean weight of the planned rows: how much larger the steps are than without weights."""
        return {"mean_weight": self._weight.now / self._rows.now} if self._rows.now else {}
