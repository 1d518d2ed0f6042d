"""An exact count of each window or batch, the rows with the highest scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core.ranges import Smoothing
from ast_experiments.selection.control.controller import Controller, Gated, GateTrace
from ast_experiments.selection.control.gates import Fallback, exact_count
from ast_experiments.selection.control.threshold import bounded
from ast_experiments.selection.control.windows import Windows
from ast_experiments.selection.numeric import Number


class TopKState(NamedTuple):
    """The state of `TopK`.

    Attributes:
        ema: Smoothed rate, for the log only.
        remainder: Fraction of a row that the next batch adds to its count.
    """

    ema: Number
    remainder: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TopK(Controller[TopKState]):
    """Trains exactly the target share of every window or batch: the rows with the highest scores.

    Of equal scores the first rows pass. Fractions of a row are carried on, so the count is exact to one row over a run.
    It does not depend on the scores, so nothing waits for the device. There is no threshold to control; the logged one
    is the highest score that did not pass, or the lowest of all if every row passed.

    Args:
        alpha: Weight of the newest window in the logged EMA.
    """

    alpha: Smoothing = 0.3

    state_type: ClassVar[type[Any]] = TopKState
    guarantee: ClassVar[str] = (
        "the rows let through are target x rows offered, to less than one row over a run, for any scores"
    )
    exact: ClassVar[bool] = True
    fallback: ClassVar[Fallback] = Fallback(rows=0, below=0)

    def guarantee_bound(self, windows: int, rows: float) -> float:
        """Returns one row, as a share of all rows."""
        del windows
        return 1 / rows

    def begin_epoch(
        self, state: TopKState | None, scores: np.ndarray, target: float, *, frozen: bool = False
    ) -> TopKState:
        """Starts without a remainder; changes nothing later."""
        del scores, frozen
        return TopKState(ema=target) if state is None else state

    def observe(self, state: TopKState, active: Number, offered: float, target: float) -> TopKState:
        """Smooths the rate for the log."""
        del target
        return TopKState(self.alpha * (active / offered) + (1 - self.alpha) * state.ema, state.remainder)

    def gate(self, state: TopKState, scores: Tensor, target: float, rng: np.random.Generator) -> Gated[TopKState]:
        """Takes the highest scores. Reads nothing from the device."""
        del rng
        n = len(scores)
        count, remainder = exact_count(target, n, state.remainder)
        ordered = bounded(scores).sort(descending=True, stable=True)
        mask = torch.zeros(n, dtype=torch.bool, device=scores.device).index_fill_(0, ordered.indices[:count], True)
        return Gated(mask, count, ordered.values[min(count, n - 1)], TopKState(state.ema, remainder))

    def gate_windows(
        self, state: TopKState, scores: np.ndarray, windows: Windows, target: float, rng: np.random.Generator
    ) -> GateTrace[TopKState]:
        """Sorts all windows at once. The counts add up as those of `gate` do."""
        del rng
        counts, remainder = windows.quota(target, state.remainder)
        # A positive float32 is ordered like its bits. The position in the low bits makes the keys different.
        bits = bounded(scores).astype(np.float32).view(np.int32).astype(np.int64)
        mask, beyond = windows.lowest(np.arange(windows.rows) - (bits << 32), counts)
        thresholds = (-(beyond >> 32)).astype(np.int32).view(np.float32).astype(np.float64)
        states: list[TopKState] = []
        for count, rows in zip(counts.tolist(), windows.sizes.tolist(), strict=True):
            state = self.observe(state, count, rows, target)
            states.append(state)
        return GateTrace(mask, counts, thresholds, states, TopKState(state.ema, remainder))
