"""The table of samples: how often, when and with which loss a run trained each sample."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core.files import open_atomic
from ast_experiments.selection.history import SampleHistory

NAME = "samples.npz"


class SampleTable:
    """Visits, epochs and losses of every sample, whatever the method; the step only writes on the device.

    Args:
        facts: Columns that are known before training, each of length `samples`: labels, file names, altered rows.
        samples: Number of training samples.
        device: Training device.

    Attributes:
        first_epoch: Epoch in which each sample was first trained, counted from 0, int32, shape (samples,); -1 if never.
    """

    def __init__(self, facts: Mapping[str, np.ndarray], samples: int, device: torch.device | str) -> None:
        self._facts, self._history = dict(facts), SampleHistory(samples, device)
        self.first_epoch = np.full(samples, -1, np.int32)

    def record(self, ids: Tensor, losses: Tensor, weights: Tensor | None) -> None:
        """Keeps the losses (n,) of a trained batch with sample ids (n,); rows of weight 0 were not trained."""
        self._history.record(ids, losses if weights is None else losses.masked_fill(weights <= 0, torch.nan))

    def commit(self, epoch: int) -> None:
        """Adds an epoch, counted from 0, on all ranks. Reads the device once."""
        unseen = self._history.unseen
        self._history.commit(epoch)
        self.first_epoch[unseen & ~self._history.unseen] = epoch

    def columns(self) -> dict[str, np.ndarray]:
        """Returns all columns by name, as `docs/metrics.md` defines them."""
        history = self._history
        return {
            "id": np.arange(len(history), dtype=np.int32),
            **self._facts,
            "visits": history.visits,
            "last_loss": history.scores,
            "previous_loss": history.previous,
            "first_epoch": self.first_epoch,
            "last_epoch": history.last_epoch,
        }

    def write(self, folder: Path) -> Path:
        """Writes the columns to samples.npz in a run directory, atomically and not compressed, which would be slow."""
        with open_atomic(folder / NAME) as file:
            np.savez(file, allow_pickle=False, **self.columns())
        return folder / NAME

    def state_dict(self) -> dict[str, Any]:
        """Returns what training has added; valid in the middle of an epoch."""
        return {"history": self._history.state_dict(), "first_epoch": torch.from_numpy(self.first_epoch.copy())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._history.load_state_dict(state["history"])
        self.first_epoch = state["first_epoch"].numpy().copy()
