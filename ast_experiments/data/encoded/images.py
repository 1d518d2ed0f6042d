"""Images of any size that stay encoded: only images that a batch needs are read and decoded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core.errors import DataError
from ast_experiments.data.corruption import corrupt
from ast_experiments.data.dataset import HASHED_IMAGES, check_labels, check_rows, label_bytes
from ast_experiments.data.encoded.decode import DecodedImage, EncodedImage, resize_center_crop
from ast_experiments.data.encoded.stores import Store

_CHUNK = 256


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Labelled encoded images; the id of a sample is its row.

    Attributes:
        store: Store of the encoded images.
        labels: Class indices, int64, shape (n,), or soft labels, float32, shape (n, classes).
        names: File names, dtype S, shape (n,); with the labels they identify the samples.
        size: Height and width of the images that the network sees.
        stored_size: Side of the squares that images are first resized to; None keeps their size.
        table: These squares, decoded in memory; None decodes each image on demand.
        corruption: Images to corrupt when they are decoded on demand; None for none.

    Raises:
        ValueError: If the labels have another type or shape.
    """

    store: Store
    labels: np.ndarray
    names: np.ndarray
    size: int
    stored_size: int | None = None
    table: DecodedTable | None = None
    corruption: Corruption | None = None

    def __post_init__(self) -> None:
        check_labels(self.labels, len(self.store))

    def __len__(self) -> int:
        return len(self.store)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image as the network sees it."""
        return self.size, self.size, 3

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the table of decoded squares; 0 without `stored_size`."""
        return len(self) * 3 * (self.stored_size or 0) ** 2

    def first(self, rows: int | None, setting: str = "rows") -> EncodedImages:
        """Returns `rows` samples, evenly spread so that all classes are included; all of them for None.

        Raises:
            ConfigError: If there are fewer samples, or `rows` is not positive; names the setting.
        """
        if rows is None:
            return self
        check_rows(rows, len(self), setting)
        return self.take(np.arange(rows) * len(self) // rows)

    def take(self, rows: np.ndarray) -> EncodedImages:
        """Returns some samples, in the order given."""
        return replace(
            self,
            store=self.store.take(rows),
            labels=self.labels[rows],
            names=self.names[rows],
            table=self.table and replace(self.table, rows=self.table.rows[rows]),
            corruption=self.corruption and replace(self.corruption, rows=self.corruption.rows[rows]),
        )

    def with_labels(self, labels: np.ndarray) -> EncodedImages:
        """Returns the same images with other labels."""
        return replace(self, labels=labels)

    def corrupted(self, rows: np.ndarray, seed: int) -> EncodedImages:
        """Returns the same samples with the images of some rows blurred or noisy; see `corruption.corrupt`.

        Images of `stored_size` are corrupted at that size, others at their own. Corrupted squares of a table are kept
        beside the others, which other rows may show too.
        """
        if self.table is None:
            marks = np.full(len(self), -1, np.int64)
            marks[rows] = rows
            return replace(self, corruption=Corruption(marks, seed))
        squares = self.table.pixels[torch.from_numpy(self.table.rows[rows])].numpy()
        made = np.stack([corrupt(square, row, seed) for square, row in zip(squares, rows.tolist(), strict=True)])
        places = self.table.rows.copy()
        places[rows] = len(self.table.pixels) + np.arange(len(rows))
        return replace(self, table=DecodedTable(torch.cat([self.table.pixels, torch.from_numpy(made)]), places))

    def identity(self) -> Iterator[bytes]:
        """Yields bytes that identify these samples: shape, labels, names and some evenly spread encoded images."""
        yield repr((len(self), *self.shape)).encode()
        yield label_bytes(self.labels)
        yield b"\0".join(self.names.tolist())
        for row in range(0, len(self), max(1, len(self) // HASHED_IMAGES)):
            yield self.read(row)

    def turned(self, most: int) -> tuple[int, int]:
        """Counts images whose metadata ask viewers to turn them, among at most `most` evenly spread ones.

        Returns:
            Their number, and how many images were looked at; damaged ones are not.
        """
        asked = looked = 0
        for row in range(0, len(self), -(-len(self) // most)):
            with suppress(DataError):  # it is reported when it is needed
                asked += EncodedImage(self.read(row), self.store.where(row)).turned
                looked += 1
        return asked, looked

    def read(self, row: int) -> bytes:
        """Reads an encoded image.

        Raises:
            DataError: If it cannot be read.
        """
        try:
            return self.store.read(row)
        except OSError as error:
            raise DataError(f"{self.store.where(row)} cannot be read: {error.strerror or error}") from error

    def image(self, row: int) -> EncodedImage | DecodedImage:
        """Returns an image; it is decoded only if it is in the table or corrupted, or `stored_size` is set.

        Raises:
            DataError: If it cannot be read or is not an image.
        """
        if self.table is not None:
            return DecodedImage(self.table.pixels[int(self.table.rows[row])])
        image = EncodedImage(self.read(row), self.store.where(row))
        square = None if self.stored_size is None else resize_center_crop(image, self.stored_size)
        if self.corruption is None or self.corruption.rows[row] < 0:
            return image if square is None else DecodedImage(square)
        pixels = image.crop(0, 0, image.height, image.width) if square is None else square
        changed = corrupt(pixels.numpy(), int(self.corruption.rows[row]), self.corruption.seed)
        return DecodedImage(torch.from_numpy(changed))

    def decode_all(self) -> EncodedImages:
        """Returns the same samples with all squares decoded in memory.

        Raises:
            DataError: If an image cannot be read or decoded.
        """
        side = self.stored_size or 0
        pixels = torch.empty((len(self), side, side, 3), dtype=torch.uint8)

        def fill(start: int) -> None:
            for row in range(start, min(start + _CHUNK, len(self))):
                pixels[row] = self.image(row).crop(0, 0, side, side)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(fill, range(0, len(self), _CHUNK)))
        return replace(self, table=DecodedTable(pixels, np.arange(len(self))))


@dataclass(frozen=True, eq=False)
class Corruption:
    """Images to corrupt.

    Attributes:
        rows: Row of the training set that the corruption is drawn for, int64, shape (n,); -1 for an image to be left.
        seed: Seed of the regime.
    """

    rows: np.ndarray
    seed: int


@dataclass(frozen=True, eq=False)
class DecodedTable:
    """Decoded square images in memory.

    Attributes:
        pixels: uint8, shape (m, side, side, 3).
        rows: Row of each sample in `pixels`, int64, shape (n,).
    """

    pixels: Tensor
    rows: np.ndarray
