"""Repeated random subsets without replacement: the uniform baseline at equal cost."""

from __future__ import annotations

import numpy as np

from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.method import Method
from ast_experiments.selection.parts import Staged
from ast_experiments.selection.plan import Plan

SHUFFLE = 2


class RS2(Method):
    """Trains consecutive chunks of one permutation of the samples, which is shuffled again when it is used up.

    RS2 without replacement (arXiv 2305.18424). At any time the visits of two samples differ by at most one. A chunk
    that crosses from one permutation into the next may hold a sample twice. Epochs at rate 1 train every sample and
    leave the position in the permutation as it is.
    """

    scoring, uniform, keeps_history = None, True, False
    planned_on_rank_0 = True

    def prepare(self) -> None:
        """Starts at the beginning of the endless sequence of permutations."""
        self._consumed = Staged(0)

    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Takes the next chunk, in full batches."""
        del history
        rows, begin = self.full_batches(target), self._consumed.now
        self._consumed.next = begin + rows
        return self.train(self._chunk(begin, rows))

    def _chunk(self, begin: int, rows: int) -> np.ndarray:
        samples = self.context.samples
        first, offset = divmod(begin, samples)
        shuffles = range(first, (begin + rows) // samples + 1)
        ids = np.concatenate([self.random(SHUFFLE, i).permutation(samples) for i in shuffles])
        return ids[offset : offset + rows]
