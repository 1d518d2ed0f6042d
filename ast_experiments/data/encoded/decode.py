"""Decoding, cropping and resizing of one image."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ast_experiments.core.errors import DataError

_JPEG = b"\xff\xd8\xff"
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF", "AVIF")
"""Formats that are decoded, as Pillow names them, if it was built with them. PostScript would start another program."""
_ORIENTATION = 0x0112  # EXIF tag
IGNORED = "an EXIF orientation, which is ignored, as in torchvision; turn the files to apply it"
"""How an image that is `turned` is described."""

# Pillow's remarks on metadata and sizes would reach the terminal from every worker. It is set here, once for each
# process: `warnings.catch_warnings` does not work with threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


class EncodedImage:
    """An encoded image whose size is known before it is decoded.

    Args:
        data: In one of `FORMATS`, whatever the end of its name says.
        where: Name of the image in error messages.

    Raises:
        DataError: If the data is not an image.
    """

    def __init__(self, data: bytes, where: str) -> None:
        from PIL import Image

        self._data, self._where = data, where
        try:
            self._image = Image.open(io.BytesIO(data), formats=("JPEG",) if data.startswith(_JPEG) else _formats())
        except MemoryError:
            raise
        except Exception as error:  # Pillow's readers raise errors of many kinds for damaged images
            raise self._broken(error) from error
        self.width, self.height = self._image.size
        self.mode = self._image.mode

    @property
    def turned(self) -> bool:
        """Whether the metadata ask viewers to turn or mirror the image; it is read as it is stored all the same."""
        try:
            orientation = self._image.getexif().get(_ORIENTATION, 1)
        except Exception:  # damaged metadata
            return False
        return self._image.format != "TIFF" and orientation in range(2, 9)

    def crop(self, top: int, left: int, height: int, width: int, min_scale: float = 1.0) -> Tensor:
        """Decodes the image to RGB and crops a rectangle; call it once.

        Grey images are repeated in all channels, with the upper 8 bits of 16-bit ones. CMYK and palettes are
        converted; transparency is dropped. An EXIF orientation is not applied, as in torchvision and timm.

        Args:
            top: First row.
            left: First column.
            height: Rows.
            width: Columns.
            min_scale: Smallest scale that the image may be decoded at. A JPEG is decoded at a half, a quarter or an
                eighth of its size if that is large enough, which takes less time; the crop is smaller accordingly.

        Returns:
            Pixels, uint8, shape (height, width, 3) or smaller.

        Raises:
            DataError: If the image is damaged or truncated.
        """
        from PIL import Image

        image = self._image
        try:
            if min_scale <= 0.5:
                image.draft(None, (math.ceil(self.width * min_scale), math.ceil(self.height * min_scale)))
            if image.mode.startswith("I"):  # 16-bit grey: Pillow would clip values above 255
                image = Image.fromarray(np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8))
            pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
        except MemoryError:
            raise
        except Exception as error:  # as above
            raise self._broken(error) from error
        if pixels.shape[:2] != (self.height, self.width):
            down, across = pixels.shape[0] / self.height, pixels.shape[1] / self.width
            top, height = round(top * down), max(1, round(height * down))
            left, width = round(left * across), max(1, round(width * across))
        return torch.from_numpy(pixels[top : top + height, left : left + width].copy())

    def _broken(self, error: Exception) -> DataError:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if "cannot identify" in reason:
            reason = f"it is none of {', '.join(FORMATS)}"
        return DataError(f"{self._where} cannot be decoded ({reason}); ast-doctor lists all such images")


@cache
def _formats() -> tuple[str, ...]:
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A decoded image, with the interface of `EncodedImage`.

    Attributes:
        pixels: uint8, shape (height, width, 3).
    """

    pixels: Tensor

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.pixels.shape[1]

    def crop(self, top: int, left: int, height: int, width: int, min_scale: float = 1.0) -> Tensor:
        """Returns a rectangle of the pixels."""
        del min_scale
        return self.pixels[top : top + height, left : left + width]


def resize(pixels: Tensor, height: int, width: int, interpolation: str) -> Tensor:
    """Resizes an image (h, w, c), uint8, to (height, width, c) with antialiasing."""
    if pixels.shape[:2] == (height, width):
        return pixels
    planes = pixels.permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
    scaled = functional.interpolate(planes, (height, width), mode=interpolation, antialias=True, align_corners=False)
    return scaled[0].permute(1, 2, 0)


def resize_center_crop(
    image: EncodedImage | DecodedImage, size: int, interpolation: str = "bilinear", scaled: int | None = None
) -> Tensor:
    """Resizes an image and crops its centre.

    Args:
        image: The image.
        size: Height and width of the result.
        interpolation: "bilinear" or "bicubic".
        scaled: Length of the shorter side after resizing; None for `size`.

    Returns:
        Pixels, uint8, shape (size, size, 3).
    """
    short = min(image.height, image.width)
    target = scaled or size
    height, width = (target * length // short for length in (image.height, image.width))
    pixels = resize(image.crop(0, 0, image.height, image.width), height, width, interpolation)
    top, left = round((height - size) / 2), round((width - size) / 2)
    return pixels[top : top + size, left : left + size]
