"""What controllers have in common: their state, what they offer, how a batch meets a gate, how shares are counted."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from ast_experiments.selection.control.gates import ExactGate, Fallback, ReservoirGate, above
from ast_experiments.selection.numeric import Number

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
        owed: Fraction of a row that an exact gate carries on.
        reference: Level that the target share of the frozen scores of the last epoch exceeded; None before.
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
    owed: float = 0.0
    reference: float | None = None


class Controller(Protocol):
    """What every controller offers.

    Attributes:
        gate: The gate that goes with the law; None is the plain comparison with the threshold.
        fallback: What is trained when too few rows pass in a batch that is scored afresh.
        counts_fallback: Whether rows that only the fallback activated count in the observed rate.
        needs_scores: Whether `renew` looks at scores.
        promise: What holds for any sequence of scores, in a sentence.
    """

    @property
    def gate(self) -> ReservoirGate | ExactGate | None:
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

    @property
    def promise(self) -> str:
        """See the class."""
        ...

    def bound(self, windows: int, rows: float) -> float | None:
        """Largest |share - target| that can occur over so many windows of so many rows in all, as `Tally` has them.

        None where nothing is promised.
        """
        ...

    def initial(self, target: float) -> ControlState:
        """The state before anything was observed."""
        ...

    def renew(self, state: ControlState, scores: np.ndarray, target: float, *, frozen: bool = False) -> ControlState:
        """The state at the start of an epoch under control.

        Args:
            state: The state at the end of the last one.
            scores: Recent scores, shape (n,).
            target: The gate's target.
            frozen: Whether the epoch gates exactly these scores, so that their quantiles are known in advance.
        """
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


class Passed(NamedTuple):
    """What a gate let through of one batch.

    Attributes:
        mask: Bool, shape (n,).
        active: How many; a plain number with an exact gate, else a 0-d tensor.
        threshold: What they had to exceed.
        state: To be given to `Controller.observe`.
    """

    mask: Tensor
    active: Number
    threshold: Number
    state: ControlState


def pass_gate(
    controller: Controller, state: ControlState, scores: Tensor, target: float, rng: np.random.Generator
) -> Passed:
    """Let a batch meet the controller's gate, whichever it is.

    Nothing is read back from the device, but for a gate that walks over the rows one by one.

    Args:
        controller: Its gate and threshold.
        state: Where it stands.
        scores: As the significance gives them, shape (n,), n >= 1.
        target: Target of the epoch.
        rng: For gates that draw.
    """
    scores, gate = controller.condition(scores), controller.gate
    if isinstance(gate, ExactGate):
        mask, count, threshold, owed = gate.decide(scores, target, state.owed)
        return Passed(mask, count, threshold, state._replace(level=threshold, owed=owed))
    threshold = controller.threshold(state)
    if gate is None:
        mask = above(scores, threshold)
    else:
        kept, reservoir = gate.decide(
            scores.double().cpu().numpy(), float(threshold), state.reservoir, *gate.draw(rng, len(scores))
        )
        mask, state = torch.from_numpy(kept).to(scores.device), state._replace(reservoir=reservoir)
    return Passed(mask, mask.sum(), threshold, state)


class Tally(NamedTuple):
    """Counts what a gate let through over a run, to hold it against the controller's promise.

    Every window counts once; with an exact gate, by its rows.

    Attributes:
        windows: Windows under control.
        weight: Their total weight.
        share: Sum of weight x share let through.
        target: Sum of weight x target.
    """

    windows: int = 0
    weight: float = 0.0
    share: Number = 0.0
    target: float = 0.0

    def add(self, controller: Controller, active: Number, offered: float, target: float) -> Tally:
        """The tally after a window in which the gate let `active` of `offered` rows through."""
        weight = offered if isinstance(controller.gate, ExactGate) else 1.0
        return Tally(
            self.windows + 1,
            self.weight + weight,
            self.share + weight * (active / offered),
            self.target + weight * target,
        )

    def add_all(self, controller: Controller, active: np.ndarray, offered: np.ndarray, target: float) -> Tally:
        """The same for many windows at once, shapes (windows,)."""
        weights = offered if isinstance(controller.gate, ExactGate) else np.ones(len(offered))
        weight = float(weights.sum())
        return Tally(
            self.windows + len(offered),
            self.weight + weight,
            self.share + float((weights * (active / offered)).sum()),
            self.target + weight * target,
        )

    def facts(self, controller: Controller) -> dict[str, str | int | float | None]:
        """Promise, bound and what was measured, for result.json; reads the device if the counts are there."""
        means = {"gate_share": None, "gate_target": None, "bound": None}
        if self.windows:
            means = {
                "gate_share": float(self.share) / self.weight,
                "gate_target": self.target / self.weight,
                "bound": controller.bound(self.windows, self.weight),
            }
        return {"promise": controller.promise, "windows": self.windows, **means}
