"""Stop requests: signals and time limits stop a run after the current step; Ctrl-C twice stops it at once."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any

from ast_experiments.core import process
from ast_experiments.core.errors import Interrupted

WARNINGS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))
"""Signals that batch systems send some time before they end a job."""

AGAIN_S = 1.0
"""Seconds after which Ctrl-C is a second one."""


class Stop:
    """A context in which the first signal sets `received`; Ctrl-C a second time raises `KeyboardInterrupt`.

    Batch systems and supervisors send SIGTERM and their warnings more than once, and so does a closed terminal SIGHUP:
    these may be repeated. A second SIGINT counts only after `AGAIN_S` seconds: one Ctrl-C can arrive twice, from the
    terminal and from a wrapper.

    Signals are handled in the main thread only; elsewhere this does nothing. If another handler waits for a warning of
    the batch system, as submitit does to requeue the job, the warning is passed on after the run was saved.

    Args:
        max_hours: Hours after the start of the process at which to stop.
    """

    def __init__(self, max_hours: float | None = None) -> None:
        self._max_hours = max_hours
        self._signal: signal.Signals | None = None
        self._asked: str | None = None
        self._at = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def ask(self, reason: str) -> None:
        """Requests a stop, with the reason in place of a signal's name."""
        self._asked = reason

    @property
    def first(self) -> signal.Signals | None:
        """The first signal; None without one."""
        return self._signal

    @property
    def received(self) -> str | None:
        """Why to stop: the signal, the setting or the reason; None to continue."""
        if self._signal is not None:
            return self._signal.name
        if self._max_hours is not None and time.monotonic() - process.STARTED >= self._max_hours * 3600:
            return f"hardware.max_hours={self._max_hours:g}"
        return self._asked

    def __enter__(self) -> Stop:
        signals = (signal.SIGINT, *process.endings(), *WARNINGS)
        try:
            self._before = {number: signal.signal(number, self._note) for number in signals}
        except ValueError:
            self._before = {}
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        ending = kind is not None and issubclass(kind, Interrupted)
        for number, handler in self._before.items():
            repeated = ending and number == self._signal and number not in (signal.SIGINT, *WARNINGS)
            signal.signal(number, process.ignore_signal if repeated else handler)
        if self._signal in WARNINGS and self._signal and ending:
            waiting = self._before[self._signal]
            if callable(waiting):
                waiting(self._signal, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._signal is None:
            self._signal, self._at = signal.Signals(number), time.monotonic()
        elif number == signal.SIGINT and self._signal == number and time.monotonic() - self._at >= AGAIN_S:
            raise KeyboardInterrupt
