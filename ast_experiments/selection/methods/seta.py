"""SeTa: a random part of the samples, of which a sliding window of difficulty is trained."""

from __future__ import annotations

import math
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
ROUNDS = 100


def cuts(values: np.ndarray, groups: int) -> np.ndarray:
    """Where k-means cuts numbers into groups: Lloyd's algorithm on sorted values, from groups of equal size.

    Args:
        values: Shape (n,), n >= 1.
        groups: Number of groups; some may stay empty where values coincide.

    Returns:
        The cuts, ascending, shape (groups - 1,); a value belongs to the group of the number of cuts below it.
    """
    ordered = np.sort(values).astype(np.float64)
    sums = np.concatenate(([0.0], np.cumsum(ordered)))
    ends = np.linspace(0, len(ordered), groups + 1).astype(np.int64)
    middles = np.empty(0)
    for _ in range(ROUNDS):
        sizes = np.diff(ends)
        first = ordered[np.minimum(ends[:-1], len(ordered) - 1)]
        centres = np.where(sizes > 0, np.diff(sums[ends]) / np.maximum(sizes, 1), first)
        middles = (centres[:-1] + centres[1:]) / 2
        moved = np.concatenate(([0], np.searchsorted(ordered, middles, side="right"), [len(ordered)]))
        if np.array_equal(moved, ends):
            break
        ends = moved
    return middles


class SeTa:
    """Draws samples at random, groups their losses from easy to hard, and trains a window of neighbouring groups.

    SeTa (CVPR 2025, arXiv 2503.13385). Of `groups` groups, found by one-dimensional k-means over the last losses of
    the drawn samples, floor(window x groups) are trained; in epoch t the window begins at group
    t mod (groups - size + 1), counted from the easiest. How many rows it holds follows from the losses. The first
    epoch, and all epochs after `random_after` of the run, train the whole draw. Drawn samples without a loss are
    trained too; the released code gives them a loss of 3. It rounds the window's size to the nearest number, and draws
    the same samples for every seed, which is not followed.

    Args:
        drop: Share q of the samples that is not drawn, in [0, 1).
        groups: Number of groups G.
        window: Share w of the groups that is trained, in (0, 1].
        random_after: Progress after which the whole draw is trained, in [0, 1].
    """

    def __init__(self, *, drop: float, groups: int, window: float, random_after: float) -> None:
        self._drop, self._groups, self._random_after = drop, groups, random_after
        self._window = math.floor(window * groups + 1e-9)
        self._carry = Carry()

    def prepare(self, context: Context) -> None:
        """Make the score table."""
        self._context, self._epoch = context, 0
        self._table = ScoreTable(context.samples, context.device)

    def plan(self, epoch: int, target: float) -> Plan:
        """The drawn samples within the window, in a random order."""
        del target
        c, self._epoch = self._context, epoch
        order = self._carry.offered(generator(c.seed, ORDER, epoch).permutation(c.samples))
        rng = generator(c.seed, DRAW, epoch)
        kept = rng.permutation(len(order)) < rounded((1 - self._drop) * len(order), rng)
        if epoch < self._random_after * c.epochs - 1e-9:
            losses = self._table.scores[order]
            known = np.flatnonzero(kept & ~np.isnan(losses))
            kept[known[~self._inside(losses[known], epoch)]] = False
        return self._carry.plan(order, kept, c.batch_size)

    def _inside(self, losses: np.ndarray, epoch: int) -> np.ndarray:
        """Which losses (n,) lie in the epoch's window; all of them where it would be empty."""
        if not len(losses):
            return np.zeros(0, dtype=bool)
        first = epoch % (self._groups - self._window + 1)
        group = np.searchsorted(cuts(losses, self._groups), losses, side="left")
        inside = (group >= first) & (group < first + self._window)
        return inside if inside.any() else np.ones_like(inside)

    def observe(self, batch: Batch, outputs: Outputs) -> None:
        """Note the losses."""
        self._table.record(batch.ids, outputs.losses)

    def end_epoch(self, score: Scorer) -> None:
        """Commit losses and carried rows."""
        del score
        self._table.commit(self._epoch)
        self._carry.commit()

    def state_dict(self) -> dict[str, Any]:
        """The score table and carried rows."""
        return {"table": self._table.state_dict(), "carry": self._carry.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self._table.load_state_dict(state["table"])
        self._carry.load_state_dict(state["carry"])
