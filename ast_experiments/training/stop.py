"""Signals and the end of a session wait for a good moment; the same signal a second time does not."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any

from ast_experiments.core import process
from ast_experiments.core.errors import Interrupted

WARNINGS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))
"""What batch systems send some time before they end a job."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, *WARNINGS)


class Stop:
    """While inside, the first signal is noted in `received`, and the same one again raises `KeyboardInterrupt`.

    Outside the main thread signals are somebody else's, and nothing is noted. Where somebody waits for a warning of
    the batch system, such as submitit to requeue the job, it is passed on when the run has been saved.

    Args:
        max_hours: Hours after the start of the process that count as a signal too.
    """

    def __init__(self, max_hours: float | None = None) -> None:
        self._max_hours = max_hours
        self._signal: signal.Signals | None = None
        self._asked: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def ask(self, reason: str) -> None:
        """Count as a signal from now on, with the reason as its name."""
        self._asked = reason

    @property
    def received(self) -> str | None:
        """Why to stop: the name of the signal, the setting, or the reason; None to go on."""
        if self._signal is not None:
            return self._signal.name
        if self._max_hours is not None and time.monotonic() - process.STARTED >= self._max_hours * 3600:
            return f"hardware.max_hours={self._max_hours:g}"
        return self._asked

    def __enter__(self) -> Stop:
        try:
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        except ValueError:
            self._before = {}
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._signal in WARNINGS and self._signal and kind and issubclass(kind, Interrupted):
            waiting = self._before[self._signal]
            if callable(waiting):
                waiting(self._signal, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._signal == number:
            raise KeyboardInterrupt
        self._signal = self._signal or signal.Signals(number)
