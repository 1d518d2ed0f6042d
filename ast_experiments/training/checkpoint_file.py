"""Files of checkpoints: the last one and the one before it, each with a checksum.

A checkpoint is torch's zip archive. Its archive comment, which every reader of zip files knows, is the SHA-256 of all
that precedes it. The file before the last one is kept, so that a damaged last one costs the time between two
checkpoints and not the run. Files of earlier versions have no comment; the CRC-32 of their entries is checked.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ast_experiments.core.errors import DataError, UserError
from ast_experiments.core.files import open_atomic, rename

VERSION = 2
NAME, PREVIOUS = "last.pt", "previous.pt"
_MARK = b"sha256:"
_COMMENT = len(_MARK) + 64
_LENGTH = struct.Struct("<H")  # of the comment: the last field of a zip archive before the comment itself
_CHUNK = 1 << 20

logger = logging.getLogger(__name__)


class _Hashed:
    """A file that only takes bytes, and adds them to a checksum. torch hides errors of a write; they are kept here."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest, self.error = file, hashlib.sha256(), None

    def write(self, data: Any) -> int:
        try:
            count = self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(data)
        return count

    def flush(self) -> None:
        self._file.flush()


def save(folder: Path, state: Mapping[str, Any]) -> Path:
    """Writes a checkpoint and keeps the one before it, so that a kill at any moment leaves a whole one.

    Args:
        folder: Created if missing.
        state: Tensors, numbers, strings, and containers of these.

    Raises:
        OSError: If it cannot be written; the last checkpoint stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open_atomic(folder / NAME, before=lambda: _keep(folder)) as file:
        hashed = _Hashed(file)
        try:
            torch.save({"version": VERSION, **state}, hashed)  # pyright: ignore[reportArgumentType]
        except RuntimeError:
            if hashed.error is not None:
                raise hashed.error from None
            raise
        file.seek(-_LENGTH.size, os.SEEK_END)
        file.write(_LENGTH.pack(_COMMENT) + _MARK + hashed.digest.hexdigest().encode())
    return folder / NAME


def load(folder: Path) -> dict[str, Any] | None:
    """Loads the last checkpoint onto the CPU, or the one before it if the last one is damaged; None if there is none.

    Raises:
        DataError: If there is no whole one.
        UserError: If it was written in another format.
    """
    damaged: list[str] = []
    for path in (folder / NAME, folder / PREVIOUS):
        if not path.is_file():
            continue
        try:
            state = read(path)
        except DataError as error:
            damaged.append(str(error))
            continue
        if path.name == PREVIOUS:
            logger.warning("%s; going on from %s", damaged[0] if damaged else f"{folder / NAME} is missing", path)
        return state
    if damaged:
        raise DataError(
            f"{'; '.join(damaged)}; restore the file, or delete {folder} and type the same to train from the start"
        )
    return None


def verify(path: Path) -> None:
    """Checks that a checkpoint is as it was written.

    Raises:
        DataError: If it is not, or is no checkpoint.
    """
    if not path.is_file():
        raise DataError(f"{path} is no file")
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _COMMENT))
        comment = file.read()
        if len(comment) == _COMMENT and comment.startswith(_MARK):
            if _digest(file, size - _COMMENT) != comment[len(_MARK) :]:
                raise DataError(f"{path} is damaged: its checksum is wrong")
            return
    try:
        with zipfile.ZipFile(path) as archive:
            entry = "its end" if archive.comment else archive.testzip()
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise DataError(f"{path} is damaged or no checkpoint ({size:,} bytes)") from error
    if entry is not None:
        raise DataError(f"{path} is damaged: the checksum of {entry} is wrong")


def settle(folder: Path) -> None:
    """Removes the checkpoint before the last one if the last one, read back, is whole."""
    if not (folder / PREVIOUS).exists():
        return
    try:
        verify(folder / NAME)
        (folder / PREVIOUS).unlink(missing_ok=True)
    except (DataError, OSError) as error:
        logger.warning("%s; %s is kept", error, folder / PREVIOUS)


def _keep(folder: Path) -> None:
    """Gives the last checkpoint a second name, so that it outlives the next one; at no moment is there none."""
    last, spare = folder / NAME, folder / f"{PREVIOUS}.part"
    if not last.is_file():
        return
    spare.unlink(missing_ok=True)
    try:
        os.link(last, spare)
    except OSError:  # no hard links here: for a moment only the previous one has a name
        rename(last, folder / PREVIOUS)
        return
    rename(spare, folder / PREVIOUS)


def _digest(file: BinaryIO, size: int) -> bytes:
    """Returns the checksum of the first `size` bytes as they were before the comment's length was known."""
    digest, left = hashlib.sha256(), size - _LENGTH.size
    file.seek(0)
    while left > 0 and (chunk := file.read(min(_CHUNK, left))):
        digest.update(chunk)
        left -= len(chunk)
    digest.update(bytes(_LENGTH.size))
    return digest.hexdigest().encode()


def read(path: Path) -> dict[str, Any]:
    """Reads one file onto the CPU, after its checksum.

    Raises:
        DataError: If it is damaged, or no checkpoint.
        UserError: If it was written in another format.
    """
    verify(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a whole file of another kind brings about
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:120]
        raise DataError(f"{path} is no checkpoint of ast-train ({reason})") from error
    if not isinstance(state, dict) or not isinstance(state.get("version"), int):
        raise DataError(f"{path} is no checkpoint of ast-train")
    if state["version"] != VERSION:
        raise UserError(
            f"{path} has checkpoint format {state['version']}; this version reads format {VERSION}: "
            "resume with the version that wrote it, or start a new run with ast-train"
        )
    return state
