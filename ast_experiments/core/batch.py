"""Batches and outputs: what travels between the loader, the method and the training step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Labels = TypeVar("Labels", Tensor, np.ndarray)


def class_indices(labels: Labels) -> Labels:
    """Returns class indices (n,) of labels (n,), or of probabilities (n, classes) the most probable class."""
    return cast("Labels", labels.argmax(1)) if labels.ndim > 1 else labels


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
