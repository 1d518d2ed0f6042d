"""Photographs of any size, decoded when they are asked for; what is not asked for is neither read nor decoded."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ast_experiments.data.augment import uniform
from ast_experiments.data.images import HASHED_IMAGES, check_labels, check_rows
from ast_experiments.data.stores import Store
from ast_experiments.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

_PHOTO_STREAM = 1
_TRIES = 10
_DRAWS = 4 * _TRIES + 1
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True, eq=False)
class Photos:
    """Labelled encoded images; the id of a sample is its row.

    Attributes:
        store: Where the encoded images are.
        labels: Class indices, int64, shape (n,), or soft labels, float32, shape (n, classes).
        names: File names, dtype S, shape (n,); with the labels they identify the samples.
        size: Height and width of the pictures that loaders make.

    Raises:
        ValueError: When labels are of another form.
    """

    store: Store
    labels: np.ndarray
    names: np.ndarray
    size: int

    def __post_init__(self) -> None:
        check_labels(self.labels, len(self.store))

    def __len__(self) -> int:
        return len(self.store)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a picture."""
        return self.size, self.size, 3

    def first(self, rows: int | None) -> Photos:
        """Returns `rows` samples, evenly spread, so that all classes are there; all of them for None.

        Raises:
            DataError: When there are fewer samples, or `rows` is not positive.
        """
        if rows is None:
            return self
        check_rows(rows, len(self))
        return self.take(np.arange(rows) * len(self) // rows)

    def take(self, rows: np.ndarray) -> Photos:
        """Returns some samples, in the order given."""
        return Photos(self.store.take(rows), self.labels[rows], self.names[rows], self.size)

    def identity(self) -> Iterator[bytes]:
        """Yields what tells these samples from others: labels, names and some evenly spread images, encoded."""
        yield repr((len(self), *self.shape)).encode()
        yield np.ascontiguousarray(self.labels, self.labels.dtype.newbyteorder("<")).tobytes()
        yield b"\0".join(self.names.tolist())
        for row in range(0, len(self), max(1, len(self) // HASHED_IMAGES)):
            yield self.read(row)

    def read(self, row: int) -> bytes:
        """Returns an encoded image.

        Raises:
            DataError: When it cannot be read.
        """
        try:
            return self.store.read(row)
        except OSError as error:
            raise DataError(f"{self.store.where(row)} cannot be read: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """A random part of an image, scaled to the picture's size, and mirrored every other time.

    Attributes:
        scale: Least and largest share of the image's area.
        ratio: Least and largest width over height; drawn evenly in the logarithm.
        flip: Whether every other picture, on average, is mirrored.
        interpolation: "bilinear" or "bicubic"; both take the mean over what a pixel covers.

    Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True
    interpolation: str = "bilinear"

    def draws(self, ids: Tensor, seed: int, epoch: int) -> np.ndarray:
        """Draws all that is random about some pictures: numbers in [0, 1), shape (n, draws)."""
        return uniform(seed, epoch, ids, _PHOTO_STREAM, _DRAWS).numpy()

    def picture(self, data: bytes, size: int, draws: np.ndarray) -> Tensor:
        """Makes one picture.

        Args:
            data: Encoded image.
            size: Height and width of the picture.
            draws: A row of `draws`.

        Returns:
            Pixels, uint8, shape (size, size, 3).

        Raises:
            OSError: When the image cannot be decoded.
        """
        image = Encoded(data)
        top, left, height, width = self.box(image.height, image.width, draws)
        pixels = image.pixels(size / min(height, width))
        shrink_y, shrink_x = pixels.shape[0] / image.height, pixels.shape[1] / image.width
        y, x = round(top * shrink_y), round(left * shrink_x)
        part = pixels[y : y + max(1, round(height * shrink_y)), x : x + max(1, round(width * shrink_x))]
        made = resize(part, size, size, self.interpolation)
        return made.flip(1) if self.flip and draws[-1] < 0.5 else made

    def box(self, height: int, width: int, draws: np.ndarray) -> tuple[int, int, int, int]:
        """Returns top, left, height and width of the part: the first of ten tries that lies within the image.

        Where none does, the largest part in the middle whose ratio is allowed.
        """
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for area, ratio, down, across in draws[: 4 * _TRIES].reshape(_TRIES, 4).tolist():
            pixels = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * area)
            shape = math.exp(low + (high - low) * ratio)
            w, h = round(math.sqrt(pixels * shape)), round(math.sqrt(pixels / shape))
            if 0 < w <= width and 0 < h <= height:
                return int((height - h + 1) * down), int((width - w + 1) * across), h, w
        shape = min(max(width / height, self.ratio[0]), self.ratio[1])
        w, h = min(width, round(height * shape)), min(height, round(width / shape))
        return (height - h) // 2, (width - w) // 2, h, w


@dataclass(frozen=True, slots=True)
class CentreCrop:
    """The middle of an image after its shorter side is scaled; nothing is random.

    Attributes:
        share: The picture's size as a share of the scaled shorter side.
        interpolation: As in `RandomCrop`.
    """

    share: float = 0.875
    interpolation: str = "bilinear"

    def draws(self, ids: Tensor, seed: int, epoch: int) -> np.ndarray:
        """Returns an empty row for each picture."""
        del seed, epoch
        return np.empty((len(ids), 0))

    def picture(self, data: bytes, size: int, draws: np.ndarray) -> Tensor:
        """Makes one picture; see `RandomCrop.picture`."""
        del draws
        image = Encoded(data)
        short = min(image.height, image.width)
        side = max(size, math.floor(size / self.share))
        pixels = image.pixels(side / short)
        height, width = (side * length // short for length in (image.height, image.width))
        pixels = resize(pixels, height, width, self.interpolation)
        top, left = round((height - size) / 2), round((width - size) / 2)
        return pixels[top : top + size, left : left + size]


PhotoView = RandomCrop | CentreCrop


def build_photo_views(
    *, crop_scale: Sequence[float], crop_ratio: Sequence[float], crop_share: float, horizontal_flip: bool,
    interpolation: str,
) -> tuple[RandomCrop, CentreCrop]:  # fmt: skip
    """Returns the views of training and validation."""
    low, high = crop_scale
    narrow, wide = crop_ratio
    return (
        RandomCrop((low, high), (narrow, wide), horizontal_flip, interpolation),
        CentreCrop(crop_share, interpolation),
    )


class Encoded:
    """An encoded image whose size is known before it is decoded.

    Args:
        data: JPEG, PNG, WebP or BMP.

    Raises:
        OSError: When it is none of them.
    """

    def __init__(self, data: bytes) -> None:
        from PIL import Image

        self._data = data
        formats = ("JPEG",) if data.startswith(_JPEG) else None
        try:
            self._image: Image = Image.open(io.BytesIO(data), formats=formats)
        except (SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise OSError(str(error)) from error
        self.width, self.height = self._image.size

    def pixels(self, scale: float = 1.0) -> Tensor:
        """Decodes to RGB, uint8, shape (height, width, 3).

        Grey images are repeated in all channels; CMYK and palettes are converted, transparency is dropped.

        Args:
            scale: By how much the result will be scaled. Where that is a half or less, JPEGs are decoded at half
                (quarter, eighth) their size, which takes less time.

        Raises:
            OSError: When the image is damaged or its end is missing.
        """
        from torchvision.io import ImageReadMode, decode_jpeg

        image = self._image
        if image.format == "JPEG" and image.mode in {"RGB", "L"}:
            if scale > 0.5:
                try:
                    encoded = torch.frombuffer(bytearray(self._data), dtype=torch.uint8)
                    return cast(Tensor, decode_jpeg(encoded, mode=ImageReadMode.RGB)).permute(1, 2, 0)
                except RuntimeError as error:
                    raise OSError(str(error).splitlines()[0]) from error
            image.draft(None, (math.ceil(self.width * scale), math.ceil(self.height * scale)))
        try:
            return torch.from_numpy(np.array(image.convert("RGB")))
        except (SyntaxError, ValueError) as error:
            raise OSError(str(error)) from error


def resize(pixels: Tensor, height: int, width: int, interpolation: str) -> Tensor:
    """Scales an image (h, w, c), uint8, to (height, width, c)."""
    if pixels.shape[:2] == (height, width):
        return pixels
    planes = pixels.permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
    scaled = functional.interpolate(planes, (height, width), mode=interpolation, antialias=True, align_corners=False)
    return scaled[0].permute(1, 2, 0)


def make_pictures(photos: Photos, view: PhotoView, ids: Tensor, seed: int, epoch: int) -> Tensor:
    """Reads, decodes and augments.

    Args:
        photos: The samples.
        view: What part of an image becomes the picture.
        ids: Rows, int64, shape (n,), on the host.
        seed: Of the run.
        epoch: Epoch.

    Returns:
        Pictures, uint8, shape (n, size, size, 3).

    Raises:
        DataError: When an image cannot be read or decoded; names it.
    """
    made = torch.empty((len(ids), *photos.shape), dtype=torch.uint8)
    for place, (row, draws) in enumerate(zip(ids.tolist(), view.draws(ids, seed, epoch), strict=True)):
        data = photos.read(row)
        try:
            made[place] = view.picture(data, photos.size, draws)
        except OSError as error:
            where = photos.store.where(row)
            raise DataError(f"{where} cannot be decoded ({error}); ast-doctor lists all such images") from error
    return made
