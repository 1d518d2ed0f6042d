"""Random crop and flip of images that lie in memory as one table, on the host or on the training device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ast_experiments.core.errors import ConfigError
from ast_experiments.data.flip import Flip, mirrored
from ast_experiments.data.rng import draw

_CROP_STREAM = 0


@dataclass(frozen=True, slots=True)
class PadCropFlip:
    """Random crop from a padded image, and horizontal flip.

    Attributes:
        padding: Pixels added on each side; 0 for no crop.
        flip: Whether images are mirrored, by chance or at every other visit; see `mirrored`.
        padding_mode: Values of the added pixels, in torchvision's words: `constant` (zeros) or `reflect`.

    Raises:
        ValueError: If the padding is negative.
    """

    padding: int = 0
    flip: Flip = False
    padding_mode: str = "constant"

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise ValueError(f"padding must be 0 or more, not {self.padding}")


def pad(images: Tensor, padding: int, mode: str = "constant") -> Tensor:
    """Adds `padding` pixels on each side of images of shape (n, h, w, c): zeros, or the image reflected.

    Raises:
        ConfigError: If the images are too small to be reflected that far.
    """
    if not padding:
        return images
    if mode == "reflect" and padding >= min(images.shape[1:3]):
        raise ConfigError(
            f"dataset.crop_padding: {padding} pixels cannot be reflected from an image of "
            f"{images.shape[1]} x {images.shape[2]}; type dataset.padding_mode=constant"
        )
    if mode == "constant":
        return functional.pad(images, (0, 0, padding, padding, padding, padding))
    for axis in (1, 2):  # by hand, because torch does not reflect uint8
        size = images.shape[axis]
        places = torch.arange(-padding, size + padding, device=images.device).abs()
        images = images.index_select(axis, torch.minimum(places, 2 * (size - 1) - places))
    return images


class DeviceCropper:
    """Crops and flips images in memory; each batch is one gather.

    Args:
        images: Pixels, uint8, shape (N, h, w, c), on the device where batches are made.
        transform: The random crop and flip; `PadCropFlip()` leaves images as they are.
        seed: Seed of the run.
    """

    def __init__(self, images: Tensor, transform: PadCropFlip, seed: int) -> None:
        self._transform, self._seed = transform, seed
        self._shape = images.shape[1:]
        self._table = pad(images, transform.padding, transform.padding_mode).contiguous()
        _, self._tall, self._wide, channels = self._table.shape
        height, width, _ = self._shape
        # Whole pixels from a flat table: on a CPU several times faster than indexing by (id, y, x).
        self._pixels = self._table.view(-1, channels)
        self._down = (torch.arange(height, device=images.device) * self._wide)[None, :, None]
        self._across = torch.arange(width, device=images.device)[None, None]

    def __call__(self, ids: Tensor, epoch: int, visits: Tensor | None = None) -> Tensor:
        """Makes the images of samples, int64, shape (n,), on the device; uint8, shape (n, h, w, c)."""
        return self.apply(*self.plan(ids, epoch, visits))

    def plan(self, ids: Tensor, epoch: int, visits: Tensor | None = None) -> tuple[Tensor, ...]:
        """Draws the crop and flip of each sample; `apply` takes any slice of the result.

        Args:
            ids: Sample ids, int64, shape (n,).
            epoch: Epoch.
            visits: Earlier visits of each sample, shape (n,); None for one in every earlier epoch.

        Returns:
            Tensors of shape (n,): the position in the table of an image's first pixel, and the direction of its rows
            from there, right (1) or left (-1). Without a random transform, the ids alone.
        """
        if self._transform == PadCropFlip():
            return (ids,)
        span = 2 * self._transform.padding + 1
        # One draw holds the three choices, flip first, so that switching the flip leaves the crops unchanged.
        choice = draw(self._seed, epoch, ids, _CROP_STREAM, 2 * span * span)
        place = choice // 2
        flipped = mirrored(
            self._transform.flip, choice % 2 == 1, self._seed, epoch if visits is None else visits, ids
        ).long()
        first = (ids * self._tall + place // span) * self._wide + place % span
        return first + flipped * (self._shape[1] - 1), 1 - 2 * flipped

    def apply(self, first: Tensor, step: Tensor | None = None) -> Tensor:
        """Makes the planned images."""
        if step is None:
            return self._table.index_select(0, first)
        pixels = (first[:, None, None] + self._down) + step[:, None, None] * self._across
        return self._pixels.index_select(0, pixels.view(-1)).view(len(first), *self._shape)
