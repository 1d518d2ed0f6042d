"""Adaptive sparse training as published: every loaded batch is scored afresh, then gated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from ast_experiments.selection.controllers import Controller, ControlState
from ast_experiments.selection.gates import above
from ast_experiments.selection.numeric import Number, generator
from ast_experiments.selection.protocol import Context, Scorer
from ast_experiments.selection.significance import Significance
from ast_experiments.selection.types import Batch, Outputs, Plan

ORDER, FALLBACK, GATE = 1, 2, 3
RECENT = 4096


class Fresh:
    """Scores every row of every batch and trains those that pass the gate.

    `gather` scores with a forward pass of its own and trains a second pass on the active rows alone; it reads the
    scores back to the host once a batch, because the number of active rows decides the shape of the second pass.
    `masked` makes one forward pass and multiplies the losses of inactive rows by zero, so it saves no work; it never
    waits for the device, except with a gate that walks over rows one by one. Loss weights are scaled such that the
    loss is the mean over the active rows in both.

    Args:
        controller: Moves the threshold, once a batch.
        significance: Scores the rows.
        execution: `gather` or `masked`.
        score_mode: Mode of the network in `gather`'s scoring pass. `train` is what was published: dropout acts and
            BatchNorm statistics move; `eval` leaves them alone.
    """

    def __init__(
        self,
        controller: Controller,
        significance: Significance,
        *,
        execution: Literal["gather", "masked"] = "gather",
        score_mode: Literal["train", "eval"] = "eval",
    ) -> None:
        self._controller, self._significance = controller, significance
        self._execution, self._score_mode = execution, score_mode
        self._state: ControlState | None = None
        self._signals: dict[str, Number] = {}

    def prepare(self, context: Context) -> None:
        """Make room for recent scores, which some controllers scale their gains by."""
        self._context = context
        self._recent = torch.full((RECENT,), torch.nan, device=context.device)
        self._epoch, self._target, self._batch, self._renewed = 0, 1.0, 0, True

    def plan(self, epoch: int, target: float) -> Plan:
        """All samples in a new order; the choice is made batch by batch."""
        c = self._context
        if epoch != self._epoch or target != self._target:
            self._batch, self._renewed = 0, False
        self._epoch, self._target = epoch, target
        ids = generator(c.seed, ORDER, epoch).permutation(c.samples)
        return Plan(ids, offered=c.samples, load_batch=c.batch_size, keep_short=True)

    def select(self, loaded: Batch, score: Scorer) -> Iterable[Batch]:
        """With `gather`, the active rows; with `masked` or in the warm-up, all of them."""
        if self._target >= 1 or self._execution == "masked":
            return (loaded,)
        outputs = score(loaded, mode=self._score_mode)
        scores = self._significance(outputs.losses, outputs.logits, loaded.images)
        active = self._decide(scores.cpu(), on_host=True)
        rows = active.nonzero().squeeze(1).to(loaded.ids.device)
        weights = None if loaded.weights is None else loaded.weights[rows]
        return (Batch(loaded.ids[rows], loaded.images[rows], loaded.labels[rows], weights),)

    def weigh(self, batch: Batch, outputs: Outputs) -> Tensor | None:
        """With `masked`, zero for inactive rows."""
        if self._target >= 1 or self._execution == "gather":
            return batch.weights
        scores = self._significance(outputs.losses, outputs.logits, batch.images)
        active = self._decide(scores, on_host=False).to(outputs.losses.dtype)
        weights = active * (len(batch) / active.sum())
        return weights if batch.weights is None else weights * batch.weights

    def _decide(self, scores: Tensor, *, on_host: bool) -> Tensor:
        """Gate a batch (n,), let the controller observe it, and return the mask (n,)."""
        c, control = self._context, self._controller
        state = self._state or control.initial(self._target)
        n, index = len(scores), self._batch
        self._batch += 1
        if control.needs_scores:
            if not self._renewed:
                seen = self._recent[~self._recent.isnan()]
                state = control.renew(state, (seen if len(seen) else scores).cpu().numpy(), self._target)
            fits = scores[:RECENT].to(self._recent.device, torch.float32)
            first = index * c.batch_size
            self._recent[torch.arange(first, first + len(fits), device=fits.device) % RECENT] = fits
        self._renewed = True
        threshold, scores = control.threshold(state), control.condition(scores)
        if control.gate is None:
            passed = above(scores, threshold)
        else:
            rng = generator(c.seed, GATE, self._epoch, index)
            kept, level = control.gate.decide(
                scores.double().cpu().numpy(), float(threshold), float(state.reservoir), *control.gate.draw(rng, n)
            )
            passed = torch.from_numpy(kept).to(scores.device)
            state = state._replace(reservoir=level)
        keys = generator(c.seed, FALLBACK, self._epoch, index).random(n, dtype="float32")
        active, fell_back = control.fallback.apply(passed, scores, torch.from_numpy(keys).to(scores.device))
        passed_count, active_count = passed.sum(), active.sum()
        counted = active_count if control.counts_fallback else passed_count
        seen_active = counted.item() if on_host else counted.to(_accumulator(scores.device))
        self._state = control.observe(state, seen_active, n, self._target)
        self._signals = {
            "control/threshold": threshold,
            "control/activation_rate_ema": self._state.ema,
            "control/gate_share": passed_count / n,
            "control/proportional": self._state.proportional,
            "control/integral": self._state.integral_term,
            "control/saturated": self._state.saturated,
            "control/fallback": fell_back.float(),
            "control/kp": self._state.kp,
            "control/ki": self._state.ki,
        }
        return active

    def signals(self) -> Mapping[str, Number]:
        """Threshold, smoothed rate, gate share, terms, saturation and fallback of the last batch."""
        return self._signals if self._target < 1 else {}

    def state_dict(self) -> dict[str, Any]:
        """Controller state and recent scores; valid in the middle of an epoch."""
        control = None
        if self._state is not None:
            # 0-d tensors stay tensors: the laws round differently on plain numbers.
            control = {k: v.cpu() if isinstance(v, Tensor) else v for k, v in self._state._asdict().items()}
        return {
            "control": control,
            "recent": self._recent.cpu().clone(),
            "batch": self._batch,
            "epoch": self._epoch,
            "target": self._target,
            "renewed": self._renewed,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._state = None
        if state["control"] is not None:
            control: dict[str, Any] = dict(state["control"])
            for key, value in control.items():
                if isinstance(value, Tensor):
                    control[key] = value.to(self._context.device)
            self._state = ControlState(**control)
        self._recent.copy_(state["recent"])
        self._batch, self._epoch = state["batch"], state["epoch"]
        self._target, self._renewed = state["target"], state["renewed"]


def _accumulator(device: torch.device) -> torch.dtype:
    """float64 where the device has it: the laws accumulate over a whole run."""
    return torch.float32 if device.type == "mps" else torch.float64
