"""The record of a run: one JSON object a line."""

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
    """Writes rows to a file; what was flushed survives the death of the process.

    Rows wait in memory until `flush`. The state is a byte offset: a resumed run cuts the rows that were
    written after its checkpoint, then writes them again. A tracker that is given no state starts the record
    anew with its first flush. Survives the process, not a power cut: the file is not synced to disk.

    Args:
        path: The file; its directory must exist.
    """

    essential = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._waiting: list[str] = []
        self._offset = 0

    def log(self, row: Mapping[str, Any]) -> None:
        """Takes one row; see `rows.plain` for what becomes of its values."""
        self._waiting.append(json.dumps(plain(row), allow_nan=False, default=str))

    def flush(self) -> None:
        """Writes the waiting rows.

        Raises:
            OSError: If the file cannot be written; the rows go on waiting.
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
        """Writes what is left; the result has a file of its own."""
        del result
        self.flush()

    def state_dict(self) -> dict[str, Any]:
        """Flushes, and returns the length of the record in bytes."""
        self.flush()
        return {"offset": self._offset}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Cuts the file to the length it had when `state` was made.

        A file that is shorter than that (lost with the disk it was on) is kept up to its last whole line.
        """
        self._waiting.clear()
        offset = int(state.get("offset", 0))
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < offset:
            logger.warning("%s holds %d bytes, %d were expected: rows are missing.", self.path, size, offset)
            offset = self.path.read_bytes().rfind(b"\n") + 1 if size else 0
        if size:
            os.truncate(self.path, offset)
        self._offset = offset
