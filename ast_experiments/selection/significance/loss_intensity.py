"""Loss and image contrast as significance."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ast_experiments.core import distributed
from ast_experiments.core.ranges import NonNegative


def loss_intensity(
    losses: Tensor,
    images: Tensor,
    *,
    variant: Literal["report", "comparison"] = "report",
    loss_weight: NonNegative = 0.7,
    intensity_weight: NonNegative = 0.3,
) -> Tensor:
    """Returns the weighted sum of loss and image contrast, each relative to its mean over the batch of all ranks.

    The `report` variant, behind the published CIFAR-10 result, clips both at 2 and halves them, so scores lie in
    [0, 1]; contrast is the unbiased standard deviation over all pixels and channels. With the `comparison` variant, of
    the published comparison of CIFAR-10 with ImageNet-100, the scores of a batch average 1; contrast is the mean over
    channels of the unbiased standard deviation over pixels.
    """
    if variant == "report":
        contrast = images.flatten(1).std(dim=1)
        relative_loss = (losses / (distributed.all_reduce_mean(losses) + 1e-6)).clamp(0, 2) / 2
        relative_contrast = (contrast / (distributed.all_reduce_mean(contrast) + 1e-6)).clamp(0, 2) / 2
        return loss_weight * relative_loss + intensity_weight * relative_contrast
    contrast = images.flatten(2).std(dim=2).mean(dim=1)
    return loss_weight * losses / (distributed.all_reduce_mean(losses) + 1e-8) + intensity_weight * contrast / (
        distributed.all_reduce_mean(contrast) + 1e-8
    )
