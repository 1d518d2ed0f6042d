"""The gate of a method on fresh scores: it decides each loaded batch and lets the controller observe it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ast_experiments.selection.context import Context
from ast_experiments.selection.control.controller import NO_SCORES, Controller, State
from ast_experiments.selection.control.statistics import RateStatistics
from ast_experiments.selection.numeric import Number, generator
from ast_experiments.selection.parts import Part

FALLBACK, GATE = 2, 3
RECENT = 4096
"""Number of scores that a controller sees at the start of an epoch."""


class BatchGate(Part):
    """Gates whole batches, on all ranks alike.

    Args:
        context: The run.
        controller: Moves the threshold, once per batch.
        on_host: Whether the laws compute with plain numbers, which waits for the device; otherwise with 0-d tensors.
        fallback: Whether the controller's fallback applies.

    Attributes:
        signals: Control signals of the last batch.
        statistics: Rates so far.
    """

    def __init__(self, context: Context, controller: Controller[Any], *, on_host: bool, fallback: bool) -> None:
        self._context, self._controller, self._on_host = context, controller, on_host
        self._fallback = fallback and bool(controller.fallback.rows)
        self._recent = torch.full((RECENT,), torch.nan, device=context.device)
        self._epoch, self._target, self._index, self._renewed = 0, 1.0, 0, True
        self._state: State | None = None
        self.statistics = RateStatistics()
        self.signals: dict[str, Number] = {}

    def begin(self, epoch: int, target: float) -> None:
        """Starts an epoch, or goes on with it if the state of the middle of it was loaded."""
        if epoch != self._epoch or target != self._target:
            self._index, self._renewed = 0, False
        self._epoch, self._target = epoch, target

    def decide(self, scores: Tensor) -> tuple[Tensor, Number]:
        """Gates the next batch; returns the mask (n,) and how many rows it holds.

        Args:
            scores: Scores of the whole batch, shape (n,).
        """
        control, target, n, index = self._controller, self._target, len(scores), self._index
        seed, epoch = self._context.seed, self._epoch
        passed = control.gate(self._begun(scores), scores, target, generator(seed, GATE, epoch, index))
        active, total, fell_back = passed.mask, passed.active, 0.0
        if self._fallback:
            keys = generator(seed, FALLBACK, epoch, index).random(n, dtype="float32")
            keys = torch.from_numpy(keys).to(scores.device, non_blocking=True)
            active, used = control.fallback.apply(passed.mask, scores, keys)
            total, fell_back = active.sum(), used.float()
        counted = self._number(total if control.counts_fallback else passed.active)
        self._state = control.observe(passed.state, counted, n, target)
        self.statistics = self.statistics.add(control, self._number(passed.active), n, target)
        self.signals = {
            "control/threshold": passed.threshold,
            "control/gate_share": passed.active / n,
            "control/fallback": fell_back,
            **control.signals(self._state),
        }
        self._index += 1
        return active, total

    def _begun(self, scores: Tensor) -> State:
        """Returns the state to gate with; remembers recent scores if the controller scales its gains by them."""
        control, state, recent = self._controller, self._state, self._recent
        if control.needs_scores:
            if state is None or not self._renewed:
                seen = recent[~recent.isnan()]
                state = control.begin_epoch(state, (seen if len(seen) else scores).cpu().numpy(), self._target)
            fits = scores[:RECENT].to(recent.device, torch.float32)
            first = self._index * self._context.batch_size
            recent[torch.arange(first, first + len(fits), device=fits.device) % RECENT] = fits
        elif state is None:
            state = control.begin_epoch(None, NO_SCORES, self._target)
        self._renewed = True
        return state

    def _number(self, count: Number) -> Number:
        if not isinstance(count, Tensor):
            return count
        if self._on_host:
            return count.item()
        # The laws accumulate over a whole run: float64 if the device has it.
        return count.to(torch.float32 if count.device.type == "mps" else torch.float64)

    def facts(self) -> dict[str, Any]:
        """Returns the controller's guarantee and the rates it held."""
        return self.statistics.facts(self._controller)

    def state_dict(self) -> dict[str, Any]:
        """Returns controller state, statistics and recent scores; valid in the middle of an epoch."""
        return {
            "control": None if self._state is None else _moved(self._state._asdict(), torch.device("cpu")),
            "statistics": _moved(self.statistics._asdict(), torch.device("cpu")),
            "recent": self._recent.cpu().clone(),
            "epoch": self._epoch,
            "target": self._target,
            "index": self._index,
            "renewed": self._renewed,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        device, control = self._context.device, state["control"]
        self._state = None if control is None else self._controller.restore(_moved(control, device))
        self.statistics = RateStatistics(**_moved(state["statistics"], device))
        self._recent.copy_(state["recent"])
        self._epoch, self._target = state["epoch"], state["target"]
        self._index, self._renewed = state["index"], state["renewed"]


def _moved(values: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Moves 0-d tensors; they stay tensors, because the laws round differently on plain numbers."""
    return {k: v.to(device) if isinstance(v, Tensor) else v for k, v in values.items()}
