"""Rows that fill no batch are kept, so that rates do not drift.

A method that chooses how many rows it picks carries the remainder over to the next epoch (`Remainder`). A method whose
picks are what they are carries the rows themselves (`Carry`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from ast_experiments.selection.control.windows import batch_trace
from ast_experiments.selection.parts import Staged
from ast_experiments.selection.plan import Plan


def rounded(wanted: float, rng: np.random.Generator) -> int:
    """Returns a neighbouring whole number, drawn such that its expectation is `wanted`."""
    return int(wanted + rng.random())


def others(ids: np.ndarray, samples: int) -> np.ndarray:
    """Returns the samples that are not in `ids` (k,), ascending, int64."""
    rest = np.ones(samples, dtype=bool)
    rest[ids] = False
    return np.flatnonzero(rest)


class Remainder(Staged[float]):
    """Rows that a share amounts to but that filled no batch; the next epoch trains them in addition.

    Args:
        batch_size: Rows of a batch.
    """

    def __init__(self, batch_size: int) -> None:
        super().__init__(0.0)
        self._batch_size = batch_size

    def full_batches(self, share: float, samples: int) -> int:
        """Returns the rows in full batches that bring the run closest to `share` from below.

        Args:
            share: Share of the samples, in (0, 1].
            samples: Rows to choose from.
        """
        wanted = share * samples + self.now
        rows = int(min(wanted + 1e-6, samples)) // self._batch_size * self._batch_size
        # More than full batches can ever hold is not carried over.
        self.next = min(max(0.0, wanted - rows), float(self._batch_size))
        return rows


class Leftover(NamedTuple):
    """Leftover rows.

    Attributes:
        ids: int64, shape (k,).
        weights: The loss weights that they were picked with, float32, shape (k,).
    """

    ids: np.ndarray
    weights: np.ndarray


class Carry(Staged[Leftover]):
    """Leftover rows: picked rows that filled no batch. They head the next epoch's plan and are not picked again in it.

    Args:
        batch_size: Rows of a batch.
    """

    def __init__(self, batch_size: int) -> None:
        super().__init__(Leftover(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)))
        self._batch_size = batch_size

    def offered(self, order: np.ndarray) -> np.ndarray:
        """Returns a permutation of all samples without the leftover rows."""
        if not len(self.now.ids):
            return order
        waiting = np.zeros(len(order), dtype=bool)
        waiting[self.now.ids] = True
        return np.delete(order, np.flatnonzero(waiting[order]))

    def plan(
        self,
        order: np.ndarray,
        picked: np.ndarray,
        weights: np.ndarray | None = None,
        *,
        whole: bool | None = None,
    ) -> Plan:
        """Returns full batches of the leftover rows and the picked rows after them.

        A whole epoch trains every row, the last short batch too, with weights 1.

        Args:
            order: The rows to choose from, as `offered` gives them, int64, shape (n,).
            picked: Which of them are picked, bool, shape (n,).
            weights: Loss weights of all rows of `order`, shape (n,), or None for all ones.
            whole: Whether the epoch is whole; None means that it is if every row is picked.
        """
        now, batch_size = self.now, self._batch_size
        if picked.all() if whole is None else whole:
            self.next = Leftover(now.ids[:0], now.weights[:0])
            ids = np.concatenate([now.ids, order])
            return Plan(ids, offered=len(order), load_batch=batch_size, keep_short=True)
        at = np.flatnonzero(picked)
        ids = np.concatenate([now.ids, order[at]])
        picked_weights = np.ones(len(at), np.float32) if weights is None else weights[at]
        queue = np.concatenate([now.weights, picked_weights], dtype=np.float32)
        rows = len(ids) // batch_size * batch_size
        self.next = Leftover(ids[rows:].copy(), queue[rows:].copy())  # not a view that keeps the whole plan
        _, offered = batch_trace(at, len(now.ids), batch_size, len(order))
        return Plan(
            ids[:rows],
            offered=len(order),
            load_batch=batch_size,
            weights=None if weights is None else queue[:rows],
            offered_by_batch=offered,
            trace={"picked": np.diff(np.searchsorted(at, offered), prepend=0)},
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns the leftover rows."""
        return {"ids": torch.from_numpy(self.now.ids.copy()), "weights": torch.from_numpy(self.now.weights.copy())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.now = self.next = Leftover(state["ids"].numpy().copy(), state["weights"].numpy().copy())
