"""Random erasing of normalised images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ast_experiments.data.rng import uniform

_STREAM = 3
_TRIES = 10
_AREA = (0.02, 0.33)
_RATIO = (0.3, 3.3)


def erase(images: Tensor, ids: Tensor, share: float, seed: int, epoch: int) -> Tensor:
    """Sets a random rectangle of some images to zero, which is the mean colour after normalisation.

    The rectangle covers 2 to 33 % of the image; the ratio of its height to its width is drawn from 0.3 to 3.3,
    uniformly in the logarithm. Zhong et al., "Random erasing data augmentation", AAAI 2020; the settings are those of
    torchvision's `RandomErasing`.

    Args:
        images: Normalised images, shape (n, c, h, w).
        ids: Sample ids, int64, shape (n,), on the same device.
        share: Share of the images that lose a rectangle.
        seed: Seed of the run.
        epoch: Epoch.

    Returns:
        Images of the same shape.
    """
    tall, wide = images.shape[2:]
    draws = uniform(seed, epoch, ids, _STREAM, 4 * _TRIES + 1)
    area, shape, down, across = draws[:, :-1].view(-1, _TRIES, 4).unbind(2)
    area = tall * wide * (_AREA[0] + (_AREA[1] - _AREA[0]) * area)
    low, high = math.log(_RATIO[0]), math.log(_RATIO[1])
    ratio = torch.exp(low + (high - low) * shape)
    height, width = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (height < tall) & (width < wide)
    top, left = ((tall - height + 1) * down).floor(), ((wide - width + 1) * across).floor()
    first = fits.to(torch.uint8).argmax(1, keepdim=True)
    top, left, height, width = (values.gather(1, first) for values in (top, left, height, width))
    chosen = (draws[:, -1:] < share) & fits.any(1, keepdim=True)
    ys, xs = torch.arange(tall, device=images.device), torch.arange(wide, device=images.device)
    rows = chosen & (ys >= top) & (ys < top + height)
    columns = (xs >= left) & (xs < left + width)
    return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0.0)
