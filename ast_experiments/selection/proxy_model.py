"""A narrow network that scores rows in place of the run's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.selection.context import Context
from ast_experiments.selection.parts import Part

LEARNING = 3.0
"""Approximate cost of a training step, in forward passes."""


class ProxyNet(Part):
    """Scores rows, and learns from every `every`-th batch that it is shown, beginning with the first.

    Args:
        context: The run.
        width: Share of the channels of the run's own network, in (0, 1].
        arch: An architecture of timm to use instead.
        every: It learns from one of this many batches.
        size: Pixels that images are shrunk to; None takes them as they are.
    """

    def __init__(
        self, context: Context, width: float = 0.25, arch: str | None = None, every: int = 4, size: int | None = None
    ) -> None:
        self._width, self._every, self._shown = width, every, 0
        self._net = context.auxiliary_model(width=width, arch=arch, size=size)

    def score(self, rows: Batch) -> Outputs:
        """Makes a forward pass that leaves the network as it is."""
        return self._net.score(rows)

    def show(self, rows: Batch, progress: float) -> None:
        """Learns from the rows if it is their turn; `progress` in [0, 1) sets the learning rate."""
        if self._shown % self._every == 0:
            self._net.learn(rows, progress)
        self._shown += 1

    def share(self, shown: float) -> float:
        """Returns its operations per scored row, in forward passes of the run's network; estimated from its width.

        Args:
            shown: Rows shown per scored row.
        """
        return self._width**2 * (1 + LEARNING * shown / self._every)

    def state_dict(self) -> dict[str, Any]:
        """Returns the network, and how many batches it was shown."""
        return {"net": self._net.state_dict(), "shown": self._shown}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._net.load_state_dict(state["net"])
        self._shown = state["shown"]
