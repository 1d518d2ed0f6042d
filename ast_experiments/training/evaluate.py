"""Validation."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch
from ast_experiments.training.hardware import Hardware


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[Batch], hardware: Hardware) -> dict[str, float]:
    """Accuracy (percent) and mean cross-entropy (nats) over all batches of all ranks; reads the device once.

    The model is left in the mode it was in.
    """
    training = model.training
    model.eval()
    correct = torch.zeros((), device=hardware.device)
    total_loss = torch.zeros((), device=hardware.device)
    rows = 0
    for batch in batches:
        with hardware.autocast():
            logits = model(batch.images)
        logits = logits.float()
        correct += (logits.argmax(1) == batch.labels).sum()
        total_loss += functional.cross_entropy(logits, batch.labels, reduction="sum")
        rows += len(batch)
    model.train(training)
    right, loss, rows = distributed.all_reduce_sum(
        torch.stack([correct, total_loss, total_loss.new_tensor(float(rows))])
    ).tolist()
    return {"val/accuracy": 100.0 * right / rows, "val/loss": loss / rows}
