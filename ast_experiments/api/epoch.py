"""One epoch of a loop of your own: its plan, this rank's part of it, and the batch that comes next."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch
from ast_experiments.core.errors import UserError
from ast_experiments.selection.plan import Plan


class Epoch:
    """The batches of an epoch and how many of them are trained.

    Args:
        plan: As the selector returns it.
        number: Counted from 0.
        target: Target rate.
        done: Batches that are trained.
        device: Where the losses are.

    Attributes:
        plan: As given.
        number: As given.
        target: As given.
        done: Batches trained so far.
        batches: Batches of the epoch.
    """

    def __init__(self, plan: Plan, number: int, target: float, done: int, device: torch.device) -> None:
        rank, self._ranks = distributed.rank(), distributed.size()
        own = plan.shard(rank, self._ranks)
        self.plan, self.number, self.target, self.done, self.batches = plan, number, target, done, plan.batches
        self._ids, self._sizes = own.ids, plan.batch_sizes
        self._any = own.ids[:1] if len(own.ids) else np.zeros(1, np.int64)
        self._weights = None if own.weights is None else torch.from_numpy(own.weights).to(device)
        self._rows = [rows * (rank + 1) // self._ranks - rows * rank // self._ranks for rows in self._sizes]
        self._bounds: list[int] = np.cumsum([0, *self._rows]).tolist()
        self._begin = self._bounds[done]
        self._finite: list[Tensor] = []

    @property
    def trained(self) -> int:
        """Rows trained so far, on all ranks."""
        return sum(self._sizes[: self.done])

    @property
    def offered(self) -> int:
        """Rows offered so far, on all ranks; after the last batch, those of the whole epoch."""
        if self.finished:
            return self.plan.offered
        return self.plan.offered_by(self.done - 1) if self.done else 0

    @property
    def finished(self) -> bool:
        """Whether every batch is trained."""
        return self.done >= self.batches

    def ids(self, batch: int) -> np.ndarray:
        """Returns this rank's ids of a batch; one sample where it has none, because it steps with the others."""
        return self._ids[self._bounds[batch] : self._bounds[batch + 1]] if self._rows[batch] else self._any

    def remaining(self) -> Iterator[list[int]]:
        """Yields this rank's ids of each batch to come."""
        for batch in range(self.done, self.batches):
            yield self.ids(batch).tolist()

    def train(self, ids: Tensor, losses: Tensor) -> Tensor:
        """Counts a batch as trained and returns its loss, 0-d.

        Args:
            ids: Shape (n,).
            losses: Shape (n,).

        Raises:
            UserError: If the losses are not one a sample, or no batch is left.
        """
        batch = self.done
        if (
            batch >= self.batches
            or losses.dim() != 1
            or not losses.shape[0] == ids.shape[0] == (self._rows[batch] or 1)
        ):
            self._refuse(ids, losses)
        self.done = batch + 1
        if self._weights is None and self._ranks == 1:
            return losses.mean()
        weights = self.weights(batch)
        if weights is not None:
            losses = losses * weights.to(losses.device, losses.dtype)
        return losses.sum() * (self._ranks / self._sizes[batch] if self._rows[batch] else 0)

    def weights(self, batch: int) -> Tensor | None:
        """Returns the loss weights of this rank's rows of a batch, or None for all ones."""
        if self._weights is None or not self._rows[batch]:
            return None
        return self._weights[self._bounds[batch] : self._bounds[batch + 1]]

    def check(self, first: int, ids: list[Tensor]) -> None:
        """Checks the ids of consecutive batches, from the batch `first` on.

        Ids on another device are not compared: reading them would wait for it.

        Raises:
            UserError: If these are not the samples of the plan.
        """
        if not all(each.is_cpu for each in ids):
            return
        planned = [self.ids(first + at) for at in range(len(ids))]
        if not np.array_equal(torch.cat(ids).numpy(), np.concatenate(planned)):
            self._refuse_ids(first + next(at for at, each in enumerate(ids) if not np.array_equal(each, planned[at])))

    def batch(self, batch: int, ids: Tensor, inputs: Tensor | None, targets: Tensor | None) -> Batch | None:
        """Returns a trained batch as a method sees it; None if this rank has no rows of it."""
        if not self._rows[batch]:
            return None
        total = self._sizes[batch] if self._ranks > 1 else None
        return Batch(ids, inputs, targets, self.weights(batch), total)  # pyright: ignore[reportArgumentType]

    def test(self, losses: Tensor) -> None:
        """Notes whether the next losses (n,) are finite; reads nothing from the device."""
        self._finite.append(losses.isfinite())

    def close(self) -> None:
        """Checks that the epoch was trained to its end, with numbers as losses. Reads the device once.

        Raises:
            UserError: If it was not.
        """
        if not self.finished:
            raise UserError(
                f"epoch {self.number} ended after {self.done} of {self.batches} batches; iterate over the loader "
                "to its end, and call selection.loss(ids, losses) once a batch"
            )
        broken = (~torch.cat(self._finite).cpu()).nonzero().flatten().tolist() if self._finite else []
        if len(broken):
            batch = bisect_right(self._bounds, self._begin + broken[0])
            raise UserError(
                f"{len(broken)} losses of epoch {self.number} are NaN or infinite, the first in batch {batch}; "
                "lower the learning rate, or clip the gradients"
            )

    def _refuse(self, ids: Tensor, losses: Tensor) -> None:
        """Says what is wrong with losses that do not fit."""
        if self.finished:
            raise UserError(
                f"epoch {self.number} has {self.batches} batches, and selection.loss was called for all of them; "
                "call it once a batch"
            )
        expected = self._rows[self.done] or 1
        if losses.dim() != 1:
            shape = "one number" if losses.dim() == 0 else f"the shape {tuple(losses.shape)}"
            more = "reduction='none'" if losses.dim() == 0 else "losses.flatten(1).mean(1)"
            raise UserError(f"the losses are {shape}; expected one loss a sample, shape ({expected},): use {more}")
        if len(losses) != len(ids):
            raise UserError(f"there are {len(ids)} ids and {len(losses)} losses; expected one loss for each id")
        self._refuse_ids(self.done)

    def _refuse_ids(self, batch: int) -> None:
        raise UserError(
            f"these are not the samples of batch {batch + 1} of epoch {self.number}; call selection.loss "
            "with the ids that the loader gave, once a batch and in its order, without shuffle"
        )

    def step_metrics(self) -> dict[str, Any]:
        """Returns the figures of the last batch, under the keys of the step log."""
        if not self.done:
            return {}
        last, plan = self.done - 1, self.plan
        offered = plan.offered_by(last) - (plan.offered_by(last - 1) if last else 0)
        picked = plan.trace["picked"][last] if "picked" in plan.trace else self._sizes[last]
        rate = {"control/activation_rate": picked / offered} if offered else {}
        return rate | {key: values[last] for key, values in plan.trace.items() if key != "picked"}

    def metrics(self, trained: int, offered: int) -> dict[str, Any]:
        """Returns the figures of the finished epoch, given the rows that were trained and offered before it."""
        trained, offered = trained + self.trained, offered + self.offered
        return {
            "epoch/rows_trained": self.trained,
            "epoch/rows_offered": self.offered,
            "epoch/activation_rate": self.trained / self.offered,
            "energy/skipped_share": 1 - trained / offered,
            "rows/trained": trained,
            "rows/offered": offered,
        }
