"""Files that are read again: written whole, read with a check, and locks between processes.

Every file that a later command reads goes through here: to a temporary file of its own name in the same directory,
synced, renamed, and the directory synced. A reader, even after a power cut, finds the old content or the new one.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from ast_experiments.core.errors import DataError, UserError

PART = ".part"
"""Ending of temporary files; a killed process leaves them, and the next owner of the directory removes them."""

BUSY = frozenset((errno.EACCES, errno.EBUSY, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EPERM))
"""Errors of a rename that pass on network file systems, and where a virus scanner holds a file open."""
RETRIES, RETRY_S = 4, 0.1

UNSYNCABLE = frozenset((errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EISDIR))
"""Errors of a sync on file systems that sync no directories."""

MAX_JSON = 256_000_000
"""Bytes of the longest JSON file that is read."""


def write_atomic(path: Path, content: str | bytes) -> Path:
    """Writes a file so that readers, even after a crash, see the old content or the new one, never a part.

    Several processes may write the same path; the last one wins.

    Args:
        path: Target; its folder must exist.
        content: Text is encoded as UTF-8.
    """
    with open_atomic(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
    return path


@contextmanager
def open_atomic(path: Path, before: Callable[[], object] = lambda: None) -> Iterator[BinaryIO]:
    """Opens a file for an atomic write in pieces: the target is replaced when the block ends without an error.

    Args:
        path: Target; its folder must exist.
        before: Called once the new content is on the disk, just before it replaces the old one.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        with part.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        before()
        rename(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def rename(source: Path, target: Path) -> None:
    """Moves a file in the place of another one, and syncs the directory; tries again where a network file system asks.

    Raises:
        OSError: If it fails each time.
    """
    for left in reversed(range(RETRIES)):
        try:
            source.replace(target)
            break
        except OSError as error:
            if not left or error.errno not in BUSY:
                raise
            time.sleep(RETRY_S * 2 ** (RETRIES - 1 - left))
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Syncs a directory, so that a renamed or new file in it survives a power cut; not all file systems can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNSYNCABLE:
            raise
    finally:
        os.close(handle)


def remove_parts(folder: Path) -> None:
    """Removes the temporary files that killed processes left in a directory; only its owner may call this."""
    with suppress(OSError):
        for part in folder.glob(f"*{PART}"):
            part.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Appends a line to a journal and syncs it. A last line that was cut short is ended first, so it spoils no other.

    Args:
        path: Created if missing.
        line: Without its end.
    """
    with open(path, "a+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                line = f"\n{line}"
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def short_path(path: Any) -> Any:
    """Returns a path relative to the working directory, if it lies below; anything else as it is."""
    try:
        return Path(path).relative_to(Path.cwd())
    except (TypeError, ValueError):
        return path


def write_json(path: Path, value: Any) -> Path:
    """Writes a value as indented JSON, atomically. Values that JSON does not know become strings."""
    return write_atomic(path, json.dumps(value, indent=2, default=str) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file. Returns None if there is no such file.

    Raises:
        DataError: If the file is not valid JSON.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would wait for ever
            raise ValueError("it is no file")
        if found.st_size > MAX_JSON:
            raise ValueError(f"more than {MAX_JSON // 1_000_000} MB")
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({error}); restore the file, or delete it") from error


@contextmanager
def exclusive_lock(path: Path, busy: str = "", *, wait: bool = False) -> Iterator[None]:
    """Holds a lock file for the length of a block, for files that processes share, such as a cache of data.

    The system releases the lock if the process dies. The owner of a run directory is another lock, `core/owner.py`.

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
