"""Runs a tracker in a background thread, so that a slow backend never blocks training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ast_experiments.tracking import Tracker


class BackgroundTracker:
    """Calls another tracker from a background thread.

    Rows wait in memory until the other tracker takes them. If it fails, the next call raises its error.

    Args:
        tracker: A tracker whose calls may be slow, hang or fail.
        timeout: Maximum seconds that `finish` waits.
        max_rows: Maximum rows that may wait; beyond it, the tracker counts as failed.
        give_up: Called once if the tracker failed or did not finish in time, to clean up after it.
    """

    def __init__(
        self, tracker: Tracker, *, timeout: float, max_rows: int = 100_000, give_up: Callable[[], None] = lambda: None
    ) -> None:
        self.name = type(tracker).__name__
        self._tracker = tracker
        self._timeout = timeout
        self._max_rows = max_rows
        self._give_up = give_up
        self._failure: Exception | None = None
        self._calls: SimpleQueue[tuple[Callable[[Any], None], Any] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=self.name, daemon=True)
        self._thread.start()

    def log(self, row: Mapping[str, Any]) -> None:
        """Queues one row.

        Raises:
            Exception: What the tracker raised.
            TimeoutError: If the tracker stopped taking rows.
        """
        if self._failure is not None:
            raise self._failure
        if self._calls.qsize() >= self._max_rows:
            raise TimeoutError(f"it stopped taking rows; {self._max_rows} are waiting")
        self._calls.put((self._tracker.log, row))

    def flush(self) -> None:
        """Does nothing: the thread hands over rows as fast as the tracker takes them."""

    def finish(self, result: Mapping[str, Any]) -> None:
        """Finishes the tracker after its last row.

        Raises:
            Exception: What the tracker raised, now or earlier.
            TimeoutError: If it did not finish in time.
        """
        self._calls.put((self._tracker.finish, result))
        self._calls.put(None)
        self._thread.join(self._timeout)
        if self._thread.is_alive():
            self._failure = TimeoutError(f"it did not finish within {self._timeout:g} s")
        if self._failure is not None:
            self._give_up()
            raise self._failure

    def state_dict(self) -> dict[str, Any]:
        """Returns the tracker's state, which must not depend on waiting rows."""
        return self._tracker.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Passes the state to the tracker, before its first row."""
        self._tracker.load_state_dict(state)

    def _work(self) -> None:
        while (waiting := self._calls.get()) is not None:
            call, value = waiting
            try:
                call(value)
            except Exception as error:
                self._failure = self._failure or error
