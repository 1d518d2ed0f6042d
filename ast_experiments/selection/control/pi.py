"""Proportional-integral control of the log-threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Lt

from ast_experiments.core.ranges import NonNegative
from ast_experiments.selection.control.controller import law_signals
from ast_experiments.selection.control.threshold import LOG_CAP, LOG_FLOOR, LogThresholdController, log_quantile
from ast_experiments.selection.numeric import Number, clip, where

MARGIN = 0.1
"""Distance by which the log-threshold may leave the range of log-scores."""


class PIState(NamedTuple):
    """The state of `PI`.

    Attributes:
        level: Logarithm of the threshold.
        ema: Smoothed rate.
        error: Last smoothed rate minus target.
        kp: Proportional gain in use.
        ki: Integral gain in use.
        proportional: Proportional term of the last step.
        integral: Integral term of the last step.
        saturated: 1 where the last step hit a bound.
        reference: Level that the target share of the frozen scores of the last epoch exceeded; None without them.
    """

    level: Number
    ema: Number
    error: Number = 0.0
    kp: float = 0.0
    ki: float = 0.0
    proportional: Number = 0.0
    integral: Number = 0.0
    saturated: Number = 0.0
    reference: float | None = None


@dataclass(frozen=True, kw_only=True)
class PI(LogThresholdController[PIState]):
    """Proportional-integral control of the log-threshold, in incremental form.

    With e = EMA(rate) - target: u <- u + kp (e - e_previous) + ki e, clipped to the range of log-scores. Clipping the
    state is the anti-windup. Gains of None follow from the density f of log-scores at the threshold:
    kp = (1 - alpha) / (alpha f tau) and ki = kp alpha / (1 - alpha), renewed every epoch. The controller's zero then
    cancels the pole of the EMA, and the loop settles with a time constant of about `settling_windows`.

    Control starts without a bump at the quantile of the first scores. Where an epoch gates frozen scores, the level
    follows their quantile at once: it moves by as much as the quantile has moved since the last epoch.

    Args:
        kp: Proportional gain, log-threshold per unit of rate; None derives it.
        ki: Integral gain, log-threshold per unit of rate and window; None derives it.
        alpha: Weight of the newest window in the EMA.
        settling_windows: tau, in windows.
    """

    kp: NonNegative | None = None
    ki: NonNegative | None = None
    alpha: Annotated[float, Gt(0), Lt(1)] = 0.3
    settling_windows: Annotated[float, Ge(1)] = 2.0

    state_type: ClassVar[type[Any]] = PIState
    guarantee: ClassVar[str] = "none for any scores; on steady ones an error fades within a few settling_windows"

    def begin_epoch(self, state: PIState | None, scores: np.ndarray, target: float, *, frozen: bool = False) -> PIState:
        """Derives the gains for the present scores; sets the level in the first epoch."""
        level, density = log_quantile(scores, target)
        kp = self.kp if self.kp is not None else (1 - self.alpha) / (self.alpha * density * self.settling_windows)
        ki = self.ki if self.ki is not None else kp * self.alpha / (1 - self.alpha)
        if state is None:
            state = PIState(level, ema=target)
        elif frozen and state.reference is not None:
            moved = clip(state.level + level - state.reference, LOG_FLOOR - MARGIN, LOG_CAP + MARGIN)
            # If the target has moved too, the rate follows at once, so the error of the EMA does not change.
            state = state._replace(level=moved, ema=target + state.error)
        return state._replace(kp=kp, ki=ki, reference=level if frozen else state.reference)

    def observe(self, state: PIState, active: Number, offered: float, target: float) -> PIState:
        """Makes one step of the law on the share active / offered."""
        ema = self.alpha * (active / offered) + (1 - self.alpha) * state.ema
        error = ema - target
        proportional = state.kp * (error - state.error)
        integral = state.ki * error
        free = state.level + proportional + integral
        level = clip(free, LOG_FLOOR - MARGIN, LOG_CAP + MARGIN)
        saturated = where(level == free, 0.0, 1.0)
        return PIState(level, ema, error, state.kp, state.ki, proportional, integral, saturated, state.reference)

    def signals(self, state: PIState) -> dict[str, Number]:
        """Returns the smoothed rate, both terms, the gains in use, and whether the level hit a bound."""
        return law_signals(
            state.ema,
            proportional=state.proportional,
            integral=state.integral,
            saturated=state.saturated,
            kp=state.kp,
            ki=state.ki,
        )
