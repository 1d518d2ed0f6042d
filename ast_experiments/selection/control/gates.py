"""Parts of gates: exact counts, the fallback when too few rows pass, and the published gate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor


def exact_count(share: float, rows: int, fraction: float) -> tuple[int, float]:
    """Returns the whole rows in `share` of `rows` and the fraction to carry on, so that counts never drift.

    Args:
        share: In [0, 1].
        rows: Rows to choose from.
        fraction: Fraction that the last call carried on, in [0, 1).
    """
    wanted = share * rows + fraction
    count = min(rows, math.floor(wanted + 1e-9))
    return count, max(0.0, min(wanted - count, 1.0))


@dataclass(frozen=True, slots=True)
class Fallback:
    """Rows to train when too few pass the gate.

    Attributes:
        by: `random` rows, or the `top` rows by score.
        rows: Smallest number of rows.
        share: The number as a share of the batch, rounded down; the larger of the two counts.
        below: Falls back when fewer rows than this are active; None means fewer than the fallback would train.
    """

    by: Literal["random", "top"] = "random"
    rows: int = 2
    share: float = 0.0
    below: int | None = 1

    def apply(self, active: Tensor, scores: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mask after the fallback, and whether the fallback was used.

        Args:
            active: Gate decisions, bool, shape (n,).
            scores: Shape (n,).
            keys: Random keys, shape (n,); the random rows are those with the largest keys.

        Returns:
            Mask, bool, shape (n,), and a 0-d bool tensor; reads nothing from the device.
        """
        n = active.shape[0]
        rows = min(n, max(self.rows, math.floor(self.share * n)))
        below = rows if self.below is None else self.below
        ranked = (scores if self.by == "top" else keys).topk(rows).indices
        instead = torch.zeros_like(active).index_fill_(0, ranked, True)
        used = active.sum() < below
        return torch.where(used, instead, active), used


@dataclass(frozen=True, slots=True)
class ReservoirGate:
    """The published stochastic gate with an energy reservoir.

    A row passes if its score exceeds the threshold, a uniform draw lies below
    sigmoid((score - threshold) / temperature), and the reservoir holds more than `cost`. A row that passes takes `cost`
    out of the reservoir. After every row a uniform amount flows in, up to the capacity. With the published values at
    most a fifth of the rows can pass in the long run.

    Source: `process_batch` of the public release behind the CIFAR-10 figures.

    Attributes:
        temperature: Width of the sigmoid, in units of the scores.
        capacity: Largest level of the reservoir.
        cost: Energy of one row.
        inflow_low: Least energy that flows in after a row.
        inflow_high: Most energy that flows in after a row.
    """

    temperature: float = 0.15
    capacity: float = 100.0
    cost: float = 10.0
    inflow_low: float = 1.0
    inflow_high: float = 3.0

    def decide(
        self,
        scores: np.ndarray,
        threshold: float,
        level: float,
        uniforms: np.ndarray,
        inflows: np.ndarray,
    ) -> tuple[np.ndarray, float]:
        """Decides rows in batch order.

        Rows that fail the first two conditions only let the reservoir fill, so the sequential part visits the other
        rows alone.

        Args:
            scores: Shape (n,).
            threshold: In units of the scores.
            level: Level of the reservoir.
            uniforms: Draws from U(0, 1), shape (n,).
            inflows: Draws from U(inflow_low, inflow_high), shape (n,).

        Returns:
            Mask, bool, shape (n,), and the level after the last row.
        """
        with np.errstate(over="ignore"):
            odds = 1.0 / (1.0 + np.exp(-(scores - threshold) / self.temperature))
        candidates = np.flatnonzero((scores > threshold) & (uniforms < odds))
        filled = np.concatenate(([0.0], np.cumsum(inflows)))
        kept = np.zeros(len(scores), dtype=bool)
        level, row = float(level), 0
        for candidate in candidates.tolist():
            level = min(self.capacity, level + float(filled[candidate] - filled[row]))
            row = candidate
            if level > self.cost:
                kept[candidate] = True
                level -= self.cost
        return kept, min(self.capacity, level + float(filled[-1] - filled[row]))

    def draw(self, rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the uniforms and inflows that `decide` needs for `rows` rows, each of shape (rows,)."""
        return rng.random(rows), rng.uniform(self.inflow_low, self.inflow_high, rows)
