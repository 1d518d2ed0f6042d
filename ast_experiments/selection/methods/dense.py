"""Every sample, every epoch: the reference."""

from __future__ import annotations

from ast_experiments.selection.method import Context
from ast_experiments.selection.numeric import generator
from ast_experiments.selection.plan import Plan


class Dense:
    """Trains on all samples in a new order each epoch; keeps the last short batch."""

    def prepare(self, context: Context) -> None:
        """Learn how many samples there are."""
        self._context = context

    def plan(self, epoch: int, target: float) -> Plan:
        """A permutation of all samples; the target does not matter."""
        del target
        c = self._context
        ids = generator(c.seed, 1, epoch).permutation(c.samples)
        return Plan(ids, offered=c.samples, load_batch=c.batch_size, keep_short=True)
