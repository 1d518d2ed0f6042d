"""Validation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch
from ast_experiments.core.errors import EvalOutOfMemory
from ast_experiments.data.loaders.base import Loader, PlannedBatches
from ast_experiments.training.hardware import Hardware, out_of_memory
from ast_experiments.training.views import mean_logits


@dataclass(frozen=True, slots=True)
class Validation:
    """The validation samples, shared among the ranks.

    Attributes:
        loader: Of validation samples.
        samples: Number of validation samples; their ids are 0 .. samples - 1.
        batch_size: Rows that go through the network at once.
    """

    loader: Loader
    samples: int
    batch_size: int

    @property
    def ids(self) -> np.ndarray:
        """Samples that this rank evaluates, int64."""
        return np.arange(self.samples, dtype=np.int64)[distributed.shard(self.samples)]

    def run(self, model: nn.Module, hardware: Hardware, *, views: bool = False) -> dict[str, float]:
        """Evaluates a model, with the BatchNorm statistics of rank 0; returns entries of an epoch row.

        Args:
            model: The network.
            hardware: Precision.
            views: Whether to also measure the accuracy by six views of each image.

        Raises:
            EvalOutOfMemory: If a batch does not fit on the device.
        """
        distributed.broadcast_(model.buffers())
        batches = self.loader.batches(PlannedBatches(self.ids, self.batch_size, keep_short=True), 0)
        try:
            return self.measure(model, batches, hardware, views=views)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise EvalOutOfMemory(self.batch_size) from error

    def measure(
        self, model: nn.Module, batches: Iterable[Batch], hardware: Hardware, *, views: bool
    ) -> dict[str, float]:
        """Measures what `run` returns, on the batches of this rank."""
        return evaluate(model, batches, hardware, views=views)


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Iterable[Batch], hardware: Hardware, *, views: bool = False
) -> dict[str, float]:
    """Computes accuracy (percent) and mean cross-entropy (nats) over all batches of all ranks.

    Reads the device once, and leaves the model in the mode it was in.

    Args:
        model: The network.
        batches: Validation batches.
        hardware: Precision.
        views: Whether to add `val/accuracy_views`, the accuracy of the mean over six views of each image.
    """
    training = model.training
    model.eval()
    correct = torch.zeros((), device=hardware.device)
    total_loss = torch.zeros((), device=hardware.device)
    by_views = torch.zeros((), device=hardware.device)
    rows = 0
    for batch in batches:
        with hardware.autocast():
            logits = model(batch.images).float()
            if views:
                by_views += (mean_logits(model, batch.images, logits).argmax(1) == batch.labels).sum()
        correct += (logits.argmax(1) == batch.labels).sum()
        total_loss += functional.cross_entropy(logits, batch.labels, reduction="sum")
        rows += len(batch)
    model.train(training)
    right, loss, right_by_views, rows = distributed.all_reduce_sum(
        torch.stack([correct, total_loss, by_views, total_loss.new_tensor(float(rows))])
    ).tolist()
    measured = {"val/accuracy": 100.0 * right / rows, "val/loss": loss / rows}
    return measured | ({"val/accuracy_views": 100.0 * right_by_views / rows} if views else {})
