"""Set-points: which activation rate is wanted now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class SetPoint:
    """The target rate as a function of training progress.

    Attributes:
        rate: Target after the warm-up, in (0, 1].
        final: Target in the last epoch; None keeps `rate`.
        schedule: `constant`, or `linear` from `rate` to `final`.
        warmup_epochs: Leading epochs in which every sample is trained.
    """

    rate: float
    final: float | None = None
    schedule: Literal["constant", "linear"] = "constant"
    warmup_epochs: int = 0

    def target(self, epoch: int, epochs: int) -> float:
        """Target of an epoch (counted from 0) of a run of `epochs` epochs."""
        if epoch < self.warmup_epochs:
            return 1.0
        if self.schedule == "constant" or self.final is None:
            return self.rate
        span = epochs - self.warmup_epochs - 1
        progress = (epoch - self.warmup_epochs) / span if span > 0 else 1.0
        return self.rate + (self.final - self.rate) * progress
