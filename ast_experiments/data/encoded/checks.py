"""Checks of a data set of encoded images: missing classes, duplicates, wrong labels, broken images."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np

from ast_experiments.core.errors import DataError
from ast_experiments.data.encoded.cache import ParquetRows
from ast_experiments.data.encoded.images import EncodedImage
from ast_experiments.data.encoded.layouts import Layout, Listing, synset_of

_CHUNK = 1024


def missing_classes(layout: Layout) -> list[str]:
    """Lists the splits that lack images of a class."""
    found = []
    for split, listing in layout.splits.items():
        counts = np.bincount(listing.labels, minlength=len(layout.classes))
        names = [layout.classes[label] for label in np.flatnonzero(counts == 0)]
        if names:
            found.append(f"{split} has no images of {_some(names)}; every class needs some in both splits")
    return found


def repeated_names(layout: Layout) -> list[str]:
    """Lists the files that a class of a split contains twice, in different parts."""
    found = []
    for split, listing in layout.splits.items():
        labels, names, where = listing.labels, listing.names, listing.store.where
        same = (labels[1:] == labels[:-1]) & (names[1:] == names[:-1])
        for row in np.flatnonzero(same).tolist():
            found.append(f"{split} has {where(row)} and {where(row + 1)}; remove one of them")
    return found


def mislabelled(layout: Layout) -> list[str]:
    """Lists the files whose name contains another synset than their label."""
    synsets = [name if synset_of(f"{name}_") else None for name in layout.classes]
    found = []
    for listing in layout.splits.values():
        for row, (label, name) in enumerate(zip(listing.labels.tolist(), listing.names, strict=True)):
            named = synset_of(os.path.basename(os.fsdecode(name)))
            if named and synsets[label] and named != synsets[label]:
                found.append(f"{listing.store.where(row)} is labelled {synsets[label]}; its name says {named}")
    return found


class Scan(NamedTuple):
    """Result of reading and decoding every image of a split.

    Attributes:
        digests: Hash of each image's bytes, 16 bytes, dtype V16, shape (n,).
        broken: Error of each image that cannot be decoded, by row.
        modes: Number of images of each mode: RGB, L (grey), CMYK, ...
        turned: Number of images whose metadata ask to turn them.
        sides: Shorter side of each image that can be decoded, in pixels, int64, shape (n - broken,).
    """

    digests: np.ndarray
    broken: Mapping[int, str]
    modes: Counter[str]
    turned: int
    sides: np.ndarray


def scan(listing: Listing, tick: Callable[[int], None] = lambda done: None) -> Scan:
    """Reads and decodes every image.

    Args:
        listing: The images.
        tick: Called after each chunk with the number of images done.
    """
    digests = np.zeros(len(listing.labels), "V16")
    broken: dict[int, str] = {}
    modes: Counter[str] = Counter()
    sides: list[int] = []
    done = turned = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = _encoded(listing)
        while chunk := list(islice(images, _CHUNK)):
            for (row, _), found in zip(chunk, pool.map(_examine(listing), chunk), strict=True):
                digest, mode, problem, askew, side = found
                digests[row] = np.void(digest)
                modes[mode] += 1
                turned += askew
                if problem:
                    broken[row] = problem
                else:
                    sides.append(side)
            done += len(chunk)
            tick(done)
    return Scan(digests, broken, modes, turned, np.array(sides, np.int64))


def conflicting_labels(layout: Layout, scans: Mapping[str, Scan]) -> list[str]:
    """Lists the images that have two classes."""
    found = []
    for rows in _copies(layout, scans):
        (split, row), *others = rows
        label = layout.splits[split].labels[row]
        other = next(((s, r) for s, r in others if layout.splits[s].labels[r] != label), None)
        if other is not None:
            found.append(
                f"{_where(layout, split, row)} ({layout.classes[label]}) and {_where(layout, *other)} "
                f"({layout.classes[layout.splits[other[0]].labels[other[1]]]}) are the same image"
            )
    return found


def in_both_splits(layout: Layout, scans: Mapping[str, Scan]) -> list[str]:
    """Lists the images that are in both splits."""
    found = []
    for rows in _copies(layout, scans):
        first = {split: row for split, row in reversed(rows)}
        if len(first) > 1:
            places = " and ".join(_where(layout, split, row) for split, row in first.items())
            found.append(f"{places} are the same image")
    return found


def _copies(layout: Layout, scans: Mapping[str, Scan]) -> Iterator[list[tuple[str, int]]]:
    """Yields the places (split and row) of each image that occurs more than once."""
    places = [(split, row) for split in layout.splits for row in range(len(scans[split].digests))]
    digests = np.concatenate([scans[split].digests for split in layout.splits])
    _, group, count = np.unique(digests, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(count)
    for end, size in zip(ends[count > 1], count[count > 1], strict=True):
        yield [places[at] for at in order[end - size : end]]


def _encoded(listing: Listing) -> Iterable[tuple[int, bytes | None]]:
    """Yields (row, encoded image); None for an image that is still to be read."""
    if isinstance(listing.store, ParquetRows):
        return listing.store.stream()
    return iter((row, None) for row in range(len(listing.labels)))


def _examine(listing: Listing) -> Callable[[tuple[int, bytes | None]], tuple[bytes, str, str, bool, int]]:
    def examine(image: tuple[int, bytes | None]) -> tuple[bytes, str, str, bool, int]:
        row, data = image
        where = listing.store.where(row)
        try:
            data = listing.store.read(row) if data is None else data
        except OSError as error:
            return os.urandom(16), "unreadable", f"{where} cannot be read: {error.strerror or error}", False, 0
        digest = hashlib.blake2b(data, digest_size=16).digest()
        try:
            encoded = EncodedImage(data, where)
            turned = encoded.turned
            encoded.crop(0, 0, encoded.height, encoded.width)
        except DataError as error:
            return digest, "unreadable", str(error).partition("; ")[0], False, 0
        return digest, encoded.mode, "", turned, min(encoded.height, encoded.width)

    return examine


def _where(layout: Layout, split: str, row: int) -> str:
    return layout.splits[split].store.where(row)


def _some(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
