"""The layouts that photographs come in; each ends as a listing: label, file name and place of every image."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ast_experiments.data.stores import Files, Store
from ast_experiments.errors import DataError

SPLITS = {"train": ("train",), "val": ("val", "validation", "valid", "test")}
"""What the folders and files of a split may be called; the first that is there counts."""
EXTENSIONS = (b".jpeg", b".jpg", b".png", b".webp", b".bmp")
SYNSET = re.compile(r"n\d{8}")

Choose = Callable[[Sequence[str]], Sequence[str]]
"""Given the classes that are there, returns those that are wanted, in label order."""


class Listing(NamedTuple):
    """The images of one split, in any order.

    Attributes:
        labels: Class indices, int64, shape (n,).
        names: File names in UTF-8, dtype S, shape (n,).
        store: Where the encoded images are.
    """

    labels: np.ndarray
    names: np.ndarray
    store: Store

    def ranked(self) -> Listing:
        """Orders the images by label and file name, so that the row is the same in every layout."""
        return self.take(np.lexsort((self.names, self.labels)))

    def take(self, rows: np.ndarray) -> Listing:
        """Returns some of the images, in the order given."""
        return Listing(self.labels[rows], self.names[rows], self.store.take(rows))


@dataclass(frozen=True, eq=False)
class Layout:
    """A data set found on disk or on the hub.

    Attributes:
        kind: Which layout it is, in words, with its place.
        found: All classes that are there.
        classes: Those that were chosen, in label order.
        splits: `train` and `val`; only images of the chosen classes.
        notes: What a reader ought to know.
    """

    kind: str
    found: tuple[str, ...]
    classes: tuple[str, ...]
    splits: Mapping[str, Listing]
    notes: tuple[str, ...] = field(default=())


def class_folders(base: Path, choose: Choose) -> Layout | None:
    """Finds folders of classes, `train/CLASS/FILE`, also where a split is in several parts, `train.X1/CLASS/FILE`.

    The parts of Kaggle's ImageNet-100 hold different classes each. A label is a place among the sorted classes of
    all parts and both splits.

    Raises:
        DataError: When a class has the same file name twice.
    """
    places = {split: _class_places(base, split) for split in SPLITS}
    if not places["train"]:
        return None
    found = tuple(sorted({name for split in places.values() for name in split}))
    classes = tuple(choose(found))
    parts = sum(len(split_folders(base, split)) for split in SPLITS)
    kind = f"class folders in {base}" + (f" ({parts} parts)" if parts > len(SPLITS) else "")
    listings = {split: _list_files(places[split], classes) for split in SPLITS}
    return Layout(kind, found, classes, listings)


def split_folders(base: Path, split: str) -> list[Path]:
    """Returns the folders that hold a split's classes: one, or numbered parts."""
    for name in SPLITS[split]:
        folders = [folder for folder in (base / name, *sorted(base.glob(f"{name}.X*"))) if folder.is_dir()]
        if folders:
            return folders
    return []


def synset_of(name: str) -> str | None:
    """Returns the synset in a file's name, as ImageNet's files have it: at the start, or at the end."""
    stem = name.rpartition(".")[0] or name
    match = re.match(r"(n\d{8})_", stem) or re.search(r"_(n\d{8})$", stem)
    return match[1] if match else None


def plain_name(name: str) -> str:
    """Returns a file's name without the synset that some copies of ImageNet put at its end."""
    return re.sub(r"_n\d{8}(?=\.\w+$)", "", os.path.basename(name))


def _class_places(base: Path, split: str) -> dict[str, list[str]]:
    places: dict[str, list[str]] = {}
    for folder in split_folders(base, split):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir() and not entry.name.startswith("."):
                    places.setdefault(entry.name, []).append(entry.path)
    return places


def _list_files(places: Mapping[str, list[str]], classes: Sequence[str]) -> Listing:
    folders: list[str] = []
    labels: list[int] = []
    homes: list[int] = []
    names: list[bytes] = []
    for label, name in enumerate(classes):
        begin = len(names)
        for folder in sorted(places.get(name, ())):
            with os.scandir(os.fsencode(folder)) as entries:
                here = [entry.name for entry in entries if is_image(entry.name)]
            names += here
            homes += [len(folders)] * len(here)
            folders.append(folder)
        labels += [label] * (len(names) - begin)
        if len(set(names[begin:])) != len(names) - begin:
            twice = next(n for n in names[begin:] if names[begin:].count(n) > 1)
            raise DataError(f"{os.fsdecode(twice)} is there twice, in {' and '.join(places[name])}; remove one of them")
    array = np.array(names, "S") if names else np.zeros(0, "S1")
    return Listing(np.array(labels, np.int64), array, Files(tuple(folders), np.array(homes, np.int32), array))


def is_image(name: bytes) -> bool:
    """Tells whether a file is an image, by its name."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(b".")
