"""The published law behind the CIFAR-10 report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ast_experiments.selection.control.controller import Gated, GateTrace
from ast_experiments.selection.control.gates import ReservoirGate
from ast_experiments.selection.control.published import PublishedLaw, accumulate
from ast_experiments.selection.control.windows import Windows
from ast_experiments.selection.numeric import Number, both, clip, where

GATE = ReservoirGate()


class SundewReportState(NamedTuple):
    """The state of `SundewReport`.

    Attributes:
        level: Threshold.
        ema: Smoothed rate.
        reservoir: Energy in the reservoir of the gate, which is full at the start.
        integral: Accumulated error.
        active: Gate decisions since the start.
        offered: Rows since the start.
        proportional: Proportional term of the last step.
        integral_term: Integral term of the last step.
        saturated: 1 where the last step hit a bound.
    """

    level: Number
    ema: Number
    reservoir: float = GATE.capacity
    integral: Number = 0.0
    active: Number = 0.0
    offered: float = 0.0
    proportional: Number = 0.0
    integral_term: Number = 0.0
    saturated: Number = 0.0


@dataclass(frozen=True, kw_only=True)
class SundewReport(PublishedLaw[SundewReportState]):
    """The law behind the CIFAR-10 report (61.2 % accuracy, 10.4 % activation).

    It observes the gate's decisions over all rows since the start, through an EMA, and uses the integral before it
    updates it. The gate is stochastic with an energy reservoir.
    """

    state_type: ClassVar[type[Any]] = SundewReportState
    reservoir_gate: ClassVar[ReservoirGate] = GATE

    def observe(self, state: SundewReportState, active: Number, offered: float, target: float) -> SundewReportState:
        """Makes one step of the law on the rate since the start."""
        total_active, total_offered = state.active + active, state.offered + offered
        ema = self.alpha * (total_active / total_offered) + (1 - self.alpha) * state.ema
        error = ema - target
        proportional, integral_term = self.kp * error, self.ki * state.integral
        new = state.level + proportional + integral_term
        inside = both(new > 0.01, new < 0.99)
        return SundewReportState(
            level=clip(new, 0.0, 1.0),
            ema=ema,
            reservoir=state.reservoir,
            integral=accumulate(state.integral, error, inside, self.integral_limit),
            active=total_active,
            offered=total_offered,
            proportional=proportional,
            integral_term=integral_term,
            saturated=where(inside, 0.0, 1.0),
        )

    def gate(
        self, state: SundewReportState, scores: Tensor, target: float, rng: np.random.Generator
    ) -> Gated[SundewReportState]:
        """Processes the rows one by one, on the host."""
        del target
        host = scores.double().cpu().numpy()
        kept, reservoir = self.reservoir_gate.decide(
            host, float(state.level), state.reservoir, *self.reservoir_gate.draw(rng, len(host))
        )
        mask = torch.from_numpy(kept).to(scores.device)
        return Gated(mask, mask.sum(), state.level, state._replace(reservoir=reservoir))

    def gate_windows(
        self,
        state: SundewReportState,
        scores: np.ndarray,
        windows: Windows,
        target: float,
        rng: np.random.Generator,
    ) -> GateTrace[SundewReportState]:
        """Draws for the whole epoch at once, then gates window by window."""
        uniforms, inflows = self.reservoir_gate.draw(rng, len(scores))
        mask = np.zeros(len(scores), dtype=bool)
        states: list[SundewReportState] = []
        counts, thresholds, begin = [], [], 0
        for end in windows.ends.tolist():
            rows = slice(begin, end)
            thresholds.append(float(state.level))
            mask[rows], reservoir = self.reservoir_gate.decide(
                scores[rows], thresholds[-1], state.reservoir, uniforms[rows], inflows[rows]
            )
            counts.append(int(mask[rows].sum()))
            state = self.observe(state._replace(reservoir=reservoir), counts[-1], end - begin, target)
            states.append(state)
            begin = end
        return GateTrace(mask, np.array(counts, dtype=np.int64), np.array(thresholds), states, state)
