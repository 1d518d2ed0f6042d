"""A method at work: the selector keeps the sample history and calls the method's hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.errors import ConfigError
from ast_experiments.selection.context import Context, Scorer, forwarded
from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.hooks import check_hooks
from ast_experiments.selection.method import NO_HOLDOUT, Method
from ast_experiments.selection.plan import Plan, shared

USES_PLAN = ("select", "weigh", "observe", "signals", "end_epoch")
"""Hooks that run on every rank and may use what `plan` has set."""


class Selector:
    """One run's selection: plans epochs, records scores, and holds all state of a resumed run.

    Args:
        method: Decides which samples are trained.
        context: The run that it decides for.

    Attributes:
        method: As given.
        history: Scores, epochs and visits of the samples; empty for a method that keeps none.
        learns: Whether anything comes of `observe`.

    Raises:
        UserError: If a hook of the method is misspelt or takes other arguments, or samples must be held out.
    """

    def __init__(self, method: Method, context: Context) -> None:
        check_hooks(type(method))
        if method.needs_holdout and context.held_out is None:
            raise ConfigError(f"{type(method).__name__}: {NO_HOLDOUT}")
        self.method, self.history = method, SampleHistory(context.samples, context.device)
        self._context, self._epoch = context, 0
        own = type(method)
        uses_plan = any(getattr(own, hook) is not getattr(Method, hook) for hook in USES_PLAN)
        self._on_rank_0 = method.planned_on_rank_0 and not uses_plan
        self.learns = method.keeps_history or own.observe is not Method.observe
        method.bind(context)
        self.select, self.weigh, self.signals = method.select, method.weigh, method.signals
        self.scored_share, self.facts = method.scored_share, method.facts

    def plan(self, epoch: int, target: float) -> Plan:
        """Decides an epoch (counted from 0) at a target rate in (0, 1]; commits nothing. All ranks call it together.

        At a target rate of 1 every sample is trained. The method is asked all the same if it sets its own rate, or if
        it looks at loaded batches.
        """
        self._epoch, method = epoch, self.method
        for _, part in method.parts():
            part.reset()
        self.history.keep(self._on_rank_0 and distributed.size() > 1)
        plan = self._plan(target) if self.history.kept else None
        method.planned = plan if plan is not None and not self.history.on_rank_0 else shared(plan)
        return method.planned

    def _plan(self, target: float) -> Plan:
        method = self.method
        whole = target >= 1 and method.rate is not None and not method.looks_at_batches()
        plan = method.train_all(self._epoch) if whole else method.plan(self._epoch, target, self.history)
        growth = self._context.batch_growth
        return plan.merged(growth[self._epoch]) if growth else plan

    def observe(self, batch: Batch, outputs: Outputs) -> None:
        """Records the scores of a trained batch and lets the method learn from it."""
        if self.method.keeps_history:
            self.history.record(batch.ids, self.method.score(batch, outputs))
        self.method.observe(batch, outputs)

    def end_epoch(self, score: Scorer) -> None:
        """Scores what the method asks for, then commits the epoch."""
        method = self.method
        for batch, outputs in forwarded(self._context, score, self._rescored(), self._epoch):
            self.observe(batch, outputs)
        if method.keeps_history:
            self.history.commit(self._epoch)
        for _, part in method.parts():
            part.commit(self._epoch)
        method.end_epoch(self._epoch)

    def _rescored(self) -> np.ndarray:
        """Returns the samples to score, on every rank."""
        if not self.history.kept:
            return distributed.broadcast_object(None)
        ids = self.method.rescore(self._epoch, self.history)
        return distributed.broadcast_object(ids) if self.history.on_rank_0 else ids

    def state_dict(self) -> dict[str, Any]:
        """Returns history and method; valid in the middle of an epoch."""
        history = self.history.state_dict() if self.method.keeps_history else {}
        return {"history": history, "method": self.method.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        if self.method.keeps_history:
            self.history.load_state_dict(state["history"])
        self.method.load_state_dict(state["method"])
