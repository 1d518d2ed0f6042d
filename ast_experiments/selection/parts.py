"""Parts of a method that a run commits, saves and restores by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Part(ABC):
    """State of a method that is kept over epochs.

    A method assigns its parts to attributes. The run finds them there, as PyTorch finds the submodules of a module:
    it resets them before each plan, commits them at the end of each epoch, and keeps them in checkpoints.
    """

    def reset(self) -> None:  # noqa: B027
        """Drops what a plan has set but no epoch has committed."""

    def commit(self, epoch: int) -> None:  # noqa: B027
        """Commits what the plan of an epoch has set."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Returns tensors, numbers and strings."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""


class Staged(Part, Generic[T]):
    """A number that a plan may replace; the new one counts once the epoch has ended.

    Args:
        value: The first value.

    Attributes:
        now: The committed value.
        next: The value that the end of the epoch commits.
    """

    def __init__(self, value: T) -> None:
        self.now = self.next = value

    def reset(self) -> None:
        """Makes the committed value the next one too."""
        self.next = self.now

    def commit(self, epoch: int) -> None:
        """Makes the next value the committed one."""
        del epoch
        self.now = self.next

    def state_dict(self) -> dict[str, Any]:
        """Returns the committed value."""
        return {"now": self.now}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores it."""
        self.now = self.next = state["now"]
