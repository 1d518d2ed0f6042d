"""The sample history: what a run remembers of each sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core import distributed
from ast_experiments.selection.parts import Part


def merged(pending: Tensor) -> Tensor:
    """Combines the observations (samples,) of all ranks: NaN where no rank has one, the mean where several have."""
    if distributed.size() == 1:
        return pending
    seen = ~pending.isnan()
    sums, counts = distributed.all_reduce_sum(torch.stack([pending.nan_to_num(), seen.float()]))
    return torch.where(counts > 0, sums / counts, torch.nan)


class SampleHistory(Part):
    """Last score, last epoch and visits of each sample; constant within an epoch.

    The score is the training loss unless the method has a `score` of its own. New scores wait in a pending column on
    the training device and are committed at the end of the epoch, so a plan never depends on how far its epoch got.

    Args:
        samples: Number of training samples.
        device: Training device.

    Attributes:
        scores: Last scores, float32, shape (samples,); NaN for samples without a score.
        previous: The scores before those, float32, shape (samples,); NaN for samples with fewer than two.
        last_epoch: Epoch of the last score, int32, shape (samples,); -1 for samples without a score.
        visits: Epochs in which the sample got a score, int32, shape (samples,).
    """

    def __init__(self, samples: int, device: torch.device | str = "cpu") -> None:
        self.scores = np.full(samples, np.nan, dtype=np.float32)
        self.previous = np.full(samples, np.nan, dtype=np.float32)
        self.last_epoch = np.full(samples, -1, dtype=np.int32)
        self.visits = np.zeros(samples, dtype=np.int32)
        self._pending = torch.full((samples,), torch.nan, dtype=torch.float32, device=device)

    def __len__(self) -> int:
        return len(self.scores)

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
        """Makes the pending scores of all ranks the last ones. Reads the device once."""
        pending = merged(self._pending).cpu().numpy()
        new = ~np.isnan(pending)
        np.copyto(self.previous, self.scores, where=new)
        np.copyto(self.scores, pending, where=new)
        np.copyto(self.last_epoch, epoch, where=new)
        self.visits += new
        self._pending.fill_(torch.nan)

    def state_dict(self) -> dict[str, Any]:
        """Returns all columns as tensors on the CPU."""
        columns = {name: getattr(self, name) for name in ("scores", "previous", "last_epoch", "visits")}
        return {name: torch.from_numpy(column.copy()) for name, column in columns.items()} | {
            "pending": self._pending.cpu().clone()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned.

        Raises:
            ValueError: If the history was made for another number of samples.
        """
        if len(state["scores"]) != len(self):
            raise ValueError(
                f"a history of {len(state['scores'])} samples cannot be loaded into one of {len(self)} samples"
            )
        for name in ("scores", "previous", "last_epoch", "visits"):
            setattr(self, name, state[name].numpy().copy())
        self._pending.copy_(state["pending"])
