"""The table of samples: how often, when, with which loss and with which prediction a run trained each sample."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.files import open_atomic
from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.suspects import NONE_WRONG, suspects
from ast_experiments.training.predictions import Predictions

NAME = "samples.npz"


class SampleTable:
    """Visits, epochs, losses and predictions of every sample, whatever the method; the step only writes on the device.

    Args:
        facts: Columns that are known before training, each of length `samples`: labels, file names, altered rows.
        samples: Number of training samples.
        device: Training device.
        classes: Number of classes, at least 2; None keeps no predictions.

    Attributes:
        first_epoch: Epoch in which each sample was first trained, counted from 0, int32, shape (samples,); -1 if never.
    """

    def __init__(
        self,
        facts: Mapping[str, np.ndarray],
        samples: int,
        device: torch.device | str,
        classes: int | None = None,
    ) -> None:
        self._facts, self._history = dict(facts), SampleHistory(samples, device)
        self._predictions = None if classes is None or classes < 2 else Predictions(samples, classes, device)
        self.first_epoch = np.full(samples, -1, np.int32)

    @property
    def visits(self) -> np.ndarray:
        """Epochs that trained each sample, without the current one; int32, shape (samples,)."""
        return self._history.visits

    def record(self, batch: Batch, outputs: Outputs, weights: Tensor | None) -> None:
        """Keeps the losses and predictions of a trained batch of n rows; those of weight (n,) 0 were not trained."""
        losses = outputs.losses if weights is None else outputs.losses.masked_fill(weights <= 0, torch.nan)
        self._history.record(batch.ids, losses)
        if self._predictions is not None:
            self._predictions.record(batch.ids, outputs.logits, batch.labels, weights)

    def commit(self, epoch: int) -> None:
        """Adds an epoch, counted from 0, on all ranks. Reads the device once."""
        unseen = self._history.unseen
        self._history.commit(epoch)
        self.first_epoch[unseen & ~self._history.unseen] = epoch
        if self._predictions is not None:
            self._predictions.commit(epoch)

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
            **({} if self._predictions is None else self._predictions.columns(history.visits)),
        }

    def noise(self) -> dict[str, float | int]:
        """Returns the estimated share of wrong labels, as `docs/metrics.md` defines it; empty without an estimate."""
        estimate = None if self._predictions is None else self._predictions.noise()
        if estimate is None:
            return {}
        columns = self.columns()
        listed = suspects(columns["label"], columns["predicted"], columns["margin"])
        most = 0 if estimate.low < NONE_WRONG else round(estimate.share * len(columns["label"]))
        return {**estimate._asdict(), "suspects": min(len(listed), most)}

    def write(self, folder: Path) -> Path:
        """Writes the columns to samples.npz in a run directory, atomically and not compressed, which would be slow."""
        with open_atomic(folder / NAME) as file:
            np.savez(file, allow_pickle=False, **self.columns())
        return folder / NAME

    def state_dict(self) -> dict[str, Any]:
        """Returns what training has added; valid in the middle of an epoch."""
        state = {"history": self._history.state_dict(), "first_epoch": torch.from_numpy(self.first_epoch.copy())}
        return state if self._predictions is None else {**state, "predictions": self._predictions.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned; without its predictions, those before the checkpoint stay unknown."""
        self._history.load_state_dict(state["history"])
        self.first_epoch = state["first_epoch"].numpy().copy()
        if self._predictions is not None and "predictions" in state:
            self._predictions.load_state_dict(state["predictions"])
