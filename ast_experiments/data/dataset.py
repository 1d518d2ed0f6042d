"""Labelled samples and data sets: what every source of data returns and every loader starts from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, Self

import numpy as np

from ast_experiments.core.batch import class_indices
from ast_experiments.core.errors import ConfigError
from ast_experiments.data.corruption import corrupt

HASHED_IMAGES = 64
"""Least number of images of a split that a fingerprint covers, if there are so many."""


class Samples(Protocol):
    """Labelled images of one split; the id of a sample is its row.

    `Images` holds pixels in memory, `EncodedImages` decodes on demand.
    """

    @property
    def labels(self) -> np.ndarray:
        """Class indices, int64, shape (n,), or soft labels, float32, shape (n, classes)."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image as the network sees it."""
        ...

    def __len__(self) -> int: ...

    def first(self, rows: int | None, setting: str = "rows") -> Self:
        """Returns `rows` samples; all of them for None.

        Raises:
            ConfigError: If there are fewer samples, or `rows` is not positive; names the setting.
        """
        ...

    def take(self, rows: np.ndarray) -> Self:
        """Returns some samples, in the order given."""
        ...

    def with_labels(self, labels: np.ndarray) -> Self:
        """Returns the same images with other labels."""
        ...

    def corrupted(self, rows: np.ndarray, seed: int) -> Self:
        """Returns the same samples with the images of some rows blurred or noisy; see `corruption.corrupt`."""
        ...

    def identity(self) -> Iterator[bytes]:
        """Yields bytes that identify these samples: shape, labels and some evenly spread images."""
        ...


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images in memory; the id of a sample is its row.

    Attributes:
        images: Pixels, uint8, shape (n, h, w, c).
        labels: Class indices, int64, shape (n,), or soft labels, float32, shape (n, classes).

    Raises:
        ValueError: If shapes or types differ from these.
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ValueError(f"images must be uint8 of shape (n, h, w, c), not {self.images.dtype} {self.images.shape}")
        check_labels(self.labels, len(self.images))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        _, height, width, channels = self.images.shape
        return height, width, channels

    def first(self, rows: int | None, setting: str = "rows") -> Images:
        """Returns the first `rows` samples in their original order; all of them for None.

        Raises:
            ConfigError: If there are fewer samples, or `rows` is not positive; names the setting.
        """
        if rows is None:
            return self
        check_rows(rows, len(self), setting)
        return Images(self.images[:rows], self.labels[:rows])

    def take(self, rows: np.ndarray) -> Images:
        """Returns some samples, in the order given."""
        return Images(self.images[rows], self.labels[rows])

    def with_labels(self, labels: np.ndarray) -> Images:
        """Returns the same images with other labels."""
        return replace(self, labels=labels)

    def corrupted(self, rows: np.ndarray, seed: int) -> Images:
        """Returns the same samples with the images of some rows blurred or noisy; see `corruption.corrupt`."""
        images = self.images.copy()
        for row in rows.tolist():
            images[row] = corrupt(images[row], row, seed)
        return replace(self, images=images)

    def identity(self) -> Iterator[bytes]:
        """Yields bytes that identify these samples: shape, labels and some evenly spread images."""
        yield repr(self.images.shape).encode()
        yield label_bytes(self.labels)
        yield self.images[:: max(1, len(self) // HASHED_IMAGES)].tobytes()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and validation samples with one set of classes.

    Attributes:
        name: Name in the config.
        train: Samples to train on.
        val: Samples to measure accuracy on.
        classes: Class names in label order.
        source: Where the data was found, in words.
        facts: Further entries for result.json.
        altered: Training rows that a regime altered, by kind; bool, shape (n,). See `regimes.apply`.

    Raises:
        ValueError: If the splits differ in image shape, or a label has no class.
    """

    name: str
    train: Samples
    val: Samples
    classes: tuple[str, ...]
    source: str
    facts: Mapping[str, str] = field(default_factory=dict)
    altered: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.train.shape != self.val.shape:
            raise ValueError(f"{self.name}: train images are {self.train.shape}, val images {self.val.shape}")
        for split in (self.train, self.val):
            labels = split.labels
            if labels.ndim == 1 and len(labels) and not 0 <= labels.min() <= labels.max() < len(self.classes):
                raise ValueError(
                    f"{self.name}: labels run from {labels.min()} to {labels.max()}, "
                    f"but there are {len(self.classes)} classes"
                )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image as the network sees it."""
        return self.train.shape

    @cached_property
    def class_counts(self) -> np.ndarray:
        """Training samples by class, int64, shape (classes,). Of soft labels, the most probable class."""
        return np.bincount(class_indices(self.train.labels), minlength=len(self.classes))

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """What is known of the training samples, by name: label, file name if there is one, and whether altered.

        Each of shape (n,). Of soft labels, the most probable class.
        """
        names = getattr(self.train, "names", None)
        return {
            "label": class_indices(self.train.labels),
            **({} if names is None else {"name": names}),
            **self.altered,
        }

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits of the shapes, all labels, some evenly spread images, and which rows are altered.

        The same data has the same fingerprint in every kind of file.
        """
        digest = hashlib.blake2b(digest_size=6)
        for split in (self.train, self.val):
            for part in split.identity():
                digest.update(part)
        for kind, rows in self.altered.items():
            digest.update(kind.encode() + np.packbits(rows).tobytes())
        return digest.hexdigest()


def check_labels(labels: np.ndarray, rows: int) -> None:
    """Checks that labels are int64 of shape (rows,) or float32 of shape (rows, classes).

    Raises:
        ValueError: If they are not.
    """
    hard = labels.dtype == np.int64 and labels.shape == (rows,)
    soft = labels.dtype == np.float32 and labels.ndim == 2 and len(labels) == rows
    if not hard and not soft:
        raise ValueError(
            f"labels must be int64 of shape ({rows},) or float32 of shape ({rows}, classes), "
            f"not {labels.dtype} {labels.shape}"
        )


def check_rows(rows: int | None, available: int, setting: str = "rows") -> None:
    """Checks that a split of `available` samples has `rows` of them; None stands for all.

    Raises:
        ConfigError: If it has fewer, or `rows` is not positive; names the setting.
    """
    if rows is not None and not 1 <= rows <= available:
        raise ConfigError(f"{setting}: {rows} is wrong; give a number from 1 to {available}, or null for all")


def label_bytes(labels: np.ndarray) -> bytes:
    """Returns the bytes of labels, little-endian on every machine."""
    return np.ascontiguousarray(labels, labels.dtype.newbyteorder("<")).tobytes()
