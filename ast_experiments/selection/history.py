"""The sample history: what a run remembers of each sample."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core import distributed
from ast_experiments.selection.parts import Part

COLUMNS = ("scores", "previous", "last_epoch", "visits")
PIECE = 1 << 16
"""Samples whose scores are committed at a time."""


def merged(pending: Tensor, *, on_rank_0: bool = False) -> Tensor:
    """Combines the observations (n,) of all ranks: NaN where no rank has one, the mean where several have.

    Args:
        pending: Observations of this rank.
        on_rank_0: Whether only rank 0 needs the result; what the others get then has no meaning.
    """
    if distributed.size() == 1:
        return pending
    seen = ~pending.isnan()
    reduce = distributed.reduce_sum if on_rank_0 else distributed.all_reduce_sum
    sums, counts = reduce(torch.stack([pending.nan_to_num(), seen.float()]))
    return torch.where(counts > 0, sums / counts, torch.nan)


class SampleHistory(Part):
    """Last score, last epoch and visits of each sample; constant within an epoch.

    The score is the training loss unless the method has a `score` of its own. New scores wait in a pending column on
    the training device and are committed at the end of the epoch, so a plan never depends on how far its epoch got.

    Where rank 0 plans for all ranks, the others keep the pending column only.

    Args:
        samples: Number of training samples.
        device: Training device.

    Attributes:
        scores: Last scores, float32, shape (samples,); NaN for samples without a score.
        previous: The scores before those, float32, shape (samples,); NaN for samples with fewer than two.
        last_epoch: Epoch of the last score, int32, shape (samples,); -1 for samples without a score.
        visits: Epochs in which the sample got a score, int32, shape (samples,).
        on_rank_0: Whether only rank 0 keeps these columns.
    """

    def __init__(self, samples: int, device: torch.device | str = "cpu") -> None:
        self.on_rank_0 = False
        self._pending = torch.full((samples,), torch.nan, dtype=torch.float32, device=device)

    def __len__(self) -> int:
        return len(self._pending)

    @cached_property
    def scores(self) -> np.ndarray:
        """Made at the first use, as the other columns are."""
        return self._column(np.nan, np.float32)

    @cached_property
    def previous(self) -> np.ndarray:
        """As `scores`."""
        return self._column(np.nan, np.float32)

    @cached_property
    def last_epoch(self) -> np.ndarray:
        """As `scores`."""
        return self._column(-1, np.int32)

    @cached_property
    def visits(self) -> np.ndarray:
        """As `scores`."""
        return self._column(0, np.int32)

    def _column(self, value: float, dtype: type[np.generic]) -> np.ndarray:
        if not self.kept:
            raise RuntimeError("only rank 0 keeps a sample history; set planned_on_rank_0 = False in the method")
        return np.full(len(self), value, dtype=dtype)

    @property
    def kept(self) -> bool:
        """Whether this rank keeps the columns."""
        return not self.on_rank_0 or distributed.rank() == 0

    def keep(self, on_rank_0: bool) -> None:
        """Keeps the columns on rank 0 only, or on every rank."""
        self.on_rank_0 = on_rank_0
        if not self.kept:
            for name in COLUMNS:
                vars(self).pop(name, None)

    @property
    def losses(self) -> np.ndarray:
        """`scores`, under the name they have where the score is the loss; float32, shape (samples,)."""
        return self.scores

    @property
    def previous_losses(self) -> np.ndarray:
        """`previous`, under the name that goes with `losses`; float32, shape (samples,)."""
        return self.previous

    @property
    def unseen(self) -> np.ndarray:
        """True for samples without a score; bool, shape (samples,)."""
        return self.last_epoch < 0

    def record(self, ids: Tensor, scores: Tensor) -> None:
        """Keeps scores (n,) of samples `ids` (n,) until the epoch ends; reads nothing from the device."""
        self._pending[ids] = scores.float()

    def commit(self, epoch: int) -> None:
        """Makes the pending scores of all ranks the last ones. Reads the device once in `PIECE` samples."""
        for first in range(0, len(self), PIECE):
            rows = slice(first, first + PIECE)
            pending = merged(self._pending[rows], on_rank_0=self.on_rank_0)
            if self.kept:
                self._commit(rows, pending.cpu().numpy(), epoch)
        self._pending.fill_(torch.nan)

    def _commit(self, rows: slice, pending: np.ndarray, epoch: int) -> None:
        new = ~np.isnan(pending)
        np.copyto(self.previous[rows], self.scores[rows], where=new)
        np.copyto(self.scores[rows], pending, where=new)
        np.copyto(self.last_epoch[rows], epoch, where=new)
        self.visits[rows] += new

    def state_dict(self) -> dict[str, Any]:
        """Returns all columns that this rank keeps as tensors on the CPU."""
        columns = {name: getattr(self, name) for name in COLUMNS} if self.kept else {}
        return {name: torch.from_numpy(column.copy()) for name, column in columns.items()} | {
            "pending": self._pending.cpu().clone()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned.

        Raises:
            ValueError: If the history was made for another number of samples.
        """
        if len(state["pending"]) != len(self):
            raise ValueError(
                f"a history of {len(state['pending'])} samples cannot be loaded into one of {len(self)} samples"
            )
        for name in COLUMNS:
            if name in state or distributed.rank() == 0:
                setattr(self, name, state[name].numpy().copy())
        self._pending.copy_(state["pending"])
