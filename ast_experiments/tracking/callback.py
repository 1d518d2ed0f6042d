"""Callbacks that see every log row and may request an early stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

StopCallback = Callable[[Mapping[str, Any]], str | None]
"""Takes a log row; returns a reason to stop the run, or None."""


class CallbackTracker:
    """A tracker that passes every row to a callback.

    Args:
        callback: Sees the rows.
        request_stop: Called with the reason when the callback returns one.
    """

    def __init__(self, callback: StopCallback, request_stop: Callable[[str], None]) -> None:
        self._callback, self._request_stop = callback, request_stop

    def log(self, row: Mapping[str, Any]) -> None:
        """Passes a row to the callback."""
        reason = self._callback(row)
        if reason is not None:
            self._request_stop(reason)

    def flush(self) -> None:
        """Does nothing: the callback gets every row at once."""

    def finish(self, result: Mapping[str, Any]) -> None:
        """Does nothing: the callback gets log rows, not the result."""

    def state_dict(self) -> dict[str, Any]:
        """Returns nothing: the callback keeps its own state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Does nothing: the callback keeps its own state."""
