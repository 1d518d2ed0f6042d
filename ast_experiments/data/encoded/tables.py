"""Layouts in tables: parquet files or the Hugging Face hub; only labels and names are read to list them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ast_experiments.core.errors import DataError
from ast_experiments.data import parquet
from ast_experiments.data.encoded.cache import ParquetRows
from ast_experiments.data.encoded.layouts import SPLITS, ChooseClasses, Layout, Listing, plain_name, synset_of
from ast_experiments.data.encoded.stores import Hub

LABEL_COLUMNS = ("label", "labels", "fine_label")
COLUMNS = (parquet.IMAGE_COLUMNS, LABEL_COLUMNS)


MOST_UNNAMED = 100_000
"""Labels below this are believed without names of classes, even if there are fewer images."""


class Table(NamedTuple):
    """The table of one split.

    Attributes:
        listing: Images; labels are indices into `names`.
        names: Class names.
    """

    listing: Listing
    names: tuple[str, ...]


def parquet_files(base: Path, choose: ChooseClasses) -> Layout | None:
    """Finds parquet files of the Hugging Face layout, such as `train-*.parquet`, in a folder or in its folder `data`.

    Returns:
        The layout; None if there are no training files.

    Raises:
        DataError: If a file is missing or damaged or has other columns.
    """
    shards = {split: _shards(base, split) for split in SPLITS}
    if not shards["train"]:
        return None
    if not shards["val"]:
        raise DataError(f"{base} has train-*.parquet but neither val-*.parquet nor validation-*.parquet; add them")
    return arrange(f"parquet files in {base}", {split: _index(found) for split, found in shards.items()}, choose)


def hub(name: str, choose: ChooseClasses) -> Layout:
    """Finds a data set on the Hugging Face hub, or in the cache of the `datasets` package.

    Raises:
        DataError: If `datasets` is not installed or has no such data set, or the data set has no labelled images.
    """
    if not name.strip():
        raise DataError("dataset.root=hub: names no data set; type dataset.root=hub:OWNER/NAME")
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DataError(f"hub:{name} needs the package datasets; type uv sync --inexact --extra datasets") from error
    try:
        found = datasets.load_dataset(name)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"hub:{name} cannot be loaded: {reason}") from error
    tables = {}
    for split, names in SPLITS.items():
        table = next((found[name] for name in names if name in found), None)
        if table is None:
            raise DataError(f"hub:{name} has the splits {', '.join(found)}; expected train and one of {SPLITS['val']}")
        image, label = (_first(table.column_names, options, f"hub:{name}") for options in COLUMNS)
        table = table.cast_column(image, datasets.Image(decode=False))
        chunks = (_names(chunk) for chunk in table.data.column(image).chunks)
        store = Hub(table, image, np.arange(len(table)), f"hub:{name}, {split}")
        tables[split] = _table(np.asarray(table[label]), chunks, store, getattr(table.features[label], "names", None))
    return arrange(f"hub:{name}", tables, choose)


def arrange(kind: str, tables: Mapping[str, Table], choose: ChooseClasses) -> Layout:
    """Gives the images of tables the labels that they would have in folders.

    If the class names or the file names contain synsets, a label is the index in the sorted synsets; otherwise classes
    keep the order of the tables.

    Args:
        kind: Description of the layout.
        tables: Tables of the splits.
        choose: Chooses the classes.

    Raises:
        DataError: If the splits name different classes.
    """
    if len({table.names for table in tables.values()}) == 1:
        names = tables["train"].names
        keys = dict.fromkeys(tables, _synsets(names, [table.listing for table in tables.values()]))
    else:
        keys = {split: _synsets(table.names, [table.listing]) for split, table in tables.items()}
        if None in keys.values():
            raise DataError(f"{kind}: train and val do not name the same classes in the same order")
    ordered = {split: known or list(tables[split].names) for split, known in keys.items()}
    found = tuple(name for name in ordered["train"] if name)
    if keys["train"]:
        found = tuple(sorted({name for names in ordered.values() for name in names if name}))
    classes = tuple(choose(found))
    place = {name: label for label, name in enumerate(classes)}
    splits = {}
    for split, table in tables.items():
        labels = np.array([place.get(name, -1) for name in ordered[split]], np.int64)[table.listing.labels]
        splits[split] = table.listing._replace(labels=labels).take(np.flatnonzero(labels >= 0)).ranked()
    return Layout(kind, found, classes, splits)


def _synsets(names: Sequence[str], listings: Sequence[Listing]) -> list[str] | None:
    """Returns the synset of each class, "" for a class without images; None unless each class has its own synset.

    A file may have the wrong label, so the synset of a class is that of most of its files.
    """
    known = [name if synset_of(f"{name}_") else "" for name in names]
    if all(known):
        return known
    named = Counter(
        (label, synset_of(os.fsdecode(name)) or "")
        for listing in listings
        for label, name in zip(listing.labels.tolist(), listing.names, strict=True)
    )
    for (label, synset), _ in named.most_common():
        known[label] = known[label] or synset
    used = {label for label, _ in named}
    synsets = {known[label] for label in used}
    return known if "" not in synsets and len(synsets) == len(used) else None


def _index(shards: Sequence[Path]) -> Table:
    labels, homes, rows, names = [], [], [], []
    for home, shard in enumerate(shards):
        image, label = (parquet.column(shard, options) for options in COLUMNS)
        parquet.check_image_column(shard, image)
        start = 0
        for batch in parquet.batches(shard, [f"{image}.path", label], 10_000):
            labels.append(parquet.whole_labels(batch.column(label), f"{shard}, column {label}"))
            names.append(_names(batch.column(image)))
            rows.append(np.arange(start, start + len(batch)))
            homes.append(np.full(len(batch), home, np.int32))
            start += len(batch)
    if not labels:
        raise DataError(f"{shards[0]} has no rows; download it again")
    store = ParquetRows(tuple(shards), np.concatenate(homes), np.concatenate(rows))
    return _table(np.concatenate(labels), names, store, parquet.class_names(shards[0], LABEL_COLUMNS))


def _table(labels: np.ndarray, names: Iterable[list[str | None]], store: Any, classes: Sequence[str] | None) -> Table:
    """Builds a table; an image without a file name is named by its row."""
    if classes is None and labels.max() >= max(len(labels), MOST_UNNAMED):
        raise DataError(f"{store.where(0)} and others: the label {labels.max()} is more than there are classes; "
                        "expected class indices from 0, without gaps")  # fmt: skip
    if classes is None:
        classes = [f"class {label:04d}" for label in range(int(labels.max()) + 1)]
    if not 0 <= labels.min() <= labels.max() < len(classes):
        raise DataError(f"{store.where(0)} and others: labels from {labels.min()} to {labels.max()}, "
                        f"but there are {len(classes)} classes")  # fmt: skip
    files = [name for chunk in names for name in chunk]
    encoded = [os.fsencode(plain_name(name) if name else f"{row:09d}") for row, name in enumerate(files)]
    return Table(Listing(labels.astype(np.int64), np.array(encoded, "S"), store), tuple(classes))


def _names(images: Any) -> list[str | None]:
    """Returns the file names of an array of images."""
    fields = [field.name for field in images.type]
    return images.field("path").to_pylist() if "path" in fields else [None] * len(images)


def _first(there: Sequence[str], names: Sequence[str], where: str) -> str:
    for name in names:
        if name in there:
            return name
    raise DataError(f"{where}: columns are {list(there)}, expected one of {list(names)}")


def _shards(base: Path, split: str) -> list[Path]:
    for folder in (base, base / "data", base / "default"):
        for name in SPLITS[split]:
            if found := parquet.find_shards(folder, name):
                return found
    return []
