"""Somebody who watches the rows of a run and may ask it to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Watch = Callable[[Mapping[str, Any]], str | None]
"""Takes a log row; returns why the run should stop, or None."""


class Watcher:
    """A tracker that shows every row to a `Watch`.

    Args:
        watch: Sees the rows.
        ask: Gets the reason to stop, if there is one.
    """

    def __init__(self, watch: Watch, ask: Callable[[str], None]) -> None:
        self._watch, self._ask = watch, ask

    def log(self, row: Mapping[str, Any]) -> None:
        """Shows a row."""
        reason = self._watch(row)
        if reason is not None:
            self._ask(reason)

    def flush(self) -> None:
        """Does nothing."""

    def finish(self, result: Mapping[str, Any]) -> None:
        """Does nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Returns nothing: who watches keeps what it needs."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Does nothing."""
