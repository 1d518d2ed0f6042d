"""Selective backpropagation with a scoring pass over every loaded batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch
from ast_experiments.selection.batch_queue import Packing
from ast_experiments.selection.method import Context, Scorer
from ast_experiments.selection.numeric import Number, generator
from ast_experiments.selection.plan import Plan

ORDER, DRAW = 1, 2


class FreshSelectiveBackprop:
    """Scores every row and keeps it with probability CDF_R(loss)^beta; the kept ones wait for a full batch.

    Selective backpropagation (arXiv 1910.00762). R are the last losses, the present batch included, and rows of equal
    loss have the middle of their ranks, so that the mean of the probabilities is 1 / (1 + beta), and beta is
    1 / rate - 1. There are no weights. BatchNorm statistics are used and left alone when scoring.

    Args:
        history: How many losses R holds.
    """

    def __init__(self, *, history: int = 1024) -> None:
        self._size = history

    def prepare(self, context: Context) -> None:
        """Make room for losses and waiting rows."""
        self._context = context
        self._history = torch.full((self._size,), torch.nan, device=context.device)
        self._queue = Packing(context.batch_size)
        self._epoch, self._batch, self._seen = 0, 0, 0

    def plan(self, epoch: int, target: float) -> Plan:
        """All samples in a new order; the choice is made batch by batch."""
        c = self._context
        if epoch != self._epoch:
            self._batch = 0
        self._epoch, self._target = epoch, target
        ids = generator(c.seed, ORDER, epoch).permutation(c.samples)
        plan = Plan(ids, offered=c.samples, load_batch=c.batch_size, keep_short=True)
        self._batches = plan.batches
        return plan

    def select(self, loaded: Batch, score: Scorer) -> Iterator[Batch]:
        """Full batches of the kept rows; in dense epochs of all rows, the last batch short."""
        dense = self._target >= 1
        rows = loaded if dense else self._kept(loaded, score)
        self._batch += 1
        yield from self._queue.pass_on(rows, self._epoch, flush=dense and self._batch == self._batches)

    def _kept(self, loaded: Batch, score: Scorer) -> Batch:
        losses = distributed.gather_rows(score(loaded).losses, loaded.rows)
        draws = generator(self._context.seed, DRAW, self._epoch, self._batch).random(len(losses), dtype="float32")
        keep = torch.from_numpy(draws).to(losses.device) < self._share_below(losses) ** (1 / self._target - 1)
        keep = keep.cpu()
        rows = keep[distributed.shard(len(keep))].nonzero().squeeze(1)
        return loaded.take(rows.to(loaded.ids.device), int(keep.sum()))

    def _share_below(self, losses: Tensor) -> Tensor:
        """The distribution function of the last losses, these (n,) included, at each of them; on the device."""
        latest = losses[-self._size :]
        at = torch.arange(self._seen, self._seen + len(latest), device=losses.device) % self._size
        self._history[at] = latest.to(self._history.dtype)
        self._seen += len(latest)
        known = self._history.sort().values[: min(self._seen, self._size)]  # NaN comes last
        below, up_to = (torch.searchsorted(known, losses, right=right) for right in (False, True))
        return (below + up_to) / (2 * len(known))

    def signals(self) -> Mapping[str, Number]:
        """How many rows were kept since the last step."""
        return {"picked": self._queue.picked}

    def scored_share(self, target: float) -> float:
        """One pass for each row offered."""
        return 0.0 if target >= 1 else 1.0

    def state_dict(self) -> dict[str, Any]:
        """Last losses and waiting rows; valid in the middle of an epoch."""
        return {
            "history": self._history.cpu().clone(),
            "seen": self._seen,
            "queue": self._queue.state_dict(),
            "epoch": self._epoch,
            "batch": self._batch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._history.copy_(state["history"])
        self._seen = state["seen"]
        self._queue.load_state_dict(state["queue"], self._context.fetch)
        self._epoch, self._batch = state["epoch"], state["batch"]
