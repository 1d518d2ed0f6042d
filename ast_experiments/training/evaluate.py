"""Validation."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch
from ast_experiments.training.hardware import Hardware
from ast_experiments.training.views import mean_logits


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Iterable[Batch], hardware: Hardware, *, views: bool = False
) -> dict[str, float]:
    """Accuracy (percent) and mean cross-entropy (nats) over all batches of all ranks; reads the device once.

    The model is left in the mode it was in.

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
