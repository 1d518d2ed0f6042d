"""A narrow network that scores rows for the run's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.selection.method import Context, SideNet

LEARNING = 3.0
"""Operations of a training step in those of a forward pass, about."""


class ProxyNet:
    """Scores rows, and learns from every `every`-th batch that it is shown, beginning with the first.

    Args:
        width: Share of the channels of the run's own network, in (0, 1].
        arch: An architecture of timm instead.
        every: Batches of which it learns from one.
        size: Pixels that images are shrunk to; None takes them as they are.
    """

    def __init__(self, width: float = 0.25, arch: str | None = None, every: int = 4, size: int | None = None) -> None:
        self._width, self._arch, self._every, self._size = width, arch, every, size
        self._shown = 0

    def prepare(self, context: Context) -> None:
        """Make the network."""
        self._net: SideNet = context.side_net(width=self._width, arch=self._arch, size=self._size)

    def score(self, rows: Batch) -> Outputs:
        """A forward pass that leaves the network as it is."""
        return self._net.score(rows)

    def show(self, rows: Batch, progress: float) -> None:
        """Learn from the rows if it is their turn; `progress` in [0, 1) sets the learning rate."""
        if self._shown % self._every == 0:
            self._net.learn(rows, progress)
        self._shown += 1

    def share(self, shown: float) -> float:
        """Its operations for each row that it scores, in forward passes of the run's network; a guess from its width.

        Args:
            shown: Rows shown for each row scored.
        """
        return self._width**2 * (1 + LEARNING * shown / self._every)

    def state_dict(self) -> dict[str, Any]:
        """The network, and how many batches it was shown."""
        return {"net": self._net.state_dict(), "shown": self._shown}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._net.load_state_dict(state["net"])
        self._shown = state["shown"]
