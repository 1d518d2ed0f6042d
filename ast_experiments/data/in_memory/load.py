"""Data sets of small images: digits, CIFAR-10 and CIFAR-100. CIFAR is found in torchvision's or parquet files."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ast_experiments.core.errors import DataError
from ast_experiments.data import parquet
from ast_experiments.data.dataset import Dataset, Images
from ast_experiments.data.in_memory import cifar_files

TRAIN_ROWS = 50_000
TEST_ROWS = 10_000
SHAPE = (32, 32, 3)


@dataclass(frozen=True)
class Cifar:
    """Differences between CIFAR-10 and CIFAR-100.

    Attributes:
        name: Name in the config.
        title: Published name; without the hyphen, the name of torchvision's class.
        folder: Folder of torchvision's files.
        label_columns: Possible names of the label column in parquet files.
        classes: Class names, for files that do not contain them.
    """

    name: str
    title: str
    folder: str
    label_columns: tuple[str, ...]
    classes: tuple[str, ...]


CIFAR10 = Cifar(
    name="cifar10",
    title="CIFAR-10",
    folder="cifar-10-batches-py",
    label_columns=("label",),
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
CIFAR100 = Cifar(
    name="cifar100",
    title="CIFAR-100",
    folder="cifar-100-python",
    label_columns=("fine_label", "label"),
    classes=tuple(f"class {index:02d}" for index in range(100)),
)


def load_digits(train_rows: int | None = None, val_rows: int | None = None) -> Dataset:
    """Loads scikit-learn's 1,797 handwritten digits of 8x8 pixels, one channel, scaled to 0..255.

    Every fifth image of each class is for validation, for every seed; the original order is kept.

    Args:
        train_rows: Number of training samples, from the start; None for all.
        val_rows: The same for validation.

    Raises:
        ConfigError: If a split has fewer rows.
    """
    values = _digits()
    labels = values[:, -1].astype(np.int64)
    pixels = np.rint(values[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    val = np.zeros(len(labels), bool)
    for label in range(10):
        val[np.flatnonzero(labels == label)[4::5]] = True
    return Dataset(
        name="digits",
        train=Images(pixels[~val], labels[~val]).first(train_rows, "dataset.train_rows"),
        val=Images(pixels[val], labels[val]).first(val_rows, "dataset.val_rows"),
        classes=tuple(str(digit) for digit in range(10)),
        source="scikit-learn",
    )


def _digits() -> NDArray[np.float64]:
    """Reads scikit-learn's file of digits, shape (1797, 65): pixels in 0..16, then the label.

    Importing scikit-learn for it takes longer than training on it.
    """
    package = find_spec("sklearn")
    file = Path(package.origin or "").parent / "datasets" / "data" / "digits.csv.gz" if package else None
    if file is not None and file.is_file():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits as load

    pixels, labels = load(return_X_y=True)
    return np.column_stack([pixels, labels])


def load_cifar10(
    root: str, download: bool = True, train_rows: int | None = None, val_rows: int | None = None
) -> Dataset:
    """Loads CIFAR-10: 50,000 training and 10,000 validation images of 32x32 pixels in RGB.

    Args:
        root: Folder to search, with its folder `cifar10`, for torchvision's `cifar-10-batches-py` or for
            `train-*.parquet` and `test-*.parquet` in the Hugging Face layout.
        download: Whether torchvision may download it into `root` if neither is found.
        train_rows: Number of training samples, from the start; None for all.
        val_rows: The same for validation.

    Raises:
        DataError: If it is neither found nor downloaded, or the files are damaged or hold other data.
    """
    return _load_cifar(CIFAR10, Path(root), download, train_rows, val_rows)


def load_cifar100(
    root: str, download: bool = True, train_rows: int | None = None, val_rows: int | None = None
) -> Dataset:
    """Loads CIFAR-100 with its 100 fine classes; see `load_cifar10`.

    Raises:
        DataError: As in `load_cifar10`.
    """
    return _load_cifar(CIFAR100, Path(root), download, train_rows, val_rows)


def _load_cifar(cifar: Cifar, root: Path, download: bool, train_rows: int | None, val_rows: int | None) -> Dataset:
    root = root.expanduser().absolute()
    folder = _find(cifar, root)
    if folder is None:
        _fetch(cifar, root, download)
        folder = root / cifar.folder
    read = _from_torchvision if folder.name == cifar.folder else _from_parquet
    return read(cifar, folder, train_rows, val_rows)


def _find(cifar: Cifar, root: Path) -> Path | None:
    """Returns torchvision's folder or the folder of the parquet files; the data set's own folder comes first."""
    if root.name == cifar.folder and root.is_dir():
        return root
    for base in (root / cifar.name, root):
        if (base / cifar.folder).is_dir():
            return base / cifar.folder
        for folder in (base, base / "data", base / "plain_text", base / cifar.name):
            if parquet.find_shards(folder, "train") or parquet.find_shards(folder, "test"):
                return folder
    return None


def _fetch(cifar: Cifar, root: Path, download: bool) -> None:
    kind = _torchvision(cifar)
    reason = "downloading is off"
    if download:
        try:
            return cifar_files.fetch(root, kind)
        except (OSError, RuntimeError, EOFError, tarfile.TarError) as error:
            said = " ".join(str(error).split()) or type(error).__name__
            if "corrupted" in said:  # torchvision's word for a wrong md5
                said = f"what came from {kind.url} is not {kind.filename} (its md5 is wrong); is a proxy in between?"
            reason = f"downloading failed: {said}"
    packed = next((at / kind.filename for at in (root, root / cifar.name) if (at / kind.filename).is_file()), None)
    if packed is not None:
        if not tarfile.is_tarfile(packed):
            raise DataError(f"{packed} is damaged, or no archive ({reason}); get {kind.url} again, and unpack it there")
        raise DataError(f"{packed} is not unpacked ({reason}); type tar -xzf {packed} -C {packed.parent}")
    raise DataError(
        f"{cifar.title} is not in {root} ({reason}): unpack {kind.url} there, or put train-*.parquet "
        f"and test-*.parquet into {root / cifar.name}, or name another folder with dataset.root=... "
        "or AST_DATA_DIR"
    )


def _from_torchvision(cifar: Cifar, folder: Path, train_rows: int | None, val_rows: int | None) -> Dataset:
    kind = _torchvision(cifar)
    return Dataset(
        name=cifar.name,
        train=cifar_files.read_split(folder, kind, "train", total=TRAIN_ROWS, rows=train_rows),
        val=cifar_files.read_split(folder, kind, "test", total=TEST_ROWS, rows=val_rows),
        classes=cifar_files.class_names(folder, kind),
        source=f"torchvision's files in {folder}",
    )


def _from_parquet(cifar: Cifar, folder: Path, train_rows: int | None, val_rows: int | None) -> Dataset:
    shards = {split: parquet.find_shards(folder, split) for split in ("train", "test")}
    for split, found in shards.items():
        if not found:
            raise DataError(f"{folder} has no {split}-*.parquet; put it next to the others")
    classes = parquet.class_names(shards["train"][0], cifar.label_columns) or cifar.classes
    if len(classes) != len(cifar.classes):
        raise DataError(
            f"{shards['train'][0]} names {len(classes)} classes, but {cifar.title} has {len(cifar.classes)}"
        )

    def read(split: str, total: int, rows: int | None) -> Images:
        images = parquet.read_split(
            shards[split],
            SHAPE,
            label_columns=cifar.label_columns,
            classes=len(classes),
            total=total,
            rows=rows,
        )
        if rows is None and len(np.unique(images.labels)) != len(classes):
            raise DataError(f"{folder}: {split}-*.parquet lacks some of the {len(classes)} classes")
        return images

    return Dataset(
        name=cifar.name,
        train=read("train", total=TRAIN_ROWS, rows=train_rows),
        val=read("test", TEST_ROWS, val_rows),
        classes=classes,
        source=f"parquet files in {folder}",
    )


def _torchvision(cifar: Cifar) -> Any:
    from torchvision import datasets

    return getattr(datasets, cifar.title.replace("-", ""))
