"""What a run spent until it first reached a wanted accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Goal:
    """A wanted validation accuracy, and the price of reaching it.

    Args:
        accuracy: In percent; None wants none.
    """

    def __init__(self, accuracy: float | None) -> None:
        self._accuracy = accuracy
        self._price: tuple[float, float | None] | None = None

    def note(self, accuracy: float, seconds: float, joules: float | None) -> None:
        """Take the result of a validation; only the first that reaches the goal counts.

        Args:
            accuracy: In percent.
            seconds: Spent by the run so far.
            joules: Spent by the device so far; None if they were not measured.
        """
        if self._price is None and self._accuracy is not None and accuracy >= self._accuracy:
            self._price = (seconds, joules)

    def result(self) -> dict[str, Any]:
        """Entries of result.json; none without a goal, and null for what was missed or not measured."""
        if self._accuracy is None:
            return {}
        seconds, joules = self._price or (None, None)
        return {
            "target_accuracy": self._accuracy,
            "target_reached": self._price is not None,
            "seconds_to_accuracy": seconds,
            "joules_to_accuracy": joules,
        }

    def state_dict(self) -> dict[str, Any]:
        """The price, once it is known."""
        return {"price": self._price}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the price."""
        self._price = state["price"]
