"""The data sets of photographs: ImageNet, parts of it, and anybody's own; found by looking at what is there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ast_experiments.data import memory
from ast_experiments.data.images import Dataset
from ast_experiments.data.layouts import Choose, Layout, class_folders
from ast_experiments.data.packing import ParquetRows, pack, parquet_files
from ast_experiments.data.photos import Photos
from ast_experiments.errors import DataError

SIZE = 224
"""Height and width of the pictures where neither a setting nor the model says otherwise."""


class PhotoSet(NamedTuple):
    """What tells one data set of photographs from another.

    Attributes:
        name: What the config calls it.
        title: What people call it.
        places: Folders below `root` to look in, before `root` itself.
        lists: Names of the class lists that it may have; none where any classes will do.
    """

    name: str
    title: str
    places: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()


IMAGENETTE = PhotoSet(
    "imagenette",
    "Imagenette",
    ("imagenette", "imagenette2", "imagenette2-320", "imagenette2-160", "imagenette160"),
    ("imagenette",),
)
IMAGENET100 = PhotoSet("imagenet100", "ImageNet-100", ("imagenet100", "imagenet-100"), ("cmc", "kaggle"))
IMAGENET1K = PhotoSet("imagenet1k", "ImageNet-1K", ("imagenet1k", "imagenet-1k", "imagenet", "ILSVRC/Data/CLS-LOC"))
FOLDER = PhotoSet("folder", "a folder of images")


def load_imagenette(root: str, **settings: Any) -> Dataset:
    """Loads Imagenette, 10 classes of ImageNet; see `load`."""
    return load(IMAGENETTE, root, **settings)


def load_imagenet100(root: str, class_list: str | None = None, **settings: Any) -> Dataset:
    """Loads ImageNet-100; see `load`.

    Args:
        root: As in `load`.
        class_list: `cmc` or `kaggle`, the two choices of classes that share the name, or a file with a class on each
            line; None takes the one that the data matches.
        **settings: As in `load`.
    """
    return load(IMAGENET100, root, class_list=class_list, **settings)


def load_imagenet1k(root: str, **settings: Any) -> Dataset:
    """Loads ImageNet-1K; see `load`."""
    return load(IMAGENET1K, root, **settings)


def load_folder(root: str, **settings: Any) -> Dataset:
    """Loads anybody's own images, in folders by class or in parquet files; see `load`."""
    return load(FOLDER, root, **settings)


def load(
    what: PhotoSet,
    root: str,
    *,
    size: int | None = None,
    stored_size: int | None = None,
    cache: str = "~/.cache/ast-experiments",
    class_list: str | None = None,
    train_rows: int | None = None,
    val_rows: int | None = None,
) -> Dataset:
    """Finds a data set and lists its images; none is decoded.

    Args:
        what: Which one.
        root: Folder to look in.
        size: Height and width of the pictures; None for `SIZE`.
        stored_size: Scale every image to a square of this size first; the squares are kept in memory where they fit.
        cache: Folder for copies of images that parquet files hold.
        class_list: Name of a class list, or a file; None takes the one that the data matches.
        train_rows: Take only so many samples of the training split, evenly spread; None for all.
        val_rows: The same for validation.

    Raises:
        DataError: When it is not found, or not what it should be.
    """
    choice = ClassChoice(what, class_list)
    layout = find(what, root, choice)

    def photos(split: str, rows: int | None) -> Photos:
        check_classes(layout, split)
        listing = layout.splits[split].ranked()
        made = Photos(listing.store, listing.labels, listing.names, size or SIZE, stored_size).first(rows)
        return replace(made, store=pack(made.store, Path(cache))) if isinstance(made.store, ParquetRows) else made

    train, val = photos("train", train_rows), photos("val", val_rows)
    notes = choice.notes(layout)
    if stored_size is not None:
        kept, note = memory.room(train.table_bytes + val.table_bytes, f"squares of {stored_size} px")
        notes.append(note)
        train, val = (split.decoded() if kept else split for split in (train, val))
    source = "; ".join((layout.kind, *notes))
    return Dataset(
        name=what.name,
        train=train,
        val=val,
        classes=layout.classes,
        source=source,
        facts=choice.facts(layout),
    )


