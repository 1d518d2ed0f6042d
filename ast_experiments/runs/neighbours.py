"""Notices other runs on the same cores or GPU: they slow each other, and a meter charges each with the other's joules.

Every run leaves a locked file in a directory of the machine. A run that starts looks for the files of others and leaves
a note for each one whose cores or GPU it uses too.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

MACHINE_DIR = "AST_MACHINE_DIR"
"""Environment variable with the directory; the default is below that for temporary files, one for all users."""

CORES, GPU = "cores", "GPU"


class Neighbours:
    """What this run has shared with others so far.

    Args:
        folder: Directory of the machine; None if runs cannot be noticed here.
        token: Names the files of this run.
        found: `CORES` and `GPU`, if they were shared from the start.
    """

    def __init__(self, folder: Path | None, token: str, found: Iterable[str] = ()) -> None:
        self._folder, self._token, self._found = folder, token, set(found)

    def shared(self) -> list[str]:
        """Returns `CORES` and `GPU`, as far as another run has used them during this one."""
        if self._folder is not None:
            self._found |= {note.suffix[1:] for note in self._folder.glob(f"{self._token}.met.*")}
        return sorted(self._found)


@contextmanager
def neighbours(gpus: Iterable[str] = (), folder: Path | None = None) -> Iterator[Neighbours]:
    """Shows this run to others, and notices them, for the length of a block.

    Where files cannot be locked or written, nothing is noticed.

    Args:
        gpus: UUIDs of the GPUs that the run uses.
        folder: Directory of the machine; by default that of `AST_MACHINE_DIR`.
    """
    folder = folder or Path(os.environ.get(MACHINE_DIR) or Path(tempfile.gettempdir()) / "ast-experiments")
    token = secrets.token_hex(8)
    own = {CORES: sorted(_cores()), GPU: sorted(gpus)}
    with ExitStack() as stack:
        try:
            _appear(folder, token, own, stack)
            stack.callback(_remove, folder, token)
            noticed = Neighbours(folder, token, _greet(folder, token, own))
        except (ImportError, OSError):
            noticed = Neighbours(None, "")
        yield noticed


def _appear(folder: Path, token: str, own: Mapping[str, Any], stack: ExitStack) -> None:
    """Leaves the file of this run; its lock lasts as long as the stack."""
    import fcntl

    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777)
    part = folder / f"{token}.part"
    try:
        part.write_text(json.dumps(own), encoding="utf-8")
        fcntl.flock(stack.enter_context(part.open("r+b")), fcntl.LOCK_EX)
        part.rename(folder / f"{token}.run")
    except OSError:  # a full disk, or a file system without locks
        part.unlink(missing_ok=True)
        raise


def _cores() -> Iterable[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _greet(folder: Path, token: str, own: Mapping[str, Any]) -> set[str]:
    """Leaves a note for each run that uses the same; returns what is shared."""
    found = set()
    for entry in folder.glob("*.run"):
        if entry.stem == token or not entry.is_file():
            continue
        with suppress(OSError, ValueError, KeyError, TypeError):  # anybody may write here
            if not _alive(entry):
                _remove(folder, entry.stem)
                continue
            other = json.loads(entry.read_text(encoding="utf-8"))
            for kind in (kind for kind in own if set(own[kind]) & set(other[kind])):
                found.add(kind)
                (folder / f"{entry.stem}.met.{token}.{kind}").touch()
    return found


def _alive(entry: Path) -> bool:
    """Returns whether the process that wrote a file still holds its lock."""
    import fcntl

    with entry.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _remove(folder: Path, token: str) -> None:
    for path in (folder / f"{token}.run", *folder.glob(f"{token}.met.*")):
        with suppress(OSError):
            path.unlink()
