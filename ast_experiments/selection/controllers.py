"""Controllers: observe a share of active rows, move a threshold.

A controller is a frozen dataclass of settings. Its state travels apart, as a `ControlState`, so that a whole epoch
can be planned without committing anything: every method returns the next state. The laws take plain numbers and
return plain numbers; given 0-d tensors they return 0-d tensors and never synchronise with the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from torch import Tensor

from ast_experiments.selection.gates import Fallback, ReservoirGate
from ast_experiments.selection.numeric import Number, clip, exp, where

SCORE_FLOOR, SCORE_CAP = 1e-6, 1e2
LOG_FLOOR, LOG_CAP = math.log(SCORE_FLOOR), math.log(SCORE_CAP)
MARGIN = 0.1  # lets a threshold lie below the lowest score and above the highest
DENSITY_ROWS = 65_536

Scores = TypeVar("Scores", np.ndarray, Tensor)


class ControlState(NamedTuple):
    """Where a controller stands; plain numbers or 0-d tensors.

    Attributes:
        level: The controlled quantity: the threshold itself, or its logarithm.
        ema: Smoothed rate.
        integral: Accumulated error of the laws that keep one.
        error: The last error, for laws in incremental form.
        kp: Proportional gain in use.
        ki: Integral gain in use.
        active: Gate decisions since the start.
        offered: Rows seen since the start.
        reservoir: What the energy reservoir of the published gate holds.
        proportional: Proportional term of the last step, in units of `level`.
        integral_term: Integral term of the last step, in units of `level`.
        saturated: 1 where the last step hit a bound.
        started: Whether control has begun.
    """

    level: Number
    ema: Number
    integral: Number = 0.0
    error: Number = 0.0
    kp: float = 0.0
    ki: float = 0.0
    active: Number = 0.0
    offered: float = 0.0
    reservoir: float = 0.0
    proportional: Number = 0.0
    integral_term: Number = 0.0
    saturated: Number = 0.0
    started: bool = False


class Controller(Protocol):
    """What every controller offers.

    Attributes:
        gate: The gate that goes with the law; None is the plain comparison with the threshold.
        fallback: What is trained when too few rows pass in a batch that is scored afresh.
        counts_fallback: Whether rows that only the fallback activated count in the observed rate.
        needs_scores: Whether `renew` looks at scores.
    """

    @property
    def gate(self) -> ReservoirGate | None:
        """See the class."""
        ...

    @property
    def fallback(self) -> Fallback:
        """See the class."""
        ...

    @property
    def counts_fallback(self) -> bool:
        """See the class."""
        ...

    @property
    def needs_scores(self) -> bool:
        """See the class."""
        ...

    def initial(self, target: float) -> ControlState:
        """The state before anything was observed."""
        ...

    def renew(self, state: ControlState, scores: np.ndarray, target: float) -> ControlState:
        """The state at the start of an epoch under control, given recent scores (n,)."""
        ...

    def observe(self, state: ControlState, active: Number, offered: float, target: float) -> ControlState:
        """The state after a window in which `active` of `offered` rows were active."""
        ...

    def threshold(self, state: ControlState) -> Number:
        """The threshold, in units of the scores."""
        ...

    def condition(self, scores: Scores) -> Scores:
        """The scores (n,) that the gate compares with the threshold."""
        ...


def bounded(scores: Scores) -> Scores:
    """Scores floored at 1e-6 and capped at 1e2; the range in which a log-threshold moves."""
    return scores.clip(SCORE_FLOOR, SCORE_CAP)


def log_scores(scores: np.ndarray) -> np.ndarray:
    """Bounded scores, as logarithms."""
    return np.log(bounded(scores))


def empirical_level(scores: np.ndarray, target: float) -> tuple[float, float]:
    """The log-threshold that `target` of the scores exceed, and the density of log-scores there.

    The density is a central difference of the quantile function, clipped to [0.05, 5]; at most 65,536 evenly
    spaced scores are looked at.

    Args:
        scores: Recent scores, shape (n,), n >= 1.
        target: Share that shall be active, in (0, 1).
    """
    u = log_scores(scores[:: -(-len(scores) // DENSITY_ROWS)])
    half = min(0.05, target / 2, (1 - target) / 2)
    low, level, high = np.quantile(u, [1 - target - half, 1 - target, 1 - target + half])
    density = 2 * half / max(high - low, 1e-9)
    return float(level), float(np.clip(density, 0.05, 5.0))


@dataclass(frozen=True, slots=True)
class PI:
    """Proportional-integral control of the log-threshold, in incremental form.

    With e = EMA(rate) - target: u <- u + kp (e - e_previous) + ki e, clipped to the range of log-scores; clipping the
    state is the anti-windup. Gains left at None follow from the density f of log-scores at the threshold:
    kp = (1 - alpha) / (alpha f tau) and ki = kp alpha / (1 - alpha), renewed every epoch. The controller's zero then
    cancels the pole of the EMA and the loop settles with a time constant of about `settling_windows`.
    Starts without a bump at the empirical quantile of the scores.

    Attributes:
        kp: Proportional gain, log-threshold per unit of rate; None derives it.
        ki: Integral gain, log-threshold per unit of rate and window; None derives it.
        alpha: Weight of the newest window in the EMA, in (0, 1).
        settling_windows: tau, in windows.
    """

    kp: float | None = None
    ki: float | None = None
    alpha: float = 0.3
    settling_windows: float = 2.0
    gate: None = None
    fallback: Fallback = Fallback()
    counts_fallback: bool = False
    needs_scores: bool = True

    def initial(self, target: float) -> ControlState:
        """Threshold 1, EMA at the target."""
        return ControlState(level=0.0, ema=target)

    def renew(self, state: ControlState, scores: np.ndarray, target: float) -> ControlState:
        """Gains for the present scores; the first time also the starting threshold."""
        level, density = empirical_level(scores, target)
        kp = self.kp if self.kp is not None else (1 - self.alpha) / (self.alpha * density * self.settling_windows)
        ki = self.ki if self.ki is not None else kp * self.alpha / (1 - self.alpha)
        if not state.started:
            state = self.initial(target)._replace(level=level, started=True)
        return state._replace(kp=kp, ki=ki)

    def observe(self, state: ControlState, active: Number, offered: float, target: float) -> ControlState:
        """One step of the law on the share active / offered."""
        ema = self.alpha * (active / offered) + (1 - self.alpha) * state.ema
        error = ema - target
        proportional = state.kp * (error - state.error)
        integral = state.ki * error
        free = state.level + proportional + integral
        level = clip(free, LOG_FLOOR - MARGIN, LOG_CAP + MARGIN)
        return ControlState(
            level, ema, 0.0, error, state.kp, state.ki, 0.0, 0.0, 0.0,
            proportional, integral, where(level == free, 0.0, 1.0), True,
        )  # fmt: skip

    def threshold(self, state: ControlState) -> Number:
        """exp(level)."""
        return exp(state.level)

    def condition(self, scores: Scores) -> Scores:
        """Bounded scores."""
        return bounded(scores)


@dataclass(frozen=True, slots=True)
class Quantile:
    """Online quantile tracking: u <- u + eta (rate - target) on the log-threshold, without a clamp.

    The steps telescope, so over T windows |mean rate - target| <= (b + eta) / (eta T) with b the range of
    log-scores: a guarantee for any sequence of scores (see `bound`). It is the pinball-loss subgradient step
    on the quantile; compare conformal PID control (arXiv 2307.16895).

    Attributes:
        eta: Step, log-threshold per unit of rate, > 0.
        alpha: Weight of the newest window in the logged EMA; the law itself uses the raw rate.
    """

    eta: float = 0.5
    alpha: float = 0.3
    gate: None = None
    fallback: Fallback = Fallback()
    counts_fallback: bool = False
    needs_scores: bool = True

    def initial(self, target: float) -> ControlState:
        """Threshold 1, EMA at the target."""
        return ControlState(level=0.0, ema=target, ki=self.eta)

    def renew(self, state: ControlState, scores: np.ndarray, target: float) -> ControlState:
        """The first time, the threshold that the target share of the scores exceeds."""
        if state.started:
            return state
        return self.initial(target)._replace(level=empirical_level(scores, target)[0], started=True)

    def observe(self, state: ControlState, active: Number, offered: float, target: float) -> ControlState:
        """One step of the law on the share active / offered."""
        rate = active / offered
        step = self.eta * (rate - target)
        return ControlState(
            level=state.level + step,
            ema=self.alpha * rate + (1 - self.alpha) * state.ema,
            error=rate - target,
            ki=self.eta,
            integral_term=step,
            started=True,
        )

    def threshold(self, state: ControlState) -> Number:
        """exp(level)."""
        return exp(state.level)

    def condition(self, scores: Scores) -> Scores:
        """Bounded scores."""
        return bounded(scores)

    def bound(self, windows: int) -> float:
        """Largest |mean rate - target| that can occur over so many windows."""
        return (LOG_CAP - LOG_FLOOR + self.eta) / (self.eta * windows)
