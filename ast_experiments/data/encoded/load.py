"""Data sets of encoded images: ImageNet-1K, ImageNet-100, Imagenette and your own folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ast_experiments.core.errors import DataError
from ast_experiments.data.dataset import Dataset
from ast_experiments.data.encoded import memory
from ast_experiments.data.encoded.cache import ParquetRows, pack
from ast_experiments.data.encoded.checks import missing_classes, repeated_names
from ast_experiments.data.encoded.classes import ClassChoice
from ast_experiments.data.encoded.decode import IGNORED
from ast_experiments.data.encoded.image_files import describe_left_out
from ast_experiments.data.encoded.images import EncodedImages
from ast_experiments.data.encoded.layouts import ChooseClasses, Layout, class_folders, folders_of_images
from ast_experiments.data.encoded.tables import hub, parquet_files

logger = logging.getLogger(__name__)

SIZE = 224
"""Height and width of the network's input if neither a setting nor the model gives it."""
LOOKED_AT = 64
"""Training images whose metadata are looked at before the training."""


class DatasetSpec(NamedTuple):
    """Differences between data sets of encoded images.

    Attributes:
        name: Name in the config.
        title: Published name.
        places: Folders below `root` to search before `root` itself.
        lists: Names of its class lists, each with the published numbers of training and validation images; empty if
            any classes are allowed.
        caution: Warning for readers of its accuracies.
    """

    name: str
    title: str
    places: tuple[str, ...] = ()
    lists: Mapping[str, tuple[int, int]] = {}
    caution: str | None = None


CLS_LOC = "ILSVRC/Data/CLS-LOC"
IMAGENETTE = DatasetSpec(
    "imagenette",
    "Imagenette",
    ("imagenette", "imagenette2", "imagenette2-320", "imagenette2-160", "imagenette160"),
    {"imagenette": (9_469, 3_925)},
    "most validation images are ImageNet training images: with weights pretrained on ImageNet, accuracy is optimistic",
)
IMAGENET100 = DatasetSpec(
    "imagenet100",
    "ImageNet-100",
    ("imagenet100", "imagenet-100"),
    {"cmc": (126_689, 5_000), "kaggle": (130_000, 5_000)},
)
IMAGENET1K = DatasetSpec(
    "imagenet1k", "ImageNet-1K", ("imagenet1k", "imagenet-1k", "imagenet"), {"imagenet1k": (1_281_167, 50_000)}
)
FOLDER = DatasetSpec("folder", "train/CLASS/*.jpg")
SETS = {what.name: what for what in (IMAGENETTE, IMAGENET100, IMAGENET1K, FOLDER)}


def load_imagenette(root: str, **settings: Any) -> Dataset:
    """Loads Imagenette, 10 classes of ImageNet; see `load`."""
    return load(IMAGENETTE, root, **settings)


def load_imagenet100(root: str, class_list: str | None = None, **settings: Any) -> Dataset:
    """Loads ImageNet-100; see `load`.

    Args:
        root: As in `load`.
        class_list: `cmc` or `kaggle`, the two class lists that share the name, or a file with a class on each line;
            None takes the list that the data contains.
        **settings: As in `load`.
    """
    return load(IMAGENET100, root, class_list=class_list, **settings)


def load_imagenet1k(root: str, **settings: Any) -> Dataset:
    """Loads ImageNet-1K; see `load`."""
    return load(IMAGENET1K, root, **settings)


def load_folder(root: str, **settings: Any) -> Dataset:
    """Loads your own images from class folders or parquet files; see `load`."""
    return load(FOLDER, root, **settings)


