"""Moving average of the weights, whose span is the same share of the run for every method and length of run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

WARM_UP = 9
"""The average spans at most this part of the updates so far: 1/9 of them, after the first few."""


class WeightAverage:
    """An exponential moving average of weights and buffers (timm's `ModelEmaV3`), for validation.

    A decay d spans 1 / (1 - d) steps of a run that trains every sample. A method that trains fewer samples makes fewer
    steps; its average decays by more in each of them, and so spans the same share of the run. In a short run, or early
    in a long one, a fixed decay would average the random start: the decay is at most (1 + n) / (10 + n) at update n,
    as in TensorFlow's `ExponentialMovingAverage`, so that the average spans at most a ninth of what was trained.

    Args:
        model: The network, on its device.
        decay: Decay per step of a run that trains every sample, in (0, 1).
        steps: Number of these steps in the whole run.
    """

    def __init__(self, model: nn.Module, decay: float, steps: float) -> None:
        from timm.utils.model_ema import ModelEmaV3

        self._average, self._decay, self._steps = ModelEmaV3(model), decay, steps
        self._updates, self._progress = 0, 0.0

    @property
    def module(self) -> nn.Module:
        """The network with the averaged weights, in eval mode."""
        return self._average.module

    def update(self, model: nn.Module, progress: float) -> None:
        """Takes the weights after a step into the average.

        Args:
            model: The network.
            progress: Progress of the run after the step, in [0, 1].
        """
        self._average.decay = self.decay(progress)
        self._average.update(model)
        self._updates, self._progress = self._updates + 1, max(self._progress, progress)

    def decay(self, progress: float) -> float:
        """Returns the decay of the next update, after which the run has come to `progress`."""
        since = max(0.0, progress - self._progress)
        return min(self._decay ** (self._steps * since), (1 + self._updates) / (1 + WARM_UP + self._updates))

    def state_dict(self) -> dict[str, Any]:
        """Returns the averaged weights, the number of updates, and the progress at the last one."""
        return {"weights": self._average.state_dict(), "updates": self._updates, "progress": self._progress}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._average.load_state_dict(state["weights"])
        self._updates, self._progress = state["updates"], state["progress"]
