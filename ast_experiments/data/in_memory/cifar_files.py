"""CIFAR in torchvision's files: pickled batches, whose md5 is checked before they are unpickled."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ast_experiments.core.errors import DataError
from ast_experiments.data.dataset import Images, check_rows

SILENCE_S = 20.0


def read_split(folder: Path, kind: Any, split: str, *, total: int, rows: int | None = None) -> Images:
    """Reads a split; stops after the files that hold the first `rows` rows.

    Args:
        folder: `cifar-10-batches-py` or `cifar-100-python`.
        kind: `torchvision.datasets.CIFAR10` or `CIFAR100`, which lists the files and their md5.
        split: "train" or "test".
        total: Rows of the whole split.
        rows: Rows to return; None for all.

    Raises:
        DataError: If a file is missing or damaged.
    """
    files = kind.train_list if split == "train" else kind.test_list
    check_rows(rows, total, f"dataset.{'train' if split == 'train' else 'val'}_rows")
    for name, _ in files:
        if not (folder / name).is_file():
            raise DataError(f"{folder / name} is missing; remove {folder} to download it again")
    pixels, labels = [], []
    for name, md5 in files:
        entry = _load(folder / name, md5)
        pixels.append(entry["data"])
        labels.extend(entry["labels"] if "labels" in entry else entry["fine_labels"])
        if rows is not None and len(labels) >= rows:
            break
    planes = np.concatenate(pixels).reshape(-1, 3, 32, 32)[:rows]
    if rows is None and len(planes) != total:
        raise DataError(f"{folder}: {len(planes)} {split} rows, expected {total}")
    return Images(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), np.asarray(labels[: len(planes)], np.int64))


def class_names(folder: Path, kind: Any) -> tuple[str, ...]:
    """Returns the class names in label order.

    Raises:
        DataError: If their file is missing or damaged.
    """
    return tuple(_load(folder / kind.meta["filename"], kind.meta["md5"])[kind.meta["key"]])


def fetch(root: Path, kind: Any) -> None:
    """Downloads and unpacks the archive into `root`, completely or not at all.

    The files go to a hidden folder first; one rename at the end makes the data set visible. The download stops if the
    server sends nothing for `SILENCE_S` seconds.

    Raises:
        OSError: If there is no connection, no space or no permission.
        RuntimeError: If the downloaded file is not the archive.
    """
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as scratch, _socket_timeout(SILENCE_S):
        kind(scratch, download=True)
        target = root / kind.base_folder
        try:
            os.replace(Path(scratch) / kind.base_folder, target)
        except OSError:
            if not target.is_dir():  # otherwise another process was faster
                raise


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Sets the timeout of new sockets; torchvision has no other way to limit its download."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _load(path: Path, md5: str) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise DataError(f"{path} is damaged (its md5 is not {md5}); remove {path.parent} to download it again")
    with warnings.catch_warnings():  # numpy warns about arrays pickled by Python 2
        warnings.simplefilter("ignore")
        return pickle.loads(content, encoding="latin1")
