"""KAKURENBO: hides samples that are known for sure, and takes larger steps meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.selection.batching import Carry, forwarded
from ast_experiments.selection.history import ScoreTable
from ast_experiments.selection.method import Context, Scorer
from ast_experiments.selection.numeric import generator
from ast_experiments.selection.plan import Plan

ORDER = 1


class Kakurenbo:
    """Hides, of the samples with the lowest last losses, those that were predicted right and with confidence.

    KAKURENBO (NeurIPS 2023, arXiv 2310.10102). At most a share `hide` x factor is hidden in an epoch; the factor
    depends on the progress. All others are trained, at the learning rate times 1 / (1 - hidden share). Hidden samples
    are forwarded at the epoch's end, charged as scoring, so that each sample has a loss, a prediction and a confidence
    of every epoch; after the last epoch nobody needs them. The first epoch hides nothing.

    The confidence is the largest softmax probability over the classes. The released code takes the softmax over the
    rows of the batch, forwards hidden samples in training mode, which moves the BatchNorm statistics, and scales the
    learning rate by the largest share that may be hidden, not the one that is, and only after the warm-up. None of
    this is followed. Its epochs of decay, 30, 60 and 80 of 100 for ImageNet, are shares of the run here.

    Args:
        hide: Largest share that may be hidden, in [0, 1).
        factors: Of `hide`: at the start, after the learning rate's warm-up, and at each progress of `decay_at`.
        decay_at: Ascending shares of the run; there are two factors more.
        confidence: Smallest confidence of a hidden sample.
    """

    def __init__(self, *, hide: float, factors: Sequence[float], decay_at: Sequence[float], confidence: float) -> None:
        self._hide, self._factors, self._decay_at, self._confidence = hide, factors, decay_at, confidence
        self._carry = Carry()
        self._hidden = np.empty(0, dtype=np.int64)
        self._total = 0

    def prepare(self, context: Context) -> None:
        """Make the tables of losses and confidences."""
        self._context, self._epoch = context, 0
        self._losses = ScoreTable(context.samples, context.device)
        self._sure = ScoreTable(context.samples, context.device)

    def ceiling(self, epoch: int) -> float:
        """The largest share that may be hidden in an epoch."""
        c = self._context
        starts = (0.0, c.warmup_epochs, *(share * c.epochs for share in self._decay_at))
        begun = [factor for start, factor in zip(starts, self._factors, strict=True) if epoch >= start - 1e-9]
        return self._hide * begun[-1]

    def plan(self, epoch: int, target: float) -> Plan:
        """All samples but the hidden ones, in a random order."""
        del target
        c, self._epoch = self._context, epoch
        order = self._carry.offered(generator(c.seed, ORDER, epoch).permutation(c.samples))
        easiest = np.argsort(self._losses.scores[order], kind="stable")[: int(self.ceiling(epoch) * len(order) + 1e-9)]
        known = easiest[self._sure.scores[order[easiest]] >= self._confidence]  # nan is never sure
        shown = np.ones(len(order), dtype=bool)
        shown[known] = False
        self._hidden = order[known]
        plan = self._carry.plan(order, shown, c.batch_size)
        return replace(plan, lr_scale=1 / (1 - len(known) / len(order)))

    def observe(self, batch: Batch, outputs: Outputs) -> None:
        """Note the losses, and the confidences in predictions that are right, 0 for wrong ones."""
        sure, predicted = torch.softmax(outputs.logits.float(), dim=1).max(dim=1)
        self._losses.record(batch.ids, outputs.losses)
        self._sure.record(batch.ids, sure * (predicted == batch.labels))

    def end_epoch(self, score: Scorer) -> None:
        """Look at the hidden samples; commit the tables and carried rows."""
        if self._epoch + 1 < self._context.epochs:
            for batch, outputs in forwarded(self._context, score, self._hidden, self._epoch):
                self.observe(batch, outputs)
        self._losses.commit(self._epoch)
        self._sure.commit(self._epoch)
        self._carry.commit()
        self._total += len(self._hidden)

    def scored_share(self, target: float) -> float:
        """The mean share that may be hidden: more than is, as far as samples are not known for sure."""
        del target
        epochs = self._context.epochs
        return sum(map(self.ceiling, range(1, epochs - 1))) / epochs

    def facts(self) -> Mapping[str, Any]:
        """The mean share of the samples that was hidden, over the planned epochs."""
        c = self._context
        return {"mean_hidden_share": self._total / (c.samples * c.epochs)}

    def state_dict(self) -> dict[str, Any]:
        """Both tables, carried rows, and how many samples were hidden so far."""
        return {
            "losses": self._losses.state_dict(),
            "sure": self._sure.state_dict(),
            "carry": self._carry.state_dict(),
            "total": self._total,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self._losses.load_state_dict(state["losses"])
        self._sure.load_state_dict(state["sure"])
        self._carry.load_state_dict(state["carry"])
        self._total = int(state["total"])
