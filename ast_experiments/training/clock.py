"""Learning-rate clocks: the progress of a run in [0, 1], by epochs or by rows trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class EpochClock:
    """Measures progress in epochs, however many rows each of them trains.

    Attributes:
        epochs: Planned epochs.
    """

    epochs: int

    def begin(self, epoch: int, rows: float, later: Sequence[float]) -> None:
        """Does nothing: all epochs count the same."""

    def at(self, epoch: int, share: float) -> float:
        """Returns the progress after `share` in [0, 1] of an epoch, counted from 0."""
        return (epoch + share) / self.epochs

    def state_dict(self) -> dict[str, Any]:
        """Returns nothing: progress follows from the epoch."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Does nothing: there is no state."""


@dataclass(slots=True)
class RowClock:
    """Measures progress in rows: those trained so far, as a share of all that the run is expected to train.

    Every epoch estimates anew how many rows are left. Even if an estimate was wrong, progress never falls, and it ends
    at 1.

    Attributes:
        start: Progress at the beginning of the current epoch.
        length: Progress that the current epoch adds.
        opened: The current epoch, counted from 0; -1 before the first.
    """

    start: float = 0.0
    length: float = field(default=0.0, init=False)
    opened: int = field(default=-1, init=False)

    def begin(self, epoch: int, rows: float, later: Sequence[float]) -> None:
        """Begins an epoch; a run that resumes within it begins it again, from the same progress.

        Args:
            epoch: The epoch, counted from 0.
            rows: Rows that it trains.
            later: Rows that each later epoch is expected to train; see `TargetRate.later_rows`.
        """
        if self.opened >= 0 and epoch > self.opened:
            self.start += self.length
        self.opened = epoch
        whole = rows + sum(later)
        self.length = (1 - self.start) * (rows / whole if whole else 1.0)

    def at(self, epoch: int, share: float) -> float:
        """Returns the progress after `share` in [0, 1] of the current epoch."""
        del epoch
        return min(1.0, self.start + share * self.length)

    def state_dict(self) -> dict[str, Any]:
        """Returns the current epoch, the progress at its beginning, and the progress that it adds."""
        return {"start": self.start, "length": self.length, "opened": self.opened}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.start, self.length, self.opened = state["start"], state["length"], state["opened"]
