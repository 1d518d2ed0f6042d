"""Images in parquet files, copied once into one file for random access.

A row of a parquet file cannot be read without the hundreds around it. The images that a run uses are therefore copied,
still encoded, to `CACHE/packed/`, from where each is read on its own; runs and processes share the copy.
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
from ast_experiments.core.files import exclusive_lock, open_atomic
from ast_experiments.data import parquet
from ast_experiments.data.encoded.stores import Packed

_CHUNK = 100
_WORTH_A_LINE = 1_000_000_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ParquetRows:
    """Images of parquet files, which are read for copying alone.

    Attributes:
        shards: Files.
        homes: Index of each image's file, int32, shape (n,).
        rows: Its row there, int64, shape (n,).
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
        """Says which row of which file it is."""
        return f"{self.shards[self.homes[row]]}, row {self.rows[row]}"

    def take(self, rows: np.ndarray) -> ParquetRows:
        """Returns some of the images."""
        return ParquetRows(self.shards, self.homes[rows], self.rows[rows])

    def stream(self) -> Iterator[tuple[int, bytes]]:
        """Yields (index, encoded image), file by file, in the order of their rows; no bytes where there are none.

        Raises:
            DataError: When a file is damaged.
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
    """Copies images into one file, or finds the copy that was made before.

    Args:
        store: The images.
        cache: Folder for copies.

    Raises:
        DataError: When a file is damaged, an image has no bytes, or the disk has too little space.
    """
    path = packed_path(store, cache)
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(Path(f"{path}.lock"), wait=True):  # one process of a run copies
        if not path.is_file():
            size = packed_bytes(store)
            check_space(size, folder)
            logger.info("copying %.2f GB of images to %s, once", size / 1e9, path)
            if size > _WORTH_A_LINE:
                print(f"copying {size / 1e9:.0f} GB of images to {path}, once", file=sys.stderr, flush=True)
            _write(store, path)
    bounds = np.load(path.with_suffix(".npy"))
    return Packed(path, bounds[0], bounds[1], store)


def packed_path(store: ParquetRows, cache: Path) -> Path:
    """Returns where the copy of some images is or would be."""
    return cache.expanduser() / "packed" / f"{_key(store)}.bin"


def packed_bytes(store: ParquetRows) -> int:
    """Estimates the bytes of a copy from the sizes of the files and the share of their rows that is used."""
    used = np.bincount(store.homes, minlength=len(store.shards))
    shares = (count / parquet.count_rows(shard) for count, shard in zip(used, store.shards, strict=True))
    return round(sum(share * shard.stat().st_size for share, shard in zip(shares, store.shards, strict=True)))


def check_space(needed: int, folder: Path) -> None:
    """Checks that a disk has room.

    Raises:
        DataError: When it has not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"{folder} has {free / 1e9:.1f} GB free, but {needed / 1e9:.1f} GB are needed for a copy of the images; "
            "make room, or type dataset.cache=FOLDER on another disk"
        )


def _write(store: ParquetRows, path: Path) -> None:
    starts, sizes = np.zeros((2, len(store)), np.int64)
    at = 0
    with open_atomic(path) as file:
        for index, data in store.stream():
            if not data:
                raise DataError(f"{store.where(index)}: the image has no bytes; paths are not followed")
            starts[index], sizes[index] = at, len(data)
            at += file.write(data)
        np.save(path.with_suffix(".npy"), np.stack([starts, sizes]))


def _key(store: ParquetRows) -> str:
    digest = hashlib.blake2b(digest_size=10)
    files = [(str(s.resolve()), s.stat().st_size, s.stat().st_mtime_ns) for s in store.shards]
    digest.update(json.dumps(files).encode())
    digest.update(store.homes.astype("<i4").tobytes() + store.rows.astype("<i8").tobytes())
    return digest.hexdigest()
