"""Repeated random subsets without replacement: what a selection method has to beat at equal cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ast_experiments.selection.batching import full_batches
from ast_experiments.selection.method import Context, Scorer
from ast_experiments.selection.numeric import generator
from ast_experiments.selection.plan import Plan

ORDER, SHUFFLE = 1, 2


class Place(NamedTuple):
    """Where the run stands in the endless sequence of permutations.

    Attributes:
        consumed: Rows taken from it.
        owed: Rows that filled no batch.
    """

    consumed: int = 0
    owed: float = 0.0


class RS2:
    """Trains consecutive chunks of one permutation of the samples, which is shuffled anew when it is used up.

    RS2 without replacement (arXiv 2305.18424). At any time the visits of two samples differ by one at most. A chunk
    that crosses from one permutation into the next may hold a sample twice. Epochs at rate 1 train every sample and
    leave the permutation where it is.
    """

    def __init__(self) -> None:
        self._now = self._next = Place()

    def prepare(self, context: Context) -> None:
        """Learn how many samples there are."""
        self._context = context

    def plan(self, epoch: int, target: float) -> Plan:
        """The next chunk, in full batches."""
        c, now = self._context, self._now
        if target >= 1:
            self._next = now
            ids = generator(c.seed, ORDER, epoch).permutation(c.samples)
            return Plan(ids, offered=c.samples, load_batch=c.batch_size, keep_short=True)
        rows, owed = full_batches(target, c.samples, now.owed, c.batch_size)
        self._next = Place(now.consumed + rows, owed)
        return Plan(self._chunk(now.consumed, rows), offered=c.samples, load_batch=c.batch_size)

    def _chunk(self, begin: int, rows: int) -> np.ndarray:
        c = self._context
        first, offset = divmod(begin, c.samples)
        shuffles = range(first, (begin + rows) // c.samples + 1)
        ids = np.concatenate([generator(c.seed, SHUFFLE, i).permutation(c.samples) for i in shuffles])
        return ids[offset : offset + rows]

    def end_epoch(self, score: Scorer) -> None:
        """Go on to the next chunk."""
        del score
        self._now = self._next

    def state_dict(self) -> dict[str, Any]:
        """The place in the permutations."""
        return self._now._asdict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        self._now = self._next = Place(**state)
