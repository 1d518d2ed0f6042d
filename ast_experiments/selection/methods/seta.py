"""SeTa: a random part of the samples, of which a sliding window of difficulty is trained."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le, Lt

from ast_experiments.core.errors import ConfigError
from ast_experiments.core.ranges import Rate, Share
from ast_experiments.selection.batching import rounded
from ast_experiments.selection.clustering import kmeans_cuts
from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.method import Method
from ast_experiments.selection.plan import Plan

DRAW = 2


def difficulty_window(losses: np.ndarray, groups: int, first: int, size: int) -> np.ndarray:
    """Returns the rows in neighbouring groups of difficulty, found by k-means; all of them if these groups are empty.

    Args:
        losses: All known, shape (n,).
        groups: Number of groups, from easy to hard.
        first: First group of the window, counted from 0.
        size: Groups in the window.

    Returns:
        Mask, bool, shape (n,).
    """
    if not len(losses):
        return np.zeros(0, dtype=bool)
    group = np.searchsorted(kmeans_cuts(losses, groups), losses, side="left")
    inside = (group >= first) & (group < first + size)
    return inside if inside.any() else np.ones_like(inside)


class SeTa(Method):
    """Draws samples at random, groups their losses from easy to hard, and trains a window of neighbouring groups.

    SeTa (CVPR 2025, arXiv 2503.13385). Of `groups` groups, found by one-dimensional k-means over the last losses of
    the drawn samples, floor(window x groups) are trained. The groups are the exact optimum; the released code calls
    scikit-learn's k-means, which comes close to it. In epoch t the window begins at group
    t mod (groups - size + 1), counted from the easiest. How many rows it holds follows from the losses. The first
    epoch, and all epochs after `random_after` of the run, train the whole draw. Drawn samples without a loss are
    trained too; the released code gives them a loss of 3. It also rounds the window's size to the nearest number.

    Args:
        drop: Share q of the samples that is not drawn.
        groups: Number of groups G, at most 100.
        window: Share w of the groups that is trained.
        random_after: Progress after which the whole draw is trained.

    Raises:
        ConfigError: If the window is smaller than one group.
    """

    rate = None
    planned_on_rank_0 = True

    def __init__(
        self,
        *,
        drop: Annotated[float, Ge(0), Lt(1)] = 0.1,
        groups: Annotated[int, Ge(1), Le(100)] = 5,
        window: Rate = 0.9,
        random_after: Share = 0.875,
    ) -> None:
        if window * groups + 1e-9 < 1:
            raise ConfigError(
                f"method.window: {window:g} of method.groups={groups} groups is less than one; "
                f"type method.window={1 / groups:.2g} or more"
            )
        self._drop, self._groups, self._random_after, self._share = drop, groups, random_after, window
        self._window = math.floor(window * groups + 1e-9)

    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Takes the drawn samples within the window, in a random order."""
        del target
        order = self.carry.offered(self.permutation(epoch))
        rng = self.random(DRAW, epoch)
        kept = rng.permutation(len(order)) < rounded((1 - self._drop) * len(order), rng)
        if epoch < self._random_after * self.context.epochs - 1e-9:
            losses = history.losses[order]
            known = np.flatnonzero(kept & ~np.isnan(losses))
            first = epoch % (self._groups - self._window + 1)
            kept[known[~difficulty_window(losses[known], self._groups, first, self._window)]] = False
        return self.carry.plan(order, kept)

    def least_share(self, rate: float) -> float:
        """Returns the share in the window if all groups have the same size."""
        del rate
        return (1 - self._drop) * self._share
