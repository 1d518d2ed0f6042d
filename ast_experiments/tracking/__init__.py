"""What a run writes down while it trains: the JSONL record, and copies on the console, in W&B and in TensorBoard.

A log row is a flat mapping: `kind` ("step" or "epoch"), `step` (training batches so far), `epoch` (epochs
done, fractional), `progress` (0 to 1), `samples_seen` (rows trained so far) and any number of metrics, each
absent when it does not apply.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from ast_experiments.tracking.rows import plain

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]


class Tracker(Protocol):
    """A place that log rows go to.

    A tracker whose attribute `essential` is true stops the run when it fails; any other is dropped.
    """

    def log(self, row: Row) -> None:
        """Takes one row; cheap, for it is called from the training loop."""
        ...

    def flush(self) -> None:
        """Makes everything logged so far survive the death of the process."""
        ...

    def finish(self, result: Row) -> None:
        """Closes the tracker with the run's result; called once, also after a failure."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resumed run needs to go on where this one stood."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where the run stood that made `state`."""
        ...


class Trackers:
    """Several trackers behind one; itself a `Tracker`.

    Rows are made plain once (see `rows.plain`) and handed to each. A tracker that raises is reported once
    on this module's logger and gets no further rows, but is still asked to finish, so that it can let go of
    what it holds. An essential one (the record) raises to the caller.

    Args:
        trackers: In the order in which they are called; saved state is kept by their `name`, or that of their class.
    """

    def __init__(self, trackers: Iterable[Tracker]) -> None:
        self._live: list[Tracker] = list(trackers)
        self._dropped: list[Tracker] = []

    @property
    def live(self) -> tuple[Tracker, ...]:
        """The trackers that still work."""
        return tuple(self._live)

    def log(self, row: Row) -> None:
        """Hands one row to every tracker."""
        row = plain(row)
        self._each(lambda tracker: tracker.log(row), "log")

    def flush(self) -> None:
        """Flushes every tracker."""
        self._each(lambda tracker: tracker.flush(), "flush")

    def finish(self, result: Row) -> None:
        """Finishes every tracker, dropped ones included.

        Raises:
            Exception: What an essential tracker raised, after all others were finished.
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
        """Hands every tracker its own state; one without saved state gets an empty one."""
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
        "%s failed to %s (%s: %s); it is dropped and training goes on.",
        _name(tracker),
        action,
        type(error).__name__,
        error,
    )