def load(
    what: DatasetSpec,
    root: str,
    *,
    size: int | None = None,
    stored_size: int | None = None,
    cache: str = "~/.cache/ast-experiments",
    class_list: str | None = None,
    train_rows: int | None = None,
    val_rows: int | None = None,
) -> Dataset:
    """Finds a data set and lists its images; images are only decoded if squares are kept in memory.

    Args:
        what: The data set.
        root: Folder to search, or `hub:` and a name on the Hugging Face hub.
        size: Height and width of the network's input; None for `SIZE`.
        stored_size: Side of the squares that images are first resized to; they are kept in memory if they fit.
        cache: Folder for copies of images from parquet files.
        class_list: Name of a class list, or a file; None takes the list that the data contains.
        train_rows: Number of training samples, evenly spread; None for all.
        val_rows: The same for validation.

    Raises:
        DataError: If the data set is not found or not complete.
    """
    choice = ClassChoice(what.title, what.lists, class_list)
    layout = find(what, root, choice)
    left_out = list(describe_left_out(layout.left_out))
    for line in left_out:
        logger.warning(line)
    for problem in (*missing_classes(layout), *repeated_names(layout)):
        raise DataError(f"{layout.kind}: {problem}; type ast-doctor dataset={what.name} to list all problems")
    notes = [layout.kind] + ([choice.described(layout.classes)] if what.lists else [])

    def samples(split: str, rows: int | None) -> EncodedImages:
        listing = layout.splits[split]
        made = EncodedImages(listing.store, listing.labels, listing.names, size or SIZE, stored_size)
        made = made.first(rows, f"dataset.{split}_rows")
        return replace(made, store=pack(made.store, Path(cache))) if isinstance(made.store, ParquetRows) else made

    train, val = samples("train", train_rows), samples("val", val_rows)
    asked, looked = train.turned(LOOKED_AT)
    turned = f"train: {asked} of {looked} images looked at have {IGNORED}; ast-doctor counts all" if asked else ""
    if turned:
        logger.warning(turned)
    if stored_size is not None:
        kept, note = memory.room(train.decoded_bytes + val.decoded_bytes, f"squares of {stored_size} px")
        notes.append(note)
        train, val = (split.decode_all() if kept else split for split in (train, val))
    facts = choice.facts(layout.classes) | ({"data_caution": what.caution} if what.caution else {})
    facts |= {"data_left_out": "; ".join(left_out)} if left_out else {}
    facts |= {"data_turned": turned} if turned else {}
    return Dataset(what.name, train, val, layout.classes, "; ".join(notes), facts)


def find(what: DatasetSpec, root: str, choose: ChooseClasses) -> Layout:
    """Finds a data set in one of the layouts.

    Args:
        what: The data set.
        root: Folder to search, or `hub:` and a name on the Hugging Face hub.
        choose: Chooses the classes.

    Raises:
        DataError: If there is none.
    """
    if root.startswith("hub:"):
        return hub(root.removeprefix("hub:"), choose)
    base = Path(root).expanduser().absolute()
    for place in (*(base / place for place in what.places), base, base / CLS_LOC):
        if place.is_dir() and (layout := class_folders(place, choose) or parquet_files(place, choose)):
            return layout
    if not base.is_dir():
        raise DataError(f"there is no folder {base}; name another one with dataset.root=... or AST_DATA_DIR")
    if unsplit := folders_of_images(base):
        raise DataError(
            f"{base} has folders of images ({unsplit}), but not in train/ and val/: move them into {base / 'train'}, "
            f"and some images of each class, a tenth say, into {base / 'val'}/CLASS"
        )
    if what is FOLDER:
        raise DataError(
            f"there are no images in {base}; type dataset.root=FOLDER, a folder with train/CLASS/ and val/CLASS/ of "
            "JPEG, PNG or other images, or with train-*.parquet and val-*.parquet"
        )
    raise DataError(
        f"{what.title} is not in {base}: expected train/CLASS/*.jpg and val/CLASS/*.jpg, train.X1/CLASS/ and so on, or "
        f"train-*.parquet there{' or in ' + '/, '.join(what.places[:2]) + '/' if what.places else ''}; name another "
        "folder with dataset.root=... or AST_DATA_DIR"
    )
