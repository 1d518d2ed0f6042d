"""Controllers that move a threshold: those of the scores themselves, and those of their logarithm."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
from torch import Tensor

from ast_experiments.selection.control.controller import Controller, Gated, GateTrace, State
from ast_experiments.selection.control.windows import Windows
from ast_experiments.selection.numeric import Number, exp

Scores = TypeVar("Scores", np.ndarray, Tensor)

SCORE_FLOOR, SCORE_CAP = 1e-6, 1e2
LOG_FLOOR, LOG_CAP = math.log(SCORE_FLOOR), math.log(SCORE_CAP)
DENSITY_ROWS = 65_536


def bounded(scores: Scores) -> Scores:
    """Returns the scores limited to [1e-6, 1e2], the range in which a log-threshold moves."""
    return scores.clip(SCORE_FLOOR, SCORE_CAP)


def log_scores(scores: np.ndarray) -> np.ndarray:
    """Returns the logarithms of the bounded scores."""
    return np.log(bounded(scores))


def log_quantile(scores: np.ndarray, target: float) -> tuple[float, float]:
    """Returns the log-threshold that `target` of the scores exceed, and the density of log-scores there.

    The density is a central difference of the quantile function, clipped to [0.05, 5]. Of more than 65,536 scores it
    uses evenly spaced ones.

    Args:
        scores: Recent scores, shape (n,), n >= 1.
        target: Share of the scores above the threshold, in (0, 1).
    """
    u = log_scores(scores[:: -(-len(scores) // DENSITY_ROWS)])
    half = min(0.05, target / 2, (1 - target) / 2)
    low, level, high = quantiles(u, [1 - target - half, 1 - target, 1 - target + half])
    return level, min(max(2 * half / max(high - low, 1e-9), 0.05), 5.0)


def quantiles(values: np.ndarray, shares: list[float]) -> list[float]:
    """Returns quantiles as `np.quantile` defines them, linear between neighbours, at a third of its fixed cost.

    Args:
        values: Shape (n,), n >= 1.
        shares: Each in [0, 1].
    """
    last = len(values) - 1
    places = [min(max(share, 0.0), 1.0) * last for share in shares]
    lower = [int(place) for place in places]
    ordered = np.partition(values, sorted({*lower, *(min(at + 1, last) for at in lower)}))
    found = []
    for place, at in zip(places, lower, strict=True):
        below, above = float(ordered[at]), float(ordered[min(at + 1, last)])
        found.append(below + (above - below) * (place - at))
    return found


class Level(State, Protocol):
    """A state with a level: the threshold, or its logarithm."""

    @property
    def level(self) -> Number:
        """The threshold, or its logarithm."""
        ...


class LevelState(NamedTuple):
    """The smallest state of a threshold.

    Attributes:
        level: The threshold, or its logarithm.
        ema: Smoothed rate.
    """

    level: Number
    ema: Number


L = TypeVar("L", bound=Level)


class ThresholdController(Controller[L]):
    """Lets rows pass whose score exceeds a threshold, which is the level of the state."""

    state_type: ClassVar[type[Any]] = LevelState

    def threshold(self, state: L) -> Number:
        """Returns the threshold, in units of the scores."""
        return state.level

    def condition(self, scores: Scores) -> Scores:
        """Returns the scores (n,) that the gate compares with the threshold."""
        return scores

    def gate(self, state: L, scores: Tensor, target: float, rng: np.random.Generator) -> Gated[L]:
        """Compares each score with the threshold."""
        del target, rng
        threshold = self.threshold(state)
        mask = self.condition(scores) > threshold
        return Gated(mask, mask.sum(), threshold, state)

    def gate_windows(
        self, state: L, scores: np.ndarray, windows: Windows, target: float, rng: np.random.Generator
    ) -> GateTrace[L]:
        """Counts by bisection in sorted windows, then compares all scores at once: no array operation per window."""
        del rng
        scores = self.condition(scores)
        ordered = scores.copy()
        for block in windows.blocks(ordered):
            block.sort(axis=1)
        ordered = ordered.data
        states: list[L] = []
        counts, thresholds, begin = [], [], 0
        for end in windows.ends.tolist():
            threshold = float(self.threshold(state))
            count = end - bisect_right(ordered, threshold, begin, end)
            state = self.observe(state, count, end - begin, target)
            states.append(state)
            thresholds.append(threshold)
            counts.append(count)
            begin = end
        limits = np.array(thresholds)
        mask = np.concatenate(
            [
                (block > limit[:, None]).ravel()
                for block, limit in zip(windows.blocks(scores), (limits[:-1], limits[-1:]), strict=True)
            ]
        )
        return GateTrace(mask, np.array(counts, dtype=np.int64), limits, states, state)


class LogThresholdController(ThresholdController[L]):
    """Moves the logarithm of the threshold, within the range of the bounded scores.

    Control starts at the threshold that the target share of the first scores exceeds.
    """

    needs_scores: ClassVar[bool] = True

    def begin_epoch(self, state: L | None, scores: np.ndarray, target: float, *, frozen: bool = False) -> L:
        """Sets the threshold in the first epoch; changes nothing later."""
        del frozen
        return self.state_type(level=log_quantile(scores, target)[0], ema=target) if state is None else state

    def threshold(self, state: L) -> Number:
        """Returns exp(level)."""
        return exp(state.level)

    def condition(self, scores: Scores) -> Scores:
        """Returns the bounded scores."""
        return bounded(scores)
