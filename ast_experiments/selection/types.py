"""What travels between the loader, the selector and the training step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples on their way through the network; ids travel with them everywhere.

    Attributes:
        ids: Sample ids, int64, shape (n,).
        images: Normalised images, float32, shape (n, c, h, w), on the training device.
        labels: Class indices, int64, shape (n,), or probabilities of the classes, float32, shape (n, classes).
        weights: Loss weights, float32, shape (n,); None means all ones.
        total: Rows of the batch on all ranks; None means that this rank holds the whole batch.
    """

    ids: Tensor
    images: Tensor
    labels: Tensor
    weights: Tensor | None = None
    total: int | None = None

    def __len__(self) -> int:
        return self.ids.shape[0]

    @property
    def rows(self) -> int:
        """Rows on all ranks."""
        return len(self) if self.total is None else self.total

    def take(self, rows: Tensor | slice, total: int | None = None) -> Batch:
        """The batch of some of its rows, given by index (k,) or slice; `total` of them on all ranks."""
        weights = None if self.weights is None else self.weights[rows]
        return Batch(self.ids[rows], self.images[rows], self.labels[rows], weights, total)


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a forward pass tells a selector; detached from the graph.

    Attributes:
        logits: Shape (n, classes).
        losses: Per-sample losses, float32, shape (n,).
    """

    logits: Tensor
    losses: Tensor


@dataclass(frozen=True, slots=True)
class Plan:
    """One epoch, decided before anything is loaded.

    Attributes:
        ids: Samples to load in this order, int64, shape (m,).
        offered: Rows the epoch chose from; the denominator of the activation rate.
        load_batch: Rows a loaded batch holds.
        weights: Loss weights aligned with `ids`, float32, shape (m,), or None for all ones.
        keep_short: Whether a last batch of fewer than `load_batch` rows is loaded too.
        lr_scale: Factor on the learning rate for this epoch.
        offered_by_batch: Rows offered by the time each batch is loaded, int64, shape (batches,), or None for evenly.
        trace: Control signals by batch, each of shape (batches,); keys are those of the step log
            (`control/threshold`, ...), and `picked`: how many of the rows offered since the batch before were picked,
            where that is not what the batch holds. Values that are not known in advance are left out.
    """

    ids: np.ndarray
    offered: int
    load_batch: int
    weights: np.ndarray | None = None
    keep_short: bool = False
    lr_scale: float = 1.0
    offered_by_batch: np.ndarray | None = None
    trace: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def batches(self) -> int:
        """Number of batches that the plan loads."""
        full, rest = divmod(len(self.ids), self.load_batch)
        return full + bool(rest and self.keep_short)
