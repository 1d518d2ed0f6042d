"""Loads the batches of a plan; in a data-parallel run, this rank's shard of each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch
from ast_experiments.core.errors import UserError
from ast_experiments.data.loaders.base import Loader, PlannedBatches
from ast_experiments.selection.plan import Plan


def planned_batches(
    loader: Loader, plan: Plan, epoch: int, start: int = 0, visits: np.ndarray | None = None
) -> Iterator[Batch]:
    """Yields the batches of a plan, or this rank's shard of each; a shard may have no rows.

    Args:
        loader: Of training samples.
        plan: The epoch's plan.
        epoch: Counted from 0.
        start: First batch to load.
        visits: Earlier epochs that trained each sample, shape (samples,); None for every earlier epoch.

    Raises:
        UserError: If the ranks cannot share a batch equally.
    """
    ranks = distributed.size()
    if plan.load_batch % ranks:
        raise UserError(
            f"batches of {plan.load_batch} rows cannot be shared equally by {ranks} processes; "
            f"choose recipe.batch_size and the method's rate so that loaded batches are a multiple of {ranks}"
        )
    own = plan.shard(distributed.rank(), ranks)
    visited = None if visits is None else visits[own.ids]
    planned = PlannedBatches(own.ids, own.load_batch, own.weights, start, own.keep_short, visited)
    loaded = loader.batches(planned, epoch)
    if ranks == 1:
        yield from loaded
        return
    for rows in plan.batch_sizes[start:]:
        batch = next(loaded, None)
        if batch is None:
            batch = loader.fetch(np.zeros(1, np.int64), epoch).take(slice(0, 0))
        yield batch.take(slice(None), rows)
