"""From photographs to pictures: random crop and colours for training, the middle for validation.

All that is random about a picture is drawn from (seed, epoch, sample id), as in `augment.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ast_experiments.data.encoded.images import Encoded, Photos, Square, resize, square
from ast_experiments.data.in_memory.augment import Flip, mirrored, uniform

if TYPE_CHECKING:
    from PIL.Image import Image

_CROP_STREAM, _COLOUR_STREAM, _ERASE_STREAM = 1, 2, 3
_LEVELS = np.arange(256, dtype=np.float32)
_TRIES = 10
_ENOUGH = 2  # decoded pixels for one of the picture; JPEGs need not be decoded any larger
_ERASED_AREA = (0.02, 0.33)
_ERASED_RATIO = (0.3, 3.3)


@dataclass(frozen=True, slots=True)
class Colour:
    """Random changes of colour, in random order, then grey.

    Attributes:
        brightness: The factor is drawn from 1 minus this (not below 0) to 1 plus this.
        contrast: The same for contrast.
        saturation: The same for saturation.
        hue: The hue is turned by up to this share of the circle, either way.
        grey: Share of the pictures that lose their colours.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0

    def change(self, pixels: Tensor, draws: Sequence[float]) -> Tensor:
        """Changes one picture, as torchvision's `ColorJitter` does with the same numbers.

        Args:
            pixels: uint8, shape (h, w, 3).
            draws: Six numbers in [0, 1): order, brightness, contrast, saturation, hue, grey.

        Returns:
            uint8, shape (h, w, 3).
        """
        from PIL import Image

        changes = (
            (self.brightness, lambda image: image.point(_line(_factor(self.brightness, draws[1]), 0))),
            (self.contrast, lambda image: image.point(_line(_factor(self.contrast, draws[2]), _mean_grey(image)))),
            (self.saturation, lambda image: Image.blend(_grey(image), image, _factor(self.saturation, draws[3]))),
            (self.hue, lambda image: _turned(image, self.hue * (2 * draws[4] - 1))),
        )
        image = Image.fromarray(pixels.numpy())
        for index in _ORDERS[int(draws[0] * len(_ORDERS))]:
            strength, change = changes[index]
            if strength:
                image = change(image)
        if draws[5] < self.grey:
            image = _grey(image)
        return torch.from_numpy(np.array(image))


