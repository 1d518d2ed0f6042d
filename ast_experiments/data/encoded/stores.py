"""Stores of encoded images with random access: separate files, one packed file, or a table of the hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Store(Protocol):
    """Encoded images by row."""

    def __len__(self) -> int: ...

    def read(self, row: int) -> bytes:
        """Returns the encoded image.

        Raises:
            OSError: If it cannot be read.
        """
        ...

    def where(self, row: int) -> str:
        """Names the place of the image, for messages."""
        ...

    def take(self, rows: np.ndarray) -> Store:
        """Returns the store of some rows, in the order given."""
        ...


@dataclass(frozen=True, eq=False)
class Files:
    """Images in separate files.

    Attributes:
        folders: Folders of the files.
        homes: Index of each file's folder, int32, shape (n,).
        names: File names in UTF-8, dtype S, shape (n,).
    """

    folders: Sequence[str]
    homes: np.ndarray
    names: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def read(self, row: int) -> bytes:
        """Returns the file's content."""
        with open(self.where(row), "rb") as file:
            return file.read()

    def where(self, row: int) -> str:
        """Returns the path."""
        return os.path.join(self.folders[int(self.homes[row])], os.fsdecode(self.names[row]))

    def take(self, rows: np.ndarray) -> Files:
        """Returns some of the files."""
        return Files(self.folders, self.homes[rows], self.names[rows])


@dataclass(frozen=True, eq=False)
class Packed:
    """Images in one file, one after the other; processes share its memory map.

    Attributes:
        path: The file.
        starts: Offset of each image, int64, shape (n,).
        sizes: Bytes of each image, int64, shape (n,).
        source: Store that the images were copied from, row by row.
    """

    path: Path
    starts: np.ndarray
    sizes: np.ndarray
    source: Store
    _map: list[np.memmap] = field(default_factory=list, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.starts)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_map": []}  # another process maps the file itself

    def read(self, row: int) -> bytes:
        """Returns the bytes of one image."""
        if not self._map:
            self._map.append(np.memmap(self.path, np.uint8, "r"))
        start = int(self.starts[row])
        return self._map[0][start : start + int(self.sizes[row])].tobytes()

    def where(self, row: int) -> str:
        """Names the place that the image was copied from."""
        return self.source.where(row)

    def take(self, rows: np.ndarray) -> Packed:
        """Returns some of the images."""
        return Packed(self.path, self.starts[rows], self.sizes[rows], self.source.take(rows))


@dataclass(frozen=True, eq=False)
class Hub:
    """A split in the `datasets` package.

    Attributes:
        table: The split, with images not decoded.
        column: Name of the image column.
        rows: Rows of the table, int64, shape (n,).
        name: Name of the data set on the hub.
    """

    table: Any
    column: str
    rows: np.ndarray
    name: str

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, row: int) -> bytes:
        """Returns the encoded image."""
        cell = self.table[int(self.rows[row])][self.column]
        if cell["bytes"] is not None:
            return cell["bytes"]
        with open(cell["path"], "rb") as file:
            return file.read()

    def where(self, row: int) -> str:
        """Names the data set and the row."""
        return f"{self.name}, row {int(self.rows[row])}"

    def take(self, rows: np.ndarray) -> Hub:
        """Returns some of the rows."""
        return Hub(self.table, self.column, self.rows[rows], self.name)
