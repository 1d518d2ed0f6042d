"""A new uniform draw every epoch: the control that every method has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ast_experiments.selection.batching import full_batches
from ast_experiments.selection.method import Context, Scorer
from ast_experiments.selection.numeric import generator
from ast_experiments.selection.plan import Plan


class Random:
    """Trains on `target` of the samples, drawn anew each epoch, in full batches.

    What fills no batch counts for the next epoch, so the rate is exact over the run.
    """

    def __init__(self) -> None:
        self._owed = self._owed_next = 0.0

    def prepare(self, context: Context) -> None:
        """Learn how many samples there are."""
        self._context = context

    def plan(self, epoch: int, target: float) -> Plan:
        """A uniform draw without replacement."""
        c = self._context
        ids = generator(c.seed, 1, epoch).permutation(c.samples)
        if target >= 1:
            self._owed_next = self._owed
            return Plan(ids, offered=c.samples, load_batch=c.batch_size, keep_short=True)
        rows, self._owed_next = full_batches(target, c.samples, self._owed, c.batch_size)
        return Plan(ids[:rows], offered=c.samples, load_batch=c.batch_size)

    def end_epoch(self, score: Scorer) -> None:
        """Carry the rows that are owed."""
        del score
        self._owed = self._owed_next

    def state_dict(self) -> dict[str, Any]:
        """The rows that are owed."""
        return {"owed": self._owed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the rows that are owed."""
        self._owed = float(state["owed"])
