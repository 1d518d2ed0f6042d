"""The plan of an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True, slots=True)
class Plan:
    """One epoch, decided before anything is loaded.

    Attributes:
        ids: Samples to load in this order, int64, shape (m,).
        offered: Rows the epoch chose from; the denominator of the activation rate.
        load_batch: Rows a loaded batch holds.
        weights: Loss weights aligned with `ids`, float32, shape (m,), or None for all ones.
        keep_short: Whether a last batch of fewer than `load_batch` rows is loaded too.
        lr_scale: Factor on the learning rate for this epoch.
        offered_by_batch: Rows offered by the time each batch is loaded, int64, shape (batches,), or None for evenly.
        trace: Control signals by batch, each of shape (batches,); keys are those of the step log
            (`control/threshold`, ...), and `picked`: how many of the rows offered since the batch before were picked,
            where that is not what the batch holds. Values that are not known in advance are left out.
    """

    ids: np.ndarray
    offered: int
    load_batch: int
    weights: np.ndarray | None = None
    keep_short: bool = False
    lr_scale: float = 1.0
    offered_by_batch: np.ndarray | None = None
    trace: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def batches(self) -> int:
        """Number of batches that the plan loads."""
        full, rest = divmod(len(self.ids), self.load_batch)
        return full + bool(rest and self.keep_short)

    @property
    def batch_sizes(self) -> list[int]:
        """Rows of each batch that the plan loads, on all ranks."""
        return [min(self.load_batch, len(self.ids) - at * self.load_batch) for at in range(self.batches)]

    def offered_by(self, batch: int) -> int:
        """Returns the rows offered by the time the batch of this index is loaded."""
        if self.offered_by_batch is not None:
            return int(self.offered_by_batch[batch])
        return round(self.offered * min((batch + 1) * self.load_batch, len(self.ids)) / len(self.ids))

    def shard(self, rank: int, size: int) -> Plan:
        """Returns the plan of the rows that one rank loads.

        Each batch is cut into `size` consecutive shards, as `core.distributed.shard` does. A short last batch may leave
        a rank without rows; its plan then has one batch fewer.

        Args:
            rank: Counted from 0.
            size: Number of ranks; must divide `load_batch`.
        """
        if size == 1:
            return self
        rows = [
            np.arange(rows * rank // size, rows * (rank + 1) // size) + at * self.load_batch
            for at, rows in enumerate(self.batch_sizes)
        ]
        own = np.concatenate(rows) if rows else np.empty(0, np.int64)
        weights = None if self.weights is None else self.weights[own]
        return replace(self, ids=self.ids[own], weights=weights, load_batch=self.load_batch // size)
