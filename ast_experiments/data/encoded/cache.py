"""Cache of encoded images from parquet files, copied once into one file for random access.

A row of a parquet file cannot be read without the hundreds of rows around it. The encoded images that a run uses are
therefore copied to `CACHE/packed/`, where each can be read alone; runs and processes share the copy.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ast_experiments.core.errors import DataError
from ast_experiments.core.files import PART, exclusive_lock, open_atomic
from ast_experiments.data import parquet
from ast_experiments.data.encoded.stores import Packed

_CHUNK = 100
_WORTH_A_LINE = 1_000_000_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ParquetRows:
    """Images in parquet files, which are read only to copy them.

    Attributes:
        shards: Parquet files.
        homes: Index of each image's file, int32, shape (n,).
        rows: Row of each image in its file, int64, shape (n,).
    """

    shards: tuple[Path, ...]
    homes: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, row: int) -> bytes:
        """Reads one image, slowly."""
        return next(self.take(np.array([row])).stream())[1]

    def where(self, row: int) -> str:
        """Names file and row of an image."""
        return f"{self.shards[self.homes[row]]}, row {self.rows[row]}"

    def take(self, rows: np.ndarray) -> ParquetRows:
        """Returns some of the images."""
        return ParquetRows(self.shards, self.homes[rows], self.rows[rows])

    def stream(self) -> Iterator[tuple[int, bytes]]:
        """Yields (index, encoded image), file by file, in the order of rows; empty bytes for an image without any.

        Raises:
            DataError: If a file is damaged.
        """
        for home, shard in enumerate(self.shards):
            wanted = np.flatnonzero(self.homes == home)
            wanted = wanted[np.argsort(self.rows[wanted], kind="stable")]
            at, start = 0, 0
            column = f"{parquet.column(shard, parquet.IMAGE_COLUMNS)}.bytes"
            for batch in parquet.batches(shard, [column], _CHUNK) if len(wanted) else ():
                encoded = batch.column(0).field("bytes")
                while at < len(wanted) and self.rows[wanted[at]] < start + len(batch):
                    yield int(wanted[at]), encoded[int(self.rows[wanted[at]]) - start].as_py() or b""
                    at += 1
                start += len(batch)
                if at == len(wanted):
                    break


def pack(store: ParquetRows, cache: Path) -> Packed:
    """Copies images into one file, or finds an earlier copy.

    Args:
        store: The images.
        cache: Folder of the cache.

    Raises:
        DataError: If a file is damaged, an image has no bytes, or the disk has too little space.
    """
    path = packed_path(store, cache)
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(Path(f"{path}.lock"), wait=True):  # one process of a run copies, the others wait
        bounds = _bounds(path, len(store))
        if bounds is None:
            for part in folder.glob(f"{path.name}.*{PART}"):
                part.unlink(missing_ok=True)
            size = packed_bytes(store)
            check_space(size, folder)
            logger.info("copying %.2f GB of images to %s, once", size / 1e9, path)
            if size > _WORTH_A_LINE:
                print(f"copying {size / 1e9:.0f} GB of images to {path}, once", file=sys.stderr, flush=True)
            bounds = _write(store, path)
    return Packed(path, bounds[0], bounds[1], store)


def packed_path(store: ParquetRows, cache: Path) -> Path:
    """Returns the path of the copy of some images, whether it exists or not."""
    return cache.expanduser() / "packed" / f"{_key(store)}.bin"


def packed_bytes(store: ParquetRows) -> int:
    """Estimates the bytes of a copy from the sizes of the files and the share of their rows in use."""
    used = np.bincount(store.homes, minlength=len(store.shards))
    shares = (count / parquet.count_rows(shard) for count, shard in zip(used, store.shards, strict=True))
    return round(sum(share * shard.stat().st_size for share, shard in zip(shares, store.shards, strict=True)))


def check_space(needed: int, folder: Path) -> None:
    """Checks that a disk has enough space.

    Raises:
        DataError: If it has not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"{folder} has {free / 1e9:.1f} GB free, but {needed / 1e9:.1f} GB are needed for a copy of the images; "
            "free some space, or type dataset.cache=FOLDER on another disk"
        )


def _bounds(path: Path, count: int) -> np.ndarray | None:
    """Reads where each image of a copy begins and how long it is, shape (2, n); None if there is no whole copy."""
    index = path.with_suffix(".npy")
    if not path.is_file() or not index.is_file():
        return None
    size = path.stat().st_size
    try:
        bounds = np.load(index)
        whole = bounds.shape == (2, count) and bounds.dtype == np.int64 and (bounds >= 0).all()
        if whole and int(bounds[1].sum()) == size and int(bounds.sum(0).max(initial=0)) <= size:
            return bounds
    except Exception:  # numpy parses the header as a line of Python, with errors of many kinds
        logger.debug("%s", index, exc_info=True)
    logger.warning("%s is damaged; the images are copied again.", path)
    return None


def _write(store: ParquetRows, path: Path) -> np.ndarray:
    starts, sizes = np.zeros((2, len(store)), np.int64)
    at = 0
    with open_atomic(path) as file:
        for index, data in store.stream():
            if not data:
                raise DataError(f"{store.where(index)}: the image has no bytes; paths to images are not followed")
            starts[index], sizes[index] = at, len(data)
            at += file.write(data)
        bounds = np.stack([starts, sizes])
        with open_atomic(path.with_suffix(".npy")) as index:
            np.save(index, bounds)
    return bounds


def _key(store: ParquetRows) -> str:
    digest = hashlib.blake2b(digest_size=10)
    files = [(str(s.resolve()), s.stat().st_size, s.stat().st_mtime_ns) for s in store.shards]
    digest.update(json.dumps(files).encode())
    digest.update(store.homes.astype("<i4").tobytes() + store.rows.astype("<i8").tobytes())
    return digest.hexdigest()
