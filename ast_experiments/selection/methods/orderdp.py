"""OrderDP: the largest losses of a random part of the samples."""

from __future__ import annotations

import numpy as np

from ast_experiments.core.ranges import Rate
from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.method import Method
from ast_experiments.selection.plan import Plan


def hardest(losses: np.ndarray, rows: int) -> np.ndarray:
    """Returns the `rows` rows with the largest losses (n,), those without a loss, NaN, first; bool, shape (n,)."""
    mask = np.zeros(len(losses), dtype=bool)
    mask[np.argsort(-np.where(np.isnan(losses), np.inf, losses), kind="stable")[:rows]] = True
    return mask


class OrderDP(Method):
    """Draws a share of the samples at random and trains those of them with the largest last losses.

    OrderDP (ICLR 2026, arXiv 2606.08574). Its gradient is unbiased for a surrogate loss that weighs samples by the
    rank of their losses, not for the mean loss; there are no weights. As in the released code there is no final phase
    on all samples. Samples without a loss count as the largest; the released code gives them a loss of 3.

    Args:
        draw: Share rho of the samples that is drawn.
        keep: Share phi of the drawn samples that is trained.
    """

    rate = None
    planned_on_rank_0 = True

    def __init__(self, *, draw: Rate = 0.75, keep: Rate = 0.85) -> None:
        self._draw, self._keep = draw, keep

    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Takes the hard part of a draw, in a random order and full batches."""
        del target
        rows = self.full_batches(self.least_share(1.0))
        drawn = self.permutation(epoch)[: max(rows, round(self._draw * self.context.samples))]
        return self.train(drawn[hardest(history.losses[drawn], rows)])

    def least_share(self, rate: float) -> float:
        """Returns the share that every epoch trains."""
        del rate
        return self._draw * self._keep
