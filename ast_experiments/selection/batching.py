"""What methods that choose before loading share: full batches, rows that fill none, and forward passes beside training.

A row that fills no batch is not lost, so that rates do not drift. A method that can choose how many rows it picks is
owed the fraction (`full_batches`); one whose picks are what they are carries rows over to the next epoch (`Carry`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.selection.control.windows import batch_trace
from ast_experiments.selection.method import Context, Scorer
from ast_experiments.selection.plan import Plan


def full_batches(share: float, samples: int, owed: float, batch_size: int) -> tuple[int, float]:
    """Rows in full batches that bring the run closest to `share` from below, and the rows to owe the next epoch.

    Args:
        share: Of the samples, in (0, 1].
        samples: Rows to choose from.
        owed: What the epochs before left over.
        batch_size: Rows of a batch.
    """
    wanted = share * samples + owed
    rows = int(min(wanted + 1e-6, samples)) // batch_size * batch_size
    # More than full batches can ever hold is not owed.
    return rows, min(max(0.0, wanted - rows), float(batch_size))


def rounded(wanted: float, rng: np.random.Generator) -> int:
    """A neighbouring whole number, drawn such that its expectation is `wanted`."""
    return int(wanted + rng.random())


def others(ids: np.ndarray, samples: int) -> np.ndarray:
    """The samples that are not in `ids` (k,), ascending, int64."""
    rest = np.ones(samples, dtype=bool)
    rest[ids] = False
    return np.flatnonzero(rest)


def forwarded(context: Context, score: Scorer, ids: np.ndarray, epoch: int) -> Iterator[tuple[Batch, Outputs]]:
    """Scoring passes over samples `ids` (k,) as they look in `epoch`, in batches of at most the training batch's size.

    BatchNorm statistics are used and left alone. In a data-parallel run each rank has its part of every batch.
    """
    for first in range(0, len(ids), context.batch_size):
        rows = ids[first : first + context.batch_size]
        own = rows[distributed.shard(len(rows))]
        if len(own):
            batch = context.fetch(torch.from_numpy(own), epoch)
            yield batch, score(batch)


class Waiting(NamedTuple):
    """Picked rows that filled no batch.

    Attributes:
        ids: int64, shape (k,).
        weights: Loss weights that they were picked with, float32, shape (k,).
    """

    ids: np.ndarray
    weights: np.ndarray


class Carry:
    """Rows that were picked but filled no batch: they head the next epoch's plan and are not picked again in it.

    Planning moves nothing; `commit` does, at the epoch's end.
    """

    def __init__(self) -> None:
        self._now = self._next = Waiting(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))

    def offered(self, order: np.ndarray) -> np.ndarray:
        """A permutation of all samples without those that wait."""
        waiting = np.zeros(len(order), dtype=bool)
        waiting[self._now.ids] = True
        return order[~waiting[order]]

    def plan(
        self,
        order: np.ndarray,
        picked: np.ndarray,
        batch_size: int,
        weights: np.ndarray | None = None,
        *,
        whole: bool | None = None,
    ) -> Plan:
        """Full batches of the waiting rows and the picked ones after them.

        A whole epoch trains every row, the last short batch too, with weights 1.

        Args:
            order: The rows to choose from, as `offered` gives them, int64, shape (n,).
            picked: Which of them are picked, bool, shape (n,).
            batch_size: Rows of a batch.
            weights: Loss weights of all rows of `order`, shape (n,), or None for all ones.
            whole: Whether the epoch is whole; None means if every row is picked.
        """
        now = self._now
        if picked.all() if whole is None else whole:
            self._next = Waiting(now.ids[:0], now.weights[:0])
            ids = np.concatenate([now.ids, order])
            return Plan(ids, offered=len(order), load_batch=batch_size, keep_short=True)
        at = np.flatnonzero(picked)
        ids = np.concatenate([now.ids, order[at]])
        picked_weights = np.ones(len(at)) if weights is None else weights[at]
        queue = np.concatenate([now.weights, picked_weights.astype(np.float32)])
        rows = len(ids) // batch_size * batch_size
        self._next = Waiting(ids[rows:], queue[rows:])
        _, offered = batch_trace(at, len(now.ids), batch_size, len(order))
        return Plan(
            ids[:rows],
            offered=len(order),
            load_batch=batch_size,
            weights=None if weights is None else queue[:rows],
            offered_by_batch=offered,
            trace={"picked": np.diff(np.searchsorted(at, offered), prepend=0)},
        )

    def commit(self) -> None:
        """The rows that the last plan left over wait now."""
        self._now = self._next

    def state_dict(self) -> dict[str, Any]:
        """The waiting rows."""
        return {"ids": torch.from_numpy(self._now.ids.copy()), "weights": torch.from_numpy(self._now.weights.copy())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._now = self._next = Waiting(state["ids"].numpy().copy(), state["weights"].numpy().copy())
