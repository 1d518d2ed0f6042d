"""Images that occur more than once, exactly or nearly, counted within the classes with bounded work."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from ast_experiments.core.batch import class_indices
from ast_experiments.data.dataset import Images, Samples
from ast_experiments.data.encoded.images import EncodedImages

PIXELS, FILES = (50_000, 10_000), (10_000, 2_000)
"""Most rows that are compared exactly and by thumbnails: images that are decoded in memory, and images in files."""

SIDE = 8
"""Height and width of a thumbnail in pixels."""

NEAR = 4.0
"""Grey levels, of 256, by which the thumbnails of nearly equal images differ at most (root mean square)."""

QUICK = (10_000, 2_000)
"""Most rows that a run compares exactly before it begins: images in memory, and images in files."""

_CHUNK = 1024


class Repeats(NamedTuple):
    """Rows that show an image that an earlier row of their class shows too.

    Attributes:
        exact: Share with the same pixels or, of images in files, the same bytes.
        near: Share with nearly the same pixels, or the same.
        exact_rows: Rows of whole classes in which `exact` was counted.
        near_rows: The same for `near`.
    """

    exact: float
    near: float
    exact_rows: int
    near_rows: int

    @property
    def share(self) -> float:
        """The larger of both shares."""
        return max(self.exact, self.near)


def find_repeats(samples: Samples, labels: np.ndarray, seed: int) -> Repeats:
    """Counts the rows that repeat an earlier row of their class.

    Args:
        samples: Training samples.
        labels: Class indices, int64, shape (n,).
        seed: Draws the classes that are looked at where there are too many rows.

    Raises:
        DataError: If an image cannot be read.
    """
    decoded = _decoded(samples)
    most = FILES if decoded is None else PIXELS
    exact, near = (_whole_classes(labels, rows, seed) for rows in most)
    if decoded is not None:
        small = _thumbnails(decoded, near)
    else:
        small = np.stack(_threaded(lambda row: _thumbnail_of(samples, row), near))
    return Repeats(
        exact=_exact(samples, decoded, labels, exact),
        near=_near(small, labels[near]),
        exact_rows=len(exact),
        near_rows=len(near),
    )


def repeated_share(samples: Samples) -> float:
    """Returns the share of the rows that have the same pixels, or bytes of a file, as an earlier row of their class.

    It is counted in whole classes, of 10,000 rows in memory or 2,000 files at most.

    Args:
        samples: Training samples.

    Raises:
        DataError: If an image cannot be read.
    """
    decoded, labels = _decoded(samples), class_indices(samples.labels)
    return _exact(samples, decoded, labels, _whole_classes(labels, QUICK[decoded is None], 0))


def _exact(
    samples: Samples, decoded: Callable[[np.ndarray], np.ndarray] | None, labels: np.ndarray, rows: np.ndarray
) -> float:
    if decoded is not None:
        digests = _digests(decoded, rows)
    else:
        digests = np.array(_threaded(lambda row: _digest_of(samples, row), rows), np.uint64)
    pairs = np.stack([labels[rows].astype(np.uint64), digests], axis=1)
    return 1 - len(np.unique(pairs, axis=0)) / len(rows)


def _decoded(samples: Samples) -> Callable[[np.ndarray], np.ndarray] | None:
    """Returns what gives the pixels (n, h, w, c) of rows if they are in memory."""
    if isinstance(samples, Images):
        return lambda rows: samples.images[rows]
    table = samples.table if isinstance(samples, EncodedImages) else None
    return None if table is None else lambda rows: table.pixels[torch.from_numpy(table.rows[rows])].numpy()


def _whole_classes(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Draws classes and returns their rows, in order: at most `most`, of one class at least.

    A copy has the label of its original, or is no harmless copy; so whole classes show the share of copies as it is,
    where a sample of all rows would miss the copies of the rows that it leaves out.
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 20))))
    rows = np.flatnonzero(np.bincount(labels))
    order = random.permutation(rows)
    sizes = np.cumsum(np.bincount(labels)[order])
    taken = order[: max(1, np.searchsorted(sizes, most, side="right"))]
    found = np.flatnonzero(np.isin(labels, taken))
    return found if len(found) <= most else np.sort(random.permutation(found)[:most])


def _digests(decoded: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Returns a hash of the pixels of each row, uint64."""
    random = np.random.Generator(np.random.Philox(20))
    found, factors = [], None
    for at in range(0, len(rows), _CHUNK):
        flat = decoded(rows[at : at + _CHUNK]).reshape(len(rows[at : at + _CHUNK]), -1)
        if factors is None:
            factors = random.integers(1, 2**64, flat.shape[1], np.uint64)
        found.append((flat * factors).sum(axis=1, dtype=np.uint64))
    return np.concatenate(found)


def _thumbnails(decoded: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    parts = [_shrunk(decoded(rows[at : at + _CHUNK])) for at in range(0, len(rows), _CHUNK)]
    return np.concatenate(parts)


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    """Returns thumbnails of images (n, h, w, c), float32, shape (n, 8 x 8 x c) or smaller."""
    planes = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
    if min(planes.shape[2:]) > SIDE:
        planes = functional.adaptive_avg_pool2d(planes, SIDE)
    return planes.flatten(1).numpy()


def _digest_of(samples: Samples, row: int) -> int:
    assert isinstance(samples, EncodedImages)
    return int.from_bytes(hashlib.blake2b(samples.read(row), digest_size=8).digest(), "little")


def _thumbnail_of(samples: Samples, row: int) -> np.ndarray:
    assert isinstance(samples, EncodedImages)
    image = samples.image(row)
    scale = min(1.0, 4 * SIDE / max(1, min(image.height, image.width)))
    pixels = image.crop(0, 0, image.height, image.width, scale).permute(2, 0, 1)[None].float()
    return functional.adaptive_avg_pool2d(pixels, SIDE).flatten().numpy()


def _threaded(work: Callable[[int], Any], rows: np.ndarray) -> list[Any]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(work, rows.tolist()))


def _near(small: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of thumbnails (n, d) that are near an earlier one of their class."""
    limit, found = NEAR**2 * small.shape[1], 0
    for label in np.unique(labels):
        own = torch.from_numpy(small[labels == label] - 128)  # smaller numbers lose fewer digits
        norms = own.square().sum(dim=1)
        for at in range(0, len(own), _CHUNK):
            end = min(at + _CHUNK, len(own))
            distance = norms[at:end, None] + norms[None, :end] - 2 * own[at:end] @ own[:end].T
            close = (distance <= limit).tril(at - 1)
            found += int(close.any(dim=1).sum())
    return found / len(small)