def find(what: PhotoSet, root: str, choose: Choose) -> Layout:
    """Finds a data set in one of the layouts.

    Raises:
        DataError: When there is none.
    """
    base = Path(root).expanduser().absolute()
    for place in (*(base / place for place in what.places), base, base / "ILSVRC/Data/CLS-LOC"):
        if place.is_dir() and (layout := class_folders(place, choose) or parquet_files(place, choose)):
            return layout
    raise DataError(
        f"{what.title} is not in {base}: expected train/CLASS/*.jpg and val/CLASS/*.jpg, train.X1/CLASS/ and so on, or "
        f"train-*.parquet there{' or in ' + '/, '.join(what.places[:2]) + '/' if what.places else ''}; name another "
        "folder with dataset.root=... or AST_DATA_DIR"
    )


def check_classes(layout: Layout, split: str) -> None:
    """Checks that a split has images of every class.

    Raises:
        DataError: When it has none of some.
    """
    counts = np.bincount(layout.splits[split].labels, minlength=len(layout.classes))
    missing = [layout.classes[label] for label in np.flatnonzero(counts == 0)]
    if missing:
        more = f" and {len(missing) - 1} more classes" if len(missing) > 1 else ""
        raise DataError(f"{layout.kind}: {split} has no images of {missing[0]}{more}; both splits need every class")


class ClassChoice:
    """Chooses classes by a list, and says which list it was.

    Args:
        what: The data set.
        wanted: Name of a list, or a file; None takes the list of `what` that the classes equal, and where there is
            none, all classes.

    Raises:
        DataError: When there is no such list.
    """

    def __init__(self, what: PhotoSet, wanted: str | None) -> None:
        self._what, self._wanted = what, wanted
        self._lists = {name: read_list(name) for name in (*what.lists, *([wanted] if wanted else []))}

    def __call__(self, found: Sequence[str]) -> Sequence[str]:
        """Returns the classes that are wanted, sorted.

        Raises:
            DataError: When some are not there, or there are more than the set has and no list was chosen.
        """
        there = set(found)
        if self._wanted:
            if missing := self._lists[self._wanted] - there:
                some = ", ".join(sorted(missing)[:3])
                raise DataError(
                    f"class list {self._wanted}: {len(missing)} of {len(self._lists[self._wanted])} classes are not "
                    f"there ({some}, ...); {self._hint(there)}"
                )
            return sorted(self._lists[self._wanted])
        if there in self._lists.values():
            return found
        fitting = [name for name, members in self._lists.items() if members <= there]
        if len(fitting) == 1:
            return sorted(self._lists[fitting[0]])
        if len(fitting) > 1:
            names = " or ".join(f"dataset.class_list={name}" for name in fitting)
            raise DataError(f"{len(there)} classes are there, more than {self._what.title} has; type {names}")
        return found

    def facts(self, layout: Layout) -> dict[str, str]:
        """Name and hash of the class list."""
        name = next((n for n, members in self._lists.items() if members == set(layout.classes)), None)
        return {"class_list": name or "none", "class_list_hash": hash_of(layout.classes)}

    def notes(self, layout: Layout) -> list[str]:
        """What is worth saying about the classes."""
        name = self.facts(layout)["class_list"]
        if name != "none":
            return [f"class list {name}"]
        return [self._hint(set(layout.classes))] if self._lists else []

    def _hint(self, there: set[str]) -> str:
        shared = (f"{len(members & there)} of {len(members)} of {name}" for name, members in self._lists.items())
        return f"its {len(there)} classes are no known list of {self._what.title}: they hold {', '.join(shared)}"


def read_list(name: str) -> set[str]:
    """Reads a class list of the package, or a file.

    Raises:
        DataError: When there is no such list.
    """
    shipped = files("ast_experiments.data") / "class_lists" / f"{name}.txt"
    path = shipped if shipped.is_file() else Path(name).expanduser()
    if not path.is_file():
        raise DataError(f"dataset.class_list: there is no list {name}; expected cmc, kaggle or a file")
    return set(path.read_text(encoding="utf-8").split())


def hash_of(classes: Sequence[str]) -> str:
    """Twelve hex digits of a set of classes."""
    return hashlib.sha256("\n".join(sorted(classes)).encode()).hexdigest()[:12]
