"""The role and the age of this process, from the environment; free of torch, so that commands start fast."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

STARTED = float(os.environ.get("AST_EXPERIMENTS_STARTED", time.monotonic()))
"""When this process, or the one that started it as a rank, began, in seconds of `time.monotonic`."""


def is_main_process() -> bool:
    """Returns whether this process prints: rank 0 if torchrun started several, otherwise the only one."""
    return os.environ.get("RANK", "0") == "0"


def speaks_for_machine() -> bool:
    """Returns whether this process prints what concerns its machine alone: the first one that torchrun started here."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def launched() -> bool:
    """Returns whether torchrun started several processes, of which this is one."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def endings() -> tuple[signal.Signals, ...]:
    """Returns the signals that end a process: SIGTERM, and SIGHUP of a closed terminal unless nohup ignores it."""
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN:
        return (signal.SIGTERM,)
    return (signal.SIGTERM, hangup)


def ignore_signal(number: int, frame: FrameType | None) -> None:
    """Does nothing: the handler of a signal that repeats one on which the process already ends.

    Unlike `signal.SIG_IGN`, it is not inherited by processes that are started later.
    """
    del number, frame
