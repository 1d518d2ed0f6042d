"""One epoch of a loop of your own: its plan, this rank's part of it, and the batch that comes next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core import distributed
from ast_experiments.core.errors import UserError
from ast_experiments.selection.plan import Plan


class Epoch:
    """The batches of an epoch and how many of them are trained.

    Args:
        plan: Of all ranks.
        number: Counted from 0.
        target: Target rate.
        done: Batches that are trained.
        device: Where the losses are.

    Attributes:
        plan: As given.
        target: As given.
        done: Batches trained so far.
        weights: Loss weights of this rank's rows, or None for all ones.
    """

    def __init__(self, plan: Plan, number: int, target: float, done: int, device: torch.device) -> None:
        rank, size = distributed.rank(), distributed.size()
        own = plan.shard(rank, size)
        self.plan, self.target, self.done, self.weights = plan, target, done, own.weights
        self._number, self._ids = number, own.ids
        self._sizes = plan.batch_sizes
        shares = [rows * (rank + 1) // size - rows * rank // size for rows in self._sizes]
        self._bounds: list[int] = np.cumsum([0, *shares]).tolist()
        self._broken = torch.zeros((), dtype=torch.int64, device=device)

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
        return self.done >= self.plan.batches

    @property
    def rows(self) -> slice:
        """The next batch's rows in this rank's part of the plan; empty where it has none."""
        return slice(self._bounds[self.done], self._bounds[self.done + 1])

    @property
    def total(self) -> int:
        """Rows of the next batch on all ranks."""
        return self._sizes[self.done]

    def remaining(self) -> Iterator[list[int]]:
        """Yields this rank's ids of each batch to come. A rank without rows gets one sample, to step too."""
        for index in range(self.done, self.plan.batches):
            ids = self._ids[self._bounds[index] : self._bounds[index + 1]]
            yield ids.tolist() if len(ids) else [int(self.plan.ids[0])]

    def check(self, ids: Tensor, losses: Tensor) -> None:
        """Checks that losses are one a sample, and those of the next batch.

        Raises:
            UserError: If they are not.
        """
        if self.finished:
            raise UserError(
                f"epoch {self._number} has {self.plan.batches} batches, and selection.loss was called for all of them; "
                "call it once a batch"
            )
        own = self._ids[self.rows]
        expected = own if len(own) else self.plan.ids[:1]
        if losses.dim() != 1:
            shape = "one number" if losses.dim() == 0 else f"the shape {tuple(losses.shape)}"
            more = "reduction='none'" if losses.dim() == 0 else "losses.flatten(1).mean(1)"
            raise UserError(f"the losses are {shape}; expected one loss a sample, shape ({len(expected)},): use {more}")
        if len(losses) != len(ids):
            raise UserError(f"there are {len(ids)} ids and {len(losses)} losses; expected one loss for each id")
        # Ids on another device are not compared: reading them would wait for it.
        if len(ids) != len(expected) or (ids.device.type == "cpu" and not np.array_equal(ids.numpy(), expected)):
            raise UserError(
                f"these are not the samples of batch {self.done + 1} of epoch {self._number}; call selection.loss "
                "with the ids that the loader gave, once a batch and in its order, without shuffle"
            )

    def note(self, losses: Tensor) -> None:
        """Counts a batch as trained, and losses (n,) that are NaN or infinite; reads nothing from the device."""
        self._broken += (~losses.isfinite()).sum()
        self.done += 1

    def close(self) -> None:
        """Checks that the epoch was trained to its end, with numbers as losses. Reads the device once.

        Raises:
            UserError: If it was not.
        """
        if not self.finished:
            raise UserError(
                f"epoch {self._number} ended after {self.done} of {self.plan.batches} batches; iterate over the loader "
                "to its end, and call selection.loss(ids, losses) once a batch"
            )
        if self._broken:
            raise UserError(
                f"{int(self._broken)} losses of epoch {self._number} are NaN or infinite; lower the learning rate, or "
                "clip the gradients"
            )

    def step_metrics(self) -> dict[str, Any]:
        """Returns the figures of the last batch, under the keys of the step log."""
        if not self.done:
            return {}
        index, plan = self.done - 1, self.plan
        offered = plan.offered_by(index) - (plan.offered_by(index - 1) if index else 0)
        picked = plan.trace["picked"][index] if "picked" in plan.trace else self._sizes[index]
        rate = {"control/activation_rate": picked / offered} if offered else {}
        return rate | {key: values[index] for key, values in plan.trace.items() if key != "picked"}
