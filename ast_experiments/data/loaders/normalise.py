"""The last step of every image, on the training device: normalisation and random erasing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, Unpack

import torch
from torch import Tensor

from ast_experiments.data.encoded.erasing import erase
from ast_experiments.data.in_memory.transforms import PadCropFlip
from ast_experiments.data.loaders.transforms import Transform


class Normalise:
    """Normalises pixels for the network: `(x / 255 - mean) / std` in float32.

    Args:
        mean: Mean of each channel, pixels in 0..1.
        std: Standard deviation of each channel.
        shape: Height, width and channels of an image.
        device: Where the images are.

    Raises:
        ValueError: If the number of channels differs, or a deviation is not positive.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        shape: tuple[int, int, int],
        device: torch.device | str = "cpu",
    ) -> None:
        height, width, channels = shape
        if not len(mean) == len(std) == channels or min(std) <= 0:
            raise ValueError(f"mean {[*mean]} and std {[*std]} must hold {channels} numbers, std above 0")
        centre, spread = (torch.tensor(list(v), dtype=torch.float64, device="cpu") for v in (mean, std))
        # One number per byte of an image: a CPU is fastest on long rows without broadcasting.
        self._scale = (1 / (255 * spread)).float().repeat(height * width).to(device)
        self._shift = (-centre / spread).float().repeat(height * width).to(device)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalises uint8 images (n, h, w, c) to float32 (n, c, h, w), channels last in memory."""
        # Multiply and add round apart: fused, the last bit could depend on a row's place in its batch.
        flat = images.flatten(1).float().mul_(self._scale).add_(self._shift)
        return flat.view(images.shape).permute(0, 3, 1, 2)


class Preparation(TypedDict):
    """How a loader makes the images of a split.

    Attributes:
        transform: Random transform for training; `PadCropFlip()` or `CenterCrop()` for validation.
        mean: Mean of each channel, pixels in 0..1.
        std: Standard deviation of each channel.
        seed: Seed of the augmentation.
    """

    transform: Transform
    mean: Sequence[float]
    std: Sequence[float]
    seed: int


class NormaliseAndErase:
    """Normalises images and, if the transform asks for it, erases a random rectangle of some.

    Args:
        shape: Height, width and channels of an image.
        device: The training device.
        how: The `erasing` of its transform is the share of images that lose a rectangle.
    """

    def __init__(self, shape: tuple[int, int, int], device: torch.device, **how: Unpack[Preparation]) -> None:
        self._normalise = Normalise(how["mean"], how["std"], shape, device)
        self._erasing = 0.0 if isinstance(how["transform"], PadCropFlip) else how["transform"].erasing
        self._seed = how["seed"]

    def __call__(self, images: Tensor, ids: Tensor, epoch: int) -> Tensor:
        """Turns uint8 images (n, h, w, c) into float32 (n, c, h, w), channels last in memory."""
        images = self._normalise(images)
        return erase(images, ids, self._erasing, self._seed, epoch) if self._erasing else images
