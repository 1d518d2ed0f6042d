"""Transforms of encoded images: random resized crop and colours for training, centre crop for validation.

All random numbers depend on (seed, epoch, sample id) alone; see `ast_experiments.data.rng`. An alternating flip depends
on the earlier visits of a sample in place of the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ast_experiments.data.encoded.colour import ColorJitter
from ast_experiments.data.encoded.decode import DecodedImage, EncodedImage, resize, resize_center_crop
from ast_experiments.data.encoded.images import EncodedImages
from ast_experiments.data.flip import Flip, mirrored
from ast_experiments.data.rng import uniform

_CROP_STREAM, _COLOUR_STREAM = 1, 2
_TRIES = 10
_OVERSAMPLING = 2  # decoded pixels per pixel of the result, along each side; JPEGs need not be decoded any larger


@dataclass(frozen=True, slots=True)
class RandomResizedCrop:
    """Random crop, resized to the network's input, mirrored every other time, with random changes of colour.

    Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6.

    Attributes:
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest ratio of width to height; drawn uniformly in the logarithm.
        flip: Whether images are mirrored, by chance or at every other visit; see `mirrored`.
        interpolation: "bilinear" or "bicubic".
        colour: Random changes of colour.
        erasing: Share of the images that lose a rectangle; see `erase`.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: Flip = True
    interpolation: str = "bilinear"
    colour: ColorJitter = field(default_factory=ColorJitter)
    erasing: float = 0.0

    def draw_crops(self, sizes: Tensor, ids: Tensor, seed: int, epoch: int, visits: Tensor | None = None) -> Tensor:
        """Draws the crop and flip of each sample.

        Args:
            sizes: Height and width of each image, int64, shape (n, 2).
            ids: Sample ids, int64, shape (n,), on the same device.
            seed: Seed of the run.
            epoch: Epoch.
            visits: Earlier visits of each sample, shape (n,); None for one in every earlier epoch.

        Returns:
            Top, left, height and width of the crop, and whether it is mirrored, float64, shape (n, 5).
        """
        draws = uniform(seed, epoch, ids, _CROP_STREAM, 4 * _TRIES + 1).double()
        crops = self._crops(sizes, draws[:, :-1].view(-1, _TRIES, 4))
        flipped = mirrored(self.flip, draws[:, -1] < 0.5, seed, epoch if visits is None else visits, ids)
        return torch.cat([crops, flipped[:, None]], 1)

    def load(self, samples: EncodedImages, ids: Tensor, seed: int, epoch: int, visits: Tensor | None = None) -> Tensor:
        """Reads, decodes and transforms images.

        Args:
            samples: The samples.
            ids: Rows, int64, shape (n,), on the host.
            seed: Seed of the run.
            epoch: Epoch.
            visits: Earlier visits of each sample, shape (n,); None for one in every earlier epoch.

        Returns:
            Images, uint8, shape (n, size, size, 3).

        Raises:
            DataError: If an image cannot be read or decoded; the message names it.
        """
        made = torch.empty((len(ids), *samples.shape), dtype=torch.uint8)
        images = [samples.image(row) for row in ids.tolist()]
        sizes = torch.tensor([(image.height, image.width) for image in images])
        crops = self.draw_crops(sizes, ids, seed, epoch, visits).tolist()
        colours = uniform(seed, epoch, ids, _COLOUR_STREAM, 6).tolist() if self.colour != ColorJitter() else None
        for place, (image, crop) in enumerate(zip(images, crops, strict=True)):
            pixels = self._crop(image, samples.size, crop)
            made[place] = self.colour.change(pixels, colours[place]) if colours else pixels
        return made

    def _crops(self, sizes: Tensor, draws: Tensor) -> Tensor:
        """Returns the first of ten tries that lies within its image, or else the largest allowed crop at the centre."""
        tall, wide = sizes[:, 0, None].double(), sizes[:, 1, None].double()
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        area = tall * wide * (self.scale[0] + (self.scale[1] - self.scale[0]) * draws[..., 0])
        ratio = torch.exp(low + (high - low) * draws[..., 1])
        width, height = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
        fits = (width >= 1) & (width <= wide) & (height >= 1) & (height <= tall)
        top, left = ((tall - height + 1) * draws[..., 2]).floor(), ((wide - width + 1) * draws[..., 3]).floor()
        first = fits.to(torch.uint8).argmax(1)
        tries = torch.stack([top, left, height, width], 2)
        drawn = tries[torch.arange(len(first), device=first.device), first]

        shape = (wide / tall).clamp(*self.ratio)
        width, height = torch.minimum(wide, (tall * shape).round()), torch.minimum(tall, (wide / shape).round())
        centre = torch.cat([((tall - height) / 2).floor(), ((wide - width) / 2).floor(), height, width], 1)
        return torch.where(fits.any(1, keepdim=True), drawn, centre)

    def _crop(self, image: EncodedImage | DecodedImage, size: int, crop: Sequence[float]) -> Tensor:
        top, left, height, width = (int(value) for value in crop[:4])
        pixels = image.crop(top, left, height, width, _OVERSAMPLING * size / min(height, width))
        pixels = resize(pixels, size, size, self.interpolation)
        return pixels.flip(1) if crop[4] else pixels


@dataclass(frozen=True, slots=True)
class CenterCrop:
    """Resizes the shorter side of an image and crops its centre; nothing is random.

    Attributes:
        share: Size of the result as a share of the resized shorter side.
        interpolation: "bilinear" or "bicubic".
    """

    share: float = 0.875
    interpolation: str = "bilinear"
    erasing: float = field(default=0.0, init=False)

    def scaled(self, size: int) -> int:
        """Returns the length of the resized shorter side."""
        return max(size, math.floor(size / self.share))

    def load(self, samples: EncodedImages, ids: Tensor, seed: int, epoch: int, visits: Tensor | None = None) -> Tensor:
        """Reads, decodes and crops images; see `RandomResizedCrop.load`."""
        del seed, epoch, visits
        made = torch.empty((len(ids), *samples.shape), dtype=torch.uint8)
        scaled = self.scaled(samples.size)
        for place, row in enumerate(ids.tolist()):
            made[place] = resize_center_crop(samples.image(row), samples.size, self.interpolation, scaled)
        return made


EncodedTransform = RandomResizedCrop | CenterCrop


def build_encoded_transforms(
    *,
    crop_scale: Sequence[float],
    crop_ratio: Sequence[float],
    crop_share: float,
    horizontal_flip: Flip,
    interpolation: str,
    erasing: float,
    **colour: Any,
) -> tuple[RandomResizedCrop, CenterCrop]:
    """Builds the transforms of training and validation."""
    (low, high), (narrow, wide) = crop_scale, crop_ratio
    jitter = ColorJitter(**colour)
    train = RandomResizedCrop((low, high), (narrow, wide), horizontal_flip, interpolation, jitter, erasing)
    return train, CenterCrop(crop_share, interpolation)
