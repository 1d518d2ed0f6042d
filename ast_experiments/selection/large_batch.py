"""Online batch selection: the method loads larger batches and trains the rows with the highest scores."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch
from ast_experiments.selection.context import Context
from ast_experiments.selection.parts import Staged
from ast_experiments.selection.plan import Plan


class LargeBatches(Staged[Tensor]):
    """Plans epochs of large loaded batches, and takes a training batch from each.

    All shapes are constant and nothing is read from the device. Samples that fill no loaded batch head the next epoch's
    plan. In a data-parallel run every rank takes the best rows of its own part.

    Args:
        context: The run.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(torch.empty(0, dtype=torch.int64))
        self._context = context
        self._own = len(range(context.batch_size)[distributed.shard(context.batch_size)])

    def plan(self, order: np.ndarray, target: float) -> Plan:
        """Returns all samples in batches of B / target; with a target of 1, in batches of B, the last one short.

        Args:
            order: A permutation of all samples, int64, shape (samples,).
            target: Target rate, in (0, 1].
        """
        c, carried = self._context, self.now.numpy()
        waiting = np.zeros(c.samples, dtype=bool)
        waiting[carried] = True
        ids = np.concatenate([carried, order[~waiting[order]]])
        share = distributed.size()  # every rank loads the same number of rows
        load = min(round(c.batch_size / target / share), c.samples // share) * share
        rows = c.samples if target >= 1 else c.samples // load * load
        self.next = torch.from_numpy(ids[rows:].copy())
        return Plan(ids[:rows], offered=rows, load_batch=load, keep_short=target >= 1)

    def best(self, loaded: Batch, scores: Tensor) -> Batch:
        """Returns the rows with the highest scores (n,); of equal ones the first."""
        return loaded.take(scores.argsort(descending=True, stable=True)[: self._own], self._context.batch_size)
