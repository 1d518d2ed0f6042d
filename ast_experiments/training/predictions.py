"""What the network predicted for each sample when it trained it, kept without a pass or a read of the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core import distributed
from ast_experiments.core.batch import class_indices
from ast_experiments.selection.parts import Part
from ast_experiments.selection.suspects import CUTS, SURE, NoiseEstimate, count_places, estimate_noise

COLUMNS = ("predicted", "confidence", "place", "margin_sum", "contradictions")


def observed(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns prediction, its probability, the margin of the label, and the label's place; float32, shape (n, 4).

    The margin is the logit of the label less that of the best other class: negative if another class is predicted. It
    is the area under the margin of Pleiss et al., "Identifying mislabeled data using the area under the margin
    ranking", NeurIPS 2020, at one visit. The place of the label is the number of classes with a larger logit, 0 for the
    predicted class. A tie counts as a prediction of the label.

    Args:
        logits: Shape (n, classes), with at least two classes.
        labels: Class indices (n,) or probabilities (n, classes), of which the most probable class counts.
    """
    logits = logits.float()
    own = class_indices(labels)[:, None]
    label = logits.gather(1, own)[:, 0]
    best, other = logits.scatter(1, own, -torch.inf).max(dim=1)
    margin = label - best
    predicted = torch.where(margin >= 0, own[:, 0], other)
    confidence = (torch.maximum(label, best) - logits.logsumexp(dim=1)).exp()
    place = (logits > label[:, None]).sum(dim=1)
    return torch.stack([predicted.float(), confidence, place.float(), margin], dim=1)


class Predictions(Part):
    """The last prediction of each sample, and the sum of its margins over the epochs that trained it.

    Args:
        samples: Number of training samples.
        classes: Number of classes, at least 2.
        device: Training device.

    Attributes:
        classes: Number of classes.
        predicted: Class predicted at the last visit, int16 or int32, shape (samples,); -1 without a visit.
        confidence: Its probability, float16, shape (samples,); NaN without a visit.
        place: Number of classes that it found more probable than the label, of the type of `predicted`; -1 likewise.
        margin_sum: Sum of the margins over the visits, float32, shape (samples,).
        place_counts: `count_places` after each epoch.
        contradictions: Visits whose prediction was another class than the label, int16, shape (samples,).
    """

    def __init__(self, samples: int, classes: int, device: torch.device | str) -> None:
        self.classes = classes
        kind = np.int16 if classes <= np.iinfo(np.int16).max else np.int32
        self.predicted, self.place = np.full(samples, -1, kind), np.full(samples, -1, kind)
        self.confidence = np.full(samples, np.nan, np.float16)
        self.margin_sum = np.zeros(samples, np.float32)
        self.contradictions = np.zeros(samples, np.int16)
        self.place_counts: list[tuple[int, ...]] = []
        self._pending = torch.full((samples, 4), torch.nan, dtype=torch.float32, device=device)

    def record(self, ids: Tensor, logits: Tensor, labels: Tensor, weights: Tensor | None) -> None:
        """Keeps what a trained batch predicted until the epoch ends; rows of weight 0 were not trained."""
        seen = observed(logits, labels)
        self._pending[ids] = seen if weights is None else seen.masked_fill((weights <= 0)[:, None], torch.nan)

    def commit(self, epoch: int) -> None:
        """Adds the epoch's predictions, on all ranks. Reads the device once."""
        del epoch
        seen = last_rank(self._pending).cpu().numpy()
        new = np.flatnonzero(~np.isnan(seen[:, 0]))
        predicted, confidence, place, margin = seen[new].T
        self.predicted[new], self.place[new], self.confidence[new] = predicted, place, confidence
        self.margin_sum[new] += margin
        self.contradictions[new] += margin < 0
        self.place_counts.append(count_places(self.place, self.confidence, self.classes))
        self._pending.fill_(torch.nan)

    def noise(self) -> NoiseEstimate | None:
        """Returns the estimated share of wrong labels; None if there is no estimate."""
        return estimate_noise(np.array(self.place_counts), len(self.place), self.classes)

    def columns(self, visits: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the columns by name, as `docs/metrics.md` defines them, for the samples' visits, shape (samples,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            margin = (self.margin_sum / visits).astype(np.float32)
        return {
            "predicted": self.predicted,
            "confidence": self.confidence,
            "place": self.place,
            "contradictions": self.contradictions,
            "margin": margin,
        }

    def state_dict(self) -> dict[str, Any]:
        """Returns all columns as tensors on the CPU; valid in the middle of an epoch."""
        columns = {name: torch.from_numpy(getattr(self, name).copy()) for name in COLUMNS}
        counts = torch.tensor(self.place_counts, dtype=torch.int64)
        return columns | {"place_counts": counts, "pending": self._pending.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        for name in COLUMNS:
            setattr(self, name, state[name].numpy().copy())
        whole = 1 + SURE + len(CUTS)  # earlier versions counted less
        self.place_counts = [tuple(row) for row in state["place_counts"].tolist() if len(row) == whole]
        self._pending.copy_(state["pending"])


def last_rank(pending: Tensor) -> Tensor:
    """Combines the rows (samples, k) of all ranks: NaN where no rank has one, the highest rank's where several do."""
    if distributed.size() == 1:
        return pending
    here = ~pending[:, 0].isnan()
    owner = distributed.all_reduce_max(torch.where(here, float(distributed.rank()), -1.0))
    mine = torch.where((owner == distributed.rank())[:, None], pending, 0.0)
    return torch.where((owner < 0)[:, None], torch.nan, distributed.all_reduce_sum(mine))
