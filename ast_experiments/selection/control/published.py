"""What the published control laws share.

`sundew_report`, `sundew_comparison` and `sundew_two_stage` are the three laws that were published under the name
Adaptive Sparse Training, faults included. They are written from the public releases at
https://github.com/oluwafemidiakhoa/adaptive-sparse-training and differ in the rate they observe, in their anti-windup
and in their gate. In all of them the threshold integrates, so the "proportional" term acts as an integral and the
"integral" term as a double one. Use them to reproduce results. To hold a rate, use `PI`, `Quantile` or `TopK`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

import numpy as np
from torch import Tensor

from ast_experiments.core.ranges import NonNegative, Positive, Smoothing
from ast_experiments.selection.control.controller import law_signals
from ast_experiments.selection.control.gates import Fallback
from ast_experiments.selection.control.threshold import Level, ThresholdController
from ast_experiments.selection.numeric import Number, clip, where

DECAY = 0.9


class Terms(Level, Protocol):
    """A state with the terms of its last step."""

    @property
    def proportional(self) -> Number:
        """Proportional term."""
        ...

    @property
    def integral_term(self) -> Number:
        """Integral term."""
        ...

    @property
    def saturated(self) -> Number:
        """1 where the step hit a bound."""
        ...


T = TypeVar("T", bound=Terms)


@dataclass(frozen=True, kw_only=True)
class PublishedLaw(ThresholdController[T]):
    """Adds two terms of a smoothed error to the threshold, which starts at a fixed value.

    Args:
        kp: Gain on the error of the EMA.
        ki: Gain on the accumulated error.
        alpha: Weight of the newest rate in the EMA.
        start: First threshold.
        integral_limit: Bound on the accumulated error.
    """

    kp: NonNegative = 0.0015
    ki: NonNegative = 0.00005
    alpha: Smoothing = 0.3
    start: float = 0.5
    integral_limit: Positive = 50.0

    trains_every_batch: ClassVar[bool] = True
    holds_rate: ClassVar[bool] = False
    fallback: ClassVar[Fallback] = Fallback(by="random", rows=2)

    def begin_epoch(self, state: T | None, scores: np.ndarray, target: float, *, frozen: bool = False) -> T:
        """Starts with the EMA at the target; changes nothing later."""
        del scores, frozen
        return self.state_type(level=self.start, ema=target) if state is None else state

    def signals(self, state: T) -> dict[str, Number]:
        """Returns the smoothed rate, both terms, the gains, and whether the threshold hit a bound."""
        return law_signals(
            state.ema,
            proportional=state.proportional,
            integral=state.integral_term,
            saturated=state.saturated,
            kp=self.kp,
            ki=self.ki,
        )


def accumulate(integral: Number, error: Number, inside: Tensor | bool, limit: float) -> Number:
    """Returns the next accumulated error; outside the bounds of the threshold it decays.

    Args:
        integral: Accumulated error.
        error: Error to add.
        inside: Whether the threshold lies within its bounds.
        limit: Bound on the accumulated error.
    """
    return where(inside, clip(integral + error, -limit, limit), DECAY * integral)
