"""The plan of an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ast_experiments.core import distributed

PIECE = 1 << 16
"""Rows of a plan that travel at a time."""


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
        whole: Rows of the plan on all ranks, if `ids` and `weights` hold those of one rank only; None if they hold all.
    """

    ids: np.ndarray
    offered: int
    load_batch: int
    weights: np.ndarray | None = None
    keep_short: bool = False
    lr_scale: float = 1.0
    offered_by_batch: np.ndarray | None = None
    trace: Mapping[str, np.ndarray] = field(default_factory=dict)
    whole: int | None = None

    @property
    def rows(self) -> int:
        """Number of planned rows, on all ranks."""
        return len(self.ids) if self.whole is None else self.whole

    @property
    def batches(self) -> int:
        """Number of batches that the plan loads."""
        full, rest = divmod(self.rows, self.load_batch)
        return full + bool(rest and self.keep_short)

    @property
    def loaded(self) -> int:
        """Number of rows that the plan loads, on all ranks."""
        return min(self.batches * self.load_batch, self.rows)

    @property
    def batch_sizes(self) -> list[int]:
        """Rows of each batch that the plan loads, on all ranks."""
        return [min(self.load_batch, self.rows - at * self.load_batch) for at in range(self.batches)]

    def offered_by(self, batch: int) -> int:
        """Returns the rows offered by the time the batch of this index is loaded."""
        if self.offered_by_batch is not None:
            return int(self.offered_by_batch[batch])
        return round(self.offered * min((batch + 1) * self.load_batch, self.rows) / self.rows)

    def merged(self, factor: int) -> Plan:
        """Returns the plan that trains the same rows in batches of `factor` times as many rows; the last may be short.

        Its trace has the sums of `picked`, and of other signals the last value within each batch.
        """
        if factor == 1 or not self.batches:
            return self
        last = np.minimum(np.arange(factor - 1, self.batches + factor - 1, factor), self.batches - 1)
        first = np.arange(0, self.batches, factor)
        return replace(
            self,
            ids=self.ids[: self.loaded],
            weights=None if self.weights is None else self.weights[: self.loaded],
            load_batch=self.load_batch * factor,
            keep_short=True,
            offered_by_batch=None if self.offered_by_batch is None else self.offered_by_batch[last],
            trace={
                key: np.add.reduceat(values, first) if key == "picked" else values[last]
                for key, values in self.trace.items()
            },
        )

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
        if self.whole is not None:
            return replace(self, load_batch=self.load_batch // size, whole=None)
        ids = cut(self.ids[: self.loaded], self.load_batch, rank, size)
        weights = None if self.weights is None else cut(self.weights[: self.loaded], self.load_batch, rank, size)
        return replace(self, ids=ids, weights=weights, load_batch=self.load_batch // size)


def cut(values: np.ndarray, batch: int, rank: int, size: int) -> np.ndarray:
    """Returns one rank's part of each batch of values, shape (n,); the last batch may be short."""
    whole = len(values) // batch * batch
    full, rest = values[:whole].reshape(-1, batch), values[whole:]
    own = full[:, batch * rank // size : batch * (rank + 1) // size].ravel()
    return np.concatenate([own, rest[len(rest) * rank // size : len(rest) * (rank + 1) // size]])


def shared(plan: Plan | None) -> Plan:
    """Sends each rank its rows of the plan of rank 0, which keeps all of them; the other ranks give None."""
    frame = None
    if plan is not None:
        weights = None if plan.weights is None else plan.weights[:0]
        frame = replace(plan, ids=plan.ids[:0], weights=weights, whole=plan.rows)
    own: Plan = distributed.broadcast_object(frame)
    given = own if plan is None else plan
    ids = _own_rows(own, given.ids)
    weights = None if given.weights is None else _own_rows(own, given.weights)
    return replace(own, ids=ids, weights=weights) if plan is None else plan


def _own_rows(plan: Plan, values: np.ndarray) -> np.ndarray:
    """Sends the rows that a plan loads, in pieces of whole batches; returns those of this rank, on rank 0 none."""
    own, rank, size = [values[:0]], distributed.rank(), distributed.size()
    for piece in distributed.broadcast_array(values, plan.loaded, max(1, PIECE // plan.load_batch) * plan.load_batch):
        if rank:
            own.append(cut(piece, plan.load_batch, rank, size))
    return np.concatenate(own)
