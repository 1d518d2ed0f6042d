"""Photographs of any size, decoded when they are asked for; what is not asked for is neither read nor decoded."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ast_experiments.core.errors import DataError
from ast_experiments.data.dataset import HASHED_IMAGES, check_labels, check_rows
from ast_experiments.data.encoded.stores import Store

_JPEG = b"\xff\xd8\xff"
_CHUNK = 256
_DAMAGE = (OSError, SyntaxError, ValueError, RuntimeError)  # what Pillow's readers raise on damaged images


@dataclass(frozen=True, eq=False)
class Photos:
    """Labelled encoded images; the id of a sample is its row.

    Attributes:
        store: Where the encoded images are.
        labels: Class indices, int64, shape (n,), or soft labels, float32, shape (n, classes).
        names: File names, dtype S, shape (n,); with the labels they identify the samples.
        size: Height and width of the pictures that loaders make.
        stored_size: Images are first scaled to squares of this size; None leaves them as they are.
        table: Those squares, where memory holds them.

    Raises:
        ValueError: When labels are of another form.
    """

    store: Store
    labels: np.ndarray
    names: np.ndarray
    size: int
    stored_size: int | None = None
    table: Table | None = None

    def __post_init__(self) -> None:
        check_labels(self.labels, len(self.store))

    def __len__(self) -> int:
        return len(self.store)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a picture."""
        return self.size, self.size, 3

    @property
    def table_bytes(self) -> int:
        """Bytes that the table takes or would take; 0 where images stay as they are."""
        return len(self) * 3 * (self.stored_size or 0) ** 2

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
        return replace(
            self,
            store=self.store.take(rows),
            labels=self.labels[rows],
            names=self.names[rows],
            table=self.table and replace(self.table, rows=self.table.rows[rows]),
        )

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

    def image(self, row: int) -> Encoded | Square:
        """Returns an image, its pixels not yet decoded where they are not in memory.

        Raises:
            DataError: When it cannot be read or is no image.
        """
        if self.table is not None:
            return Square(self.table.pixels[int(self.table.rows[row])])
        image = Encoded(self.read(row), self.store.where(row))
        return image if self.stored_size is None else Square(square(image, self.stored_size))

    def decoded(self) -> Photos:
        """Returns the same samples, their squares in memory.

        Raises:
            DataError: When an image cannot be read or decoded.
        """
        side = self.stored_size or 0
        pixels = torch.empty((len(self), side, side, 3), dtype=torch.uint8)

        def fill(start: int) -> None:
            for row in range(start, min(start + _CHUNK, len(self))):
                pixels[row] = self.image(row).part(0, 0, side, side)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(fill, range(0, len(self), _CHUNK)))
        return replace(self, table=Table(pixels, np.arange(len(self))))


@dataclass(frozen=True, eq=False)
class Table:
    """Squares in memory.

    Attributes:
        pixels: uint8, shape (m, side, side, 3).
        rows: Where each sample is in it, int64, shape (n,).
    """

    pixels: Tensor
    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Square:
    """A decoded image; the counterpart of `Encoded`.

    Attributes:
        made: Pixels, uint8, shape (side, side, 3).
    """

    made: Tensor

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.made.shape[0]

    width = height

    def part(self, top: int, left: int, height: int, width: int, least: float = 1.0) -> Tensor:
        """Returns a rectangle."""
        del least
        return self.made[top : top + height, left : left + width]


class Encoded:
    """An encoded image whose size is known before it is decoded.

    Args:
        data: JPEG, PNG, WebP or BMP.
        where: What to call it in messages.

    Raises:
        DataError: When it is none of them.
    """

    def __init__(self, data: bytes, where: str) -> None:
        from PIL import Image

        self._data, self._where = data, where
        try:
            self._image = Image.open(io.BytesIO(data), formats=("JPEG",) if data.startswith(_JPEG) else None)
        except (*_DAMAGE, Image.DecompressionBombError) as error:
            raise self._broken(error) from error
        self.width, self.height = self._image.size
        self.mode = self._image.mode

    def part(self, top: int, left: int, height: int, width: int, least: float = 1.0) -> Tensor:
        """Decodes to RGB and cuts out a rectangle; to be called once.

        Grey images are repeated in all channels, the upper 8 bits of those of 16; CMYK and palettes are converted,
        transparency is dropped.

        Args:
            top: First row.
            left: First column.
            height: Rows.
            width: Columns.
            least: Share of its size that the image may be decoded at. JPEGs are decoded at half (quarter, eighth)
                their size where that is enough, which takes less time, and the rectangle is smaller accordingly.

        Returns:
            Pixels, uint8, shape (height, width, 3) or smaller.

        Raises:
            DataError: When the image is damaged or its end is missing.
        """
        from PIL import Image

        image = self._image
        try:
            if least <= 0.5:
                image.draft(None, (math.ceil(self.width * least), math.ceil(self.height * least)))
            if image.mode.startswith("I"):  # grey of 16 bits: Pillow would cut off what is above 255
                image = Image.fromarray(np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8))
            pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
        except _DAMAGE as error:
            raise self._broken(error) from error
        if pixels.shape[:2] != (self.height, self.width):
            down, across = pixels.shape[0] / self.height, pixels.shape[1] / self.width
            top, height = round(top * down), max(1, round(height * down))
            left, width = round(left * across), max(1, round(width * across))
        return torch.from_numpy(pixels[top : top + height, left : left + width].copy())

    def _broken(self, error: Exception) -> DataError:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        reason = "it is no image" if "cannot identify" in reason else reason
        return DataError(f"{self._where} cannot be decoded ({reason}); ast-doctor lists all such images")


def resize(pixels: Tensor, height: int, width: int, interpolation: str) -> Tensor:
    """Scales an image (h, w, c), uint8, to (height, width, c); a pixel is the mean over what it covers."""
    if pixels.shape[:2] == (height, width):
        return pixels
    planes = pixels.permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
    scaled = functional.interpolate(planes, (height, width), mode=interpolation, antialias=True, align_corners=False)
    return scaled[0].permute(1, 2, 0)


def square(image: Encoded | Square, side: int, interpolation: str = "bilinear", scaled: int | None = None) -> Tensor:
    """Scales an image and takes its middle.

    Args:
        image: The image.
        side: Height and width of the result.
        interpolation: "bilinear" or "bicubic".
        scaled: Length of the shorter side after scaling; None for `side`.

    Returns:
        Pixels, uint8, shape (side, side, 3).
    """
    short = min(image.height, image.width)
    target = scaled or side
    height, width = (target * length // short for length in (image.height, image.width))
    pixels = resize(image.part(0, 0, image.height, image.width), height, width, interpolation)
    top, left = round((height - side) / 2), round((width - side) / 2)
    return pixels[top : top + side, left : left + side]
