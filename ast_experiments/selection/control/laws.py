"""Controllers: observe a share of active rows, move a threshold.

A controller is a frozen dataclass of settings. Its state travels apart, as a `ControlState`, so that a whole epoch
can be planned without committing anything: every method returns the next state. The laws take plain numbers and
return plain numbers; given 0-d tensors they return 0-d tensors and never synchronise with the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ast_experiments.selection.control.controller import ControlState, Scores
from ast_experiments.selection.control.gates import ExactGate, Fallback
from ast_experiments.selection.numeric import Number, clip, exp, where

SCORE_FLOOR, SCORE_CAP = 1e-6, 1e2
LOG_FLOOR, LOG_CAP = math.log(SCORE_FLOOR), math.log(SCORE_CAP)
MARGIN = 0.1  # lets a threshold lie below the lowest score and above the highest
DENSITY_ROWS = 65_536


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
    Starts without a bump at the empirical quantile of the scores. Where an epoch gates frozen scores, what their
    quantile has moved by since the last epoch is added to the level at once: nothing is left to chase.

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
    promise: str = "none for any scores; on steady ones an error fades within a few settling_windows"

    def bound(self, windows: int, rows: float) -> None:
        """Nothing is promised for any sequence of scores."""

    def initial(self, target: float) -> ControlState:
        """Threshold 1, EMA at the target."""
        return ControlState(level=0.0, ema=target)

    def renew(self, state: ControlState, scores: np.ndarray, target: float, *, frozen: bool = False) -> ControlState:
        """Gains for the present scores; the first time also the starting threshold."""
        level, density = empirical_level(scores, target)
        kp = self.kp if self.kp is not None else (1 - self.alpha) / (self.alpha * density * self.settling_windows)
        ki = self.ki if self.ki is not None else kp * self.alpha / (1 - self.alpha)
        if not state.started:
            state = self.initial(target)._replace(level=level, started=True)
        elif frozen and state.reference is not None:
            moved = clip(state.level + level - state.reference, LOG_FLOOR - MARGIN, LOG_CAP + MARGIN)
            # Where the target has moved too, the rate follows at once: the error of the EMA stays what it was.
            state = state._replace(level=moved, ema=target + state.error)
        return state._replace(kp=kp, ki=ki, reference=level if frozen else state.reference)

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
            proportional, integral, where(level == free, 0.0, 1.0), True, 0.0, state.reference,
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
    promise: str = "the mean share of T windows lies within (18.4 + eta) / (eta T) of the target, for any scores"

    def bound(self, windows: int, rows: float) -> float:
        """(b + eta) / (eta windows), with b the range of log-scores."""
        del rows
        return (LOG_CAP - LOG_FLOOR + self.eta) / (self.eta * windows)

    def initial(self, target: float) -> ControlState:
        """Threshold 1, EMA at the target."""
        return ControlState(level=0.0, ema=target, ki=self.eta)

    def renew(self, state: ControlState, scores: np.ndarray, target: float, *, frozen: bool = False) -> ControlState:
        """The first time, the threshold that the target share of the scores exceeds."""
        del frozen
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


@dataclass(frozen=True, slots=True)
class TopK:
    """Exactly the target share of every window or batch, those with the highest scores; no threshold is controlled.

    Fractions of a row are carried on, so the count is exact to one row over a run, and it is known before a score
    is: nothing waits for the device. What the others move is here a by-product: the level is the highest score
    that did not pass.

    Attributes:
        alpha: Weight of the newest window in the logged EMA.
    """

    alpha: float = 0.3
    gate: ExactGate = ExactGate()
    fallback: Fallback = Fallback(rows=0, below=0)
    counts_fallback: bool = False
    needs_scores: bool = False
    promise: str = "the rows let through are target x rows offered, to less than one row over a run, for any scores"

    def bound(self, windows: int, rows: float) -> float:
        """One row."""
        del windows
        return 1 / rows

    def initial(self, target: float) -> ControlState:
        """Nothing is owed, EMA at the target."""
        return ControlState(level=0.0, ema=target)

    def renew(self, state: ControlState, scores: np.ndarray, target: float, *, frozen: bool = False) -> ControlState:
        """Nothing is renewed."""
        del scores, target, frozen
        return state._replace(started=True)

    def observe(self, state: ControlState, active: Number, offered: float, target: float) -> ControlState:
        """The smoothed rate moves, nothing else."""
        rate = active / offered
        return state._replace(ema=self.alpha * rate + (1 - self.alpha) * state.ema, error=rate - target)

    def threshold(self, state: ControlState) -> Number:
        """The level itself."""
        return state.level

    def condition(self, scores: Scores) -> Scores:
        """Bounded scores."""
        return bounded(scores)
