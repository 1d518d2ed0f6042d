"""Free memory, and whether decoded images fit into it."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from ast_experiments.core import distributed

_SHARE = 0.5

logger = logging.getLogger(__name__)


def available() -> int | None:
    """Returns the free bytes of this machine or its container; None if they are unknown."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        found.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")))
    except (OSError, StopIteration):
        if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text(encoding="utf-8").strip()
        used = int((group / "memory.current").read_text(encoding="utf-8"))
        parts = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
        if limit != "max":
            found.append(int(limit) - used + int(parts.get("inactive_file", 0)))  # cached files can be dropped
    except (OSError, ValueError):
        pass
    return min(found, default=None)


def room(needed: int, what: str) -> tuple[bool, str]:
    """Decides whether data is kept in memory: if the copies of all processes fill less than half of the free memory.

    Args:
        needed: Bytes of one copy.
        what: Name of the data, for the message.

    Returns:
        Whether it is kept, and a line for the log.
    """
    free = available()
    wanted = needed * distributed.size()
    if free is None or wanted < free * _SHARE:
        return True, f"{what} kept in memory ({needed / 1e9:.2f} GB)"
    line = (
        f"{what} need {wanted / 1e9:.2f} GB, more than half of the {free / 1e9:.2f} GB of free memory: "
        "each image is decoded at every use instead, which takes longer and gives the same images"
    )
    logger.warning(line)
    print(line, file=sys.stderr)
    return False, line
