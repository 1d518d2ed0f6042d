"""Adaptive sparse training in one pass, as published: the losses of inactive rows are multiplied by zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.errors import ConfigError
from ast_experiments.selection.batch_gate import BatchGate
from ast_experiments.selection.context import RunSettings
from ast_experiments.selection.control.controller import AVERAGED, Controller
from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.method import Method
from ast_experiments.selection.numeric import Number
from ast_experiments.selection.plan import Plan
from ast_experiments.selection.significance import Significance, score_batch


class ASTMasked(Method):
    """Trains every row of every batch, and multiplies the losses of those that do not pass the gate by zero.

    There is one forward pass, so the method saves no work. It never waits for the device, except with a gate that
    processes rows one by one. Loss weights are scaled so that the loss is the mean over the active rows of all ranks.
    The ranks of a data-parallel run exchange their scores, and all of them gate the whole batch.

    Args:
        controller: Moves the threshold, once per batch.
        significance: Scores the rows.
    """

    scoring = "masked"
    keeps_history = False
    trains_every_row = True
    unmixable = dict.fromkeys(
        ("mixup", "cutmix"),
        "unlike ast_fresh, it chooses by the losses of the pass that it trains, in which the images are already mixed",
    )
    averaged = AVERAGED

    def __init__(self, controller: Controller[Any], significance: Significance) -> None:
        self._controller, self._significance = controller, significance

    def check(self, run: RunSettings) -> None:
        """Refuses batches in parts: the gate weighs whole batches."""
        if run.auto_batch:
            raise ConfigError(
                "hardware.auto_batch: method=ast_masked weighs whole batches, which cannot be trained in parts; "
                "type hardware.auto_batch=false and a smaller recipe.batch_size"
            )

    def prepare(self) -> None:
        """Makes the gate."""
        self._gate = BatchGate(self.context, self._controller, on_host=False, fallback=True)

    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Orders all samples at random; `weigh` chooses batch by batch."""
        del history
        self._target = target
        self._gate.begin(epoch, target)
        return self.train_all(epoch)

    def weigh(self, batch: Batch, outputs: Outputs) -> Tensor | None:
        """Returns zero for inactive rows."""
        if self._target >= 1:
            return batch.weights
        scores = distributed.gather_rows(score_batch(self._significance, batch, outputs), batch.rows)
        active = self._gate.decide(scores)[0].to(outputs.losses.dtype)
        weights = active[distributed.shard(len(active))] * (len(active) / active.sum().clamp(min=1))
        return weights if batch.weights is None else weights * batch.weights

    def signals(self) -> Mapping[str, Number]:
        """Returns the control signals of the last batch."""
        return self._gate.signals if self._target < 1 else {}

    def facts(self) -> Mapping[str, Any]:
        """Returns the controller's guarantee and the rates it held."""
        return self._gate.facts()

    def least_share(self, rate: float) -> float:
        """Returns 1: every row goes through the training pass."""
        del rate
        return 1.0
