"""A queue in which active rows wait until they fill a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch
from ast_experiments.selection.context import Context
from ast_experiments.selection.parts import Part


class BatchQueue(Part):
    """Rows in the order in which they came, given out in full batches. Rows that fill none wait, over epochs too.

    In a data-parallel run every rank has its own queue. All give out a batch when each of them holds its part of one,
    so they step together, and a rank without active rows makes the others wait instead of hanging.

    A checkpoint holds only ids, epochs and weights: a row looks the same when it is made again.

    Args:
        context: The run.

    Attributes:
        picked: Rows, on all ranks, that came since the last batch was given out and trained.
    """

    def __init__(self, context: Context) -> None:
        own = distributed.shard(context.batch_size)
        self._batch_size, self._own, self._fetch = context.batch_size, own.stop - own.start, context.fetch
        self._queue: list[tuple[Batch, int]] = []
        self.picked = 0

    def __len__(self) -> int:
        return sum(len(rows) for rows, _ in self._queue)

    def put(self, rows: Batch, epoch: int) -> None:
        """Appends rows (n,) that were loaded in `epoch`; n may be 0.

        If images have another size since this epoch, the waiting rows are made again as they look in it.
        """
        if self._queue and self._queue[-1][0].images.shape[2:] != rows.images.shape[2:]:
            waiting = _joined([each for each, _ in self._queue])
            self._queue = [(replace(self._fetch(waiting.ids, epoch), weights=waiting.weights), epoch)]
        self.picked += rows.rows
        if len(rows):
            self._queue.append((rows, epoch))

    def pass_on(self, rows: Batch, epoch: int, *, flush: bool = False) -> Iterator[Batch]:
        """Appends rows, and yields the batches that every rank can fill; with several ranks it waits for the device.

        Args:
            rows: Shape (n,); n may be 0.
            epoch: The epoch in which they were loaded.
            flush: Whether the rest is yielded too, as a short batch.
        """
        self.put(rows, epoch)
        for _ in range(distributed.all_reduce_min(len(self) // self._own, rows.ids.device)):
            yield replace(self._take(self._own), total=self._batch_size)
            self.picked = 0
        left = int(distributed.all_reduce_sum(torch.tensor(len(self), device=rows.ids.device))) if flush else 0
        if left:
            yield replace(self._take(len(self)) if self._queue else rows.take(slice(0)), total=left)
            self.picked = 0

    def _take(self, rows: int) -> Batch:
        taken: list[Batch] = []
        while rows:
            first, epoch = self._queue.pop(0)
            if len(first) > rows:
                self._queue.insert(0, (first.take(slice(rows, None)), epoch))
                first = first.take(slice(rows))
            taken.append(first)
            rows -= len(first)
        return _joined(taken)

    def state_dict(self) -> dict[str, Any]:
        """Returns ids (n,), epochs (n,) and weights (n,) or None of the waiting rows."""
        parts = [rows for rows, _ in self._queue]
        weights = _weights(parts)
        return {
            "ids": torch.tensor([i for rows in parts for i in rows.ids.tolist()], dtype=torch.int64),
            "epochs": torch.tensor([epoch for rows, epoch in self._queue for _ in range(len(rows))], dtype=torch.int64),
            "weights": None if weights is None else weights.cpu(),
            "picked": self.picked,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Makes the rows again that `state_dict` named."""
        self._queue = []
        ids, epochs, weights = state["ids"], state["epochs"], state["weights"]
        for epoch in epochs.unique().tolist():
            of_epoch = epochs == epoch
            rows = self._fetch(ids[of_epoch], epoch)
            if weights is not None:
                rows = replace(rows, weights=weights[of_epoch].to(rows.ids.device))
            self.put(rows, epoch)
        self.picked = state["picked"]


def _joined(parts: list[Batch]) -> Batch:
    if len(parts) == 1:
        return parts[0]
    ids, images, labels = (torch.cat([getattr(part, name) for part in parts]) for name in ("ids", "images", "labels"))
    return Batch(ids, images, labels, _weights(parts))


def _weights(parts: list[Batch]) -> Tensor | None:
    """Returns the weights of all rows, 1 for those without one; None if no row has one."""
    if all(part.weights is None for part in parts):
        return None
    return torch.cat([torch.ones(len(p), device=p.ids.device) if p.weights is None else p.weights for p in parts])
