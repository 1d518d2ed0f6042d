"""Folder layouts of encoded images; each becomes a listing of label, file name and place of every image."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ast_experiments.core.errors import DataError
from ast_experiments.data.encoded.image_files import BESIDE, image_files, is_hidden, is_image, is_kind
from ast_experiments.data.encoded.stores import Files, Store

SPLITS = {"train": ("train",), "val": ("val", "validation", "valid", "test")}
"""Possible names of the folders and files of a split; the first that exists is used."""

ChooseClasses = Callable[[Sequence[str]], Sequence[str]]
"""Called with the classes that were found, returns the chosen ones in label order."""


class Listing(NamedTuple):
    """The images of one split.

    Attributes:
        labels: Class indices, int64, shape (n,).
        names: File names in UTF-8, after the path of a sub-folder of the class; dtype S, shape (n,).
        store: Store of the encoded images.
    """

    labels: np.ndarray
    names: np.ndarray
    store: Store

    def ranked(self) -> Listing:
        """Orders the images by label and file name, so that an image has the same row in every layout."""
        return self.take(np.lexsort((self.names, self.labels)))

    def take(self, rows: np.ndarray) -> Listing:
        """Returns some of the images, in the order given."""
        return Listing(self.labels[rows], self.names[rows], self.store.take(rows))


@dataclass(frozen=True, eq=False)
class Layout:
    """A data set found on disk or on the hub.

    Attributes:
        kind: Description of the layout and its place.
        found: All classes that were found.
        classes: The chosen classes, in label order.
        splits: `train` and `val`; only images of the chosen classes, ranked.
        left_out: Number of files of each split that are not read, by reason.
    """

    kind: str
    found: tuple[str, ...]
    classes: tuple[str, ...]
    splits: Mapping[str, Listing]
    left_out: Mapping[str, Counter[str]] = field(default_factory=dict)


def class_folders(base: Path, choose: ChooseClasses) -> Layout | None:
    """Finds folders of classes, `train/CLASS/FILE`, or a split in several parts, `train.X1/CLASS/FILE`.

    Sub-folders of a class belong to it. Each part of Kaggle's ImageNet-100 holds different classes. A label is the
    index in the sorted classes of all parts and both splits. The validation files of ImageNet-1K may also be in one
    folder, with Kaggle's list of their classes.

    Returns:
        The layout; None if there are no folders of training classes.

    Raises:
        DataError: If there is no validation split.
    """
    parts = {split: _parts(base, split) for split in SPLITS}
    left_out = {split: Counter[str]() for split in SPLITS}
    places = {split: _class_places(folders, left_out[split]) for split, folders in parts.items()}
    if not places["train"]:
        return None
    listed = None if places["val"] or not parts["val"] else _listed_classes(base)
    if not places["val"] and listed is None:
        raise DataError(f"{base} has train/ but no folders of classes in val/; put val/CLASS/FILE there")
    found = tuple(sorted({name for split in places.values() for name in split}))
    classes = tuple(choose(found))
    count = sum(len(folders) for folders in parts.values())
    kind = f"class folders in {base}" + (f" ({count} parts)" if count > len(SPLITS) else "")
    splits = {split: _list_folders(places[split], classes, left_out[split]) for split in SPLITS}
    if listed is not None:
        splits["val"], left_out["val"] = _list_flat(parts["val"][0], listed, classes), Counter()
    return Layout(kind, found, classes, {split: listing.ranked() for split, listing in splits.items()}, left_out)


def folders_of_images(base: Path) -> str:
    """Names the first folders that hold images themselves, as classes without a split do; empty if there are none."""
    found = []
    for folder in sorted(base.iterdir()):
        with suppress(OSError), os.scandir(os.fsencode(folder)) as entries:
            if any(is_image(entry.name) for entry in entries):
                found.append(folder.name)
    return ", ".join(found[:3]) + (", ..." if len(found) > 3 else "") if len(found) > 1 else ""


def synset_of(name: str) -> str | None:
    """Returns the synset at the start or at the end of a file's name, as in ImageNet's files."""
    match = re.match(r"(n\d{8})_", name) or re.search(r"_(n\d{8})(\.\w+)?$", name)
    return match[1] if match else None


def plain_name(name: str) -> str:
    """Returns a file's name without the synset that some copies of ImageNet append."""
    return re.sub(r"_n\d{8}(?=\.\w+$)", "", os.path.basename(name))


def _parts(base: Path, split: str) -> list[Path]:
    """Returns the folders of a split's classes: one folder, or numbered parts."""
    for name in SPLITS[split]:
        folders = [folder for folder in (base / name, *sorted(base.glob(f"{name}.X*"))) if folder.is_dir()]
        if folders:
            return folders
    return []


def _class_places(parts: Sequence[Path], left_out: Counter[str]) -> dict[str, list[str]]:
    places: dict[str, list[str]] = {}
    for folder in parts:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if is_kind(entry.is_dir) and not is_hidden(name):
                    if entry.name.encode(errors="replace") != name:
                        raise DataError(f"{entry.path!a}: the name of this class is no UTF-8; rename the folder")
                    places.setdefault(entry.name, []).append(entry.path)
                elif is_image(name):
                    left_out[BESIDE] += 1
    return places


def _list_folders(places: Mapping[str, list[str]], classes: Sequence[str], left_out: Counter[str]) -> Listing:
    folders: list[str] = []
    labels: list[int] = []
    homes: list[int] = []
    names: list[bytes] = []
    for label, name in enumerate(classes):
        for folder in sorted(places.get(name, ())):
            here = image_files(folder, left_out)
            names += here
            homes += [len(folders)] * len(here)
            labels += [label] * len(here)
            folders.append(folder)
    return _files(folders, labels, homes, names)


def _listed_classes(base: Path) -> dict[bytes, str] | None:
    """Reads the class of each validation file from Kaggle's list, which is next to `ILSVRC/`."""
    for folder in (base, *base.parents[:3]):
        file = folder / "LOC_val_solution.csv"
        if file.is_file():
            try:
                lines = file.read_bytes().decode().splitlines()[1:]
                return {f"{line.split(',')[0]}.JPEG".encode(): line.split(",")[1].split()[0] for line in lines if line}
            except (UnicodeDecodeError, IndexError) as error:
                raise DataError(f"{file} is damaged; expected lines of IMAGE,CLASS BOX in UTF-8") from error
    return None


def _list_flat(folder: Path, listed: Mapping[bytes, str], classes: Sequence[str]) -> Listing:
    place = {name: label for label, name in enumerate(classes)}
    with os.scandir(os.fsencode(folder)) as entries:
        names = [entry.name for entry in entries if listed.get(entry.name) in place and entry.is_file()]
    return _files([str(folder)], [place[listed[name]] for name in names], [0] * len(names), names)


def _files(folders: Sequence[str], labels: list[int], homes: list[int], names: list[bytes]) -> Listing:
    array = np.array(names, "S") if names else np.zeros(0, "S1")
    return Listing(np.array(labels, np.int64), array, Files(tuple(folders), np.array(homes, np.int32), array))
