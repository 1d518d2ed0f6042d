"""The role of this process, from the environment; free of torch, so that commands start fast."""

from __future__ import annotations

import os


def is_main_process() -> bool:
    """Returns whether this process prints: rank 0 if torchrun started several, otherwise the only one."""
    return os.environ.get("RANK", "0") == "0"


def launched() -> bool:
    """Returns whether torchrun started several processes, of which this is one."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
