"""Random changes of colour of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

_LEVELS = np.arange(256, dtype=np.float32)
_ORDERS = tuple(permutations(range(4)))


@dataclass(frozen=True, slots=True)
class ColorJitter:
    """Random changes of colour, in random order, then grey.

    Attributes:
        brightness: The factor is drawn from 1 minus this (not below 0) to 1 plus this.
        contrast: The same for contrast.
        saturation: The same for saturation.
        hue: The hue is turned by up to this share of the circle, either way.
        grey: Share of the images that lose their colours.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0

    def change(self, pixels: Tensor, draws: Sequence[float]) -> Tensor:
        """Changes one image as torchvision's `ColorJitter` does with the same random numbers.

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
            (self.hue, lambda image: _turn_hue(image, self.hue * (2 * draws[4] - 1))),
        )
        image = Image.fromarray(pixels.numpy())
        for index in _ORDERS[int(draws[0] * len(_ORDERS))]:
            strength, change = changes[index]
            if strength:
                image = change(image)
        if draws[5] < self.grey:
            image = _grey(image)
        return torch.from_numpy(np.array(image))


def _factor(strength: float, draw: float) -> float:
    low = max(0.0, 1 - strength)
    return low + (1 + strength - low) * draw


def _line(factor: float, middle: float) -> list[int]:
    """Maps each level of three channels: its distance to `middle` is multiplied by `factor`."""
    levels = np.float32(middle) + np.float32(factor) * (_LEVELS - np.float32(middle))
    return levels.clip(0, 255).astype(np.uint8).tolist() * 3


def _grey(image: Image) -> Image:
    return image.convert("L").convert("RGB")


def _mean_grey(image: Image) -> int:
    return int(np.asarray(image.convert("L")).mean() + 0.5)


def _turn_hue(image: Image, turn: float) -> Image:
    """Adds to the hue, which wraps around."""
    from PIL import Image as Pillow

    hue, saturation, value = image.convert("HSV").split()
    shift = int(turn * 255)
    hue = hue.point([(level + shift) % 256 for level in range(256)])
    return Pillow.merge("HSV", (hue, saturation, value)).convert("RGB")
