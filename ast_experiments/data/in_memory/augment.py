"""Augmentation that depends on (seed, epoch, sample id) alone.

Draws come from a counter-based generator: a hash of the sample's id under a key made of seed, epoch and
stream. There is no state, so a row looks the same in every batch order, worker, rank and resumed run, and can
be made again at any time from its id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ast_experiments.core.errors import ConfigError

# SplitMix64, its constants as signed numbers: Steele, Lea and Flood, "Fast splittable pseudorandom number
# generators", OOPSLA 2014.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))
_CROP_STREAM, _FLIP_STREAM = 0, 4

Flip = bool | Literal["alternating"]
"""Whether pictures are mirrored by chance; alternating: in every other epoch."""


@dataclass(frozen=True, slots=True)
class Augment:
    """Random crop from a padded image, and horizontal flip.

    Attributes:
        padding: Pixels added on each side; 0 for no crop.
        flip: Whether every other image, on average, is mirrored; see `mirrored`.
        padding_mode: What the added pixels are, in torchvision's words: `constant` (zeros) or `reflect`.

    Raises:
        ValueError: When the padding is negative.
    """

    padding: int = 0
    flip: Flip = False
    padding_mode: str = "constant"

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise ValueError(f"padding must be 0 or more, not {self.padding}")


def draw(seed: int, epoch: int, ids: Tensor, stream: int, high: int) -> Tensor:
    """Draws one uniform integer for every sample.

    Args:
        seed: Of the run, 0 to 2**63 - 1.
        epoch: Epoch, 0 or more.
        ids: Sample ids, int64, any shape and device.
        stream: Tells draws for different purposes apart, 0 or more.
        high: Draws are below this; 1 to 2**31.

    Returns:
        Integers in [0, high), int64, shaped as `ids`, on its device. Each value's probability is 1/high to
        within 2**-32.
    """
    bits = _mix(ids * _GOLDEN + _key(seed, epoch, stream))
    return (_shift(bits, 32) * high) >> 32


def uniform(seed: int, epoch: int, ids: Tensor, stream: int, count: int) -> Tensor:
    """Draws `count` numbers in [0, 1) for every sample, multiples of 2**-24.

    Args:
        seed: Of the run, 0 to 2**63 - 1.
        epoch: Epoch, 0 or more.
        ids: Sample ids, int64, shape (n,).
        stream: Tells draws for different purposes apart, 0 or more.
        count: How many.

    Returns:
        Numbers, float32, shape (n, count), on the device of `ids`.
    """
    of_sample = _mix(ids * _GOLDEN + _key(seed, epoch, stream))[:, None]
    turns = torch.arange(1, count + 1, device=ids.device)
    return _shift(_mix(of_sample + turns * _GOLDEN), 40).float() / 2**24


def mirrored(flip: Flip, by_chance: Tensor, seed: int, epoch: int, ids: Tensor) -> Tensor:
    """Which pictures are mirrored.

    `alternating` mirrors a sample in every other epoch, half of the samples in the even ones, so that two epochs in a
    row show both sides (K. Jordan, arXiv 2404.00498, section 3.6).

    Args:
        flip: The setting.
        by_chance: The answer for `True`, bool, shape (n,).
        seed: Of the run.
        epoch: Epoch.
        ids: Sample ids, int64, shape (n,).

    Returns:
        bool, shape (n,).
    """
    if flip == "alternating":
        return (draw(seed, 0, ids, _FLIP_STREAM, 2) + epoch) % 2 == 1
    return by_chance & flip


def pad(images: Tensor, padding: int, mode: str = "constant") -> Tensor:
    """Adds `padding` pixels on each side of images of shape (n, h, w, c): zeros, or the image reflected."""
    if not padding:
        return images
    if mode == "reflect" and padding >= min(images.shape[1:3]):
        raise ConfigError(
            f"dataset.crop_padding: {padding} pixels cannot be reflected from an image of "
            f"{images.shape[1]} x {images.shape[2]}; type dataset.padding_mode=constant"
        )
    if mode == "constant":
        return functional.pad(images, (0, 0, padding, padding, padding, padding))
    for axis in (1, 2):
        # A table of uint8, which torch does not reflect.
        size = images.shape[axis]
        places = torch.arange(-padding, size + padding, device=images.device).abs()
        images = images.index_select(axis, torch.minimum(places, 2 * (size - 1) - places))
    return images


class Crops:
    """Augmented pictures of images in memory, each batch in one gather.

    Args:
        images: uint8, shape (N, h, w, c), on the device where pictures are made.
        augment: What to vary.
        seed: Of the run.
    """

    def __init__(self, images: Tensor, augment: Augment, seed: int) -> None:
        self._augment, self._seed = augment, seed
        self._shape = images.shape[1:]
        self._table = pad(images, augment.padding, augment.padding_mode).contiguous()
        _, self._tall, self._wide, channels = self._table.shape
        height, width, _ = self._shape
        # Whole pixels from a flat table: several times quicker on a CPU than indexing by (id, y, x).
        self._pixels = self._table.view(-1, channels)
        self._down = (torch.arange(height, device=images.device) * self._wide)[None, :, None]
        self._across = torch.arange(width, device=images.device)[None, None]

    def __call__(self, ids: Tensor, epoch: int) -> Tensor:
        """Makes the pictures of samples, int64, shape (n,), on the device; uint8, shape (n, h, w, c)."""
        return self.make(*self.plan(ids, epoch))

    def plan(self, ids: Tensor, epoch: int) -> tuple[Tensor, ...]:
        """Draws what is random about pictures; `make` takes any slice of it.

        Returns:
            Tensors of shape (n,): where in the table a picture's first pixel is, and whether it goes right (1) or left
            (-1) from there; without augmentation the ids alone.
        """
        if self._augment == Augment():
            return (ids,)
        span = 2 * self._augment.padding + 1
        # One draw holds the three choices, flip first, so that switching the flip leaves the crops as they are.
        choice = draw(self._seed, epoch, ids, _CROP_STREAM, 2 * span * span)
        place = choice // 2
        flipped = mirrored(self._augment.flip, choice % 2 == 1, self._seed, epoch, ids).long()
        first = (ids * self._tall + place // span) * self._wide + place % span
        return first + flipped * (self._shape[1] - 1), 1 - 2 * flipped

    def make(self, first: Tensor, step: Tensor | None = None) -> Tensor:
        """Makes the pictures that were planned."""
        if step is None:
            return self._table.index_select(0, first)
        pixels = (first[:, None, None] + self._down) + step[:, None, None] * self._across
        return self._pixels.index_select(0, pixels.view(-1)).view(len(first), *self._shape)


class Normalise:
    """Turns pixels into what the network sees: `(x / 255 - mean) / std` in float32.

    Args:
        mean: Mean of each channel, pixels in 0..1.
        std: Standard deviation of each channel.
        shape: Height, width and channels of an image.
        device: Where the images are.

    Raises:
        ValueError: When the number of channels differs, or a deviation is not positive.
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
        # One number for each byte of a picture: long rows without broadcasting are what a CPU does quickest.
        self._scale = (1 / (255 * spread)).float().repeat(height * width).to(device)
        self._shift = (-centre / spread).float().repeat(height * width).to(device)

    def __call__(self, pictures: Tensor) -> Tensor:
        """Normalises uint8 pictures (n, h, w, c) to float32 (n, c, h, w), channels last in memory."""
        # Multiply and add round apart: fused, the last bit could depend on a row's place in its batch.
        flat = pictures.flatten(1).float().mul_(self._scale).add_(self._shift)
        return flat.view(pictures.shape).permute(0, 3, 1, 2)


@lru_cache(maxsize=256)
def _key(seed: int, epoch: int, stream: int) -> int:
    key = torch.zeros((), dtype=torch.int64, device="cpu")
    for part in (seed, epoch, stream):
        key = _mix(key * _GOLDEN + part + _GOLDEN)
    return int(key)


def _mix(bits: Tensor) -> Tensor:
    """Scrambles 64 bits one to one: the output function of SplitMix64."""
    for shift, factor in _MIX:
        bits = (bits ^ _shift(bits, shift)) * factor
    return bits ^ _shift(bits, 31)


def _shift(bits: Tensor, by: int) -> Tensor:
    """Shifts right as unsigned numbers do; int64's own shift repeats the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
