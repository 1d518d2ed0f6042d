"""Choosing from larger loaded batches: of every B / rate rows the B that score highest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch
from ast_experiments.selection.method import Context
from ast_experiments.selection.numeric import generator
from ast_experiments.selection.plan import Plan

ORDER = 1


class Oversampling:
    """Plans epochs of large loaded batches, and takes a training batch from each.

    All shapes are constant and nothing is read from the device. Samples that fill no loaded batch head the next epoch's
    plan. In a data-parallel run every rank takes the best rows of its own part.

    Args:
        context: Of the run.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._own = len(range(context.batch_size)[distributed.shard(context.batch_size)])
        self._carried = self._next = np.empty(0, dtype=np.int64)

    def plan(self, epoch: int, target: float) -> Plan:
        """All samples in a new order, loaded in batches of B / target; with a target of 1, of B, the last one short."""
        c = self._context
        order = generator(c.seed, ORDER, epoch).permutation(c.samples)
        waiting = np.zeros(c.samples, dtype=bool)
        waiting[self._carried] = True
        ids = np.concatenate([self._carried, order[~waiting[order]]])
        share = distributed.size()  # every rank loads as many rows
        load = min(round(c.batch_size / target / share), c.samples // share) * share
        rows = c.samples if target >= 1 else c.samples // load * load
        self._next = ids[rows:]
        return Plan(ids[:rows], offered=rows, load_batch=load, keep_short=target >= 1)

    def best(self, loaded: Batch, scores: Tensor) -> Batch:
        """The rows with the highest scores (n,); of equal ones the first."""
        return loaded.take(scores.argsort(descending=True, stable=True)[: self._own], self._context.batch_size)

    def commit(self) -> None:
        """The samples that the last plan left over wait now."""
        self._carried = self._next

    def state_dict(self) -> dict[str, Any]:
        """The waiting samples."""
        return {"carried": torch.from_numpy(self._carried.copy())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._carried = self._next = state["carried"].numpy().copy()
