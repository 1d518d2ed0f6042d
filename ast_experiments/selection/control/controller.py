"""The controller interface: two hooks to write, the rest with defaults.

A controller is a frozen dataclass of settings. Its state is a separate `NamedTuple` of plain numbers or 0-d tensors.
Every method returns the next state and changes nothing, so an epoch can be planned without committing it.

`Controller` leaves the gate to its subclasses. `ThresholdController` and `LogThresholdController` (`threshold.py`)
bring one, so a law that moves a threshold writes `observe` and little else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from ast_experiments.selection.control.gates import Fallback
from ast_experiments.selection.control.windows import Windows
from ast_experiments.selection.numeric import Number

AVERAGED = frozenset({"control/gate_share", "control/saturated", "control/fallback"})
"""Control signals that a log row averages over its steps. It shows the last value of the others."""


NO_SCORES = np.empty(0, dtype=np.float32)
"""Scores for a controller that reads none."""


class State(Protocol):
    """What every state has in common: a `NamedTuple` with at least the smoothed rate."""

    @property
    def ema(self) -> Number:
        """Smoothed rate."""
        ...

    def _asdict(self) -> dict[str, Any]: ...

    def _replace(self, **changes: Any) -> Any: ...


S = TypeVar("S", bound=State)


def law_signals(
    ema: Number,
    *,
    proportional: Number = 0.0,
    integral: Number = 0.0,
    saturated: Number = 0.0,
    kp: Number = 0.0,
    ki: Number = 0.0,
) -> dict[str, Number]:
    """Returns the signals of a law by key of the log; a term that the law lacks is 0.

    Args:
        ema: Smoothed rate.
        proportional: Proportional term of the last step.
        integral: Integral term of the last step.
        saturated: 1 where the last step hit a bound.
        kp: Proportional gain in use.
        ki: Integral gain in use.
    """
    return {
        "control/activation_rate_ema": ema,
        "control/proportional": proportional,
        "control/integral": integral,
        "control/saturated": saturated,
        "control/kp": kp,
        "control/ki": ki,
    }


class Gated(NamedTuple, Generic[S]):
    """The rows of one batch that passed a gate.

    Attributes:
        mask: Bool, shape (n,).
        active: How many rows passed: a plain number if the gate knows it in advance, else a 0-d tensor.
        threshold: The threshold of the batch.
        state: State to observe the batch with.
    """

    mask: Tensor
    active: Number
    threshold: Number
    state: S


class GateTrace(NamedTuple, Generic[S]):
    """The rows of a planned epoch that passed a gate, window by window.

    Attributes:
        mask: Bool, shape (rows,).
        active: Rows that passed in each window, int64, shape (windows,).
        thresholds: Threshold of each window, float64, shape (windows,).
        states: The state after each window.
        final: The state at the end of the epoch.
    """

    mask: np.ndarray
    active: np.ndarray
    thresholds: np.ndarray
    states: list[S]
    final: S


class Controller(ABC, Generic[S]):
    """Decides which rows of a batch pass, so that a target share of all rows does.

    Attributes:
        state_type: The `NamedTuple` of its state.
        guarantee: What holds for any sequence of scores, in one sentence.
        needs_scores: Whether `begin_epoch` reads scores.
        exact: Whether the gate knows the number of rows that pass before it sees a score.
        trains_every_batch: Whether gate and fallback are designed to train some rows of every batch.
        fallback: Rows to train when too few pass in a batch.
        holds_rate: Whether the share follows the target, so that a budget can be kept.
        counts_fallback: Whether the observed rate includes rows that only the fallback selected.
    """

    state_type: ClassVar[type[Any]]
    guarantee: ClassVar[str] = "none"
    needs_scores: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    trains_every_batch: ClassVar[bool] = False
    holds_rate: ClassVar[bool] = True
    fallback: ClassVar[Fallback] = Fallback()
    counts_fallback: ClassVar[bool] = False

    @abstractmethod
    def begin_epoch(self, state: S | None, scores: np.ndarray, target: float, *, frozen: bool = False) -> S:
        """Returns the state at the start of an epoch under control.

        Args:
            state: State at the end of the previous one; None before the first.
            scores: Recent scores, shape (n,); may be empty unless `needs_scores`.
            target: Target share of the gate.
            frozen: Whether the epoch gates exactly these scores, so that their quantiles are known in advance.
        """

    @abstractmethod
    def observe(self, state: S, active: Number, offered: float, target: float) -> S:
        """Returns the state after a batch or window in which `active` of `offered` rows were active."""

    @abstractmethod
    def gate(self, state: S, scores: Tensor, target: float, rng: np.random.Generator) -> Gated[S]:
        """Decides which rows of a batch pass.

        Reads nothing back from the device, except in gates that process rows one by one.

        Args:
            state: Present state.
            scores: Shape (n,), n >= 1.
            target: Target share of the epoch.
            rng: For gates that draw.
        """

    def gate_windows(
        self, state: S, scores: np.ndarray, windows: Windows, target: float, rng: np.random.Generator
    ) -> GateTrace[S]:
        """Gates an epoch of known scores window by window and observes each window.

        This calls `gate` for each window. Override it where the same decisions can be made faster for all windows.

        Args:
            state: State at the start of the epoch.
            scores: Shape (rows,), in the order of the windows.
            windows: The windows over these rows.
            target: Target share of the epoch, in [0, 1].
            rng: For gates that draw.
        """
        masks, active, thresholds, states = [], [], [], []
        for window in np.split(scores, windows.ends[:-1]) if windows.count else ():
            gated = self.gate(state, torch.from_numpy(window), target, rng)
            masks.append(gated.mask.numpy())
            active.append(int(gated.active))
            thresholds.append(float(gated.threshold))
            state = self.observe(gated.state, active[-1], len(window), target)
            states.append(state)
        mask = np.concatenate(masks) if masks else np.zeros(0, dtype=bool)
        return GateTrace(mask, np.array(active, dtype=np.int64), np.array(thresholds), states, state)

    def signals(self, state: S) -> dict[str, Number]:
        """Returns what the log shows of a state: the smoothed rate and the terms of the law, by key of the log."""
        return law_signals(state.ema)

    def guarantee_bound(self, windows: int, rows: float) -> float | None:
        """Returns the largest possible |share - target| after `windows` windows of `rows` rows in total.

        Share and target are the means that `RateStatistics` computes. None means no guarantee.
        """
        del windows, rows
        return None

    def restore(self, values: Mapping[str, Any]) -> S:
        """Returns the state whose `_asdict` gave `values`."""
        return self.state_type(**values)
