"""Time and energy that a run needed to reach a target accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class TimeToAccuracy:
    """Time and energy to a target validation accuracy.

    Args:
        accuracy: Target in percent; None for no target.
    """

    def __init__(self, accuracy: float | None) -> None:
        self._accuracy = accuracy
        self._cost: tuple[float, float | None] | None = None

    def note(self, accuracy: float, seconds: float, joules: float | None) -> None:
        """Records a validation; only the first that reaches the target counts.

        Args:
            accuracy: In percent.
            seconds: Seconds of the run so far.
            joules: Joules of the training device so far; None if they were not measured.
        """
        if self._cost is None and self._accuracy is not None and accuracy >= self._accuracy:
            self._cost = (seconds, joules)

    def result(self) -> dict[str, Any]:
        """Returns entries of result.json: empty without a target, null for figures missed or not measured."""
        if self._accuracy is None:
            return {}
        seconds, joules = self._cost or (None, None)
        return {
            "target_accuracy": self._accuracy,
            "target_reached": self._cost is not None,
            "seconds_to_accuracy": seconds,
            "joules_to_accuracy": joules,
        }

    def state_dict(self) -> dict[str, Any]:
        """Returns the cost, once the target was reached."""
        return {"price": self._cost}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the cost."""
        self._cost = state["price"]
