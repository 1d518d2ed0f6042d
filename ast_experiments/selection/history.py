"""The per-sample table: last score, last epoch seen, visits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core import distributed


def merged(pending: Tensor) -> Tensor:
    """Observations (samples,) of all ranks in one column; NaN where none has one, the mean where several have."""
    if distributed.size() == 1:
        return pending
    seen = ~pending.isnan()
    sums, counts = distributed.all_reduce_sum(torch.stack([pending.nan_to_num(), seen.float()]))
    return torch.where(counts > 0, sums / counts, torch.nan)


class ScoreTable:
    """Scores by sample id, frozen within an epoch.

    Observations wait in a pending column on the training device and are committed at the epoch's end, so that an
    epoch's plan never depends on how far the epoch has got.

    Attributes:
        scores: Committed scores, float32, shape (samples,); NaN where a sample was never scored.
        last_epoch: Epoch in which the score was taken, int32, shape (samples,); -1 for never.
        visits: How often the sample was scored, int32, shape (samples,).
    """

    def __init__(self, samples: int, device: torch.device | str = "cpu") -> None:
        self.scores = np.full(samples, np.nan, dtype=np.float32)
        self.last_epoch = np.full(samples, -1, dtype=np.int32)
        self.visits = np.zeros(samples, dtype=np.int32)
        self._pending = torch.full((samples,), torch.nan, dtype=torch.float32, device=device)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def unseen(self) -> np.ndarray:
        """True for samples that were never scored; bool, shape (samples,)."""
        return self.last_epoch < 0

    def record(self, ids: Tensor, scores: Tensor) -> None:
        """Keep scores (n,) of samples `ids` (n,) until the epoch ends; stays on the device."""
        self._pending[ids] = scores.float()

    def commit(self, epoch: int) -> None:
        """Make the epoch's observations, of all ranks, the scores. Reads the device once."""
        pending = merged(self._pending).cpu().numpy()
        new = ~np.isnan(pending)
        np.copyto(self.scores, pending, where=new)
        np.copyto(self.last_epoch, epoch, where=new)
        self.visits += new
        self._pending.fill_(torch.nan)

    def state_dict(self) -> dict[str, Tensor]:
        """Both columns, as tensors on the CPU."""
        return {
            "scores": torch.from_numpy(self.scores.copy()),
            "last_epoch": torch.from_numpy(self.last_epoch.copy()),
            "visits": torch.from_numpy(self.visits.copy()),
            "pending": self._pending.cpu().clone(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: If the table was made for another number of samples.
        """
        if len(state["scores"]) != len(self):
            raise ValueError(f"scores of {len(state['scores'])} samples cannot be loaded into a table of {len(self)}")
        self.scores = state["scores"].numpy().copy()
        self.last_epoch = state["last_epoch"].numpy().copy()
        self.visits = state["visits"].numpy().copy()
        self._pending.copy_(state["pending"])
