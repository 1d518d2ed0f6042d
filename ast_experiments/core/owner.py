"""The owner of a directory: the one process that may write into it, whatever machine it runs on.

The owner is named in the file `.owner`: host, process, and since when. The file appears whole, by a hard link, and at
most once; this works on network file systems without locks. The owner touches it every `BEAT_S` seconds.

* On the machine of the owner, another process sees whether it lives: by its number and the start of that process. A
  dead owner is replaced at once.
* On another machine (or in another container) it sees only the touches, by the clock of the file system. After `DEAD_S`
  seconds without one the owner counts as dead.

Deleting `.owner` frees a directory by hand. An owner that finds another one in its place ends at once.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from ast_experiments.core.errors import UserError
from ast_experiments.core.files import remove_parts

NAME = ".owner"
BEAT_S, DEAD_S = 10.0, 120.0
RIVAL = ".rival"
"""Ending of files of processes that want to own a directory at this moment."""
NO_LINKS = frozenset((errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES))
"""Errors of a link on file systems that have no hard links."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that owns a directory.

    Attributes:
        host: Its machine's name.
        pid: Its process number.
        since: When it became the owner, UTC.
        machine: Boot of the machine and space of process numbers within which `pid` means something.
        begun: Start of the process, in the machine's own words; a later process of the same number has another.
        token: Tells this ownership from any other.
    """

    host: str
    pid: int
    since: str
    machine: str = ""
    begun: str = ""
    token: str = ""

    @property
    def here(self) -> bool:
        """Whether its process number means something on this machine."""
        return bool(self.machine) and self.machine == _machine()

    @property
    def alive(self) -> bool:
        """Whether it lives, as seen on its own machine."""
        begun = _begun(self.pid)
        return begun is not None and begun == self.begun

    def __str__(self) -> str:
        return f"host {self.host}, pid {self.pid}, since {self.since}"


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Owns a directory for the length of a block, before anything in it is written.

    Args:
        folder: Created if missing, with its parents; what this created goes at the end if nothing is in it.

    Raises:
        UserError: If another process owns it; it names the holder. If it cannot be created or written into.
    """
    shown, folder = folder, folder.resolve()  # the working directory may change
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{shown}: no directory can be made there ({error.strerror}); name another one") from error
    own = Owner(
        socket.gethostname(),
        os.getpid(),
        datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        _machine(),
        _begun(os.getpid()) or "",
        secrets.token_hex(8),
    )
    try:
        _acquire(folder, own, shown)
    except OSError as error:
        _remove_empty(new)
        reason = f"{shown}: nothing can be written there ({error.strerror})"
        raise UserError(f"{reason}; change that, or name another directory") from error
    remove_parts(folder)
    _remove_rivals(folder)
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(folder, own, ended), name="owner", daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()
        if (found := read_owner(folder)) and found.token == own.token:
            with suppress(OSError):
                (folder / NAME).unlink()
        _remove_empty(new)


def read_owner(folder: Path) -> Owner | None:
    """Reads who owns a directory, dead or alive; None if nobody does, or the file tells nothing."""
    try:
        return _parsed(_content(folder / NAME))
    except OSError:
        return None


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""  # a pipe would wait for ever


def _parsed(content: bytes) -> Owner | None:
    try:
        found = json.loads(content)
        owner = Owner(**{field.name: found[field.name] for field in fields(Owner)})
        return owner if isinstance(owner.pid, int) and isinstance(owner.token, str) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _acquire(folder: Path, own: Owner, shown: Path) -> None:
    path, part = folder / NAME, folder / f"{NAME}.{own.token}{RIVAL}"
    try:
        part.write_text(json.dumps(asdict(own)) + "\n", encoding="utf-8")
        with _guarded(folder):
            while not _created(path, part):
                _bury(folder, _judged_dead(folder, part, shown), own)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _created(path: Path, part: Path) -> bool:
    """Makes `path` a link to `part`, or a copy where there are no links; returns False if there is a `path`."""
    try:
        os.link(part, path)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    try:
        with path.open("xb") as file:
            file.write(part.read_bytes())
        return True
    except FileExistsError:
        return False


def _judged_dead(folder: Path, part: Path, shown: Path) -> bytes:
    """Returns what the file of a dead owner holds. `part` was written just now, by the clock of the file system.

    Raises:
        UserError: If the owner lives.
    """
    try:
        content = _content(folder / NAME)
        silent = part.stat().st_mtime - (folder / NAME).stat().st_mtime
    except FileNotFoundError:
        return b""
    owner = _parsed(content)
    who = f"{shown} is in use by another process"
    if owner is not None and owner.here:
        if owner.alive:
            raise UserError(f"{who} ({owner}); wait until it ends, or end it")
    elif silent < DEAD_S:
        raise UserError(
            f"{who} ({owner or 'which says nothing of itself'}), alive {max(0.0, silent):.0f} s ago; if it is gone, "
            f"type the same in {DEAD_S - silent:.0f} s, or delete {shown / NAME} first"
        )
    return content


def _bury(folder: Path, dead: bytes, own: Owner) -> None:
    """Removes the file of a dead owner. If another process was faster, its file is put back."""
    grave = folder / f"{NAME}.{own.token}.dead{RIVAL}"
    with suppress(FileNotFoundError):
        (folder / NAME).rename(grave)
        if grave.read_bytes() != dead:
            with suppress(OSError):
                os.link(grave, folder / NAME)
        grave.unlink(missing_ok=True)


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # something is in it
            folder.rmdir()


def _remove_rivals(folder: Path) -> None:
    """Removes what processes left that were killed as they looked for an owner; those at work are younger."""
    with suppress(OSError):
        for rival in folder.glob(f"{NAME}.*{RIVAL}"):
            if time.time() - rival.stat().st_mtime > DEAD_S:
                rival.unlink(missing_ok=True)


@contextmanager
def _guarded(folder: Path) -> Iterator[None]:
    """Lets one process after the other look for an owner, where the file system can; elsewhere does nothing."""
    with ExitStack() as stack:
        with suppress(ImportError, OSError):
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _beat(folder: Path, own: Owner, ended: threading.Event) -> None:
    while not ended.wait(BEAT_S):
        found = read_owner(folder)
        if found is not None and found.token != own.token:
            # Silent for so long (a suspended machine) that another process is at work: write nothing more.
            print(f"error: {folder} was taken over by another process ({found}); this one ends", file=sys.stderr)
            os._exit(1)
        with suppress(OSError):
            if found is not None:
                os.utime(folder / NAME)
            else:  # deleted by hand, but no other process has come yet
                with (folder / NAME).open("x", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(own)) + "\n")


def _machine() -> str:
    """Identifies this boot of this machine and its space of process numbers; without /proc it is the host's name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except (OSError, ValueError):
        return socket.gethostname()


def _begun(pid: int) -> str | None:
    """Returns when a process of this machine started; None if there is none, or only its remains."""
    try:
        values = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if values[0] in "ZX" else values[19]
    except (OSError, IndexError):
        if Path("/proc/self/stat").exists():
            return None
    said = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return said.stdout.strip() or None
