"""Online quantile tracking, with a guarantee on the mean rate for any sequence of scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from ast_experiments.core.ranges import Positive, Smoothing
from ast_experiments.selection.control.controller import law_signals
from ast_experiments.selection.control.threshold import LOG_CAP, LOG_FLOOR, LogThresholdController
from ast_experiments.selection.numeric import Number


class QuantileState(NamedTuple):
    """The state of `Quantile`.

    Attributes:
        level: Logarithm of the threshold.
        ema: Smoothed rate, for the log only.
        step: Last change of the level.
    """

    level: Number
    ema: Number
    step: Number = 0.0


@dataclass(frozen=True, kw_only=True)
class Quantile(LogThresholdController[QuantileState]):
    """Online quantile tracking: u <- u + eta (rate - target) on the log-threshold, without a clamp.

    The steps telescope, so over T windows |mean rate - target| <= (b + eta) / (eta T) with b the range of log-scores:
    a guarantee for any sequence of scores (see `guarantee_bound`). The step is the subgradient of the pinball loss of
    the quantile; compare conformal PID control (arXiv 2307.16895).

    Args:
        eta: Step, log-threshold per unit of rate.
        alpha: Weight of the newest window in the logged EMA; the law itself uses the raw rate.
    """

    eta: Positive = 0.5
    alpha: Smoothing = 0.3

    state_type: ClassVar[type[Any]] = QuantileState
    guarantee: ClassVar[str] = (
        "the mean share of T windows lies within (18.4 + eta) / (eta T) of the target, for any scores"
    )

    def guarantee_bound(self, windows: int, rows: float) -> float:
        """Returns (b + eta) / (eta windows), with b the range of log-scores."""
        del rows
        return (LOG_CAP - LOG_FLOOR + self.eta) / (self.eta * windows)

    def observe(self, state: QuantileState, active: Number, offered: float, target: float) -> QuantileState:
        """Makes one step of the law on the share active / offered."""
        rate = active / offered
        step = self.eta * (rate - target)
        return QuantileState(state.level + step, self.alpha * rate + (1 - self.alpha) * state.ema, step)

    def signals(self, state: QuantileState) -> dict[str, Number]:
        """Returns the smoothed rate, and the law as an integral gain and its term."""
        return law_signals(state.ema, integral=state.step, ki=self.eta)
