"""The three control laws that were published under the name Adaptive Sparse Training, faults included.

Written from the public releases at https://github.com/oluwafemidiakhoa/adaptive-sparse-training. They differ in the
rate they observe, in their anti-windup and in their gate. In all of them the threshold integrates, so the
"proportional" term acts as an integral and the "integral" term as a double one. Use them to reproduce; to hold a
rate use `PI` or `Quantile`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ast_experiments.selection.control.controller import ControlState, Scores
from ast_experiments.selection.control.gates import Fallback, ReservoirGate
from ast_experiments.selection.numeric import Number, both, clip, where

DECAY = 0.9


@dataclass(frozen=True, slots=True)
class SundewReport:
    """The form behind the CIFAR-10 report (61.2 % accuracy, 10.4 % activation).

    Observes the gate's decisions over all rows since the start, through an EMA; the integral is used before it is
    updated. The gate is stochastic with an energy reservoir.

    Attributes:
        kp: Gain on the error of the EMA.
        ki: Gain on the accumulated error.
        alpha: Weight of the newest rate in the EMA.
        start: First threshold.
        integral_limit: Bound on the accumulated error.
    """

    kp: float = 0.0015
    ki: float = 0.00005
    alpha: float = 0.3
    start: float = 0.5
    integral_limit: float = 50.0
    gate: ReservoirGate = ReservoirGate()
    fallback: Fallback = Fallback(by="random", rows=2)
    counts_fallback: bool = False
    needs_scores: bool = False
    promise: str = "none"

    def bound(self, windows: int, rows: float) -> None:
        """Nothing is promised."""

    def initial(self, target: float) -> ControlState:
        """EMA at the target, reservoir full."""
        return ControlState(self.start, target, kp=self.kp, ki=self.ki, reservoir=self.gate.capacity)

    def renew(self, state: ControlState, scores: np.ndarray, target: float, *, frozen: bool = False) -> ControlState:
        """Nothing is renewed."""
        del scores, target, frozen
        return state._replace(started=True)

    def observe(self, state: ControlState, active: Number, offered: float, target: float) -> ControlState:
        """One step of the law on the cumulative rate."""
        total_active, total_offered = state.active + active, state.offered + offered
        ema = self.alpha * (total_active / total_offered) + (1 - self.alpha) * state.ema
        error = ema - target
        proportional, integral_term = self.kp * error, self.ki * state.integral
        new = state.level + proportional + integral_term
        inside = both(new > 0.01, new < 0.99)
        integral = where(
            inside, clip(state.integral + error, -self.integral_limit, self.integral_limit), DECAY * state.integral
        )
        return state._replace(
            level=clip(new, 0.0, 1.0), ema=ema, integral=integral, error=error,
            active=total_active, offered=total_offered,
            proportional=proportional, integral_term=integral_term, saturated=where(inside, 0.0, 1.0),
        )  # fmt: skip

    def threshold(self, state: ControlState) -> Number:
        """The level itself."""
        return state.level

    def condition(self, scores: Scores) -> Scores:
        """The scores as they are."""
        return scores


@dataclass(frozen=True, slots=True)
class SundewBatch:
    """The law of the published comparison and of the two-stage ImageNet-100 run.

    Observes each batch, fallback rows included, through an EMA; the integral is updated before it is used. The
    defaults are those of the comparison, whose threshold may not pass 0.99 although its scores average 1.

    Attributes:
        kp: Gain on the error of the EMA.
        ki: Gain on the accumulated error.
        alpha: Weight of the newest batch in the EMA.
        start: First threshold.
        low: Smallest threshold.
        high: Largest threshold.
        integral_limit: Bound on the accumulated error.
    """

    kp: float = 0.0015
    ki: float = 0.00005
    alpha: float = 0.3
    start: float = 0.5
    low: float = 0.01
    high: float = 0.99
    integral_limit: float = 50.0
    gate: None = None
    fallback: Fallback = Fallback(by="random", rows=2)
    counts_fallback: bool = True
    needs_scores: bool = False
    promise: str = "none"

    def bound(self, windows: int, rows: float) -> None:
        """Nothing is promised."""

    def initial(self, target: float) -> ControlState:
        """EMA at the target."""
        return ControlState(self.start, target, kp=self.kp, ki=self.ki)

    def renew(self, state: ControlState, scores: np.ndarray, target: float, *, frozen: bool = False) -> ControlState:
        """Nothing is renewed."""
        del scores, target, frozen
        return state._replace(started=True)

    def observe(self, state: ControlState, active: Number, offered: float, target: float) -> ControlState:
        """One step of the law on this batch's rate."""
        ema = self.alpha * (active / offered) + (1 - self.alpha) * state.ema
        error = ema - target
        inside = both(state.level > self.low, state.level < self.high)
        integral = where(
            inside, clip(state.integral + error, -self.integral_limit, self.integral_limit), DECAY * state.integral
        )
        proportional, integral_term = self.kp * error, self.ki * integral
        free = state.level + proportional + integral_term
        level = clip(free, self.low, self.high)
        return state._replace(
            level=level, ema=ema, integral=integral, error=error,
            proportional=proportional, integral_term=integral_term,
            saturated=where(both(level > self.low, level < self.high), 0.0, 1.0),
        )  # fmt: skip

    def threshold(self, state: ControlState) -> Number:
        """The level itself."""
        return state.level

    def condition(self, scores: Scores) -> Scores:
        """The scores as they are."""
        return scores


def build_two_stage(**settings: Any) -> SundewBatch:
    """Controller `sundew_two_stage`: falls back to the top tenth of a batch, at least 2 rows.

    Args:
        settings: Instead of the published ones.
    """
    constants: dict[str, Any] = {
        "kp": 0.005,
        "ki": 0.0001,
        "alpha": 0.1,
        "start": 3.0,
        "low": 0.5,
        "high": 10.0,
        "integral_limit": 100.0,
    }
    constants |= settings
    return SundewBatch(**constants, fallback=Fallback(by="top", rows=2, share=0.1, below=None))
