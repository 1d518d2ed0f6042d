"""CIFAR as torchvision keeps it: a folder of pickled batches, checked by md5 before anything is unpickled."""

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
    """Reads a split, or no more files than its first rows need.

    Args:
        folder: `cifar-10-batches-py` or `cifar-100-python`.
        kind: `torchvision.datasets.CIFAR10` or `CIFAR100`; knows the files and their md5.
        split: "train" or "test".
        total: Rows the whole split has.
        rows: How many to return; None for all.

    Raises:
        DataError: When a file is missing or damaged.
    """
    files = kind.train_list if split == "train" else kind.test_list
    check_rows(rows, total)
    for name, _ in files:
        if not (folder / name).is_file():
            raise DataError(f"{folder / name} is missing; remove {folder} to have it fetched again")
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
        DataError: When their file is missing or damaged.
    """
    return tuple(_load(folder / kind.meta["filename"], kind.meta["md5"])[kind.meta["key"]])


def fetch(root: Path, kind: Any) -> None:
    """Downloads and unpacks the archive into `root`, all of it or nothing.

    Everything happens in a hidden folder; one rename at the end makes the data set visible. A server that
    says nothing for `SILENCE_S` seconds is given up.

    Raises:
        OSError: When there is no connection, no space or no permission.
        RuntimeError: When what arrived is not the archive.
    """
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as scratch, _socket_timeout(SILENCE_S):
        kind(scratch, download=True)
        target = root / kind.base_folder
        try:
            os.replace(Path(scratch) / kind.base_folder, target)
        except OSError:
            if not target.is_dir():  # otherwise another process was quicker
                raise


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Sets the timeout of new sockets; torchvision gives no other way to bound its download."""
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
        raise DataError(f"{path} is damaged (its md5 is not {md5}); remove {path.parent} and fetch it again")
    with warnings.catch_warnings():  # numpy finds fault with arrays pickled by Python 2
        warnings.simplefilter("ignore")
        return pickle.loads(content, encoding="latin1")
