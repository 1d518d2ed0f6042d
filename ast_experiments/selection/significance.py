"""Significance: how much a sample is worth training on now.

Pure functions (losses (n,), logits (n, classes), images (n, c, h, w)) -> scores (n,). The first three forms
are those of the public Adaptive Sparse Training code, https://github.com/oluwafemidiakhoa/adaptive-sparse-training.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from ast_experiments.core import distributed

Significance: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]


def loss(losses: Tensor, logits: Tensor, images: Tensor) -> Tensor:
    """The per-sample loss itself."""
    del logits, images
    return losses


def loss_intensity_report(
    losses: Tensor,
    logits: Tensor,
    images: Tensor,
    *,
    loss_weight: float = 0.7,
    other_weight: float = 0.3,
) -> Tensor:
    """Loss and image contrast, each relative to its batch mean, clipped at 2 and halved: in [0, 1].

    Contrast is the unbiased standard deviation over all pixels and channels. The form behind the published
    CIFAR-10 result.
    """
    del logits
    contrast = images.flatten(1).std(dim=1)
    relative_loss = (losses / (distributed.all_reduce_mean(losses) + 1e-6)).clamp(0, 2) / 2
    relative_contrast = (contrast / (distributed.all_reduce_mean(contrast) + 1e-6)).clamp(0, 2) / 2
    return loss_weight * relative_loss + other_weight * relative_contrast


def loss_intensity_comparison(
    losses: Tensor,
    logits: Tensor,
    images: Tensor,
    *,
    loss_weight: float = 0.7,
    other_weight: float = 0.3,
) -> Tensor:
    """Loss and image contrast, each relative to its batch mean: the scores of a batch average 1.

    Contrast is the mean over channels of the unbiased standard deviation over pixels. The form of the
    published comparison of CIFAR-10 with ImageNet-100.
    """
    del logits
    contrast = images.flatten(2).std(dim=2).mean(dim=1)
    return loss_weight * losses / (distributed.all_reduce_mean(losses) + 1e-8) + other_weight * contrast / (
        distributed.all_reduce_mean(contrast) + 1e-8
    )


def loss_entropy(
    losses: Tensor,
    logits: Tensor,
    images: Tensor,
    *,
    loss_weight: float = 0.7,
    other_weight: float = 0.3,
) -> Tensor:
    """Loss and predictive entropy (nats, softmax over classes), raw. The published two-stage form."""
    del images
    p = torch.softmax(logits.float(), dim=1)
    entropy = -(p * torch.log(p + 1e-8)).sum(dim=1)
    return loss_weight * losses + other_weight * entropy


def build_loss() -> Significance:
    """Significance `loss`."""
    return loss


def build_loss_intensity(variant: str, loss_weight: float, intensity_weight: float) -> Significance:
    """Significance `loss_intensity` in its `report` or `comparison` variant."""
    form = {"report": loss_intensity_report, "comparison": loss_intensity_comparison}[variant]
    return partial(form, loss_weight=loss_weight, other_weight=intensity_weight)


def build_loss_entropy(loss_weight: float, entropy_weight: float) -> Significance:
    """Significance `loss_entropy`."""
    return partial(loss_entropy, loss_weight=loss_weight, other_weight=entropy_weight)
