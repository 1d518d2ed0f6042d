"""A tracker in a thread of its own: training does not wait for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ast_experiments.tracking import Tracker


class Apart:
    """Calls another tracker from a thread, so that what holds that one up does not hold up training.

    Rows wait in memory until the other tracker takes them. If it fails, the next call here raises its error.

    Args:
        tracker: One whose calls may take long, never return, or fail.
        patience: Seconds that `finish` waits at most.
        most: Rows that may wait; when there are more, the tracker counts as failed.
        give_up: Called once if the tracker failed or did not finish in time, to end what it leaves behind.
    """

    def __init__(
        self, tracker: Tracker, *, patience: float, most: int = 100_000, give_up: Callable[[], None] = lambda: None
    ) -> None:
        self.name = type(tracker).__name__
        self._tracker = tracker
        self._patience = patience
        self._most = most
        self._give_up = give_up
        self._failure: Exception | None = None
        self._calls: SimpleQueue[tuple[Callable[[Any], None], Any] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=self.name, daemon=True)
        self._thread.start()

    def log(self, row: Mapping[str, Any]) -> None:
        """Puts one row in line.

        Raises:
            Exception: What the tracker raised.
            TimeoutError: If it takes no rows any more.
        """
        if self._failure is not None:
            raise self._failure
        if self._calls.qsize() >= self._most:
            raise TimeoutError(f"it does not take its rows, and {self._most} wait")
        self._calls.put((self._tracker.log, row))

    def flush(self) -> None:
        """Does nothing: rows are taken as fast as the tracker can."""

    def finish(self, result: Mapping[str, Any]) -> None:
        """Finishes the tracker when it has taken all rows.

        Raises:
            Exception: What the tracker raised, now or before.
            TimeoutError: If it did not finish in time.
        """
        self._calls.put((self._tracker.finish, result))
        self._calls.put(None)
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._failure = TimeoutError(f"it did not finish within {self._patience:g} s")
        if self._failure is not None:
            self._give_up()
            raise self._failure

    def state_dict(self) -> dict[str, Any]:
        """Returns the tracker's state, which must not depend on rows that wait."""
        return self._tracker.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Hands the state to the tracker, before its first row."""
        self._tracker.load_state_dict(state)

    def _work(self) -> None:
        while (waiting := self._calls.get()) is not None:
            call, value = waiting
            try:
                call(value)
            except Exception as error:
                self._failure = self._failure or error
