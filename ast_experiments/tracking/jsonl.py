"""The record of a run: one JSON object per line."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from threading import Thread
from typing import Any

from ast_experiments.core.errors import DataError
from ast_experiments.core.files import open_atomic
from ast_experiments.tracking.rows import plain

_CHUNK = 1 << 20
PATIENCE_S = 1.0
"""Seconds that a flush may take before it is taken for that of a slow file system."""

logger = logging.getLogger(__name__)


class _Writer(Thread):
    """Writes lines in a thread of its own, started at once."""

    def __init__(self, write: Callable[[list[str]], None], lines: list[str]) -> None:
        super().__init__(name="metrics", daemon=True)
        self._work, self.lines = write, lines
        self.failure: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._work(self.lines)
        except BaseException as error:
            self.failure = error


class JsonlTracker:
    """Writes rows to a file; flushed rows survive a crash of the process.

    Rows wait in memory until `flush`, and a thread writes them. A flush waits for it, so that no flushed row is lost in
    a crash, until one takes longer than `PATIENCE_S`: on a slow file system, rows are written while training goes on.
    The state is a byte offset: a resumed run cuts the rows written after its checkpoint, then writes them again.
    Without a state, the first flush starts a new record. Rows may be lost in a power cut: the file is not synced.

    The file stays open. If it is removed or replaced while the run writes it, the rows are still there and are written
    back; if it is cut, they are lost and the run stops.

    Args:
        path: The file; its directory must exist.
    """

    essential = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._waiting: list[str] = []
        self._offset = 0
        self._file: FileIO | None = None
        self._writer: _Writer | None = None
        self._slow = False

    def log(self, row: Mapping[str, Any]) -> None:
        """Takes one row; `rows.plain` converts its values."""
        self._waiting.append(json.dumps(plain(row), allow_nan=False, default=str))

    def flush(self) -> None:
        """Writes the waiting rows, or lets them wait while others are still being written.

        Raises:
            OSError: If the file cannot be written, now or by the flush before; the rows keep waiting, and none is
                written in part.
            DataError: If another process cut the file.
        """
        if self._ended(0.0) and self._waiting:
            self._writer = _Writer(self._write, list(self._waiting))
            self._slow = not self._ended(0.0 if self._slow else PATIENCE_S) or self._slow

    def settle(self) -> None:
        """Writes all rows, however long it takes.

        Raises:
            OSError: As `flush`.
            DataError: As `flush`.
        """
        self._ended(None)
        if self._waiting:
            self._writer = _Writer(self._write, list(self._waiting))
            self._ended(None)

    def _ended(self, seconds: float | None) -> bool:
        """Returns whether no write is under way, after so many seconds at most; raises the error of one that failed."""
        writer = self._writer
        if writer is None:
            return True
        writer.join(seconds)
        if writer.is_alive():
            return False
        self._writer = None
        if writer.failure is not None:
            raise writer.failure
        del self._waiting[: len(writer.lines)]
        return True

    def _write(self, lines: list[str]) -> None:
        data = "".join(f"{line}\n" for line in lines).encode()
        file = self._opened()
        try:
            file.seek(self._offset)
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            file.truncate()
        except OSError:
            with suppress(OSError):
                file.truncate(self._offset)
            raise
        self._offset += len(data)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes the remaining rows and closes the file; the result goes to its own file."""
        del result
        try:
            self.settle()
            if self._file is not None:
                self._opened()
        finally:
            self._close()

    def state_dict(self) -> dict[str, Any]:
        """Writes all rows, and returns the length of the record in bytes."""
        self.settle()
        return {"offset": self._offset}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Cuts the file to its length at the time of `state`.

        A file that is shorter, for example after a disk failure, is kept up to its last complete line.
        """
        self._close()
        self._waiting.clear()
        offset = int(state.get("offset", 0))
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < offset:
            logger.warning("%s has %d bytes, expected %d: rows are missing.", self.path, size, offset)
            offset = self.path.read_bytes().rfind(b"\n") + 1 if size else 0
        if size:
            os.truncate(self.path, offset)
        self._offset = offset

    def _opened(self) -> FileIO:
        """Returns the open file, once it is sure that it is still the record and holds all rows so far."""
        if self._file is None:
            self._file = FileIO(self.path, "r+" if self.path.exists() else "w+")
        here = os.fstat(self._file.fileno())
        if here.st_size < self._offset:
            raise DataError(
                f"{self.path} was cut from {self._offset:,} to {here.st_size:,} bytes while the run wrote it; restore "
                f"it if you can, then type ast-resume {self.path.parent}"
            )
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            there = None
        if self._offset and (there is None or (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino)):
            self._restore("removed" if there is None else "replaced")
        return self._file

    def _restore(self, what: str) -> None:
        """Writes the rows so far back to the record's path, from the file that is still open."""
        assert self._file is not None
        self._file.seek(0)
        with open_atomic(self.path) as copy:
            left = self._offset
            while left and (rows := self._file.read(min(left, _CHUNK))):
                left -= copy.write(rows)
        self._close()
        self._file = FileIO(self.path, "r+")
        logger.warning("%s was %s while the run writes it; it is written back, no row is lost.", self.path, what)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
