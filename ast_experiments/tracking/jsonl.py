"""The record of a run: one JSON object per line."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ast_experiments.tracking.rows import plain

logger = logging.getLogger(__name__)


class JsonlTracker:
    """Writes rows to a file; flushed rows survive a crash of the process.

    Rows wait in memory until `flush`. The state is a byte offset: a resumed run cuts the rows written after its
    checkpoint, then writes them again. Without a state, the first flush starts a new record. Rows may be lost in a
    power cut: the file is not synced to disk.

    Args:
        path: The file; its directory must exist.
    """

    essential = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._waiting: list[str] = []
        self._offset = 0

    def log(self, row: Mapping[str, Any]) -> None:
        """Takes one row; `rows.plain` converts its values."""
        self._waiting.append(json.dumps(plain(row), allow_nan=False, default=str))

    def flush(self) -> None:
        """Writes the waiting rows.

        Raises:
            OSError: If the file cannot be written; the rows keep waiting.
        """
        if not self._waiting:
            return
        data = "".join(f"{line}\n" for line in self._waiting).encode()
        with open(self.path, "r+b" if self.path.exists() else "wb") as file:
            file.seek(self._offset)
            file.write(data)
            file.truncate()
        self._offset += len(data)
        self._waiting.clear()

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes the remaining rows; the result goes to its own file."""
        del result
        self.flush()

    def state_dict(self) -> dict[str, Any]:
        """Flushes, and returns the length of the record in bytes."""
        self.flush()
        return {"offset": self._offset}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Cuts the file to its length at the time of `state`.

        A file that is shorter, for example after a disk failure, is kept up to its last complete line.
        """
        self._waiting.clear()
        offset = int(state.get("offset", 0))
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < offset:
            logger.warning("%s has %d bytes, expected %d: rows are missing.", self.path, size, offset)
            offset = self.path.read_bytes().rfind(b"\n") + 1 if size else 0
        if size:
            os.truncate(self.path, offset)
        self._offset = offset
