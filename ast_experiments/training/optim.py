"""Optimiser and learning-rate schedule, both timm's; the schedule's clock is training progress."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

FUSED = ("sgd", "momentum", "adam", "adamw")


def build_optimizer(
    model: nn.Module, name: str, *, lr: float, momentum: float, weight_decay: float, decay_norm_and_bias: bool
) -> torch.optim.Optimizer:
    """Timm's optimiser of that name: `sgd` has Nesterov momentum, `momentum` the classical one."""
    from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]

    extra: dict[str, Any] = {"fused": True} if name in FUSED else {}
    return create_optimizer_v2(
        model,
        opt=name,
        lr=lr,
        weight_decay=weight_decay,
        momentum=momentum,
        filter_bias_and_bn=not decay_norm_and_bias,
        **extra,
    )


class Schedule:
    """Sets the learning rate from training progress, so that every run ends fully decayed.

    Args:
        optimizer: Its groups' present learning rates are the peak.
        kind: `constant`, `cosine`, `poly` (power 2) or `linear`; decays from the end of the warm-up.
        epochs: Length of the run in epochs.
        by_epoch: Whether the rate changes only between epochs.
        warmup_epochs: Linear warm-up from `warmup_lr`.
        warmup_lr: Learning rate at the start of the warm-up.
        min_lr: Learning rate at the end.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        kind: str,
        *,
        epochs: int,
        by_epoch: bool,
        warmup_epochs: float,
        warmup_lr: float,
        min_lr: float,
    ) -> None:
        from timm.scheduler.cosine_lr import CosineLRScheduler
        from timm.scheduler.multistep_lr import MultiStepLRScheduler
        from timm.scheduler.poly_lr import PolyLRScheduler

        warmup: dict[str, Any] = {"warmup_t": warmup_epochs, "warmup_lr_init": warmup_lr}
        decay: dict[str, Any] = {"t_initial": epochs - warmup_epochs, "lr_min": min_lr, "warmup_prefix": True, **warmup}
        makers = {
            "constant": lambda: MultiStepLRScheduler(optimizer, decay_t=[math.inf], **warmup),  # pyright: ignore
            "cosine": lambda: CosineLRScheduler(optimizer, **decay),
            "poly": lambda: PolyLRScheduler(optimizer, power=2.0, **decay),
            "linear": lambda: PolyLRScheduler(optimizer, power=1.0, **decay),
        }
        self._scheduler = makers[kind]()
        self._optimizer, self._epochs, self._by_epoch = optimizer, epochs, by_epoch

    def set(self, progress: float, scale: float = 1.0) -> float:
        """Set the learning rate for a step that begins at `progress` in [0, 1); returns it."""
        at = progress * self._epochs
        self._scheduler.step(math.floor(at + 1e-9) if self._by_epoch else at)  # pyright: ignore[reportArgumentType]
        if scale != 1.0:
            for group in self._optimizer.param_groups:
                group["lr"] *= scale
        return self._optimizer.param_groups[0]["lr"]
