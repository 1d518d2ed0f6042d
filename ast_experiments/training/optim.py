"""Optimiser and learning-rate schedule; the schedule's clock is training progress.

Both do as timm's do, bit for bit.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ast_experiments.training.muon import MuonSGD

TORCH: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"nesterov": True}),
    "momentum": (torch.optim.SGD, {"nesterov": False}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
}
"""Torch's optimisers with a fused step, by timm's names; importing timm takes longer than a short run."""
POWERS = {"linear": 1.0, "poly": 2.0}
_EDGE = 1e-9  # epochs that rounding may lack


def build_optimizer(
    model: nn.Module, name: str, *, lr: float, momentum: float, weight_decay: float, decay_norm_and_bias: bool
) -> torch.optim.Optimizer:
    """Builds timm's optimiser of that name; `sgd` has Nesterov momentum, `momentum` classical momentum.

    Weight decay spares biases and the parameters of norms unless `decay_norm_and_bias`, and what a timm model names.
    """
    if name not in TORCH or hasattr(model, "no_weight_decay"):
        from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]

        extra: dict[str, Any] = {"fused": True} if name in TORCH else {}
        extra |= {"weight_decay": weight_decay, "filter_bias_and_bn": not decay_norm_and_bias}
        return create_optimizer_v2(model, opt=name, lr=lr, momentum=momentum, **extra)
    kind, settings = TORCH[name]
    if kind is torch.optim.SGD:
        settings = {**settings, "momentum": momentum}
    groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for parameter_name, parameter in model.named_parameters():
        small = parameter.ndim <= 1 or parameter_name.endswith(".bias")
        if parameter.requires_grad:
            groups[bool(weight_decay) and (decay_norm_and_bias or not small)].append(parameter)
    decaying = [{"params": each, "weight_decay": weight_decay * decays} for decays, each in groups.items() if each]
    return kind(decaying, lr=lr, weight_decay=0.0, fused=True, **settings)  # pyright: ignore[reportCallIssue]


@dataclass(frozen=True, slots=True)
class FirstStage:
    """A first stage with its own cosine schedule; the main schedule starts after it.

    Attributes:
        share: Share of the run, in (0, 1).
        lr_scale: Peak of the stage over the peak of the main schedule.
        warmup: Share of the stage in which the rate rises from 0; by epoch, an epoch trains at the rate of its end.
        min_lr: Learning rate at the end of the stage.
        label_smoothing: Label smoothing during the stage.
    """

    share: float
    lr_scale: float
    warmup: float
    min_lr: float
    label_smoothing: float

    def lr(self, peak: float, at: float, epochs: float, by_epoch: bool) -> float:
        """Returns the rate at epoch `at` of a stage of `epochs` epochs, given the peak of the main schedule."""
        peak, rising = peak * self.lr_scale, self.warmup * epochs
        if at + _EDGE < rising:
            return peak * min(1.0, (at + by_epoch) / rising)
        falling = (at - rising) / (epochs - rising)
        return self.min_lr + (peak - self.min_lr) * (1 + math.cos(math.pi * falling)) / 2


class Schedule:
    """Sets the learning rate from training progress, so that every run ends fully decayed.

    Args:
        optimizer: The current learning rates of its groups are the peak.
        kind: `constant`, `cosine`, `poly` (power 2) or `linear`; decays from the end of the warm-up.
        epochs: Length of the run in epochs.
        by_epoch: Whether the rate changes only between epochs.
        warmup_epochs: Linear warm-up from `warmup_lr`.
        warmup_lr: Learning rate at the start of the warm-up.
        min_lr: Learning rate at the end.
        label_smoothing: Label smoothing after the first stage.
        first: The first stage, if any.

    Attributes:
        label_smoothing: Label smoothing of the step that the rate was set for.
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
        label_smoothing: float = 0.0,
        first: FirstStage | None = None,
    ) -> None:
        self._before = 0.0 if first is None else first.share * epochs
        self._peaks = [group["lr"] for group in optimizer.param_groups]
        self._kind, self._min_lr, self._warmup, self._warmup_lr = kind, min_lr, warmup_epochs, warmup_lr
        self._first, self.label_smoothing, self._later_smoothing = first, label_smoothing, label_smoothing
        self._optimizer, self._epochs, self._by_epoch = optimizer, epochs, by_epoch

    def set(self, progress: float, scale: float = 1.0) -> float:
        """Sets the learning rate for a step that begins at `progress` in [0, 1); returns it."""
        at = progress * self._epochs
        at = math.floor(at + _EDGE) if self._by_epoch else at
        if self._first is not None and at + _EDGE < self._before:
            self.label_smoothing = self._first.label_smoothing
            for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
                group["lr"] = self._first.lr(peak, at, self._before, self._by_epoch)
        else:
            self.label_smoothing = self._later_smoothing
            for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
                group["lr"] = self._main(peak, max(0.0, at - self._before))
        if scale != 1.0:
            for group in self._optimizer.param_groups:
                group["lr"] *= scale
        return self._optimizer.param_groups[0]["lr"]

    def _main(self, peak: float, at: float) -> float:
        """Returns the rate at epoch `at` of the main schedule, for a group with that peak."""
        if at < self._warmup:
            return self._warmup_lr + at * ((peak - self._warmup_lr) / self._warmup)
        at, epochs = at - self._warmup, self._epochs - self._before - self._warmup
        if self._kind == "constant":
            return peak
        if at >= epochs:
            return self._min_lr
        if self._kind == "cosine":
            return self._min_lr + 0.5 * (peak - self._min_lr) * (1 + math.cos(math.pi * at / epochs))
        return self._min_lr + (peak - self._min_lr) * (1 - at / epochs) ** POWERS[self._kind]


def build_optim(recipe: Any, model: nn.Module) -> tuple[torch.optim.Optimizer, Schedule]:
    """Builds optimiser and learning-rate schedule of a network from the `recipe` settings."""
    if recipe.muon_sgd is not None:
        rest, rows = recipe.muon_sgd, recipe.batch_size  # the loss is a mean over the batch, these rates are of its sum
        optimizer: torch.optim.Optimizer = MuonSGD(
            model,
            lr=recipe.lr,
            momentum=recipe.momentum,
            bias_lr=rest.bias_lr * rows,
            head_lr=rest.head_lr * rows,
            sgd_momentum=rest.momentum,
            weight_decay=recipe.weight_decay * rows,
        )
    else:
        optimizer = build_optimizer(
            model,
            recipe.optimizer,
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            decay_norm_and_bias=recipe.decay_norm_and_bias,
        )
    schedule = Schedule(
        optimizer,
        recipe.schedule,
        epochs=recipe.epochs,
        by_epoch=recipe.schedule_by == "epoch",
        warmup_epochs=recipe.warmup_epochs,
        warmup_lr=recipe.warmup_lr,
        min_lr=recipe.min_lr,
        label_smoothing=recipe.label_smoothing,
        first=None if recipe.first_stage is None else FirstStage(**dataclasses.asdict(recipe.first_stage)),
    )
    return optimizer, schedule
