"""Trackers: they take log rows to the JSONL record, the console, W&B and TensorBoard.

A log row is a flat mapping: `kind` ("step" or "epoch"), `step` (training batches so far), `epoch` (epochs
done, fractional), `progress` (0 to 1), `samples_seen` (rows trained so far) and any number of metrics. A metric that
does not apply is absent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from ast_experiments.tracking.rows import plain

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]


class Tracker(Protocol):
    """A destination of log rows.

    If a tracker fails, the run stops if its attribute `essential` is true; otherwise the tracker is dropped.
    """

    def log(self, row: Row) -> None:
        """Takes one row. Must be cheap: the training loop calls it."""
        ...

    def flush(self) -> None:
        """Saves everything logged so far, so that it survives a crash of the process."""
        ...

    def finish(self, result: Row) -> None:
        """Closes the tracker with the run's result. Called once, even after a failure."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resumed run needs to continue from here."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from a saved state."""
        ...


class Trackers:
    """Several trackers as one.

    Rows are converted to plain values once (see `rows.plain`) and passed to each tracker. A tracker that raises is
    reported once in the log and gets no more rows; it is still finished, so that it can release its resources.
    Errors of an essential tracker (the record) reach the caller.

    Args:
        trackers: Called in this order. Saved state is stored under their `name`, by default that of their class.
    """

    def __init__(self, trackers: Iterable[Tracker]) -> None:
        self._live: list[Tracker] = list(trackers)
        self._dropped: list[Tracker] = []

    @property
    def live(self) -> tuple[Tracker, ...]:
        """The trackers that have not failed."""
        return tuple(self._live)

    def log(self, row: Row) -> None:
        """Passes one row to every tracker."""
        row = plain(row)
        self._each(lambda tracker: tracker.log(row), "log")

    def flush(self) -> None:
        """Flushes every tracker."""
        self._each(lambda tracker: tracker.flush(), "flush")

    def finish(self, result: Row) -> None:
        """Finishes every tracker, dropped ones included.

        Raises:
            Exception: What an essential tracker raised, once all others are finished.
        """
        dropped, self._dropped = self._dropped, []
        failure: Exception | None = None
        for tracker in (*self._live, *dropped):
            try:
                tracker.finish(result)
            except Exception as error:
                if _essential(tracker):
                    failure = failure or error
                elif tracker not in dropped:
                    _report(tracker, "finish", error)
        if failure is not None:
            raise failure

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of every tracker by its name."""
        states: dict[str, Any] = {}
        self._each(lambda tracker: states.update({_name(tracker): tracker.state_dict()}), "save state")
        return states

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Passes every tracker its own state; one without saved state gets an empty one."""
        self._each(lambda tracker: tracker.load_state_dict(state.get(_name(tracker), {})), "load state")

    def _each(self, call: Callable[[Tracker], None], action: str) -> None:
        for tracker in tuple(self._live):
            try:
                call(tracker)
            except Exception as error:
                if _essential(tracker):
                    raise
                _report(tracker, action, error)
                self._live.remove(tracker)
                self._dropped.append(tracker)


def _essential(tracker: Tracker) -> bool:
    return getattr(tracker, "essential", False)


def _name(tracker: Tracker) -> str:
    return getattr(tracker, "name", type(tracker).__name__)


def _report(tracker: Tracker, action: str, error: Exception) -> None:
    logger.warning(
        "%s failed to %s (%s: %s); it is dropped and training continues.",
        _name(tracker),
        action,
        type(error).__name__,
        error,
    )
