"""Selective backpropagation on fresh losses: a scoring pass over every loaded batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch
from ast_experiments.core.errors import ConfigError
from ast_experiments.core.ranges import Count
from ast_experiments.selection.batch_queue import BatchQueue
from ast_experiments.selection.context import Scorer
from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.method import Method
from ast_experiments.selection.numeric import Number
from ast_experiments.selection.plan import Plan

DRAW = 2
LEAST_HISTORY = 64


class SelectiveBackpropFresh(Method):
    """Scores every row and keeps it with probability CDF_R(loss)^beta; kept rows wait until they fill a batch.

    Selective backpropagation (arXiv 1910.00762). R are the last losses, those of the present batch included. Rows of
    equal loss have the middle of their ranks, so that the mean of the probabilities is 1 / (1 + beta), and beta is
    1 / rate - 1. There are no weights. Scoring uses the BatchNorm statistics and leaves them alone.

    Args:
        history: Number of losses in R, 64 or more.

    Raises:
        ConfigError: If `history` is too small.
    """

    scoring = "fresh"
    warmup_epochs = 1
    keeps_history = False
    saved = ("_recent", "_seen", "_epoch", "_batch")

    def __init__(self, *, history: Count = 1024) -> None:
        if history < LEAST_HISTORY:
            raise ConfigError(
                f"method.history: {history} losses are too few to estimate a distribution; "
                f"type method.history={LEAST_HISTORY} or more"
            )
        self._size = history

    def prepare(self) -> None:
        """Makes room for losses and waiting rows."""
        self._recent = torch.full((self._size,), torch.nan, device=self.context.device)
        self._queue = BatchQueue(self.context)
        self._epoch, self._batch, self._seen = 0, 0, 0

    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Orders all samples at random; `select` chooses batch by batch."""
        del history
        if epoch != self._epoch:
            self._batch = 0
        self._epoch, self._target = epoch, target
        return self.train_all(epoch)

    def select(self, loaded: Batch, score: Scorer) -> Iterator[Batch]:
        """Yields full batches of the kept rows; in dense epochs of all rows, the last batch short."""
        dense = self._target >= 1
        rows = loaded if dense else self._kept(loaded, score)
        self._batch += 1
        yield from self._queue.pass_on(rows, self._epoch, flush=dense and self._batch == self.planned.batches)

    def _kept(self, loaded: Batch, score: Scorer) -> Batch:
        losses = distributed.gather_rows(score(loaded).losses, loaded.rows)
        draws = self.random(DRAW, self._epoch, self._batch).random(len(losses), dtype="float32")
        keep = torch.from_numpy(draws).to(losses.device) < self._share_below(losses) ** (1 / self._target - 1)
        keep = keep.cpu()
        rows = keep[distributed.shard(len(keep))].nonzero().squeeze(1)
        return loaded.take(rows.to(loaded.ids.device), int(keep.sum()))

    def _share_below(self, losses: Tensor) -> Tensor:
        """Returns the distribution function of the last losses, these (n,) included, at each of them; on the device."""
        latest = losses[-self._size :]
        at = torch.arange(self._seen, self._seen + len(latest), device=losses.device) % self._size
        self._recent[at] = latest.to(self._recent.dtype)
        self._seen += len(latest)
        known = self._recent.sort().values[: min(self._seen, self._size)]  # NaN comes last
        below, up_to = (torch.searchsorted(known, losses, right=right) for right in (False, True))
        return (below + up_to) / (2 * len(known))

    def signals(self) -> Mapping[str, Number]:
        """Returns how many rows were kept since the last step."""
        return {"picked": self._queue.picked}

    def scored_share(self, target: float) -> float:
        """Returns one pass for each offered row."""
        return 0.0 if target >= 1 else 1.0

    def least_share(self, rate: float) -> float:
        """Returns 1: rows of several epochs may fill a batch."""
        del rate
        return 1.0
