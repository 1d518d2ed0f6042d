"""Images in parquet files of the Hugging Face layout.

Shards are called `train-00000-of-00003.parquet`. An image column is a struct whose field `bytes` holds one
encoded image, a label column holds class indices, and the schema's metadata names the classes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ast_experiments.data.errors import DataError
from ast_experiments.data.images import Images, check_rows

IMAGE_COLUMNS = ("img", "image")
_CHUNK = 500
_THREADS = min(4, os.cpu_count() or 1)


def find_shards(folder: Path, split: str) -> list[Path]:
    """Returns the shards of a split in their order; an empty list where there are none.

    Raises:
        DataError: When some of the shards that the names count are missing.
    """
    shards = sorted(folder.glob(f"{split}-*.parquet"))
    totals = [int(match[1]) for shard in shards if (match := re.search(r"-of-(\d+)$", shard.stem))]
    if totals and (len(set(totals)) > 1 or totals[0] != len(shards)):
        raise DataError(f"{folder}: {len(shards)} files {split}-*.parquet, but their names count {totals[0]}")
    return shards


def read_split(
    shards: Sequence[Path],
    shape: tuple[int, int, int],
    *,
    label_columns: Sequence[str],
    classes: int,
    total: int,
    rows: int | None = None,
) -> Images:
    """Decodes a split, or no more than its first rows.

    Args:
        shards: Files of the split, in order.
        shape: Height, width and channels (1 or 3) that every image has.
        label_columns: Names a label column may have; the first that exists is read.
        classes: Number of classes.
        total: Rows that all shards have together.
        rows: How many to decode; None for all.

    Raises:
        DataError: When pyarrow is not installed, or a file is damaged, has other columns, another number of
            rows, images of another size, or labels without a class.
    """
    found = sum(_open(shard).metadata.num_rows for shard in shards)
    if found != total:
        raise DataError(
            f"{shards[0].parent}: {shards[0].name} and its like have {found} rows, expected {total}"
        )
    check_rows(rows, total)
    images = np.empty((rows or total, *shape), np.uint8)
    labels = np.empty(len(images), np.int64)

    def fill(start: int, shard: Path, encoded: list[bytes | None]) -> None:
        decode = _decoder(shape, shard)
        for row, data in enumerate(encoded, start):
            images[row] = decode(data)

    with ThreadPoolExecutor(_THREADS) as pool:
        waiting = []
        for start, shard, encoded, indices in _chunks(shards, label_columns, len(images)):
            if indices.min() < 0 or indices.max() >= classes:
                raise DataError(f"{shard}: labels outside 0..{classes - 1}")
            labels[start : start + len(indices)] = indices
            waiting.append(pool.submit(fill, start, shard, encoded))
        for chunk in waiting:
            chunk.result()
    return Images(images, labels)


def class_names(shard: Path, label_columns: Sequence[str]) -> tuple[str, ...] | None:
    """Returns the class names in the file's `huggingface` metadata, or None where it has none.

    Raises:
        DataError: When the file is damaged, or has no label column.
    """
    file = _open(shard)
    column = _column(file, shard, label_columns)
    try:
        metadata = json.loads((file.schema_arrow.metadata or {})[b"huggingface"])
        return tuple(str(name) for name in metadata["info"]["features"][column]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _open(shard: Path) -> Any:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise DataError(f"{shard} needs pyarrow: pip install 'ast-experiments[parquet]'") from error
    try:
        return parquet.ParquetFile(shard)
    except (ArrowException, OSError) as error:
        raise _damaged(shard, error) from error


def _damaged(shard: Path, error: Exception) -> DataError:
    return DataError(f"{shard} cannot be read, fetch it again: {str(error).splitlines()[0]}")


def _column(file: Any, shard: Path, names: Sequence[str]) -> str:
    for name in names:
        if name in file.schema_arrow.names:
            return name
    raise DataError(f"{shard}: columns are {file.schema_arrow.names}, expected one of {list(names)}")


def _chunks(
    shards: Sequence[Path], label_columns: Sequence[str], rows: int
) -> Iterator[tuple[int, Path, list[bytes | None], np.ndarray]]:
    """Yields (first row, file, encoded images, labels) until `rows` rows are read; row group by row group."""
    import pyarrow as pa

    start = 0
    for shard in shards:
        file = _open(shard)
        image, label = _column(file, shard, IMAGE_COLUMNS), _column(file, shard, label_columns)
        try:
            for batch in file.iter_batches(batch_size=_CHUNK, columns=[image, label]):
                part = batch.slice(0, rows - start)
                encoded = part[image].field("bytes").to_pylist()
                yield start, shard, encoded, part[label].to_numpy(zero_copy_only=False)
                start += len(encoded)
                if start == rows:
                    return
        except (pa.ArrowException, OSError) as error:
            raise _damaged(shard, error) from error


def _decoder(shape: tuple[int, int, int], shard: Path) -> Callable[[bytes | None], np.ndarray]:
    """Returns what decodes an image; torchvision's decoders are quick and let other threads run."""
    import torch
    from torchvision.io import ImageReadMode, decode_image

    mode = ImageReadMode.RGB if shape[2] == 3 else ImageReadMode.GRAY

    def decode(data: bytes | None) -> np.ndarray:
        if data is None:
            raise DataError(f"{shard}: an image has no bytes; image paths alone are not followed")
        try:
            image = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode)
        except (RuntimeError, ValueError) as error:
            raise _damaged(shard, error) from error
        image = image.numpy().transpose(1, 2, 0)
        if image.shape != shape:
            raise DataError(f"{shard}: an image of shape {image.shape}, expected {shape}")
        return image

    return decode
