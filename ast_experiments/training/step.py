"""One training step, and the scoring pass that selectors may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ast_experiments.energy.ledger import Ledger
from ast_experiments.selection.types import Batch, Outputs
from ast_experiments.training.hardware import Hardware


class Stepper:
    """Forward, backward and update of one network.

    The loss of a step is the mean of weight x loss over the rows of its batch.

    Args:
        model: On its device, in its memory format.
        optimizer: Of the model's parameters.
        hardware: Precision and compilation.
        label_smoothing: In [0, 1).
        clip_grad: Norm to clip gradients at, or None.
        ema: timm's moving average of the weights, or None.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        hardware: Hardware,
        *,
        label_smoothing: float = 0.0,
        clip_grad: float | None = None,
        ema: Any = None,
    ) -> None:
        self.model, self.optimizer, self.hardware, self.ema = model, optimizer, hardware, ema
        self._smoothing, self._clip = label_smoothing, clip_grad
        self._forward = torch.compile(model) if hardware.compile else model
        self.scaler = torch.amp.GradScaler(hardware.device.type, enabled=hardware.dtype == torch.float16)
        self._parameters = [p for p in model.parameters() if p.requires_grad]

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Per-sample cross-entropy in nats, float32, shape (n,)."""
        return functional.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=self._smoothing)

    def train(self, batch: Batch, weigh: Callable[[Batch, Outputs], Tensor | None]) -> tuple[Outputs, Tensor | None]:
        """Train on a batch; returns the detached outputs and the weights that were used."""
        with self.hardware.autocast():
            logits = self._forward(batch.images)
        losses = self.losses(logits, batch.labels)
        outputs = Outputs(logits.detach(), losses.detach())
        weights = weigh(batch, outputs)
        loss = losses.mean() if weights is None else (weights * losses).mean()
        self.scaler.scale(loss).backward()
        if self._clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(self.model)
        return outputs, weights


class Scorer:
    """Forward passes without gradients, charged to the ledger.

    Args:
        stepper: Whose network scores.
        ledger: What is charged.
    """

    def __init__(self, stepper: Stepper, ledger: Ledger) -> None:
        self._stepper, self._ledger = stepper, ledger

    def __call__(self, batch: Batch, mode: Literal["train", "eval"] = "eval") -> Outputs:
        """Score a batch (n,).

        Args:
            batch: What to score.
            mode: `eval` uses the running BatchNorm statistics and leaves them alone; `train` lets dropout act and
                moves the statistics, as the published code does.
        """
        stepper = self._stepper
        self._ledger.scored += len(batch)
        with self._ledger.phase("score"), torch.no_grad(), _mode(stepper.model, mode), stepper.hardware.autocast():
            logits = stepper.model(batch.images)
            return Outputs(logits, stepper.losses(logits, batch.labels))


@contextmanager
def _mode(model: nn.Module, mode: str) -> Iterator[None]:
    training = model.training
    if training == (mode == "train"):
        yield
        return
    model.train(mode == "train")
    try:
        yield
    finally:
        model.train(training)
