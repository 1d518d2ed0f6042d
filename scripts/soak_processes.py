"""Processes of `soak.py`: they are forked, awaited, and looked at from outside."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def start(module: Any, arguments: Sequence[str], log: Path) -> int:
    """Forks a process that runs a command; returns its number."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.argv = [f"ast-{module.__name__.rpartition('.')[2]}", *arguments]
        module.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(child: int, seconds: float) -> int | None:
    """Waits for a process; returns its exit code, negative for a signal, or None if it still runs."""
    waited, before = 0.0, time.monotonic()
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if waited >= seconds:
            return None
        time.sleep(0.002)
        waited += min(1.0, -before + (before := time.monotonic()))  # all may be suspended for a while


def children(parent: int, word: str = "") -> list[int]:
    """Returns the child processes of a process whose command line contains a word."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            ppid = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if ppid == parent and word.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def holds(process: int, path: Path) -> bool:
    """Returns whether a process has a file open."""
    try:
        return any(Path(os.readlink(handle)) == path for handle in Path(f"/proc/{process}/fd").iterdir())
    except OSError:
        return False
