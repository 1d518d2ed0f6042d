"""The learning-rate clock: how far a run is, in [0, 1], counted in epochs or in rows trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class EpochClock:
    """Counts epochs, however many rows each of them trains.

    Attributes:
        epochs: Planned epochs.
    """

    epochs: int

    def begin(self, epoch: int, rows: float, later: Sequence[float]) -> None:
        """Nothing to note: an epoch is an epoch."""

    def at(self, epoch: int, share: float) -> float:
        """Progress of the run when `share` in [0, 1] of an epoch, counted from 0, is done."""
        return (epoch + share) / self.epochs

    def state_dict(self) -> dict[str, Any]:
        """Nothing: progress follows from the epoch."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""


@dataclass(slots=True)
class RowClock:
    """Counts rows trained out of those that the run will train.

    A method that sets its own rate does not say how many rows later epochs will train: each is then expected to train
    as many as the present one. Whatever was expected, the clock never goes back, and it ends at 1.

    Attributes:
        start: Progress at the beginning of the present epoch; kept in checkpoints.
        length: Progress that the present epoch makes.
        opened: The present epoch, -1 before the first.
    """

    start: float = 0.0
    length: float = field(default=0.0, init=False)
    opened: int = field(default=-1, init=False)

    def begin(self, epoch: int, rows: float, later: Sequence[float]) -> None:
        """Begin an epoch.

        Args:
            epoch: Counted from 0.
            rows: Rows that it will train.
            later: Rows that each epoch after it is expected to train.
        """
        if self.opened >= 0 and epoch > self.opened:
            self.start += self.length
        self.opened = epoch
        whole = rows + sum(later)
        self.length = (1 - self.start) * (rows / whole if whole else 1.0)

    def at(self, epoch: int, share: float) -> float:
        """Progress of the run when `share` in [0, 1] of the present epoch is done."""
        del epoch
        return min(1.0, self.start + share * self.length)

    def state_dict(self) -> dict[str, Any]:
        """Progress at the beginning of the epoch that was begun last, how much it makes, and which it is."""
        return {"start": self.start, "length": self.length, "opened": self.opened}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.start, self.length, self.opened = state["start"], state["length"], state["opened"]
