"""Images in parquet files of the Hugging Face layout.

Shards are called `train-00000-of-00003.parquet`. An image column is a struct whose field `bytes` holds one
encoded image, a label column holds class indices, and the schema's metadata names the classes.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ast_experiments.core.errors import DataError
from ast_experiments.data.dataset import Images, check_rows

IMAGE_COLUMNS = ("img", "image")
_CHUNK = 500
_FORMATS = ("PNG", "JPEG", "WEBP")  # naming them halves the time to open an image


def find_shards(folder: Path, split: str) -> list[Path]:
    """Returns the shards of a split in order; an empty list if there are none.

    Raises:
        DataError: If shards are missing, according to the total in their names.
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
    """Decodes a split or its first rows.

    Args:
        shards: Files of the split, in order.
        shape: Height, width and channels (1 or 3) that every image has.
        label_columns: Possible names of the label column; the first that exists is read.
        classes: Number of classes.
        total: Rows of all shards together; fewer are enough if they hold `rows` rows.
        rows: Rows to decode; None for all.

    Raises:
        DataError: If pyarrow is not installed, or a file is damaged or has other columns, another number of rows,
            images of another size, or labels without a class.
    """
    setting = "dataset.train_rows" if shards[0].name.startswith("train") else "dataset.val_rows"
    found = sum(_open(shard).metadata.num_rows for shard in shards)
    if found != total and (rows is None or found < rows):
        raise DataError(f"{shards[0].parent}: the files like {shards[0].name} have {found} rows, expected {total}")
    check_rows(rows, total, setting)
    images = np.empty((rows or total, *shape), np.uint8)
    labels = np.empty(len(images), np.int64)

    for start, shard, encoded, indices in _chunks(shards, label_columns, len(images)):
        if indices.min() < 0 or indices.max() >= classes:
            raise DataError(f"{shard}: labels outside 0..{classes - 1}")
        labels[start : start + len(indices)] = indices
        # One thread: with images this small, several threads would only wait for the interpreter lock.
        for row, data in enumerate(encoded, start):
            images[row] = _decode(data, shape, shard)
    return Images(images, labels)


def class_names(shard: Path, label_columns: Sequence[str]) -> tuple[str, ...] | None:
    """Returns the class names in the file's `huggingface` or `classes` metadata, or None if it has neither.

    Raises:
        DataError: If the file is damaged or has no label column.
    """
    file = _open(shard)
    column = _column(file, shard, label_columns)
    metadata = file.schema_arrow.metadata or {}
    try:
        if b"classes" in metadata:
            return tuple(metadata[b"classes"].decode().split(","))
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def count_rows(shard: Path) -> int:
    """Returns the number of rows of a file.

    Raises:
        DataError: If it is damaged.
    """
    return _open(shard).metadata.num_rows


def column(shard: Path, names: Sequence[str]) -> str:
    """Returns the first of some names that is a column of a file.

    Raises:
        DataError: If it has none, or is damaged.
    """
    return _column(_open(shard), shard, names)


def check_image_column(shard: Path, image: str) -> None:
    """Checks that the image column of a file holds encoded images.

    Raises:
        DataError: If it does not, or the file is damaged.
    """
    import pyarrow as pa

    kind = _open(shard).schema_arrow.field(image).type
    if not pa.types.is_struct(kind) or "bytes" not in [field.name for field in kind.fields]:
        raise DataError(f"{shard}: the column {image} is {kind}, expected a struct with a field bytes")


def whole_labels(labels: Any, where: str) -> np.ndarray:
    """Returns labels as int64.

    Args:
        labels: An array of pyarrow, shape (n,).
        where: Name of the column, for the message.

    Raises:
        DataError: If a label is missing, or is no whole number from 0.
    """
    if labels.null_count:
        raise DataError(f"{where}: some rows have no label")
    values = labels.to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        numbers = values.dtype.kind in "biuf"
        values = values.astype(np.int64) if values.dtype == bool else values
        fine = numbers and bool(((values >= 0) & (values < 2.0**63) & (values == np.floor(values))).all())
    if not fine:
        bad = next(v for v in values.tolist() if not numbers or not (0 <= v < 2**63 and v == v // 1))
        raise DataError(f"{where}: the label {bad!r} is wrong; expected class indices, whole numbers from 0")
    return values.astype(np.int64)


def batches(shard: Path, columns: Sequence[str], rows: int) -> Iterator[Any]:
    """Yields a file's record batches of at most `rows` rows; `image.bytes` names a field within a column.

    Raises:
        DataError: If the file is damaged.
    """
    file = _open(shard)
    from pyarrow import ArrowException

    try:
        yield from file.iter_batches(batch_size=rows, columns=list(columns))
    except (ArrowException, OSError) as error:
        raise _damaged(shard, error) from error


def _open(shard: Path) -> Any:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise DataError(f"{shard} needs pyarrow; type uv sync --inexact --extra parquet") from error
    if not shard.is_file():  # a pipe would wait for ever
        raise _damaged(shard, OSError("it is no file"))
    try:
        return parquet.ParquetFile(shard)
    except (ArrowException, OSError) as error:
        raise _damaged(shard, error) from error


def _damaged(shard: Path, error: Exception) -> DataError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(f"{shard} cannot be read; download it again ({reason})")


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
        types = {name: file.schema_arrow.field(name).type for name in (image, label)}
        fields = [field.name for field in types[image].fields] if pa.types.is_struct(types[image]) else []
        if "bytes" not in fields or not pa.types.is_integer(types[label]):
            raise DataError(
                f"{shard}: {image} is {types[image]} and {label} is {types[label]}, "
                "expected a struct with a field bytes, and integers"
            )
        try:
            for batch in file.iter_batches(batch_size=_CHUNK, columns=[image, label]):
                part = batch.slice(0, rows - start)
                if not len(part):
                    continue
                if part[label].null_count:
                    raise DataError(f"{shard}: some rows have no {label}")
                encoded = part[image].field("bytes").to_pylist()
                yield start, shard, encoded, part[label].to_numpy(zero_copy_only=False)
                start += len(encoded)
                if start == rows:
                    return
        except (pa.ArrowException, OSError) as error:
            raise _damaged(shard, error) from error


def _decode(data: bytes | None, shape: tuple[int, int, int], shard: Path) -> np.ndarray:
    from PIL import Image

    if data is None:
        raise DataError(f"{shard}: an image has no bytes; paths to images are not followed")
    mode = "RGB" if shape[2] == 3 else "L"
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    except (OSError, SyntaxError, ValueError) as error:  # errors of Pillow's readers for damaged images
        raise _damaged(shard, error) from error
    if pixels.shape[:2] != shape[:2]:
        raise DataError(f"{shard}: an image has {pixels.shape[:2]} pixels, expected {shape[:2]}")
    return pixels.reshape(shape)
