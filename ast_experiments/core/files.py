"""Files: atomic writes, JSON, and locks between processes."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ast_experiments.core.errors import DataError, UserError


def write_atomic(path: Path, content: str | bytes) -> Path:
    """Writes a file so that readers, even after a crash, see the old content or the new one, never a part.

    Several processes may write the same path; the last one wins.

    Args:
        path: Target; its folder must exist.
        content: Text is encoded as UTF-8.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    with _replacing(path, part) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return path


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for an atomic write in pieces: the target is replaced when the block ends without an error.

    For large files that one process writes at a time: the temporary file has a fixed name, `NAME.part`, so that
    the next write reuses what a killed process left behind.
    """
    with _replacing(path, path.with_name(f"{path.name}.part")) as file:
        yield file


@contextmanager
def _replacing(path: Path, part: Path) -> Iterator[BinaryIO]:
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> Path:
    """Writes a value as indented JSON, atomically. Values that JSON does not know become strings."""
    return write_atomic(path, json.dumps(value, indent=2, default=str) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file. Returns None if there is no such file.

    Raises:
        DataError: If the file is not valid JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}); restore the file, or delete it") from error


@contextmanager
def exclusive_lock(path: Path, busy: str = "", *, wait: bool = False) -> Iterator[None]:
    """Holds a lock file for the length of a block. The system releases the lock if the process dies.

    Args:
        path: The lock file; created if missing, its folder must exist.
        busy: Error message if another process holds the lock.
        wait: Wait for the other process instead of failing.

    Raises:
        UserError: If another process holds the lock and `wait` is False.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(busy or f"{path.parent} is in use by another process; wait until it ends") from None
    try:
        yield
    finally:
        lock.release()