_ORDERS = tuple(permutations(range(4)))


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """A random part of an image, scaled to the picture's size, mirrored every other time, its colours changed.

    Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6.

    Attributes:
        scale: Least and largest share of the image's area.
        ratio: Least and largest width over height; drawn evenly in the logarithm.
        flip: Whether every other picture, on average, is mirrored; see `mirrored`.
        interpolation: "bilinear" or "bicubic".
        colour: How colours change.
        erasing: Share of the pictures that lose a rectangle; see `erase`.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: Flip = True
    interpolation: str = "bilinear"
    colour: Colour = field(default_factory=Colour)
    erasing: float = 0.0

    def plans(self, sizes: Tensor, ids: Tensor, seed: int, epoch: int) -> Tensor:
        """Draws all that is random about some pictures.

        Args:
            sizes: Height and width of each image, int64, shape (n, 2).
            ids: Of the samples, int64, shape (n,), on the same device.
            seed: Of the run.
            epoch: Epoch.

        Returns:
            Top, left, height and width of the part, and whether it is mirrored, float64, shape (n, 5).
        """
        draws = uniform(seed, epoch, ids, _CROP_STREAM, 4 * _TRIES + 1).double()
        parts = self._parts(sizes, draws[:, :-1].view(-1, _TRIES, 4))
        flipped = mirrored(self.flip, draws[:, -1] < 0.5, seed, epoch, ids)
        return torch.cat([parts, flipped[:, None]], 1)

    def pictures(self, photos: Photos, ids: Tensor, seed: int, epoch: int) -> Tensor:
        """Reads, decodes and augments.

        Args:
            photos: The samples.
            ids: Rows, int64, shape (n,), on the host.
            seed: Of the run.
            epoch: Epoch.

        Returns:
            Pictures, uint8, shape (n, size, size, 3).

        Raises:
            DataError: When an image cannot be read or decoded; names it.
        """
        made = torch.empty((len(ids), *photos.shape), dtype=torch.uint8)
        images = [photos.image(row) for row in ids.tolist()]
        sizes = torch.tensor([(image.height, image.width) for image in images])
        plans = self.plans(sizes, ids, seed, epoch).tolist()
        colours = uniform(seed, epoch, ids, _COLOUR_STREAM, 6).tolist() if self.colour != Colour() else None
        for place, (image, plan) in enumerate(zip(images, plans, strict=True)):
            picture = self._cut(image, photos.size, plan)
            made[place] = self.colour.change(picture, colours[place]) if colours else picture
        return made

    def _parts(self, sizes: Tensor, draws: Tensor) -> Tensor:
        """The first of ten tries that lies within its image; else the largest allowed part in the middle."""
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
        middle = torch.cat([((tall - height) / 2).floor(), ((wide - width) / 2).floor(), height, width], 1)
        return torch.where(fits.any(1, keepdim=True), drawn, middle)

    def _cut(self, image: Encoded | Square, size: int, plan: Sequence[float]) -> Tensor:
        top, left, height, width = (int(value) for value in plan[:4])
        part = image.part(top, left, height, width, _ENOUGH * size / min(height, width))
        made = resize(part, size, size, self.interpolation)
        return made.flip(1) if plan[4] else made


@dataclass(frozen=True, slots=True)
class CentreCrop:
    """The middle of an image after its shorter side is scaled; nothing is random.

    Attributes:
        share: The picture's size as a share of the scaled shorter side.
        interpolation: "bilinear" or "bicubic".
    """

    share: float = 0.875
    interpolation: str = "bilinear"
    erasing: float = field(default=0.0, init=False)

    def scaled(self, size: int) -> int:
        """Returns the length of the scaled shorter side."""
        return max(size, math.floor(size / self.share))

    def pictures(self, photos: Photos, ids: Tensor, seed: int, epoch: int) -> Tensor:
        """Reads, decodes and cuts; see `RandomCrop.pictures`."""
        del seed, epoch
        made = torch.empty((len(ids), *photos.shape), dtype=torch.uint8)
        for place, row in enumerate(ids.tolist()):
            made[place] = square(photos.image(row), photos.size, self.interpolation, self.scaled(photos.size))
        return made


View = RandomCrop | CentreCrop


def erase(images: Tensor, ids: Tensor, share: float, seed: int, epoch: int) -> Tensor:
    """Sets a random rectangle of some pictures to zero, which is the mean colour after normalisation.

    Its area is 2 to 33 % of the picture's, its height over width from 0.3 to 3.3, evenly in the logarithm.
    Zhong et al., "Random erasing data augmentation", AAAI 2020; settings of torchvision's `RandomErasing`.

    Args:
        images: Normalised, shape (n, c, h, w).
        ids: Of the samples, int64, shape (n,), on the same device.
        share: Of the pictures that are changed.
        seed: Of the run.
        epoch: Epoch.

    Returns:
        Images of the same shape.
    """
    tall, wide = images.shape[2:]
    draws = uniform(seed, epoch, ids, _ERASE_STREAM, 4 * _TRIES + 1)
    area, shape, down, across = draws[:, :-1].view(-1, _TRIES, 4).unbind(2)
    area = tall * wide * (_ERASED_AREA[0] + (_ERASED_AREA[1] - _ERASED_AREA[0]) * area)
    low, high = math.log(_ERASED_RATIO[0]), math.log(_ERASED_RATIO[1])
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


def build_photo_views(
    *,
    crop_scale: Sequence[float],
    crop_ratio: Sequence[float],
    crop_share: float,
    horizontal_flip: Flip,
    interpolation: str,
    erasing: float,
    **colour: Any,
) -> tuple[RandomCrop, CentreCrop]:
    """Returns the views of training and validation."""
    (low, high), (narrow, wide) = crop_scale, crop_ratio
    train = RandomCrop((low, high), (narrow, wide), horizontal_flip, interpolation, Colour(**colour), erasing)
    return train, CentreCrop(crop_share, interpolation)


def _factor(strength: float, draw: float) -> float:
    low = max(0.0, 1 - strength)
    return low + (1 + strength - low) * draw


def _line(factor: float, middle: float) -> list[int]:
    """What becomes of each level of three channels when its distance to `middle` is multiplied."""
    levels = np.float32(middle) + np.float32(factor) * (_LEVELS - np.float32(middle))
    return levels.clip(0, 255).astype(np.uint8).tolist() * 3


def _grey(image: Image) -> Image:
    return image.convert("L").convert("RGB")


def _mean_grey(image: Image) -> int:
    return int(np.asarray(image.convert("L")).mean() + 0.5)


def _turned(image: Image, turn: float) -> Image:
    """Adds to the hue, which wraps around."""
    from PIL import Image as Pillow

    hue, saturation, value = image.convert("HSV").split()
    shift = int(turn * 255)
    hue = hue.point([(level + shift) % 256 for level in range(256)])
    return Pillow.merge("HSV", (hue, saturation, value)).convert("RGB")
