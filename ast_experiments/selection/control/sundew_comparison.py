"""The published law of the comparison of CIFAR-10 with ImageNet-100."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from ast_experiments.core.errors import ConfigError
from ast_experiments.selection.control.published import PublishedLaw, accumulate
from ast_experiments.selection.numeric import Number, both, clip, where


class SundewState(NamedTuple):
    """The state of `SundewComparison` and `SundewTwoStage`.

    Attributes:
        level: Threshold.
        ema: Smoothed rate.
        integral: Accumulated error.
        proportional: Proportional term of the last step.
        integral_term: Integral term of the last step.
        saturated: 1 where the last step hit a bound.
    """

    level: Number
    ema: Number
    integral: Number = 0.0
    proportional: Number = 0.0
    integral_term: Number = 0.0
    saturated: Number = 0.0


@dataclass(frozen=True, kw_only=True)
class SundewComparison(PublishedLaw[SundewState]):
    """The law of the published comparison.

    It observes each batch, fallback rows included, through an EMA, and updates the integral before it uses it. The
    threshold may not pass 0.99, although the scores of the comparison average 1.

    Args:
        low: Smallest threshold.
        high: Largest threshold.

    Raises:
        ConfigError: If the first threshold lies outside its bounds.
    """

    low: float = 0.01
    high: float = 0.99

    state_type: ClassVar[type[Any]] = SundewState
    counts_fallback: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.low <= self.start <= self.high:
            raise ConfigError(
                f"controller.start: {self.start} must lie between controller.low={self.low} "
                f"and controller.high={self.high}"
            )

    def observe(self, state: SundewState, active: Number, offered: float, target: float) -> SundewState:
        """Makes one step of the law on the rate of this batch."""
        ema = self.alpha * (active / offered) + (1 - self.alpha) * state.ema
        error = ema - target
        inside = both(state.level > self.low, state.level < self.high)
        integral = accumulate(state.integral, error, inside, self.integral_limit)
        proportional, integral_term = self.kp * error, self.ki * integral
        level = clip(state.level + proportional + integral_term, self.low, self.high)
        saturated = where(both(level > self.low, level < self.high), 0.0, 1.0)
        return SundewState(level, ema, integral, proportional, integral_term, saturated)
