"""Images in parquet files, listed by reading labels and names alone, and copied once into one file for random access.

A row of a parquet file cannot be read without the hundreds around it. The images that a run uses are therefore copied,
still encoded, to `CACHE/packed/`, from where each is read on its own; runs and processes share the copy.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ast_experiments.data import parquet
from ast_experiments.data.layouts import SPLITS, Choose, Layout, Listing, plain_name, synset_of
from ast_experiments.data.stores import Packed
from ast_experiments.errors import DataError

LABEL_COLUMNS = ("label", "labels", "fine_label")
_CHUNK = 100


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
        _, data = next(_encoded(self.take(np.array([row]))))
        return data

    def where(self, row: int) -> str:
        """Says which row of which file it is."""
        return f"{self.shards[self.homes[row]]}, row {self.rows[row]}"

    def take(self, rows: np.ndarray) -> ParquetRows:
        """Returns some of the images."""
        return ParquetRows(self.shards, self.homes[rows], self.rows[rows])


def parquet_files(base: Path, choose: Choose) -> Layout | None:
    """Finds `train-*.parquet` and the like of the Hugging Face layout.

    Raises:
        DataError: When a file is missing or damaged or has other columns.
    """
    shards = {split: _shards(base, split) for split in SPLITS}
    if not shards["train"]:
        return None
    if not shards["val"]:
        raise DataError(f"{base} has train-*.parquet but neither val-*.parquet nor validation-*.parquet; add them")
    parts = {split: _index(found) for split, found in shards.items()}
    return tabular(f"parquet files in {base}", parts, choose)


def tabular(kind: str, parts: dict[str, tuple[Listing, tuple[str, ...]]], choose: Choose) -> Layout:
    """Makes a layout of tables whose labels are indices into names.

    Where every image's file name, or every class name, tells the synset, labels are places among the sorted synsets,
    as in folders; otherwise classes keep the order of the tables.

    Args:
        kind: What to call it.
        parts: Listing and class names of each split.
        choose: Which classes are wanted.

    Raises:
        DataError: When the splits name different classes.
    """
    keyed = {split: _keys(listing, names) for split, (listing, names) in parts.items()}
    synsets = all(sorted_ for _, sorted_ in keyed.values())
    tables = [keys if synsets else names for (keys, _), (_, names) in zip(keyed.values(), parts.values(), strict=True)]
    found = tuple(sorted({key for keys in tables for key in keys if key})) if synsets else parts["train"][1]
    if not synsets and any(names != found for names in tables):
        raise DataError(f"{kind}: train and val name different classes")
    classes = tuple(choose(found))
    place = {name: label for label, name in enumerate(classes)}
    splits = {}
    for (split, (listing, _)), keys in zip(parts.items(), tables, strict=True):
        to_label = np.array([place.get(key or "", -1) for key in keys], np.int64)
        labels = to_label[listing.labels]
        kept = np.flatnonzero(labels >= 0)
        splits[split] = listing._replace(labels=labels).take(kept)
    return Layout(kind, found, classes, splits)


def pack(store: ParquetRows, cache: Path) -> Packed:
    """Copies images into one file, or finds the copy that was made before.

    Args:
        store: The images.
        cache: Folder for copies.

    Raises:
        DataError: When a file is damaged, an image has no bytes, or the disk has too little space.
    """
    from filelock import FileLock

    folder = cache.expanduser() / "packed"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_key(store)}.bin"
    with FileLock(f"{path}.lock"):  # of the processes of a run, one copies
        if not path.is_file():
            check_space(sum(_bytes(shard) for shard in store.shards), folder)
            _write(store, path)
    bounds = np.load(path.with_suffix(".npy"))
    return Packed(path, bounds[0], bounds[1], store)


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
    unfinished = path.with_suffix(f".{os.getpid()}")
    at = 0
    try:
        with open(unfinished, "wb") as file:
            for index, data in _encoded(store):
                starts[index], sizes[index] = at, len(data)
                at += file.write(data)
        np.save(path.with_suffix(".npy"), np.stack([starts, sizes]))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _encoded(store: ParquetRows) -> Iterator[tuple[int, bytes]]:
    """Yields (index, encoded image), file by file in the order of their rows."""
    for home, shard in enumerate(store.shards):
        wanted = np.flatnonzero(store.homes == home)
        wanted = wanted[np.argsort(store.rows[wanted], kind="stable")]
        at, start = 0, 0
        column = f"{parquet.column(shard, parquet.IMAGE_COLUMNS)}.bytes"
        for batch in parquet.batches(shard, [column], _CHUNK) if len(wanted) else ():
            field = batch.column(0).field("bytes")
            while at < len(wanted) and store.rows[wanted[at]] < start + len(batch):
                data = field[int(store.rows[wanted[at]]) - start].as_py()
                if data is None:
                    raise DataError(f"{store.where(int(wanted[at]))}: the image has no bytes; paths are not followed")
                yield int(wanted[at]), data
                at += 1
            start += len(batch)
            if at == len(wanted):
                break


def _index(shards: Sequence[Path]) -> tuple[Listing, tuple[str, ...]]:
    labels, names, homes, rows = [], [], [], []
    for home, shard in enumerate(shards):
        image, label = parquet.column(shard, parquet.IMAGE_COLUMNS), parquet.column(shard, LABEL_COLUMNS)
        start = 0
        for batch in parquet.batches(shard, [f"{image}.path", label], 10_000):
            if batch.column(label).null_count:
                raise DataError(f"{shard}: some rows have no {label}")
            labels.append(batch.column(label).to_numpy(zero_copy_only=False).astype(np.int64))
            names += _names(batch.column(image), len(names))
            rows.append(np.arange(start, start + len(batch)))
            homes.append(np.full(len(batch), home, np.int32))
            start += len(batch)
    store = ParquetRows(tuple(shards), np.concatenate(homes), np.concatenate(rows))
    listing = Listing(np.concatenate(labels), np.array(names, "S"), store)
    classes = parquet.class_names(shards[0], LABEL_COLUMNS)
    if classes is None:
        classes = tuple(f"class {label:04d}" for label in range(int(listing.labels.max()) + 1))
    if not 0 <= listing.labels.min() <= listing.labels.max() < len(classes):
        raise DataError(f"{shards[0].parent}: labels outside 0..{len(classes) - 1}")
    return listing, classes


def _names(images: Any, start: int) -> list[bytes]:
    """File names of a batch; a row without one is called by its place."""
    fields = [field.name for field in images.type]
    paths = images.field("path").to_pylist() if "path" in fields else [None] * len(images)
    return [os.fsencode(plain_name(path) if path else f"{row:09d}") for row, path in enumerate(paths, start)]


def _keys(listing: Listing, names: tuple[str, ...]) -> tuple[list[str | None], bool]:
    """Synset of each label index, None where it is unknown, and whether the synsets are known at all."""
    keys: list[str | None] = [name if synset_of(f"{name}_") else None for name in names]
    if all(keys):
        return keys, True
    for label, name in zip(listing.labels.tolist(), listing.names, strict=True):
        keys[label] = keys[label] or synset_of(os.fsdecode(name))
    used = np.unique(listing.labels)
    known = {keys[label] for label in used}
    return keys, None not in known and len(known) == len(used) and len(used) > 0


def _shards(base: Path, split: str) -> list[Path]:
    for folder in (base, base / "data", base / "default"):
        for name in SPLITS[split]:
            if found := parquet.find_shards(folder, name):
                return found
    return []


def _key(store: ParquetRows) -> str:
    digest = hashlib.blake2b(digest_size=10)
    files = [(str(s.resolve()), s.stat().st_size, s.stat().st_mtime_ns) for s in store.shards]
    digest.update(json.dumps(files).encode())
    digest.update(store.homes.astype("<i4").tobytes() + store.rows.astype("<i8").tobytes())
    return digest.hexdigest()


def _bytes(path: Path) -> int:
    return path.stat().st_size
