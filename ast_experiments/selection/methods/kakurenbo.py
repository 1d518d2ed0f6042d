"""KAKURENBO: hides samples that are predicted correctly with high confidence, and takes larger steps meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Lt

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.errors import ConfigError
from ast_experiments.core.ranges import Share
from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.method import Method
from ast_experiments.selection.parts import Staged
from ast_experiments.selection.plan import Plan


def hide_confident(losses: np.ndarray, confidences: np.ndarray, share: float, confidence: float = 0.7) -> np.ndarray:
    """Returns the rows to train: all but those, among the lowest losses, that were predicted with high confidence.

    Args:
        losses: Shape (n,); NaN, for rows without a loss, is the largest.
        confidences: Of correct predictions, and 0 of wrong ones, shape (n,).
        share: Largest share of the rows to hide, in [0, 1].
        confidence: Smallest confidence of a hidden row.

    Returns:
        Mask, bool, shape (n,).
    """
    shown = np.ones(len(losses), dtype=bool)
    easiest = np.argsort(losses, kind="stable")[: int(share * len(losses) + 1e-9)]
    shown[easiest[confidences[easiest] >= confidence]] = False  # NaN is never confident
    return shown


class Kakurenbo(Method):
    """Hides, of the samples with the lowest last losses, those that were predicted correctly with high confidence.

    KAKURENBO (NeurIPS 2023, arXiv 2310.10102). At most a share `hide` x factor is hidden in an epoch; the factor
    depends on the progress. All others are trained, at the learning rate times 1 / (1 - hidden share). Hidden samples
    are forwarded at the end of the epoch, charged as scoring, so that each sample has a loss, a prediction and a
    confidence of every epoch; after the last epoch nothing needs them. The first epoch hides nothing.

    The confidence is the largest softmax probability over the classes. The released code takes the softmax over the
    rows of the batch, forwards hidden samples in training mode, which moves the BatchNorm statistics, and scales the
    learning rate by the largest share that may be hidden instead of the share that is, and only after the warm-up. None
    of this is followed. Its epochs of decay, 30, 60 and 80 of 100 for ImageNet, are shares of the run here.

    Args:
        hide: Largest share that may be hidden.
        factors: Of `hide`: at the start, after the learning rate's warm-up, and at each progress of `decay_at`.
        decay_at: Shares of the run, ascending; there are two more factors than shares.
        confidence: Smallest confidence of a hidden sample.

    Raises:
        ConfigError: If the number of factors is wrong or `decay_at` does not rise.
    """

    rate = None
    unmixable = dict.fromkeys(
        ("mixup", "cutmix", "soft_labels"),
        "it hides samples that were predicted correctly, and a mixture has no correct class",
    )

    def __init__(
        self,
        *,
        hide: Annotated[float, Ge(0), Lt(1)] = 0.3,
        factors: Sequence[Share] = (1.0, 1.0, 0.8, 0.6, 0.4),
        decay_at: Sequence[Share] = (0.3, 0.6, 0.8),
        confidence: Share = 0.7,
    ) -> None:
        if len(factors) != len(decay_at) + 2:
            raise ConfigError(
                f"method.factors: has {len(factors)} values; expected {len(decay_at) + 2}: at the start, "
                f"after the warm-up, and at each of method.decay_at={list(decay_at)}"
            )
        if list(decay_at) != sorted(decay_at):
            rising = ",".join(map(str, sorted(decay_at)))
            raise ConfigError(f"method.decay_at: {list(decay_at)} must rise; type method.decay_at=[{rising}]")
        self._hide, self._factors, self._decay_at, self._confidence = hide, factors, decay_at, confidence

    def prepare(self) -> None:
        """Makes room for the confidences."""
        self._confidences = SampleHistory(self.context.samples, self.context.device)
        self._total = Staged(0)
        self._hidden = np.empty(0, dtype=np.int64)

    def ceiling(self, epoch: int) -> float:
        """Returns the largest share that may be hidden in an epoch."""
        c = self.context
        starts = (0.0, c.warmup_epochs, *(share * c.epochs for share in self._decay_at))
        begun = [factor for start, factor in zip(starts, self._factors, strict=True) if epoch >= start - 1e-9]
        return self._hide * begun[-1]

    def plan(self, epoch: int, target: float, history: SampleHistory) -> Plan:
        """Takes all samples but the hidden ones, in a random order."""
        del target
        order = self.carry.offered(self.permutation(epoch))
        losses, confidences = history.losses[order], self._confidences.scores[order]
        shown = hide_confident(losses, confidences, self.ceiling(epoch), self._confidence)
        self._hidden = order[~shown][np.argsort(losses[~shown], kind="stable")]
        self._total.next = self._total.now + len(self._hidden)
        return replace(self.carry.plan(order, shown), lr_scale=1 / (1 - len(self._hidden) / len(order)))

    def observe(self, batch: Batch, outputs: Outputs) -> None:
        """Records the confidences of correct predictions, and 0 for wrong ones."""
        confidence, predicted = torch.softmax(outputs.logits.float(), dim=1).max(dim=1)
        self._confidences.record(batch.ids, confidence * (predicted == batch.labels))

    def rescore(self, epoch: int, history: SampleHistory) -> np.ndarray:
        """Asks for the hidden samples."""
        return self._hidden if epoch + 1 < self.context.epochs else super().rescore(epoch, history)

    def scored_share(self, target: float) -> float:
        """Returns the mean share that may be hidden, which is at least the share that is."""
        del target
        epochs = self.context.epochs
        return sum(map(self.ceiling, range(1, epochs - 1))) / epochs

    def facts(self) -> Mapping[str, Any]:
        """Returns the mean share of the samples that was hidden, over the planned epochs."""
        c = self.context
        return {"mean_hidden_share": self._total.now / (c.samples * c.epochs)}
