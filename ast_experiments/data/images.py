"""Images in memory: the form that every source ends in and every loader starts from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from ast_experiments.errors import DataError

_HASHED_IMAGES = 64


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images; the id of a sample is its row.

    Attributes:
        images: Pixels, uint8, shape (n, h, w, c).
        labels: Class indices, int64, shape (n,).

    Raises:
        ValueError: When shapes or types are others than these.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ValueError(f"images must be uint8 of shape (n, h, w, c), not {self.images.dtype} {self.images.shape}")
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must be int64 of shape ({len(self.images)},), not {self.labels.dtype} {self.labels.shape}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def first(self, rows: int | None) -> Images:
        """Returns the first `rows` samples in their original order; all of them for None.

        Raises:
            DataError: When there are fewer samples, or `rows` is not positive.
        """
        if rows is None:
            return self
        check_rows(rows, len(self))
        return Images(self.images[:rows], self.labels[:rows])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and validation images with one set of classes.

    Attributes:
        name: What the config calls it.
        train: Images to train on.
        val: Images to judge by.
        classes: Class names in label order.
        source: Where the data was found, in words.

    Raises:
        ValueError: When the splits differ in image shape, or a label has no class.
    """

    name: str
    train: Images
    val: Images
    classes: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        if self.train.images.shape[1:] != self.val.images.shape[1:]:
            raise ValueError(
                f"{self.name}: train images are {self.train.images.shape[1:]}, val images {self.val.images.shape[1:]}"
            )
        for split in (self.train, self.val):
            labels = split.labels
            if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.classes):
                raise ValueError(
                    f"{self.name}: labels run from {labels.min()} to {labels.max()}, "
                    f"but there are {len(self.classes)} classes"
                )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        _, height, width, channels = self.train.images.shape
        return height, width, channels

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits of the shapes, all labels and some evenly spread images.

        The same data has the same fingerprint in whichever files it was found.
        """
        digest = hashlib.blake2b(digest_size=6)
        for split in (self.train, self.val):
            step = max(1, len(split) // _HASHED_IMAGES)
            digest.update(repr(split.images.shape).encode())
            digest.update(split.labels.astype("<i8").tobytes())
            digest.update(split.images[::step].tobytes())
        return digest.hexdigest()


def check_rows(rows: int | None, available: int) -> None:
    """Checks that a split of `available` samples has `rows` of them; None asks for all.

    Raises:
        DataError: When it has not.
    """
    if rows is not None and not 1 <= rows <= available:
        raise DataError(f"{rows} rows were asked for; give a number from 1 to {available}, or null for all")
